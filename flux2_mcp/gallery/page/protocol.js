/* The server, behind a host or on this computer: two ways to it, one interface.

   connect()                  -> shakes hands; afterwards `context` and `can` are known
   call(tool, arguments)      -> the tool's result; a result that is an error is thrown as Refused
   read(uri)                  -> the contents of a resource
   on("result" | "input" | "typing" | "context" | "cancelled" | "close", listener)  */

const ABOUT = { name: "flux2-gallery", title: "Flux 2 pictures", version: "1.0.0" };
const PATIENCE = 120000;
const KEY = "Flux2-Gallery-Key";

/** The server said no, in words that are meant to be read. */
class Refused extends Error {
  constructor(result) {
    super(textOf(result) || "The server refused this and did not say why.");
    this.result = result;
  }
}

/** Nobody answered. */
class Unreachable extends Error {}

/** Its words; which tool it was that failed, a person need not know. */
function textOf(result) {
  const words = (result?.content ?? []).filter((block) => block.type === "text").map((block) => block.text);
  return words.join("\n").replace(/^Error executing tool \w+: /, "").trim();
}

/** What has no value is left out by some servers, and null from others. */
function withoutNulls(value) {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (value === null || typeof value !== "object") return value;
  const parts = Object.entries(value).filter(([, part]) => part !== null);
  return Object.fromEntries(parts.map(([name, part]) => [name, withoutNulls(part)]));
}

class Link extends EventTarget {
  context = {};
  can = {};

  on(name, listener) {
    this.addEventListener(name, (event) => listener(event.detail));
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  async call(tool, args = {}) {
    const result = await this.request("tools/call", { name: tool, arguments: args });
    if (result?.isError) throw new Refused(result);
    return { ...result, structuredContent: withoutNulls(result?.structuredContent ?? {}) };
  }

  async read(uri) {
    return (await this.request("resources/read", { uri })).contents ?? [];
  }
}

/** In a host's frame: MCP Apps, JSON-RPC by postMessage. */
class HostLink extends Link {
  isHost = true;
  #last = 0;
  #open = new Map();

  constructor() {
    super();
    window.addEventListener("message", (event) => {
      if (event.source === window.parent && event.data?.jsonrpc === "2.0") this.#hear(event.data);
    });
  }

  async connect() {
    const answer = await this.request("ui/initialize", {
      protocolVersion: "2026-01-26",
      appInfo: ABOUT,
      appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
    });
    const { serverTools, serverResources, openLinks, downloadFile } = answer.hostCapabilities ?? {};
    this.can = { call: !!serverTools, read: !!serverResources, link: !!openLinks, download: !!downloadFile };
    this.context = answer.hostContext ?? {};
    this.tell("context", this.context);
    this.notify("ui/notifications/initialized", {});
  }

  request(method, params) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(id);
        reject(new Unreachable("There was no answer. The server may have ended, or the connection is lost."));
      }, PATIENCE);
      this.#open.set(id, { resolve, reject, timer });
      this.#send({ id, method, params });
    });
  }

  notify(method, params) {
    this.#send({ method, params });
  }

  openLink(url) {
    return this.#granted("ui/open-link", { url });
  }

  download(contents) {
    return this.#granted("ui/download-file", { contents });
  }

  async #granted(method, params) {
    if ((await this.request(method, params))?.isError) throw new Unreachable("The app that shows this did not allow it.");
  }

  async show(mode) {
    const answer = await this.request("ui/request-display-mode", { mode });
    this.#changed({ displayMode: answer.mode });
  }

  #send(message) {
    window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  }

  #hear({ id, method, params, result, error }) {
    if (method === undefined) return this.#settle(id, result, error);
    if (id !== undefined) return this.#answer(id, method);
    const news = {
      "ui/notifications/tool-input": () => this.tell("input", params?.arguments ?? {}),
      "ui/notifications/tool-input-partial": () => this.tell("typing", params?.arguments ?? {}),
      "ui/notifications/tool-result": () => this.tell("result", { ...params, structuredContent: withoutNulls(params?.structuredContent ?? {}) }),
      "ui/notifications/tool-cancelled": () => this.tell("cancelled", params?.reason ?? ""),
      "ui/notifications/host-context-changed": () => this.#changed(params ?? {}),
    };
    if (Object.hasOwn(news, method)) news[method]();
  }

  #changed(part) {
    this.context = { ...this.context, ...part };
    this.tell("context", this.context);
  }

  #answer(id, method) {
    const known = method === "ping" || method === "ui/resource-teardown";
    if (method === "ui/resource-teardown") this.tell("close");
    this.#send(known ? { id, result: {} } : { id, error: { code: -32601, message: "Method not found" } });
  }

  #settle(id, result, error) {
    const waiting = this.#open.get(id);
    if (!waiting) return;
    this.#open.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(new Unreachable(error.message || "The host could not pass this on."));
    else waiting.resolve(result ?? {});
  }
}

