/* Everything that costs money passes through here, one order at a time. */

const COOLING = 900; // ms after a press in which another one is taken for a slip
const LOOKS = [0, 2, 4]; // seconds that the first looks at a task wait; later ones wait longer
const LONG_LOOK = 20;
const MOST_WAITING = 2; // looks at a time; a browser has six connections to one address, and pictures take three
const ASK_AGAIN = 5000; // ms until a price is asked for again that could not be had
const ROUND = 2000; // ms between looks that may not wait
const RESUMED = 15 * 60000; // ms in which the server takes the same call for the one whose answer was lost
const PAUSES = [1000, 2000, 4000, 8000]; // ms before looking again, when the server did not answer

class Orders extends EventTarget {
  #link;
  #cards;
  #estimates = new Map();
  #followed = new Set();
  #unsure = new Map();
  #pressedAt = -COOLING;
  #waiting = 0;
  account;
  isBusy = false;
  isClosed = false;

  constructor(link, cards) {
    super();
    this.#link = link;
    this.#cards = cards;
    link.on("close", () => (this.isClosed = true));
  }

  /** What this would cost: { price, allowed, why }. */
  estimate({ arguments: args }) {
    const { source_image_urls: sources = [] } = args;
    const key = priceKey(args);
    if (!this.#estimates.has(key)) {
      const { aspect_ratio: _, repeat: __, wait_seconds: ___, ...rest } = args;
      const asked = { ...rest, prompt: "any picture", source_image_urls: sources.map(standIn) };
      const answer = this.#link.call("estimate_cost", asked).then(
        ({ structuredContent: { cost_usd: cost, allowed, why_not: why } = {} }) => ({ cost, allowed, why }),
        (error) => ({ allowed: false, unknown: true, why: error instanceof Refused ? error.message : "" }),
      );
      this.#estimates.set(key, answer);
      answer.then(({ unknown }) => unknown && this.#estimates.delete(key));
    }
    return this.#estimates.get(key);
  }

