// The tiles below the pad: bundled samples with their labels, and pictures of nothing that the network knows.
import { $, fill, html, maxAbs, percent } from "/core/dom.js";
import { heat, paintColours } from "/core/paint.js";

export const NONSENSE = ["noise", "stripes", "scribble"];
const MANY = 1000; // pictures of each kind of nonsense

/** Paint an input of the network (C, H, W): of three channels in colours, else the first as ink. */
export function paintInput(canvas, { data, shape: [channels, height, width] }) {
  if (channels === 3) return paintColours(canvas, data, width);
  return heat(canvas, data.slice(0, height * width), width, "ink", maxAbs(data) || 1);
}

/**
 * A sample's name in the address, such as "3.1", as the name of its tile and its number.
 * @type {(name: string) => [string, number]}
 */
const parts = (name) => [name.split(".")[0], Number(name.split(".")[1])];
export const kindOf = (name) => parts(name)[0];

export class Samples {
  /** S: the state of the view. show: function of a sample's name, its picture and its label, which puts it on the pad. */
  constructor(S, server, show) {
    this.S = S;
    this.server = server;
    this.show = show;
    this.next = new Map(); // number of a name's next sample
    this.nonsense = new Map(); // number of the nonsense in a tile
    /** @type {Map<string, any>} The pictures in the tiles of samples. */
    this.pictures = new Map();
  }

  /** Draw the tiles of the opened network, still without pictures. */
  begin() {
    this.pictures.clear();
    fill($("#samples"), html`${this.S.model.samples.map((name) => html`<button class="tile" data-take="${name}" aria-label="Sample ${name}" data-tip="Sample ${name}${/^\d$/.test(name) && "; click again for the next"}"><canvas class="px" data-sample="${name}"></canvas></button>`)}`);
  }

  async load() {
    for (const name of this.S.model.samples) this.tile(await this.server.ask("draw.sample", { name, n: this.next.get(name) ?? 0 }));
    await this.loadNonsense();
  }

  async loadNonsense() {
    for (const what of NONSENSE) this.nonsenseTile(await this.server.ask("draw.nonsense", { what, n: this.nonsense.get(what) ?? 0 }));
  }

  /** Whether the opened network offers a sample. */
  offers(name) {
    return [...NONSENSE, ...this.S.model.samples].includes(kindOf(name));
  }

  tile({ name, tensors: { x } }) {
    this.pictures.set(name, x);
    const canvas = $(`[data-sample="${name}"]`);
    if (canvas) paintInput(canvas, x); // another network may have been opened
  }

  /** Show nonsense with what is read in it. */
  nonsenseTile({ what, n, read, confidence, tensors: { x } }) {
    this.nonsense.set(what, n);
    const button = $(`[data-nonsense="${what}"]`), name = this.S.model.classes[read];
    paintInput($("canvas", button), x);
    fill($("span", button), html`<b>${name}</b> ${percent(confidence)}`);
    button.setAttribute("aria-label", `${what}, read as ${name} at ${percent(confidence)}`);
  }

  /** Put a sample on the pad by its name in the address, such as 3.1 or noise.0; a label that was chosen replaces its own. */
  async take(name, label = null) {
    const [kind, n] = parts(name);
    if (NONSENSE.includes(kind)) {
      const answer = await this.server.ask("draw.nonsense", { what: kind, n });
      this.nonsenseTile(answer);
      return this.show(name, answer.tensors.picture, label); // it is nothing that the network knows
    }
    const answer = await this.server.ask("draw.sample", { name: kind, n });
    this.tile(answer);
    this.next.set(kind, (answer.n + 1) % answer.count);
    return this.show(`${kind}.${answer.n}`, answer.tensors.picture, label ?? answer.label);
  }

  /** The sample that a click on a tile takes: that of the tile, or of nonsense on the pad the one after it. */
  ofTile(kind) {
    if (!NONSENSE.includes(kind)) return `${kind}.${this.next.get(kind) ?? 0}`;
    const n = this.nonsense.get(kind) ?? 0;
    return `${kind}.${this.S.sample === `${kind}.${n}` ? (n + 1) % MANY : n}`;
  }
}
