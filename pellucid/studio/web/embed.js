// A view in a document of its own: in a notebook, whose kernel answers, or in a file, which holds recorded answers.
import { $, showTips } from "./core/dom.js";
import { packed, unpacked, Waiting } from "./core/messages.js";

/** Asks the notebook, by messages to the window around this one. */
class Notebook {
  constructor() {
    this.waiting = new Waiting();
    addEventListener("message", ({ source, data }) => {
      if (source === parent && data?.pellucid === "answer") this.waiting.settle(data.bytes);
    });
  }

  ask(kind, fields = {}, tensors = {}) {
    const { id, answer } = this.waiting.begin();
    new Blob(packed(kind, id, fields, tensors)).arrayBuffer().then((bytes) => parent.postMessage({ pellucid: "ask", bytes }, "*"));
    return answer;
  }
}

/** Answers from a record: of each request, its kind and its fields as JSON, the answer in base64. */
class Record {
  constructor(answers) {
    this.answers = answers;
  }

  async ask(kind, fields = {}) {
    const named = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined);
    const key = `${kind} ${JSON.stringify(named.sort(([a], [b]) => (a < b ? -1 : 1)))}`;
    if (!(key in this.answers)) throw new Error("This file only holds what was recorded: open the model in the studio for more.");
    const answer = unpacked(Uint8Array.from(atob(this.answers[key]), (one) => one.charCodeAt(0)).buffer);
    if (answer.kind === "error") throw new Error(answer.message);
    return answer;
  }
}

showTips();
const { module, state, answers } = JSON.parse($("#given").textContent);
const { start } = await import(module);
const actions = start($("#main"), answers ? new Record(answers) : new Notebook(), { state: new URLSearchParams(state), remember() {} });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => actions.render());
await actions.opened(false);
if (parent !== window) new ResizeObserver(() => parent.postMessage({ pellucid: "height", height: document.body.scrollHeight }, "*")).observe($("#main"));
