// What the server said of a model, arranged for drawing: its stages, and the short symbols of its numbers.
import { html } from "/core/dom.js";

const MAX_NEURONS = 160; // of a hidden layer that is drawn as circles
const MAX_OUTPUTS = 12;

/** "head.scores.weight[3, 5]" as its tensor's name and its index. */
export function parse(name) {
  const found = /^(.*?)\[([\d, ]*)\]$/.exec(name);
  return found ? { tensor: found[1], index: found[2].split(",").map(Number) } : { tensor: name, index: [] };
}

export const element = (path, index) => `${path}.weight[${index.join(", ")}]`;

/** The last parts of a path that no other path ends with. */
function shortest(path, paths) {
  const parts = path.split(".");
  for (let n = 1; n < parts.length; n++) {
    const end = parts.slice(-n).join(".");
    if (paths.filter((one) => one === end || one.endsWith(`.${end}`)).length === 1) return end;
  }
  return path;
}

export class Described {
  /** answer: of `draw.open`. */
  constructor(answer) {
    this.layers = answer.layers;
    this.classes = answer.classes;
    Object.assign(this, answer);
    const followed = new Map(this.layers.filter((one) => one.activation).map((one) => [one.x, one]));
    // A layer with its activation, if one follows, is one stage.
    this.stages = this.layers
      .filter((one) => !one.reshape && !one.activation)
      .map((layer) => ({ layer, activation: followed.get(layer.y) ?? null, y: followed.get(layer.y)?.y ?? layer.y }));
    this.weighted = this.stages.filter((one) => one.layer.weight);
    const paths = this.layers.map((one) => one.name);
    this.names = new Map(this.layers.map((one) => [one.name, shortest(one.name, paths)]));
    const [first, second] = this.weighted;
    const dense = this.stages.length === 2 && this.weighted.length === 2 && this.weighted.every((one) => one.layer.weight.length === 2);
    this.columns =
      dense && first.layer.grid.length === 3 && first.layer.grid[0] === 1 && second.layer.x === first.y &&
      first.layer.weight[0] <= MAX_NEURONS && second.layer.weight[0] <= MAX_OUTPUTS;
    const flats = this.layers.filter((one) => one.reshape).map((one) => one.y);
    /** @type {Map<string, any>} The symbol of a tensor: a letter, or a letter and what is written above it. */
    this.letters = new Map([["x", "x"]]);
    if (!this.columns) return;
    for (const name of flats) this.letters.set(name, "x");
    for (const [k, { layer, activation }] of [first, second].entries()) {
      this.letters.set(`${layer.path}.weight`, ["w", k + 1]).set(`${layer.path}.bias`, ["b", k + 1]).set(layer.y, ["z", k + 1]);
      if (activation) this.letters.set(activation.y, "a");
    }
  }

  stage(path) {
    return this.weighted.find((one) => one.layer.path === path);
  }

  /** The unit of a stage, "path:index", that a number belongs to: a weight's or a value's; "" for a number of the input. */
  unit(name) {
    const { tensor, index } = parse(name.replace("∂C/∂", ""));
    const own = this.stages.find(({ layer }) => tensor === `${layer.path}.weight` || tensor === `${layer.path}.bias`);
    if (own) return `${own.layer.path}:${index[0]}`;
    const flat = this.layers.find((one) => one.reshape && one.y === tensor);
    const source = flat ? flat.x : tensor;
    const stage = this.stages.find((one) => one.y === source || one.layer.y === source);
    const [, ...sides] = flat && stage ? stage.layer.shape : [];
    return stage ? `${stage.layer.path}:${Math.floor(index[1] / sides.reduce((product, one) => product * one, 1))}` : "";
  }

  /** A short symbol of a number: w with its indices, or the name of the layer. */
  symbol(name) {
    if (name.startsWith("∂C/∂")) return frac(html`∂C`, html`∂${this.symbol(name.slice(4))}`);
    const { tensor, index } = parse(name);
    const known = this.letters.get(tensor);
    const isWeight = /\.(weight|bias)$/.test(tensor);
    const parts = tensor.split(".");
    const letter = known ? known[0] : isWeight ? parts.at(-1)[0] : parts.length > 1 ? parts.at(-2) : tensor;
    const above = known?.[1] ?? (isWeight && !known ? parts.at(-2) : "");
    const below = (isWeight ? index : index.slice(1)).join(",");
    return index.length ? html`<span class="v"><i>${letter}</i>${above && html`<sup>${known ? `(${above})` : above}</sup>`}<sub>${below}</sub></span>` : html`<span class="v">${name}</span>`;
  }

  /** Where a weight lies, in words. */
  where(name) {
    const { tensor, index } = parse(name);
    const stage = this.stage(tensor.replace(/\.(weight|bias)$/, ""));
    if (!stage) return name;
    const [row, col, ...cell] = index, isFirst = stage === this.weighted[0];
    if (col === undefined) return this.columns ? `bias of ${isFirst ? `hidden ${row}` : `output ${this.classes[row]}`}` : name;
    if (cell.length) return `${name}: channel ${col} → map ${row}, kernel cell (${cell.join(", ")})`;
    if (!this.columns) return `${name}: input ${col} → unit ${row}`;
    const width = stage.layer.grid.at(-1);
    return isFirst ? `pixel (${Math.floor(col / width)}, ${col % width}) → hidden ${row}` : `hidden ${col} → output ${this.classes[row]}`;
  }
}

export const frac = (over, under) => html`<span class="frac"><span>${over}</span><span>${under}</span></span>`;
