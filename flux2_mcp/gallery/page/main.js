/* The page: what came of a call, all pictures, and the way between them. */

const ROOT = document.documentElement;
const SEARCHES = [1200, 1500, 3000, 5000, 8000]; // ms between looks for what a call is waiting for
const VARIABLE = /^--[a-z0-9-]+$/;

class Gallery {
  #link;
  #cards = new Cards();
  #images;
  #orders;
  #stage;
  #history;
  #compose;
  #input;
  #hasResult = false;
  #main = document.getElementById("app");
  #money = el("p", { class: "money" });
  #all = button("All pictures", { shape: "photo", onclick: () => this.#showHistory() });
  #return = sign("Back to the result", "back", () => this.#showResult());
  #larger = button("Larger", { shape: "expand", onclick: () => this.#resize() });
  #words = el("p", { class: "said", dir: "auto" });

  constructor(link) {
    this.#link = link;
    this.#images = new Images(link);
    this.#orders = new Orders(link, this.#cards);
    const parts = { link, cards: this.#cards, orders: this.#orders, images: this.#images };
    this.#stage = new Stage({ ...parts, left: (id) => this.#leave(id) });
    this.#history = new History({ ...parts, open: (id) => this.#open(id) });
    this.#orders.addEventListener("account", () => this.#showMoney());
    link.on("context", (context) => this.#dress(context));
    link.on("typing", (input) => this.#showInput(input));
    link.on("input", (input) => {
      this.#showInput(input);
      this.#find(input);
    });
    link.on("result", (result) => this.#take(result));
    link.on("cancelled", () => this.#cancel());
    this.#cards.onCard((card) => this.#announce(card));
  }

  async start() {
    const bar = el("footer", { class: "foot" }, this.#money, el("span", { class: "grow" }), this.#all, this.#larger);
    this.#history.tools.prepend(this.#return);
    this.#history.element.hidden = true;
    this.#stage.element.hidden = true;
    if (this.#link.isHost) {
      this.#main.append(this.#stage.element, this.#words, this.#history.element, bar);
    } else {
      this.#compose = new Compose({ orders: this.#orders, ordered: (ids) => this.#openOrdered(ids) });
      this.#compose.dropped = () => this.#leave();
      const head = el("header", { class: "head" }, el("h1", {}, "Flux 2"), this.#money);
      this.#main.append(head, this.#compose.element, this.#stage.element, this.#history.element);
      ROOT.dataset.mode = "page";
      window.addEventListener("popstate", () => this.#stage.element.hidden || this.#showHistory(this.#opened));
    }
    this.#words.hidden = this.#all.hidden = this.#return.hidden = this.#larger.hidden = true;
    await this.#connect();
  }

  async #connect() {
    try {
      await this.#link.connect();
    } catch (error) {
      this.#main.prepend(alertOf(error.message, button("Try again", { shape: "again", onclick: (event) => {
        event.target.closest(".alert").remove();
        this.#connect();
      } })));
      return;
    }
    this.#watchSize();
    this.#all.hidden = !this.#link.can.call;
    this.#orders.refreshAccount();
    if (!this.#link.isHost) this.#showHistory();
    else if (this.#tool === "recent_tasks" && this.#link.can.call) this.#showHistory();
  }

  get #tool() {
    return this.#link.context.toolInfo?.tool?.name;
  }

  /** The host's colours, sizes and language. */
  #dress({ theme, styles, displayMode, availableDisplayModes, locale }) {
    if (theme === "light" || theme === "dark") {
      ROOT.style.colorScheme = theme;
      ROOT.dataset.theme = theme;
    }
    for (const [name, value] of Object.entries(styles?.variables ?? {})) {
      if (VARIABLE.test(name) && typeof value === "string") ROOT.style.setProperty(name, value);
    }
    if (this.#link.isHost) ROOT.dataset.mode = displayMode === "fullscreen" ? "full" : "inline";
    this.#larger.hidden = !availableDisplayModes?.includes("fullscreen");
    this.#larger.querySelector("span").textContent = displayMode === "fullscreen" ? "Smaller" : "Larger";
    try {
      if (locale) [language] = Intl.getCanonicalLocales(locale);
    } catch {
      // A name that is no locale: dates stay as they are.
    }
  }

  async #resize() {
    const mode = this.#link.context.displayMode === "fullscreen" ? "inline" : "fullscreen";
    await this.#link.show(mode).catch((error) => this.#stage.fail(error.message));
  }

  /** The call has begun: what it will look like, before anything is known of it. */
  #showInput(input) {
    if (this.#hasResult) return;
    this.#input = input;
    if (this.#tool === "recent_tasks") return this.#history.start(typeof input.text === "string" ? input.text : "");
    if (input.task_id && typeof input.task_id === "string") {
      this.#cards.take([{ task_id: input.task_id, status: "running", doing: "Looking at the picture" }]);
      return this.#showStage([input.task_id]);
    }
    if (!input.prompt) return;
    const count = Math.min(Math.max(Number(input.count) || 1, 1), 10);
    const ids = Array.from({ length: count }, (_, nth) => `pending-${nth}`);
    const before = this.#cards.get(ids[0]);
    const since = before ? runningSeconds(before) : 0;
    const prompt = String(input.prompt);
    const card = { status: "running", prompt, running_seconds: since, again: { arguments: { aspect_ratio: input.aspect_ratio } } };
    this.#cards.take(ids.map((id) => ({ ...card, task_id: id })));
    if (!before) this.#showStage(ids);
  }

  /** The call waits for its pictures; the history knows of them before it returns. */
  async #find({ prompt, count }) {
    if (!this.#link.can.call || typeof prompt !== "string") return;
    for (const pause of SEARCHES) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (this.#hasResult || this.#orders.isClosed) return;
      const page = await this.#link.call("gallery_search", { status: "running", limit: 20 }).catch(() => undefined);
      const found = (page?.structuredContent.cards ?? []).filter((card) => card.prompt?.trim() === prompt.trim());
      if (!found.length || this.#hasResult) continue;
      const ids = found.slice(0, Number(count) || 1).map((card) => card.task_id).reverse();
      this.#cards.take(found);
      this.#showStage(ids);
      ids.forEach((id) => this.#orders.follow(id));
      return;
    }
  }

  /** The call has ended, or returned before its pictures were there. */
  async #take(result) {
    this.#hasResult = true;
    const { cards, sources, loose } = carriedBy(result, this.#input);
    for (const card of cards) {
      card.images?.forEach((image, index) => {
        const src = sources.get(image.uri ?? `flux2://tasks/${card.task_id}/images/${index}`);
        if (src) this.#images.keep(card.task_id, index, src, 640);
      });
    }
    if (this.#tool === "recent_tasks" && this.#link.can.call) return this.#showHistory();
    if (!cards.length && loose.length) cards.push({ task_id: "shown", status: "completed", prompt: this.#input?.prompt, images: loose.map(() => ({})) });
    loose.forEach((block, nth) => this.#images.keep(cards[0]?.task_id, nth, `data:${block.mimeType};base64,${block.data}`, 640));
    // What the call itself does not say is asked for below.
    this.#cards.take(cards.filter((card) => !this.#cards.get(card.task_id)?.asked_at));
    const ids = cards.map((card) => card.task_id);
    if (cards.length && String(ids) !== String(this.#resultIds)) this.#showStage(ids);
    if (result.isError) this.#fail(result);
    else if (!cards.length || !this.#link.can.call) this.#say(textOf(result));
    if (!this.#link.can.call) return;
    for (const card of cards) if (card.task_id !== "shown") this.#orders.follow(card.task_id);
  }

  #fail(result) {
    if (this.#stage.isEmpty || this.#cards.get("pending-0")) this.#stage.show(taskIdsOf(result));
    this.#stage.element.hidden = false;
    this.#stage.fail(textOf(result) || "The call failed, and the server did not say why.");
    this.#update();
  }

  #cancel() {
    if (this.#hasResult) return;
    this.#hasResult = true;
    this.#stage.show([]);
    this.#stage.element.hidden = false;
    this.#stage.fail("The call was cancelled. A picture that had been ordered by then is still made; it is among all pictures.");
    this.#update();
  }

  #say(text) {
    this.#words.textContent = text;
    this.#words.hidden = !text;
  }

  #resultIds = [];
  #opened;

  #showStage(ids) {
    this.#resultIds = ids;
    this.#stage.show(ids);
    this.#showResult();
  }

  #showResult() {
    if (this.#opened || this.#stage.isEmpty) this.#stage.show(this.#resultIds);
    this.#opened = undefined;
    this.#history.element.hidden = true;
    this.#stage.element.hidden = false;
    this.#update();
  }

  #showHistory(id) {
    this.#stage.element.hidden = true;
    this.#history.element.hidden = false;
    this.#history.start();
    this.#update();
    window.scrollTo({ top: this.#scrolled ?? 0, behavior: "instant" });
    this.#history.focus(id);
  }

  #scrolled = 0;

  #open(id) {
    this.#scrolled = window.scrollY;
    this.#opened = id;
    this.#stage.show([id], { from: id });
    if (isRunning(this.#cards.get(id))) this.#orders.follow(id);
    else this.#orders.complete(id);
    this.#history.element.hidden = true;
    this.#stage.element.hidden = false;
    if (!this.#link.isHost) history.pushState({}, "");
    this.#update();
    window.scrollTo({ top: 0, behavior: "instant" });
    this.#stage.focus();
  }

  #openOrdered(ids) {
    this.#open(ids[0]);
    this.#stage.add(ids);
  }

  #leave(id) {
    if (this.#stage.element.hidden) return;
    if (!this.#link.isHost) history.back();
    else this.#showHistory(id);
  }

  #update() {
    const isHistory = !this.#history.element.hidden;
    this.#all.hidden = !this.#link.can.call || isHistory || !!this.#opened;
    this.#return.hidden = !isHistory || !this.#resultIds.length;
    if (isHistory) this.#words.hidden = true;
    if (this.#compose) this.#compose.element.hidden = !isHistory;
  }

  #showMoney() {
    const { spent_today_usd: spent, left_today_usd: left, balance_usd: balance } = this.#orders.account ?? {};
    const parts = [
      spent !== undefined && `${dollars(spent)} spent today`,
      left !== undefined && `${dollars(left)} left of the day's budget`,
      balance !== undefined && `balance ${dollars(balance)}`,
    ].filter(Boolean);
    this.#money.replaceChildren(...parts.map((part) => el("span", {}, part)));
  }

  #states = new Map();

  #announce(card) {
    const before = this.#states.get(card.task_id);
    this.#states.set(card.task_id, card.status);
    if (before !== "running" || card.status === "running") return;
    const words = { completed: "The picture is ready.", failed: "The picture failed.", unknown: "It is not known how the picture ended." };
    announce(words[card.status] ?? "");
  }

  /** The host gives the page the height that it needs. */
  #watchSize() {
    if (!this.#link.isHost) return;
    let last = "";
    const tell = () => {
      const width = Math.ceil(window.innerWidth);
      const height = Math.ceil(this.#main.getBoundingClientRect().height);
      if (last === `${width} ${height}`) return;
      last = `${width} ${height}`;
      this.#link.notify("ui/notifications/size-changed", { width, height });
    };
    new ResizeObserver(() => requestAnimationFrame(tell)).observe(this.#main);
    tell();
  }
}

new Gallery(window.parent === window ? new LocalLink() : new HostLink()).start();