/** On this computer: MCP over HTTP, on the address that the page came from. */
class LocalLink extends Link {
  isHost = false;
  can = { call: true, read: true };
  #last = 0;

  constructor() {
    super();
    // All ports of this computer share their cookies; what is stored is kept from the others.
    const [, key] = /^#key=(.+)$/.exec(location.hash) ?? [];
    if (key) {
      localStorage.setItem(KEY, key);
      history.replaceState(null, "", "/");
    }
  }

  async connect() {
    this.tell("context", this.context);
  }

  /** Ask, and be asked back: the server wants to know before a dear order. */
  async request(method, params) {
    let result = await this.#once(method, params);
    while (result.resultType === "input_required") {
      const answers = {};
      for (const [name, { params: question }] of Object.entries(result.inputRequests ?? {})) answers[name] = await this.#answer(question);
      result = await this.#once(method, { ...params, inputResponses: answers, requestState: result.requestState });
    }
    return result;
  }

  async #answer({ message, requestedSchema }) {
    const names = Object.entries(requestedSchema?.properties ?? {});
    if (names.some(([, { type }]) => type !== "boolean")) return { action: "decline" };
    const agrees = await confirmed(message);
    return agrees ? { action: "accept", content: Object.fromEntries(names.map(([name]) => [name, true])) } : { action: "decline" };
  }

  async #once(method, params) {
    const id = ++this.#last;
    const name = params.name ?? params.uri;
    const _meta = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": ABOUT,
      "io.modelcontextprotocol/clientCapabilities": {
        elicitation: { form: {} },
        extensions: { "io.modelcontextprotocol/ui": { mimeTypes: ["text/html;profile=mcp-app"] } },
      },
    };
    let message;
    try {
      const response = await fetch("/mcp", {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Accept: "application/json, text/event-stream",
          "MCP-Protocol-Version": "2026-07-28",
          "Mcp-Method": method,
          [KEY]: localStorage.getItem(KEY) ?? "",
          ...(name === undefined ? {} : { "Mcp-Name": name }),
        },
        body: JSON.stringify({ jsonrpc: "2.0", id, method, params: { ...params, _meta } }),
        signal: AbortSignal.timeout(PATIENCE),
      });
      if (response.status === 401 || response.status === 403) {
        throw new Unreachable("This page is no longer let in. Run flux2-mcp gallery again, and use the page that it opens.");
      }
      message = await answerIn(response, id);
    } catch (error) {
      if (error instanceof Unreachable) throw error;
      throw new Unreachable("The gallery's server does not answer. Is flux2-mcp gallery still running in its terminal?");
    }
    if (message?.error) throw new Unreachable(message.error.message || "The server could not answer this.");
    if (message?.result === undefined) throw new Unreachable("The server's answer could not be read.");
    return message.result;
  }
}

/** The message with this id in a response that is JSON, or a stream of events. */
async function answerIn(response, id) {
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return await response.json();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    text += (value ?? "").replaceAll("\r", "");
    const events = text.split("\n\n");
    text = done ? "" : events.pop();
    for (const event of events) {
      const lines = event.split("\n").filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
      const message = data ? JSON.parse(data) : {};
      if (message.id === id) {
        reader.cancel().catch(() => {});
        return message;
      }
    }
    if (done) return undefined;
  }
}
