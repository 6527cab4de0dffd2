/* Pictures as data: URIs, asked for once each, and few at a time. */

const AT_A_TIME = 3;
const MOST_KEPT = 300; // those that are shown stay; others are asked for again
const EDGES = [320, 640, 1024, 1600, 2048];

class Images {
  #link;
  #known = new Map();
  #waiting = [];
  #running = 0;

  constructor(link) {
    this.#link = link;
  }

  /** The largest version that is here already: { src, edge }. */
  known(id, index) {
    return this.#known.get(`${id}/${index}`);
  }

  keep(id, index, src, edge) {
    const before = this.known(id, index);
    if (before && before.edge >= edge) return;
    this.#known.set(`${id}/${index}`, { src, edge });
    if (this.#known.size > MOST_KEPT) this.#known.delete(this.#known.keys().next().value);
  }

  /** A version of at least this edge. Nothing if it is no longer `wanted` when its turn comes. */
  get(id, index, edge, wanted = () => true) {
    const needed = EDGES.find((each) => each >= edge) ?? EDGES.at(-1);
    const known = this.known(id, index);
    if (known && known.edge >= needed) return Promise.resolve(known);
    if (!this.#link.can.call) return Promise.resolve(known);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id, index, edge: needed, wanted, resolve, reject });
      this.#next();
    });
  }

  async #next() {
    if (this.#running >= AT_A_TIME) return;
    const one = this.#waiting.shift();
    if (!one) return;
    if (!one.wanted()) {
      one.resolve(undefined);
      return this.#next();
    }
    this.#running += 1;
    try {
      one.resolve(await this.#fetched(one));
    } catch (error) {
      one.reject(error);
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }

  async #fetched({ id, index, edge }) {
    const known = this.known(id, index);
    if (known && known.edge >= edge) return known;
    const result = await this.#link.call("view_image", { task_id: id, index, max_edge: edge });
    const block = result.content?.find((each) => each.type === "image");
    if (!block) throw new Unreachable("The server sent no picture.");
    this.keep(id, index, `data:${block.mimeType};base64,${block.data}`, edge);
    return this.known(id, index);
  }
}
