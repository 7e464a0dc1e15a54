// The network as columns of tiles, each of which shows over the plane what its neuron gives, with links between them.
import { $, $$, fill, html, maxAbs, num, tone } from "/core/dom.js";
import { colour } from "/core/paint.js";
import { paintPlane } from "./plane.js";

const ROWS = [48, 68]; // pixels between two neurons of a column, where columns are narrow and where they are wide
const WIDE = 130; // pixels of a wide column
const TOP = 44; // pixels above the first neuron, for the buttons of a layer
const BELOW = 8; // pixels below the last neuron, for its name
const LINKS_AT_ONCE = 50; // that are painted without a pause
const MOST_WIDTH = 6; // pixels of the widest link

/** The paths of the layers with weights, in order. */
export const pathsOf = (sizes) => [...Array(sizes.length - 2).keys()].map((k) => `features.dense${k + 1}`).concat("head.scores");

/** The first column that is drawn: pixels are not, their weights are the pictures of the first layer. */
const firstColumn = (S) => Number(S.hasPictures);

/** The index of a column's first unit among all units. */
const firstUnit = (S, column) => S.sizes.slice(firstColumn(S), column).reduce((sum, one) => sum + one, 0);

/** The name of a unit for a person. */
export function unitName(S, column, row) {
  if (column === 0) return S.hasPictures ? `pixel ${Math.floor(row / S.side)}, ${row % S.side}` : S.settings.inputs[row];
  if (column === S.sizes.length - 1) return S.hasClasses ? S.classes[row] : "value";
  return `neuron ${row} of layer ${column}`;
}

/** Name the inputs, layers and weights of a described network as the page does. */
export function named(model, S) {
  const symbol = model.symbol.bind(model), where = model.where.bind(model), { inputs } = S.settings;
  const inputOf = (name) => /^features\.flatten\.y\[0, (\d+)\]$/.exec(name)?.[1];
  for (const [k, { layer, activation }] of model.weighted.entries()) {
    model.letters.set(`${layer.path}.weight`, ["w", k + 1]).set(`${layer.path}.bias`, ["b", k + 1]).set(layer.y, ["z", k + 1]);
    if (activation) model.letters.set(activation.y, ["a", k + 1]);
  }
  if (!S.hasPictures) model.symbol = (name) => (inputOf(name) ? html`<span class="v"><i>${inputs[inputOf(name)]}</i></span>` : symbol(name));
  model.where = (name) => {
    const found = /^(.*)\.(weight|bias)\[(\d+)(?:, (\d+))?\]$/.exec(name), column = found ? pathsOf(S.sizes).indexOf(found[1]) + 1 : 0;
    if (!column) return where(name);
    const [, , kind, row, col] = found, to = unitName(S, column, Number(row));
    return kind === "bias" ? `${name}: bias of ${to}` : `${name}: ${unitName(S, column - 1, Number(col))} → ${to}`;
  };
  return model;
}

/** Draw the columns anew: their number, and the number of their neurons, have changed. */
export function layOut(S, root) {
  const { sizes } = S, first = firstColumn(S), columns = sizes.length - first, tallest = Math.max(...sizes.slice(first)), last = sizes.length - 1;
  const isWide = root.clientWidth / columns > WIDE, gap = ROWS[Number(isWide)], height = TOP + tallest * gap + BELOW;
  root.classList.toggle("wide", isWide);
  const x = (column) => (100 * (column - first + 0.5)) / columns;
  const y = (column, row) => TOP + (row + 0.5 + (tallest - sizes[column]) / 2) * gap;
  const links = pathsOf(sizes).flatMap((path, k) =>
    Array.from({ length: k < first ? 0 : sizes[k + 1] * sizes[k] }, (_, index) => {
      const row = Math.floor(index / sizes[k]), col = index % sizes[k], middle = (x(k) + x(k + 1)) / 2;
      const d = `M${x(k)},${y(k, col)}C${middle},${y(k, col)} ${middle},${y(k + 1, row)} ${x(k + 1)},${y(k + 1, row)}`;
      return html`<g class="synapse" data-what="${path}.weight[${row}, ${col}]" data-tip="a weight"><path class="hit" d="${d}"/><path class="drawn" d="${d}"/></g>`;
    }),
  );
  const heads = sizes.slice(first).map((_, k) => {
    const column = k + first;
    const isHidden = column > 0 && column < last;
    const text = column === 0 ? "inputs" : isHidden ? `layer ${column}` : "output";
    return html`<div class="layerhead" data-x="${x(column)}">${text}${isHidden && html`<span><button class="btn small" data-less="${column - 1}" data-k="less${column}" ${sizes[column] <= 1 && "disabled"} aria-label="One neuron less in layer ${column}">−</button><button class="btn small" data-more="${column - 1}" data-k="more${column}" ${sizes[column] >= S.choices.neurons && "disabled"} aria-label="One neuron more in layer ${column}">+</button></span>`}</div>`;
  });
  const tiles = sizes.flatMap((count, column) =>
    Array.from({ length: column < first ? 0 : count }, (_, row) => html`<button class="tile cell" data-unit="${column}:${row}" data-k="u${column}:${row}" aria-label="${unitName(S, column, row)}" aria-pressed="false"><canvas class="px"></canvas>${column === 0 || column === last ? html`<span>${unitName(S, column, row)}</span>` : ""}</button>`),
  );
  fill(root, html`<svg viewBox="0 0 100 ${height}" preserveAspectRatio="none" aria-hidden="true">${links}</svg>${heads}${tiles}`);
  root.style.height = `${height}px`;
  for (const head of $$(".layerhead", root)) head.style.left = `${head.dataset.x}%`;
  for (const tile of $$("[data-unit]", root)) {
    const [column, row] = tile.dataset.unit.split(":").map(Number);
    tile.style.left = `${x(column)}%`;
    tile.style.top = `${y(column, row)}px`;
  }
}

