/* What can be done with one picture: make others after it, and take it elsewhere. */

class Actions {
  #link;
  #orders;
  #ordered;
  #forgotten;
  #over = new AbortController();
  #form = el("div", { class: "slot" });
  #trouble = el("div", { class: "slot" });
  #limits = el("p", { class: "note", hidden: true });
  element = el("div", { class: "actions" });

  constructor({ link, orders, ordered, forgotten }) {
    this.#link = link;
    this.#orders = orders;
    this.#ordered = ordered;
    this.#forgotten = forgotten;
  }

  /** Show them for this picture; what was being written for another one is gone. */
  show(card, index) {
    this.#over.abort();
    this.#over = new AbortController();
    this.card = card;
    this.index = index;
    this.#form.replaceChildren();
    this.#trouble.replaceChildren();
    this.#limits.hidden = true;
    const paying = this.#link.can.call && card.again?.tool ? this.#paying() : [];
    const free = this.#free();
    this.element.replaceChildren(
      paying.length ? el("div", { class: "row", role: "group", "aria-label": "Make another" }, ...paying) : "",
      this.#form,
      this.#trouble,
      this.#limits,
      free.length ? el("div", { class: "row free", role: "group", "aria-label": "This picture" }, ...free) : "",
    );
  }

  get isBeingUsed() {
    return this.#form.childElementCount > 0;
  }

