/* As little of a host as MCP Apps needs: a sandboxed frame, and messages to and from it. `askServer` is the test's. */

const heard = [];
let frame;
let last = 0;
const open = new Map();

/** Show the page; nothing but `capabilities` is offered to it. */
function show(html, context, capabilities) {
  frame = document.createElement("iframe");
  frame.title = "App";
  frame.sandbox = "allow-scripts";
  frame.srcdoc = html;
  window.addEventListener("message", (event) => event.source === frame.contentWindow && hear(event.data));
  const answers = {
    "ui/initialize": () => ({
      protocolVersion: "2026-01-26",
      hostInfo: { name: "host", version: "1" },
      hostCapabilities: capabilities,
      hostContext: context,
    }),
    "ui/open-link": () => ({}),
    "ui/request-display-mode": ({ mode }) => ({ mode }),
  };
  async function hear(message) {
    heard.push(message);
    const { id, method, params } = message;
    if (method === "ui/notifications/size-changed") frame.style.height = `${params.height}px`;
    if (method === undefined) return open.get(id)?.(message);
    if (id === undefined) return;
    const answer = answers[method]
      ? { result: answers[method](params) }
      : await window.askServer(method, params);
    frame.contentWindow.postMessage({ jsonrpc: "2.0", id, ...answer }, "*");
  }
  document.body.append(frame);
}

function notify(method, params) {
  frame.contentWindow.postMessage({ jsonrpc: "2.0", method, params }, "*");
}

function request(method, params) {
  const id = `host-${++last}`;
  const answer = new Promise((resolve) => open.set(id, resolve));
  frame.contentWindow.postMessage({ jsonrpc: "2.0", id, method, params }, "*");
  return answer;
}
