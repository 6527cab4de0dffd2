/* Every picture that was asked for: a grid by days, with a search. */

const PAGE = 24;
const TYPING = 80; // ms after the last key

class History {
  #link;
  #cards;
  #images;
  #open;
  #cursor;
  #asked = 0;
  #isAsking = false;
  #hasFailed = false; // then only the person asks again
  #isStarted = false;
  #tiles = new Map();
  #days = new Map();
  #search = el("input", { type: "search", "aria-label": "Search the pictures", placeholder: "Search", dir: "auto", autocomplete: "off", maxlength: "200" });
  #status = el("select", { "aria-label": "Which pictures" }, ...[["", "All"], ["completed", "Finished"], ["running", "Being made"], ["failed", "Failed"]].map(([value, name]) => el("option", { value }, name)));
  #trouble = el("div", { class: "slot" });
  #grid = el("div", { class: "days" });
  #empty = el("div", { class: "empty", hidden: true });
  #more = button("More", { kind: "pay", onclick: () => this.#load() });
  #end = el("div", { class: "tail" }, this.#more);
  #scroller = el("div", { class: "scroller" }, this.#grid, this.#empty, this.#end);

  constructor({ link, cards, images, open }) {
    this.#link = link;
    this.#cards = cards;
    this.#images = images;
    this.#open = open;
    this.tools = el("div", { class: "tools" }, el("label", { class: "search" }, icon("search"), this.#search), this.#status);
    this.element = el("section", { class: "history", "aria-label": "All pictures", tabindex: "-1" }, this.tools, this.#trouble, this.#scroller);
    let timer;
    this.#search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.refresh(), TYPING);
    });
    this.#status.addEventListener("change", () => this.refresh());
    this.#seen = new IntersectionObserver((entries) => this.#look(entries), { rootMargin: "400px" });
    this.#near = new IntersectionObserver((entries) => {
      if (entries.at(-1).isIntersecting && this.#cursor && !this.#hasFailed) this.#load();
    }, { rootMargin: "800px" });
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    cards.onCard((card, isNew) => this.#took(card, isNew));
    cards.addEventListener("forgotten", ({ detail }) => this.#remove(detail));
    this.#end.hidden = true;
  }

  #seen;
  #near;

  /** Show it; `text` is searched for. */
  start(text) {
    if (text !== undefined) this.#search.value = text;
    if (!this.#isStarted || text !== undefined) this.refresh();
  }

  async refresh() {
    this.#isStarted = true;
    this.#cursor = undefined;
    this.#isAsking = false;
    if (!this.#tiles.size) this.#skeleton();
    await this.#load(true);
  }

  focus(id) {
    focusOn(this.#tiles.get(id)?.element ?? this.element);
  }

  async #load(isAnew = false) {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#hasFailed = false;
    const asked = ++this.#asked;
    this.#more.disabled = true;
    this.#near.disconnect();
    const criteria = { text: this.#search.value.trim(), status: this.#status.value, limit: PAGE, cursor: this.#cursor ?? "" };
    try {
      const { structuredContent: page = {} } = await this.#link.call("gallery_search", criteria);
      if (asked !== this.#asked) return;
      if (isAnew) this.#clear();
      this.#trouble.replaceChildren(...(page.note ? [el("p", { class: "note", dir: "auto" }, page.note)] : []));
      this.#cursor = page.next_cursor;
      this.#isFilling = true;
      this.#cards.take(page.cards);
      this.#isFilling = false;
      for (const card of page.cards ?? []) this.#add(this.#cards.get(card.task_id));
      this.#showEmpty();
      if (isAnew) announce(page.cards?.length ? `${counted(page.cards.length, "picture")}${page.next_cursor ? " and more" : ""}` : "No pictures");
      // Observed anew, it tells in any case whether the end is near: also where it was near all the time.
      // A page that was asked for meanwhile has said that nothing is to be observed until it is there.
      requestAnimationFrame(() => {
        if (asked === this.#asked) this.#near.observe(this.#end);
      });
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#hasFailed = true;
      this.#grid.querySelectorAll(".bone").forEach((bone) => bone.remove());
      this.#trouble.replaceChildren(alertOf(error.message, button("Try again", { shape: "again", onclick: () => this.#load(isAnew) })));
    } finally {
      if (asked === this.#asked) {
        this.#isAsking = false;
        this.#more.disabled = false;
        this.#end.hidden = !this.#cursor;
      }
    }
  }

  #isFilling = false;

  #clear() {
    this.#tiles.clear();
    this.#days.clear();
    this.#grid.replaceChildren();
    this.#seen.disconnect();
  }

  #skeleton() {
    const bones = Array.from({ length: 8 }, () => el("div", { class: "thumb bone" }));
    this.#grid.replaceChildren(el("div", { class: "grid", "aria-hidden": "true" }, ...bones));
  }

  #showEmpty() {
    const isFiltered = this.#search.value.trim() || this.#status.value;
    this.#empty.hidden = this.#tiles.size > 0;
    const next = this.#link.isHost ? "Ask for one in the chat, and it hangs here." : "Write above what you would like to see.";
    const words = isFiltered ? ["Nothing found", "No picture has these words in what it was asked for with."] : ["No pictures yet", next];
    this.#empty.replaceChildren(icon("photo"), el("h2", {}, words[0]), el("p", {}, words[1]));
  }

  #took(card, isNew) {
    const thumb = this.#tiles.get(card.task_id);
    if (thumb) thumb.update(card);
    else if (isNew && !this.#isFilling && this.#isStarted && card.asked_at && !this.#search.value) this.#add(card, true);
  }

  #add(card, isFirst = false) {
    if (!card || this.#tiles.has(card.task_id)) return;
    const thumb = new Thumb(card, () => this.#open(card.task_id));
    this.#tiles.set(card.task_id, thumb);
    const day = this.#day(dayOf(card.asked_at), isFirst);
    if (isFirst) day.prepend(thumb.element);
    else day.append(thumb.element);
    this.#seen.observe(thumb.element);
    this.#empty.hidden = true;
  }

  #day(name, isFirst) {
    let grid = this.#days.get(name);
    if (!grid) {
      grid = el("div", { class: "grid" });
      this.#days.set(name, grid);
      const section = el("section", { "aria-label": name }, el("h2", {}, name), grid);
      if (isFirst) this.#grid.prepend(section);
      else this.#grid.append(section);
    }
    return grid;
  }

  #remove(id) {
    const thumb = this.#tiles.get(id);
    if (!thumb) return;
    const grid = thumb.element.parentElement;
    thumb.element.remove();
    this.#tiles.delete(id);
    if (!grid.children.length) {
      grid.parentElement.remove();
      for (const [name, each] of this.#days) if (each === grid) this.#days.delete(name);
    }
    this.#showEmpty();
  }

  #look(entries) {
    for (const { target, isIntersecting } of entries) {
      const thumb = this.#tiles.get(target.dataset.id);
      if (!thumb) continue;
      thumb.isNear = isIntersecting;
      if (isIntersecting) thumb.load(this.#images);
    }
  }

  /** Arrows move through the grid, as eyes do. */
  #key(event) {
    const now = event.target.closest(".thumb");
    if (!now || !["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    const all = [...this.#grid.querySelectorAll(".thumb")];
    const at = all.indexOf(now);
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") return all[at + (event.key === "ArrowRight" ? 1 : -1)]?.focus();
    const here = now.getBoundingClientRect();
    const isDown = event.key === "ArrowDown";
    const others = isDown ? all.slice(at + 1) : all.slice(0, at).reverse();
    others.find((each) => {
      const there = each.getBoundingClientRect();
      return Math.abs(there.left - here.left) < here.width / 2 && there.top !== here.top;
    })?.focus();
  }
}

/** A small picture in the grid. */
class Thumb {
  #picture = el("img", { alt: "", decoding: "async", hidden: true });
  #mark = el("span", { class: "mark", hidden: true });
  #words = el("span", { class: "words", dir: "auto" });
  #isLoading = false;
  isNear = false;

  constructor(card, open) {
    this.element = el("button", { type: "button", class: "thumb", "data-id": card.task_id, onclick: open }, el("span", { class: "pane" }, this.#picture, this.#mark), this.#words);
    this.update(card);
  }

  update(card) {
    const was = this.card?.status;
    this.card = card;
    const more = card.images?.length > 1 ? counted(card.images.length, "picture") : "";
    const state = WORDS[card.status] || more;
    this.element.setAttribute("aria-label", [shortened(card.prompt) || "Picture", card.title, state, card.asked_at && ageOf(card.asked_at)].filter(Boolean).join(", "));
    this.element.dataset.status = card.status;
    this.#words.textContent = shortened(card.prompt, 80);
    this.#mark.textContent = state;
    this.#mark.hidden = !state;
    if (was && was !== card.status && this.isNear) this.load(this.images);
  }

  async load(images) {
    this.images = images;
    const { task_id: id, status } = this.card;
    if (!images || status !== "completed" || this.#isLoading || !this.#picture.hidden) return;
    this.#isLoading = true;
    try {
      const got = await images.get(id, 0, 320, () => this.isNear && this.element.offsetParent !== null);
      if (got) {
        this.#picture.src = got.src;
        this.#picture.hidden = false;
      }
    } catch {
      this.#mark.textContent = "cannot be shown";
      this.#mark.hidden = false;
    } finally {
      this.#isLoading = false;
    }
  }
}
