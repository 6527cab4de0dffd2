/* The pictures of one call, large and side by side, and all about the one that is chosen. */

class Stage {
  #cards;
  #orders;
  #images;
  #actions;
  #shown = [];
  #tiles = new Map();
  #ids = [];
  #input;
  #chosen;
  #from;
  #back = button("Back", { shape: "back", kind: "quiet back", onclick: () => this.back() });
  #count = el("span", { class: "count" });
  #previous = sign("Picture before", "previous", () => this.#step(-1));
  #next = sign("Next picture", "next", () => this.#step(1));
  #bar = el("div", { class: "bar" }, this.#back, el("span", { class: "grow" }), this.#count, this.#previous, this.#next);
  #trouble = el("div", { class: "slot" });
  #wall = el("div", { class: "wall" });
  #prompt = el("p", { class: "prompt", dir: "auto" });
  #more = button("Show all", { kind: "more", "aria-expanded": "false", onclick: () => this.#fold(!this.#isFolded) });
  #isFolded = true;
  #facts = el("dl", { class: "facts" });
  #label = el("aside", { class: "label", "aria-label": "About this picture" });

  constructor({ link, cards, orders, images, left }) {
    this.#cards = cards;
    this.#orders = orders;
    this.#images = images;
    this.left = left;
    this.#actions = new Actions({
      link, orders,
      ordered: (ids) => this.add(ids),
      forgotten: (id) => cards.forget(id),
    });
    this.#label.append(this.#prompt, this.#more, this.#facts, this.#actions.element);
    this.element = el("section", { class: "stage", "aria-label": "Picture" }, this.#bar, this.#trouble, el("div", { class: "room" }, this.#wall, this.#label));
    document.addEventListener("keydown", (event) => this.#key(event));
    cards.onCard((card) => this.#ids.includes(card.task_id) && this.#render());
    cards.addEventListener("forgotten", ({ detail }) => this.#remove(detail));
    orders.addEventListener("account", () => this.#renderLabel());
    setInterval(() => this.#tick(), TICK);
    new ResizeObserver(() => this.#fold(this.#isFolded)).observe(this.#prompt);
  }

  get isEmpty() {
    return !this.#ids.length;
  }

  /** Show these; `from` says where Back leads to. */
  show(ids, { from, input } = {}) {
    this.#ids = [...ids];
    this.#from = from;
    this.#input = input;
    this.#shown = [];
    this.zoom(false);
    this.#chosen = undefined;
    this.#trouble.replaceChildren();
    this.#render();
  }

  /** New pictures beside these; the last one is chosen. */
  add(ids) {
    const added = ids.filter((id) => !this.#ids.includes(id));
    this.#ids.push(...added);
    this.zoom(false);
    if (added.length) this.#chosen = `${added[0]}/0`;
    this.#render();
    const tile = this.#tiles.get(this.#chosen);
    focusOn(tile?.face);
    tile?.element.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  fail(text, ...actions) {
    this.#trouble.replaceChildren(alertOf(text, ...actions));
  }

  zoom(isZoomed) {
    this.isZoomed = isZoomed;
    this.element.classList.toggle("zoomed", isZoomed);
    if (this.#chosen) this.#renderBar();
  }

  back() {
    if (this.isZoomed) {
      this.zoom(false);
      this.#reload();
      focusOn(this.#tiles.get(this.#chosen)?.face);
    } else if (this.#from) {
      this.left(this.#from);
    }
  }

  focus() {
    focusOn(this.#back.hidden ? this.#tiles.get(this.#chosen)?.face : this.#back);
  }

  #remove(id) {
    if (!this.#ids.includes(id)) return;
    this.#ids = this.#ids.filter((each) => each !== id);
    if (this.#ids.length || !this.#from) this.#render();
    else this.left(this.#from);
  }

  #render() {
    const keys = [];
    const cards = this.#ids.map((id) => this.#cards.get(id)).filter(Boolean);
    for (const card of cards) {
      const count = Math.max(1, card.images?.length ?? 0);
      for (let index = 0; index < count; index += 1) keys.push([card, index]);
    }
    const names = keys.map(([card, index]) => `${card.task_id}/${index}`);
    for (const [name, tile] of this.#tiles) {
      if (names.includes(name)) continue;
      tile.element.remove();
      this.#tiles.delete(name);
    }
    if (!names.includes(this.#chosen)) this.#chosen = names[0];
    this.#wall.dataset.count = String(names.length);
    const ratio = Math.min(...keys.map(([card, index]) => shapeOf(card, index)));
    this.#wall.classList.toggle("tall", ratio < 0.9);
    keys.forEach(([card, index], nth) => {
      const tile = this.#tile(names[nth], card, index);
      if (this.#wall.children[nth] !== tile.element) this.#wall.insertBefore(tile.element, this.#wall.children[nth] ?? null);
      if (tile.card !== card) tile.update(card, names.length > 1 ? `${nth + 1} of ${names.length}` : "");
    });
    this.#choose(this.#chosen);
  }

  #tile(name, card, index) {
    const known = this.#tiles.get(name);
    if (known) return known;
    const tile = new Tile(this.#images, card.task_id, index);
    tile.face.addEventListener("click", () => this.#pick(name));
    tile.look = () => this.#orders.follow(card.task_id);
    this.#tiles.set(name, tile);
    return tile;
  }

  /** The first press chooses, the second one makes it large. */
  #pick(name) {
    const isChosen = this.#chosen === name;
    this.#choose(name);
    if (isChosen && this.#tiles.size > 1) {
      this.zoom(!this.isZoomed);
      this.#reload();
    }
  }

  #choose(name) {
    this.#chosen = name;
    for (const [each, tile] of this.#tiles) {
      const isChosen = each === name;
      tile.element.classList.toggle("chosen", isChosen);
      if (this.#tiles.size > 1) tile.face.setAttribute("aria-pressed", String(isChosen));
      else tile.face.removeAttribute("aria-pressed");
    }
    this.#renderBar();
    this.#renderLabel();
  }

  #renderBar() {
    const names = [...this.#tiles.keys()];
    const many = names.length > 1;
    this.#back.hidden = !(this.isZoomed || this.#from);
    this.#back.querySelector("span").textContent = this.isZoomed ? "Side by side" : "All pictures";
    this.#count.textContent = this.isZoomed && many ? `${names.indexOf(this.#chosen) + 1} of ${names.length}` : "";
    this.#previous.hidden = this.#next.hidden = !(this.isZoomed && many);
    this.#bar.hidden = this.#back.hidden;
  }

  #step(by) {
    const names = this.#order();
    const next = names[(names.indexOf(this.#chosen) + by + names.length) % names.length];
    this.#choose(next);
    this.#reload();
    focusOn(this.#tiles.get(next)?.face);
  }

  #order() {
    return [...this.#wall.children].map((child) => [...this.#tiles].find(([, tile]) => tile.element === child)?.[0]);
  }

  #key(event) {
    if (this.element.hidden || event.defaultPrevented || event.target.closest?.("textarea, input, select, dialog")) return;
    if (event.key === "Escape" && (this.isZoomed || this.#from)) {
      event.preventDefault();
      this.back();
    } else if (this.#tiles.size > 1 && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      event.preventDefault();
      this.#step(event.key === "ArrowRight" ? 1 : -1);
    }
  }

  /** The picture has another size on the page now, and may need more pixels. */
  #reload() {
    const tile = this.#tiles.get(this.#chosen);
    if (tile?.card.status === "completed") tile.load();
  }

  #renderLabel() {
    const [id, index] = this.#chosen?.split(/\/(?=\d+$)/) ?? [];
    const card = this.#cards.get(id);
    this.#label.hidden = !card;
    if (!card) return;
    if (this.#prompt.textContent !== (card.prompt ?? "")) {
      this.#prompt.textContent = card.prompt ?? "";
      this.#fold(true);
    }
    this.#prompt.hidden = !card.prompt;
    this.#renderFacts(card, Number(index));
    // What is being written stays, as long as what can be done is the same.
    const { models, can } = this.#orders.account ?? {};
    const picture = JSON.stringify([this.#chosen, card.status]);
    const state = JSON.stringify([card.again, card.images?.map(({ uri, path, url }) => [uri, path, url]), models, can]);
    const [lastPicture, lastState] = this.#shown;
    if (picture === lastPicture && (state === lastState || this.#actions.isBeingUsed)) return;
    this.#shown = [picture, state];
    this.#actions.show(card, Number(index));
  }

  #renderFacts(card, index) {
    const image = card.images?.[index];
    const size = image?.width && `${image.width} × ${image.height}`;
    const cost = card.cost_usd ?? card.estimated_cost_usd;
    const about = card.cost_usd === undefined && cost !== undefined ? "about " : "";
    const facts = [
      ["Model", card.title],
      ["Size", size],
      ["Cost", card.status === "failed" ? undefined : cost !== undefined && `${about}${dollars(cost)}`],
      ["Made in", card.status === "completed" && card.seconds >= 1 && `${secondsOf(card.seconds)} to make`],
      ["Asked for", card.asked_at && ageOf(card.asked_at)],
    ].filter(([, value]) => value);
    this.#facts.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  #fold(isFolded) {
    this.#isFolded = isFolded;
    this.#prompt.classList.toggle("folded", isFolded);
    this.#more.hidden = isFolded && this.#prompt.scrollHeight <= this.#prompt.clientHeight + 2;
    this.#more.setAttribute("aria-expanded", String(!isFolded));
    this.#more.querySelector("span").textContent = isFolded ? "Show all" : "Show less";
  }

  #tick() {
    if (document.hidden || this.element.hidden) return;
    for (const tile of this.#tiles.values()) tile.tick();
  }
}