  get #model() {
    return this.#orders.modelOf(this.card.again?.arguments?.model) ?? this.#orders.modelOf(this.card.model);
  }

  get #image() {
    return this.card.images?.[this.index];
  }

  #paying() {
    const { status } = this.card;
    const model = this.#model;
    const isOver = status === "failed" || status === "unknown";
    const again = this.#pay({ label: isOver ? "Try again" : "Again", shape: "again", order: () => this.#order({}) });
    const buttons = [again.element];
    if (status !== "completed") return buttons;
    if (this.#image?.uri && model?.most_sources !== 0) buttons.push(this.#opener("Remix", "remix", () => this.#remixForm()));
    if (model && this.#ratios(model).length) buttons.push(this.#opener("Other ratio", "ratio", () => this.#ratioForm()));
    const larger = this.#larger(model);
    if (larger) {
      const order = () => this.#order({ output_resolution: larger });
      buttons.push(this.#pay({ label: larger.toUpperCase(), shape: "sharper", order }).element);
    }
    return buttons;
  }

  /** The next higher resolution that its model has and it has not. */
  #larger(model) {
    const all = model?.resolutions ?? [];
    const now = this.card.again.arguments.output_resolution;
    return all[(now ? all.indexOf(now) : 0) + 1];
  }

  #ratios(model) {
    const { tool, arguments: args } = this.card.again;
    const all = (tool === "remix" ? model.remix_aspect_ratios : model.aspect_ratios) ?? [];
    return all.filter((ratio) => ratio !== args.aspect_ratio);
  }

  /** The same order with these changes; a new one on purpose, unless it may still be the old one's turn. */
  #order(changes) {
    const { tool, arguments: args } = this.card.again;
    const repeat = this.card.status === "completed" || this.card.status === "running";
    return { tool, arguments: { ...args, ...changes, count: 1, ...(repeat ? { repeat } : {}) } };
  }

  #pay(settings) {
    const signal = this.#over.signal;
    const pay = new PayButton(this.#orders, { ...settings, signal, done: (ids, error) => this.#done(ids, error) });
    pay.element.addEventListener("priced", () => {
      if (pay.why && pay.element.isConnected) this.#limit(pay.why);
    }, { signal });
    return pay;
  }

  #done(ids, error) {
    this.#trouble.replaceChildren(...(error ? [alertOf(error.message)] : []));
    if (!ids.length) return;
    this.#form.replaceChildren();
    announce("Ordered. It is being made.");
    this.#ordered(ids);
  }

  #limit(why) {
    this.#limits.textContent = why;
    this.#limits.hidden = false;
  }

  #opener(label, shape, form) {
    const opener = button(label, { shape, kind: "pay", "aria-expanded": "false", onclick: () => {
      const isOpen = opener.getAttribute("aria-expanded") === "true";
      for (const each of this.element.querySelectorAll("[aria-expanded]")) each.setAttribute("aria-expanded", "false");
      this.#form.replaceChildren(...(isOpen ? [] : [form()]));
      opener.setAttribute("aria-expanded", String(!isOpen));
      if (!isOpen) focusOn(this.#form.querySelector("textarea, input, button"));
    } });
    return opener;
  }

  #close() {
    this.#form.replaceChildren();
    const opener = this.element.querySelector("[aria-expanded=true]");
    opener?.setAttribute("aria-expanded", "false");
    focusOn(opener);
  }

  #formOf(name, content, pay) {
    const onkeydown = (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.#close();
    };
    const end = el("div", { class: "row end" }, button("Cancel", { onclick: () => this.#close() }), pay.element);
    return el("form", { class: "form", "aria-label": name, onkeydown, onsubmit: (event) => event.preventDefault() }, ...content, end);
  }

  #remixForm() {
    const text = el("textarea", {
      rows: "3", maxlength: "5000", dir: "auto", placeholder: "For example: at night, with snow falling",
      oninput: () => pay.refresh(),
    });
    const like = () => this.#remixOf(text.value.trim());
    const order = () => (text.value.trim().length < 3 ? undefined : like());
    const pay = this.#pay({ label: "Remix", shape: "remix", kind: "pay main", order, like });
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) pay.element.click();
    });
    return this.#formOf("Remix this picture", [el("label", {}, el("span", {}, "What should be different?"), text)], pay);
  }

  #remixOf(prompt) {
    const { aspect_ratio: ratio, source_image_urls: _, count: __, ...args } = this.card.again.arguments;
    const ratios = this.#model?.remix_aspect_ratios ?? [];
    const kept = ratio && ratio !== "auto" ? ratio : undefined;
    const changes = { prompt, source_image_urls: [this.#image.uri], aspect_ratio: ratios.includes("auto") ? "auto" : kept };
    return { tool: "remix", arguments: { ...args, ...changes, repeat: true } };
  }

  #ratioForm() {
    const name = "ratio";
    const ratios = this.#ratios(this.#model);
    const choices = el("fieldset", {}, el("legend", {}, "Which ratio?"), el("div", { class: "ratios" }, ...ratios.map((ratio) => ratioChoice(name, ratio))));
    choices.addEventListener("change", () => pay.refresh());
    const chosen = () => choices.querySelector("input:checked")?.value;
    const order = () => (chosen() ? this.#order({ aspect_ratio: chosen() }) : undefined);
    const pay = this.#pay({ label: "Make it", shape: "ratio", kind: "pay main", order, like: () => this.#order({}) });
    return this.#formOf("Make it in another ratio", [choices], pay);
  }

  #free() {
    const image = this.#image;
    if (!image || this.card.status !== "completed") return [];
    const { url, url_expires_at: until, path } = image;
    const lives = url && !(until && new Date(until) < new Date());
    const hint = until ? `Works until ${new Date(until).toLocaleString(language)}` : undefined;
    const id = this.card.task_id;
    const isLocal = !this.#link.isHost;
    return [
      path && copyButton("Copy path", path, "copy", path),
      lives && copyButton("Copy link", url, "link", hint),
      path && this.#orders.can("open") && this.#calls("Open file", "open", "gallery_open", { task_id: id, index: this.index }),
      path && this.#orders.can("open") && this.#calls("Show in folder", "folder", "gallery_open", { task_id: id, index: this.index, in_folder: true }),
      lives && this.#link.can.link && this.#does("Open link", "open", () => this.#link.openLink(url)),
      (isLocal || (this.#link.can.download && this.#link.can.read)) && this.#does("Save a copy", "download", () => this.#save()),
      this.#orders.can("forget") && this.#opener2(),
    ].filter(Boolean);
  }

  /** A free button; what goes wrong is said. */
  #does(label, shape, act) {
    const one = button(label, { shape, onclick: async () => {
      one.disabled = true;
      this.#trouble.replaceChildren();
      try {
        await act();
      } catch (error) {
        this.#trouble.replaceChildren(alertOf(error.message));
      } finally {
        one.disabled = false;
      }
    } });
    return one;
  }

  #calls(label, shape, tool, args) {
    return this.#does(label, shape, () => this.#link.call(tool, args));
  }

  /** The original, byte for byte. */
  async #save() {
    const { uri, path } = this.#image;
    const [content] = await this.#link.read(uri);
    if (!content?.blob) throw new Unreachable("The server did not send the file.");
    const type = content.mimeType ?? "image/png";
    const name = path?.split(/[\\/]/).pop() || `${this.card.task_id}-${this.index}.${type.split("/")[1] ?? "png"}`;
    if (this.#link.isHost) {
      await this.#link.download([{ type: "resource", resource: { uri: `file:///${encodeURIComponent(name)}`, mimeType: type, blob: content.blob } }]);
      return;
    }
    const bytes = Uint8Array.from(atob(content.blob), (letter) => letter.charCodeAt(0));
    const address = URL.createObjectURL(new Blob([bytes], { type }));
    el("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }

  #opener2() {
    return this.#opener("Remove", "remove", () => {
      const remove = this.#does("Remove from the history", "remove", async () => {
        await this.#link.call("gallery_forget", { task_id: this.card.task_id });
        this.#forgotten(this.card.task_id);
      });
      remove.className = "pay danger";
      const question = el("p", {}, "Remove this picture from the history, and its cost from today's sum? Its file stays where it is.");
      return this.#formOf("Remove from the history", [question], { element: remove });
    });
  }
}

/** A ratio to choose, with its shape. */
function ratioChoice(name, ratio, checked = false) {
  const shape = el("span", { class: "shape", "aria-hidden": "true" });
  const value = ratioOf(ratio) ?? 1;
  shape.style.setProperty("--wide", String(Math.min(1, value)));
  shape.style.setProperty("--ratio", String(value));
  shape.classList.toggle("any", ratioOf(ratio) === undefined);
  return el("label", { class: "choice" }, el("input", { type: "radio", name, value: ratio, checked }), shape, el("span", {}, ratio));
}

function copyButton(label, text, shape, hint) {
  const said = el("span", {}, label);
  const one = el("button", { type: "button", class: "quiet", title: hint, onclick: async () => {
    const copied = await copy(text);
    said.textContent = copied ? "Copied" : "Press Ctrl+C";
    announce(copied ? "Copied" : "Could not copy");
    setTimeout(() => (said.textContent = label), 2000);
  } }, icon(shape), said);
  return one;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A sandboxed frame may not use the clipboard, but may copy what is selected.
    const field = el("textarea", { class: "unseen", readonly: true, "aria-hidden": "true", tabindex: "-1", ".value": text });
    const before = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focusOn(before);
    return copied;
  }
}