/** The weights of the present network, in the order of the links. */
const linkWeights = (S) => pathsOf(S.sizes).slice(firstColumn(S)).flatMap((path) => Array.from(S.state.tensors[`${path}.weight`].data));

/** Set an attribute if it is another, since the browser draws a link anew even for the same value. */
function change(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Show the present weights and outputs on what `layOut` has drawn: a generator, which pauses after each part. */
export function* paint(S, root) {
  const weights = linkWeights(S), scale = Math.max(1, maxAbs(weights)), colours = [colour("div", -0.85), colour("div", 0.85)];
  const drawn = root.getElementsByClassName("drawn");
  for (const [k, w] of weights.entries()) {
    const path = drawn[k], link = path.parentNode;
    change(path, "stroke", colours[Number(w > 0)]);
    change(path, "stroke-width", (0.4 + (MOST_WIDTH * Math.abs(w)) / scale).toFixed(1));
    link.classList.toggle("on", link.dataset.what === S.subject);
    if (k % LINKS_AT_ONCE === 0) yield;
  }
  const last = S.sizes.length - 1, size = S.side * S.side;
  for (const tile of $$("[data-unit]", root)) {
    const [column, row] = tile.dataset.unit.split(":").map(Number), unit = firstUnit(S, column) + row;
    const isHalf = !S.hasPictures && (column === last ? S.isProbability : column > 0 && S.settings.activation === "sigmoid");
    const values = S.state.tensors.units.data.subarray(unit * size, (unit + 1) * size), middle = isHalf ? 0.5 : 0;
    paintPlane($("canvas", tile), values, S.side, { middle, scale: isHalf ? 0.5 : maxAbs(values) || 1, hasLine: !S.hasPictures });
    tile.setAttribute("aria-pressed", tile.dataset.unit === S.unit);
    yield;
  }
}

/** The chosen neuron's incoming weights as buttons. */
export function incoming(S) {
  const [column, row] = S.unit.split(":").map(Number);
  if (column === 0) return html`<p class="cap">${unitName(S, column, row)}: an input, which has no weights.</p>`;
  const path = pathsOf(S.sizes)[column - 1], weights = S.state.tensors[`${path}.weight`], n = weights.shape[1];
  const bias = S.state.tensors[`${path}.bias`].data[row];
  return html`<h3>${unitName(S, column, row)} <small>its weights: choose one to ask why</small></h3><ul class="weights">${Array.from(weights.data.slice(row * n, (row + 1) * n), (w, col) => {
    const what = `${path}.weight[${row}, ${col}]`;
    return html`<li><button class="btn small" data-what="${what}" data-k="w${col}" aria-pressed="${what === S.subject}">${unitName(S, column - 1, col)} <span class="${tone(w)}">${num(w)}</span></button></li>`;
  })}<li><button class="btn small" data-what="${path}.bias[${row}]" data-k="wb" aria-pressed="${`${path}.bias[${row}]` === S.subject}">bias <span class="${tone(bias)}">${num(bias)}</span></button></li></ul>`;
}

/** The present value of an element such as "features.dense1.weight[0, 1]". */
export function valueOf(S, what) {
  const [, name, index] = /^(.*)\[([\d, ]+)\]$/.exec(what), tensor = S.state.tensors[name];
  if (!tensor) return null;
  const at = index.split(",").map(Number);
  const found = at.length === 1 ? tensor.data[at[0]] : at[1] < tensor.shape[1] ? tensor.data[at[0] * tensor.shape[1] + at[1]] : undefined;
  return found ?? null;
}
