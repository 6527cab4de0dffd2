/* Elements, built one by one and not from HTML: whatever a text says, it is shown as text. */

const SHAPES = {
  again: "M20 11a8 8 0 1 0-2.3 5.7M20 5v6h-6",
  back: "M19 12H5m6-6-6 6 6 6",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  done: "M5 12.5l4.5 4.5L19 7.5",
  download: "M12 4v11m-5-4.5 5 5 5-5M5 20h14",
  expand: "M14 5h5v5M10 19H5v-5M19 5l-6 6M5 19l6-6",
  folder: "M3.5 18.5v-13h6l2 2.5h9v10.500z",
  link: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.700-5.700l-1 1M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.700 5.700l1-1",
  next: "M9 5l7 7-7 7",
  open: "M13 5h6v6M19 5l-9 9M17 14v5H5V7h5",
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 2.500-2.500L20 17M15.500 9.500h.01",
  previous: "M15 5l-7 7 7 7",
  ratio: "M3.500 7.500h17v9h-17zM8 4.500h8M8 19.500h8",
  remix: "M5 19 15.500 8.500M13.500 6.500l4 4M18 3v4M16 5h4M6 4v3M4.500 5.500h3M19 15v3M17.500 16.500h3",
  remove: "M5 7h14M10 7V4.500h4V7M7 7l1 12.500h8L17 7",
  search: "M11 4.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13zM16 16l4.500 4.500",
  sharper: "M12 19V6m-6 6 6-6 6 6",
  warning: "M12 4 2.800 19.500h18.400zM12 10v4.500M12 17v.01",
};

/** An element: attributes by name, listeners as onclick, properties as .value; children are elements or text. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith(".")) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

function button(label, { shape, onclick, kind = "quiet", ...more } = {}) {
  return el("button", { type: "button", class: kind, onclick, ...more }, shape && icon(shape), el("span", {}, label));
}

/** A button that shows only its sign; its name is heard, and seen on hover. */
function sign(label, shape, onclick, more = {}) {
  return el("button", { type: "button", class: "sign", "aria-label": label, title: label, onclick, ...more }, icon(shape));
}

/** Say something to those who listen to the page. */
function announce(text) {
  const region = document.getElementById("status");
  region.textContent = ""; // the same words twice are two events
  requestAnimationFrame(() => (region.textContent = text));
}

/** A failure in its own words, and what can be done about it here. */
function alertOf(text, ...actions) {
  const said = el("p", { dir: "auto" }, text);
  return el("div", { class: "alert", role: "alert" }, icon("warning"), el("div", {}, said, ...actions));
}

/** Ask the person, who can say yes or go back. */
function confirmed(question) {
  return new Promise((resolve) => {
    const close = (answer) => () => dialog.close(answer);
    const choices = [button("Cancel", { kind: "pay", onclick: close("") }), button("Order", { kind: "pay main", onclick: close("yes") })];
    const dialog = el("dialog", { "aria-label": "Order?" }, el("p", { dir: "auto" }, question), el("div", { class: "row end" }, ...choices));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Put the focus there without the page jumping. */
function focusOn(element) {
  element?.focus({ preventScroll: true });
}
