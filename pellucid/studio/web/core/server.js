// The WebSocket to the studio.
import { packed, Waiting } from "./messages.js";

const RETRY = [300, 1000, 2000, 4000]; // milliseconds

export class LostError extends Error {}

export class Server {
  /** showLink: function of a text about the connection, "" while it is fine. */
  constructor(showLink) {
    this.showLink = showLink;
    this.waiting = new Waiting();
    this.tries = 0;
    this.isClosed = false;
    /** @type {(reconnected: boolean) => any} */
    this.onopen = () => {};
    this.connect();
  }

  connect() {
    this.socket = new WebSocket(`ws://${location.host}/session`);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      const again = this.tries > 0;
      this.tries = 0;
      this.showLink("");
      this.onopen(again);
    };
    this.socket.onmessage = (event) => this.waiting.settle(event.data);
    this.socket.onclose = () => {
      this.waiting.fail(new LostError("the connection was lost"));
      if (this.isClosed) return;
      const known = this.tries < RETRY.length;
      this.showLink(known ? "Connecting again…" : "No connection. If the studio was started again, open the address it printed.");
      setTimeout(() => this.isClosed || this.connect(), RETRY[Math.min(this.tries++, RETRY.length - 1)]);
    };
  }

  /** End the connection for good. */
  close() {
    this.isClosed = true;
    this.socket.close();
  }

  /** Send a request; the answer's fields, with `tensors`. Rejects with the server's message for an error. */
  ask(kind, fields = {}, tensors = {}) {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.reject(new LostError("there is no connection"));
    const { id, answer } = this.waiting.begin();
    this.socket.send(new Blob(packed(kind, id, fields, tensors)));
    return answer;
  }
}

/** Upload a picture, by its name if it is a file; returns its id as `upload`, and a `line` about the upload that it replaces. */
export const uploaded = (file) => posted(`/upload?${new URLSearchParams({ name: file.name ?? "" })}`, file);

/** Upload a model's file; returns its name as `model`, and a `line` about the file that it replaces. */
export const uploadedModel = (file) => posted(`/model?${new URLSearchParams({ name: file.name })}`, file);

async function posted(address, file) {
  const response = await fetch(address, { method: "POST", body: file });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Open a model in a view, or the view's default model if that one cannot be opened: the answer, and the error or null. */
export async function openOrDefault(server, kind, model, mayReplace = true) {
  try {
    return [await server.ask(kind, model ? { model } : {}), null];
  } catch (error) {
    if (!model || !mayReplace || error instanceof LostError) throw error;
    return [await server.ask(kind), error]; // of a damaged file, or an address of another start of the studio
  }
}
