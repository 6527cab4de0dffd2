/* What is known of each order: one card per task, and news about them. */

class Cards extends EventTarget {
  #cards = new Map();

  get(id) {
    return this.#cards.get(id);
  }

  /** Take over what the server says; those who listen to "card" hear of each. */
  take(cards) {
    for (const card of cards ?? []) {
      if (typeof card?.task_id !== "string") continue;
      const isNew = !this.#cards.has(card.task_id);
      this.#cards.set(card.task_id, { ...card, seenAt: performance.now() });
      this.dispatchEvent(new CustomEvent("card", { detail: { card: this.get(card.task_id), isNew } }));
    }
  }

  forget(id) {
    this.#cards.delete(id);
    this.dispatchEvent(new CustomEvent("forgotten", { detail: id }));
  }

  onCard(listener) {
    this.addEventListener("card", (event) => listener(event.detail.card, event.detail.isNew));
  }
}

const isRunning = (card) => card?.status === "running";

/** Seconds that it has been in the making. */
function runningSeconds(card) {
  return (card.running_seconds ?? 0) + (performance.now() - card.seenAt) / 1000;
}

/** How far it probably is, 0 to 1; nothing where that cannot be said. It never seems to be done before it is. */
function progressOf(card) {
  if (!card.expected_seconds) return undefined;
  const part = runningSeconds(card) / card.expected_seconds;
  return part < 0.8 ? part : 1 - 0.2 * Math.exp((0.8 - part) * 4);
}

/** Width by height of one image: as it is, or as it was asked for. */
function shapeOf(card, index = 0) {
  const image = card?.images?.[index];
  if (image?.width && image?.height) return image.width / image.height;
  return ratioOf(card?.again?.arguments?.aspect_ratio) ?? 1;
}

/** The ids of all pictures that a result is about, in the order in which it tells of them. */
function taskIdsOf(result) {
  const found = (list) => [...new Set((list ?? []).filter((id) => typeof id === "string" && id))];
  const links = (result?.content ?? []).filter((block) => block.type === "resource_link");
  const ways = [
    () => found(result?._meta?.["flux2-mcp/task_ids"]),
    () => found((result?.structuredContent?.pictures ?? []).map((picture) => picture.task_id)),
    () => found(links.map((link) => /^flux2:\/\/tasks\/([^/]+)\/images\//.exec(link.uri ?? "")?.[1])),
    () => found(Array.from(textOf(result).matchAll(/task_id='([^']+)'/g), ([, id]) => id)),
  ];
  for (const way of ways) {
    const ids = way();
    if (ids.length) return ids;
  }
  return [];
}

/** What a result shows by itself: cards with the links it carries, and its pictures by uri. */
function carriedBy(result, input) {
  const content = result?.content ?? [];
  const links = content.filter((block) => block.type === "resource_link" && /^flux2:/.test(block.uri ?? ""));
  const shown = content.filter((block) => block.type === "image" && block.data);
  const facts = new Map((result?.structuredContent?.pictures ?? []).map((picture) => [picture.task_id, picture]));
  const sources = new Map();
  const cards = taskIdsOf(result).map((id) => {
    const images = links.filter((link) => link.uri.startsWith(`flux2://tasks/${id}/`)).map(({ uri }) => ({ uri }));
    const told = facts.get(id) ?? {};
    const status = told.status ?? (images.length ? "completed" : result.isError ? "failed" : "running");
    return { prompt: input?.prompt, again: againFrom(input), ...told, task_id: id, status, images: told.images ?? images };
  });
  links.forEach((link, nth) => {
    const block = shown[nth];
    if (block) sources.set(link.uri, `data:${block.mimeType};base64,${block.data}`);
  });
  return { cards, sources, loose: links.length ? [] : shown };
}

/** Only for the shape of what is being made: without a tool, nothing can be ordered by it. */
function againFrom(input) {
  return input ? { arguments: { aspect_ratio: input.aspect_ratio } } : undefined;
}
