/* The same as host.js, with the official library's host. */

import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const heard = [];
let bridge;

async function show(html, context, capabilities) {
  const frame = document.createElement("iframe");
  frame.title = "App";
  frame.sandbox = "allow-scripts";
  document.body.append(frame);
  bridge = new AppBridge(null, { name: "official", version: "1" }, capabilities, { hostContext: context });
  const ask = async (method, params) => {
    const { result, error } = await window.askServer(method, params);
    if (error) throw new Error(error.message);
    return result;
  };
  bridge.oncalltool = (params) => ask("tools/call", params);
  bridge.onreadresource = (params) => ask("resources/read", params);
  bridge.onopenlink = async () => ({});
  bridge.onsizechange = (params) => {
    heard.push({ method: "ui/notifications/size-changed", params });
    frame.style.height = `${params.height}px`;
  };
  bridge.oninitialized = () => heard.push({ method: "ui/notifications/initialized" });
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = html;
}

async function notify(method, params) {
  const ways = {
    "ui/notifications/tool-input": () => bridge.sendToolInput(params),
    "ui/notifications/tool-result": () => bridge.sendToolResult(params),
    "ui/notifications/host-context-changed": () => bridge.setHostContext(params),
  };
  await ways[method]();
}

const request = () => bridge.teardownResource({});

Object.assign(window, { heard, show, notify, request });
