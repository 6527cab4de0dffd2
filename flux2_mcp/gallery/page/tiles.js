/* One picture on the page: while it is made, when it is there, and when it cannot be shown. */

const TICK = 500;
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");

class Tile {
  #images;
  #src;
  #picture = el("img", { class: "picture", alt: "", decoding: "async", draggable: "false" });
  #veil = el("div", { class: "veil", hidden: true });
  #wanted = 0;

  constructor(images, id, index) {
    this.#images = images;
    this.id = id;
    this.index = index;
    this.face = el("button", { type: "button", class: "face" }, this.#picture);
    this.element = el("div", { class: "tile" }, this.face, this.#veil);
    this.#picture.hidden = true;
  }

  update(card, place = "") {
    this.card = card;
    this.element.dataset.status = card.status;
    this.#shape(shapeOf(card, this.index));
    const name = [place, shortened(card.prompt) || "Picture", WORDS[card.status]].filter(Boolean).join(", ");
    this.face.setAttribute("aria-label", name);
    this.#picture.alt = shortened(card.prompt) || "Picture";
    this.#hue(card.prompt ?? "");
    if (isRunning(card)) this.#showProgress();
    else if (card.images?.length) this.load();
    else this.#showTrouble(card.error ?? "There is no picture.", card.isLost && this.look);
  }

  /** Fetch the version that fits the place it has now. */
  async load() {
    const mine = ++this.#wanted;
    const known = this.#images.known(this.id, this.index);
    if (known) await this.#show(known.src);
    else this.#showWaiting();
    const width = this.element.clientWidth || 640;
    const edge = Math.ceil(Math.max(width, width / shapeOf(this.card, this.index)) * Math.min(devicePixelRatio || 1, 2));
    try {
      const got = await this.#images.get(this.id, this.index, Math.min(edge, 2048), () => mine === this.#wanted);
      if (mine !== this.#wanted) return;
      if (got) await this.#show(got.src);
      else if (!known) this.#showTrouble("The picture is not in this result.");
    } catch (error) {
      if (mine === this.#wanted && !this.#src) this.#showTrouble(`This picture cannot be shown. ${error.message}`, () => this.load());
    }
  }

  /** Asks how it goes; the stage knows how. */
  look = undefined;

  tick() {
    if (this.bar && isRunning(this.card)) this.bar.update(this.card);
  }

  async #show(src) {
    if (this.#src === src) return;
    const next = new Image();
    next.src = src;
    try {
      await next.decode();
    } catch {
      return this.#showTrouble("This picture cannot be shown: the browser does not know its format.");
    }
    this.#src = src;
    this.#picture.src = src;
    this.#picture.hidden = false;
    this.#veil.hidden = true;
    this.bar = undefined;
    this.element.dataset.shown = "";
    const image = this.card.images?.[this.index];
    if (!image?.width) this.#shape(next.naturalWidth / next.naturalHeight);
  }

  #shape(ratio) {
    this.element.style.setProperty("--ratio", String(ratio));
  }

  /** The colours of what is not there yet: the same for the same words. */
  #hue(words) {
    let sum = 0;
    for (const letter of words.slice(0, 400)) sum = (sum * 31 + letter.codePointAt(0)) % 360;
    this.element.style.setProperty("--hue", String(sum));
  }

  #showProgress() {
    if (!this.bar) this.bar = new ProgressBar();
    this.bar.update(this.card);
    this.#cover(this.bar.element);
  }

  #showWaiting() {
    if (!this.#src) this.#cover(el("span", { class: "unseen" }, "The picture is being loaded"));
  }

  #showTrouble(text, again) {
    this.#cover(icon("warning"), el("p", { dir: "auto" }, text), again && button("Look again", { shape: "again", onclick: again }));
    this.#veil.dataset.trouble = "";
  }

  #cover(...content) {
    delete this.#veil.dataset.trouble;
    const shown = content.filter(Boolean);
    if (this.#veil.childNodes.length !== shown.length || this.#veil.firstChild !== shown[0]) this.#veil.replaceChildren(...shown);
    this.#veil.hidden = false;
  }
}

const WORDS = { running: "being made", completed: "", failed: "failed", unknown: "not known how it ended" };

/** What is being done, for how long, and how far it probably is. */
class ProgressBar {
  #fill = el("div", { class: "fill" });
  #track = el("div", { class: "track", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, this.#fill);
  #doing = el("span", { class: "doing" });
  #time = el("span", { class: "time" });
  element = el("div", { class: "progress" }, el("div", { class: "words" }, this.#doing, this.#time), this.#track);

  update(card) {
    const doing = card.doing || `${card.title || "Flux 2"} is painting`;
    const part = progressOf(card);
    const after = runningSeconds(card);
    const expected = card.expected_seconds && after < card.expected_seconds * 1.5 ? ` of about ${secondsOf(card.expected_seconds)}` : "";
    this.#doing.textContent = doing;
    this.#time.textContent = `${secondsOf(after)}${expected}`;
    this.#track.setAttribute("aria-label", doing);
    this.#track.classList.toggle("unknown", part === undefined);
    if (part === undefined) this.#track.removeAttribute("aria-valuenow");
    else this.#track.setAttribute("aria-valuenow", String(Math.round(part * 100)));
    this.#fill.style.setProperty("--part", String(part ?? 0.3));
  }
}
