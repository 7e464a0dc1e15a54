// The WebSocket to the studio: typed messages, a JSON header and tensors as raw bytes; see docs/reference/studio.md.

const VERSION = 1;
const RETRY = [300, 1000, 2000, 4000]; // milliseconds
const TYPES = { float32: Float32Array, uint8: Uint8Array };

export class LostError extends Error {}

export class Server {
  /** showLink: function of a text about the connection, "" while it is fine. */
  constructor(showLink) {
    this.showLink = showLink;
    this.waiting = new Map();
    this.number = 0;
    this.tries = 0;
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
    this.socket.onmessage = (event) => this.take(event.data);
    this.socket.onclose = () => {
      for (const { reject } of this.waiting.values()) reject(new LostError("the connection was lost"));
      this.waiting.clear();
      const known = this.tries < RETRY.length;
      this.showLink(known ? "Connecting again…" : "No connection. If the studio was started again, open the address it printed.");
      setTimeout(() => this.connect(), RETRY[Math.min(this.tries++, RETRY.length - 1)]);
    };
  }

  /** Send a request; the answer's fields, with `tensors`. Rejects with the server's message for an error. */
  ask(kind, fields = {}, tensors = {}) {
    if (this.socket.readyState !== WebSocket.OPEN) return Promise.reject(new LostError("there is no connection"));
    const id = ++this.number;
    const table = Object.fromEntries(Object.entries(tensors).map(([name, one]) => [name, { dtype: one.dtype, shape: one.shape }]));
    const header = new TextEncoder().encode(JSON.stringify({ v: VERSION, kind, id, ...fields, tensors: table }));
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, header.length, true);
    this.socket.send(new Blob([length, header, ...Object.values(tensors).map((one) => one.data)]));
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  take(buffer) {
    const end = 4 + new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(buffer.slice(4, end)));
    let at = end;
    for (const [name, { dtype, shape }] of Object.entries(header.tensors)) {
      const bytes = shape.reduce((a, b) => a * b, 1) * TYPES[dtype].BYTES_PER_ELEMENT;
      header.tensors[name] = { dtype, shape, data: new TYPES[dtype](buffer.slice(at, at + bytes)) };
      at += bytes;
    }
    const waiting = this.waiting.get(header.id);
    this.waiting.delete(header.id);
    if (header.kind === "error") waiting?.reject(new Error(header.message));
    else waiting?.resolve(header);
  }
}