  /** Order it, at this price and no higher. The ids of what is being made; nothing if this press was a slip. */
  async place({ tool, arguments: args }, cost) {
    if (this.isBusy || performance.now() - this.#pressedAt < COOLING) return undefined;
    this.#pressedAt = performance.now();
    this.#setBusy(true);
    try {
      const most = cost === undefined ? {} : { max_cost_usd: cost };
      const result = await this.#link.call(tool, { ...this.#onceOnly(tool, args), ...most, wait_seconds: 0 });
      const ids = taskIdsOf(result);
      if (!ids.length) throw new Unreachable(textOf(result) || "The server did not say what it ordered.");
      this.#unsure.clear();
      this.#cards.take(carriedBy(result, args).cards.map((card) => ({ title: this.modelOf(args.model)?.title, tool, ...card })));
      ids.forEach((id) => this.follow(id));
      return ids;
    } finally {
      this.#estimates.clear();
      setTimeout(() => this.#setBusy(false), Math.max(0, COOLING - (performance.now() - this.#pressedAt)));
      this.refreshAccount();
    }
  }

  /** The call as it is sent: one that ended without ids may have ordered, and is then found again, not paid again. */
  #onceOnly(tool, { repeat, ...args }) {
    const call = JSON.stringify([tool, args]);
    const isUnsure = performance.now() - (this.#unsure.get(call) ?? -RESUMED) < RESUMED;
    if (!isUnsure) this.#unsure.set(call, performance.now());
    return repeat && !isUnsure ? { ...args, repeat } : args;
  }

  /** Look at a task until it has ended; where that cannot be seen, nobody is offered to pay for it again. */
  async follow(id) {
    if (this.#followed.has(id) || !this.#link.can.call) return;
    this.#followed.add(id);
    let failures = 0;
    for (let look = 0; !this.isClosed && failures <= PAUSES.length; look += 1) {
      const mayWait = this.#waiting < MOST_WAITING;
      this.#waiting += mayWait;
      try {
        const wait = mayWait ? (LOOKS[look] ?? LONG_LOOK) : 0;
        const began = performance.now();
        await this.#look(id, wait);
        failures = 0;
        if (!isRunning(this.#cards.get(id))) break;
        if (!mayWait || performance.now() - began < wait * 500) await new Promise((resolve) => setTimeout(resolve, ROUND));
      } catch (error) {
        const pause = PAUSES[failures++];
        if (pause === undefined || error instanceof Refused) {
          const { again: _, ...known } = this.#cards.get(id) ?? {};
          this.#cards.take([{ ...known, task_id: id, status: "unknown", error: error.message, isLost: true }]);
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
      } finally {
        this.#waiting -= mayWait;
      }
    }
    this.#followed.delete(id);
    this.refreshAccount();
  }

  /** What the history does not say of a picture, such as its size. */
  async complete(id) {
    if (!this.#link.can.call || this.#cards.get(id)?.images?.every((image) => image.width)) return;
    try {
      await this.#look(id, 0);
    } catch {
      // The card is good enough without.
    }
  }

  /** A task has another id before RunAPI has named it; here it keeps the one by which it is asked for. */
  async #look(id, wait) {
    const { structuredContent: { cards = [] } = {} } = await this.#link.call("gallery_task", { task_id: id, wait_seconds: wait });
    this.#cards.take(cards.map((card) => ({ ...card, task_id: id })));
  }

  async refreshAccount() {
    if (!this.#link.can.call) return;
    try {
      this.account = (await this.#link.call("gallery_account")).structuredContent;
      this.dispatchEvent(new Event("account"));
    } catch {
      // What was known stays; an order says itself what is wrong.
    }
  }

  can(what) {
    return this.account?.can?.includes(what) ?? false;
  }

  /** The model that a name, or RunAPI's longer one, means. */
  modelOf(name) {
    const models = this.account?.models ?? [];
    return name ? models.find((model) => name === model.name || name.startsWith(`${model.name}-`)) : models[0];
  }

  #setBusy(isBusy) {
    this.isBusy = isBusy;
    this.dispatchEvent(new Event("busy"));
  }
}

/** What the price of a call depends on. */
function priceKey({ source_image_urls: sources = [], model, output_resolution: resolution, count = 1 }) {
  return JSON.stringify([sources.length, model, resolution, count]);
}

/** A picture costs the same whatever its sources show, and a large one need not travel for that. */
function standIn(source) {
  return source.startsWith("data:") ? "https://example.com/picture.png" : source;
}

/** A button that spends: it says how much before, and does it once. */
class PayButton {
  #orders;
  #order;
  #like;
  #done;
  #price = el("span", { class: "price" });
  #label;
  #estimate;
  #asked = 0;
  #key;
  #signal;

  /** `order()` gives what to order, or nothing while that is not said yet: then the price is that of `like()`.
   *  `done(ids, error)` hears the outcome. After `signal` it is no longer on the page. */
  constructor(orders, { label, shape, order, like = order, done, kind = "pay", signal }) {
    this.#orders = orders;
    this.#order = order;
    this.#like = like;
    this.#done = done;
    this.#signal = signal;
    this.#label = el("span", {}, label);
    this.element = el(
      "button",
      { type: "button", class: kind, onclick: (event) => this.#press(event), onkeydown: (event) => event.repeat && event.preventDefault() },
      shape && icon(shape),
      this.#label,
      this.#price,
    );
    orders.addEventListener("busy", () => this.#update(), { signal });
    this.refresh();
  }

  set label(text) {
    this.#label.textContent = text;
  }

  /** Ask what it would cost now. */
  async refresh() {
    if (this.#signal?.aborted) return;
    const asked = ++this.#asked;
    const order = this.#order() ?? this.#like();
    const key = priceKey(order.arguments);
    if (key !== this.#key) this.#estimate = undefined; // another price must not be paid
    this.#key = key;
    this.#update();
    const estimate = await this.#orders.estimate(order);
    if (asked !== this.#asked || this.#signal?.aborted) return;
    this.#estimate = estimate;
    this.#update();
    if (estimate.unknown) setTimeout(() => asked === this.#asked && this.refresh(), ASK_AGAIN);
  }

  get why() {
    return this.#estimate?.allowed === false ? this.#estimate.why : "";
  }

  #update() {
    const { cost, allowed, unknown } = this.#estimate ?? {};
    const price = cost === undefined || cost === null ? (unknown ? "price unknown" : "price not published") : dollars(cost);
    this.#price.textContent = this.#estimate ? `· ${price}` : "· …";
    this.element.disabled = this.#orders.isBusy || !this.#estimate || allowed === false || !this.#order();
    this.element.dispatchEvent(new Event("priced"));
  }

  async #press(event) {
    const order = this.#order();
    if (!order || event.detail > 1) return;
    const placed = this.#orders.place(order, this.#estimate?.cost ?? undefined);
    this.element.setAttribute("aria-busy", "true");
    try {
      const ids = await placed;
      if (ids) this.#done(ids);
    } catch (error) {
      this.#done([], error);
    } finally {
      this.element.removeAttribute("aria-busy");
      this.refresh();
    }
  }
}
