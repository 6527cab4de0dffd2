/* On this computer: ask for a picture, from words or from photos. */

const LARGEST = 2.5e6; // bytes of a photo that is sent as it is
const EDGE = 2048;

class Compose {
  #orders;
  #ordered;
  #sources = [];
  #text = el("textarea", { rows: "2", maxlength: "5000", dir: "auto", "aria-label": "What would you like to see?", placeholder: "What would you like to see?" });
  #model = el("select", { "aria-label": "Model" });
  #ratio = el("select", { "aria-label": "Ratio" });
  #resolution = el("select", { "aria-label": "Resolution" });
  #count = el("select", { "aria-label": "How many" }, ...[1, 2, 3, 4].map((count) => el("option", { value: String(count) }, counted(count, "picture"))));
  #file = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true, "aria-label": "Photos", tabindex: "-1" });
  #photos = el("div", { class: "photos", hidden: true });
  #trouble = el("div", { class: "slot" });
  #tooMany = el("div", { class: "slot" });
  #reading = 0;
  #pay;

  constructor({ orders, ordered }) {
    this.#orders = orders;
    this.#ordered = ordered;
    const like = () => this.#order();
    const order = () => (this.#text.value.trim().length < 3 || this.#reading ? undefined : like());
    this.#pay = new PayButton(orders, { label: "Make", shape: "remix", kind: "pay main", order, like, done: (ids, error) => this.#done(ids, error) });
    const add = button("Add a photo", { shape: "photo", onclick: () => this.#file.click() });
    const row = el("div", { class: "row" }, add, this.#file, this.#model, this.#ratio, this.#resolution, this.#count, el("span", { class: "grow" }), this.#pay.element);
    this.element = el("form", { class: "compose", "aria-label": "Make a picture", onsubmit: (event) => event.preventDefault() }, this.#text, this.#photos, row, this.#tooMany, this.#trouble);
    this.#text.addEventListener("input", () => this.#pay.refresh());
    this.#text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) this.#pay.element.click();
    });
    this.#model.addEventListener("change", () => this.#fill());
    for (const choice of [this.#ratio, this.#resolution, this.#count]) choice.addEventListener("change", () => this.#pay.refresh());
    this.#file.addEventListener("change", () => {
      this.take(this.#file.files);
      this.#file.value = "";
    });
    orders.addEventListener("account", () => this.#fillModels());
    this.#listenForDrops();
  }

  /** Photos to make the picture out of. */
  async take(files) {
    this.#trouble.replaceChildren();
    const hadNone = !this.#sources.length;
    this.#reading += 1;
    this.#pay.refresh();
    for (const file of files) {
      try {
        if (!file.type.startsWith("image/")) throw new Error("it is no picture");
        this.#sources.push({ name: file.name, uri: await dataOf(file) });
      } catch (error) {
        this.#fail(`${file.name} cannot be used: ${error.message || "it cannot be read as a picture"}.`);
      }
    }
    this.#reading -= 1;
    this.#showSources();
    if (hadNone && this.#sources.length) this.#keepRatio();
    focusOn(this.#text);
  }

  #order() {
    const choices = { model: this.#model.value, aspect_ratio: this.#ratio.value, output_resolution: this.#resolution.value };
    const args = { prompt: this.#text.value.trim(), ...Object.fromEntries(Object.entries(choices).filter(([, value]) => value)), count: Number(this.#count.value), repeat: true };
    if (!this.#sources.length) return { tool: "generate", arguments: args };
    return { tool: "remix", arguments: { ...args, source_image_urls: this.#sources.map(({ uri }) => uri) } };
  }

  #done(ids, error) {
    this.#trouble.replaceChildren(...(error ? [alertOf(error.message)] : []));
    if (!ids.length) return;
    this.#text.value = "";
    this.#sources = [];
    this.#showSources();
    announce("Ordered. It is being made.");
    this.#ordered(ids);
  }

  #fail(text) {
    this.#trouble.append(alertOf(text));
  }

  #fillModels() {
    const { models = [] } = this.#orders.account ?? {};
    const known = [...this.#model.options].map((option) => option.value);
    if (models.length !== known.length || models.some((model, nth) => model.name !== known[nth])) {
      this.#model.replaceChildren(...models.map((model) => el("option", { value: model.name }, model.title)));
    }
    this.#fill();
  }

  /** What the chosen model can do. */
  #fill() {
    const model = this.#orders.modelOf(this.#model.value) ?? {};
    const ratios = (this.#sources.length ? model.remix_aspect_ratios : model.aspect_ratios) ?? [];
    const fill = (choice, values, name) => {
      const now = choice.value;
      choice.replaceChildren(...values.map((value) => el("option", { value, ".selected": value === now }, name(value))));
      choice.hidden = values.length < 2;
    };
    fill(this.#ratio, ratios, (value) => (value === "auto" ? "Ratio of the photo" : value));
    fill(this.#resolution, model.resolutions ?? [], (value) => value.toUpperCase());
    const most = model.most_sources ?? 1;
    this.#tooMany.replaceChildren(...(this.#sources.length > most ? [alertOf(`${model.title} takes ${counted(most, "photo")} at most. Remove some, or choose another model.`)] : []));
    this.#pay.refresh();
  }

  /** The photo's own ratio, unless the person chooses another. */
  #keepRatio() {
    if ([...this.#ratio.options].some((option) => option.value === "auto")) this.#ratio.value = "auto";
    this.#pay.refresh();
  }

  #showSources() {
    this.#photos.hidden = !this.#sources.length;
    this.#photos.replaceChildren(...this.#sources.map((source) => {
      const remove = sign(`Remove ${source.name}`, "close", () => {
        this.#sources = this.#sources.filter((each) => each !== source);
        this.#showSources();
      });
      return el("span", { class: "photo" }, el("img", { src: source.uri, alt: source.name }), remove);
    }));
    this.#pay.label = this.#sources.length ? "Remix" : "Make";
    this.#text.placeholder = this.#sources.length ? "What should become of it?" : "What would you like to see?";
    this.#fill();
  }

  #listenForDrops() {
    let depth = 0;
    const sign = (isOver) => document.documentElement.classList.toggle("dropping", isOver);
    const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    window.addEventListener("dragenter", (event) => holdsFiles(event) && sign(++depth > 0));
    window.addEventListener("dragleave", (event) => holdsFiles(event) && sign(--depth > 0));
    window.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      sign((depth = 0) > 0);
      this.dropped?.();
      this.take(event.dataTransfer.files);
    });
  }
}

/** A photo as a data: URI, made smaller where it is large. */
async function dataOf(file) {
  const known = ["image/png", "image/jpeg", "image/webp"].includes(file.type);
  const whole = known && file.size <= LARGEST ? file : await smaller(file);
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("it cannot be read"));
    reader.readAsDataURL(whole);
  });
}

async function smaller(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error("the browser cannot read it as a picture");
  }
  const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas", { width: String(Math.round(bitmap.width * scale)), height: String(Math.round(bitmap.height * scale)) });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
}
