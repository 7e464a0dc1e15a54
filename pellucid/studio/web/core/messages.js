// Messages as bytes: a JSON header and tensors; see docs/reference/studio.md.

const VERSION = 1;
const TYPES = { float32: Float32Array, uint8: Uint8Array };

/** A request as parts of a Blob. */
export function packed(kind, id, fields, tensors) {
  const table = Object.fromEntries(Object.entries(tensors).map(([name, one]) => [name, { dtype: one.dtype, shape: one.shape }]));
  const header = new TextEncoder().encode(JSON.stringify({ v: VERSION, kind, id, ...fields, tensors: table }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, header.length, true);
  return [length, header, ...Object.values(tensors).map((one) => one.data)];
}

/** The fields of an answer, with `tensors`. buffer: an ArrayBuffer. */
export function unpacked(buffer) {
  const end = 4 + new DataView(buffer).getUint32(0, true);
  const answer = JSON.parse(new TextDecoder().decode(buffer.slice(4, end)));
  let at = end;
  for (const [name, { dtype, shape }] of Object.entries(answer.tensors)) {
    const bytes = shape.reduce((a, b) => a * b, 1) * TYPES[dtype].BYTES_PER_ELEMENT;
    answer.tensors[name] = { dtype, shape, data: new TYPES[dtype](buffer.slice(at, at + bytes)) };
    at += bytes;
  }
  return answer;
}

/** What was asked and waits for its answer, by the number of the request. */
export class Waiting {
  constructor() {
    this.open = new Map();
    this.number = 0;
  }

  /** A new request: its number, and the promise of its answer. */
  begin() {
    const id = ++this.number;
    return { id, answer: new Promise((resolve, reject) => this.open.set(id, { resolve, reject })) };
  }

  /** Settle the request that an answer belongs to. */
  settle(buffer) {
    const answer = unpacked(buffer);
    const asked = this.open.get(answer.id);
    this.open.delete(answer.id);
    if (answer.kind === "error") asked?.reject(new Error(answer.message));
    else asked?.resolve(answer);
  }

  fail(error) {
    for (const { reject } of this.open.values()) reject(error);
    this.open.clear();
  }
}
