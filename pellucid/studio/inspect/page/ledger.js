// A model as a ledger: a row for each layer in the order of execution, groups that fold, arcs for what skips layers.
import { count, html } from "/core/dom.js";

const OPEN_BELOW = 41; // rows; a larger model opens with its groups folded

/** The group of a layer: the first two parts of a path with more, else the first. */
function groupOf(path) {
  const parts = path.split(".");
  return parts.slice(0, Math.min(2, parts.length - 1)).join(".");
}

/** The layers in runs of the same group: {name, layers: [{layer, index}]}. */
export function groups(layers) {
  const found = [];
  for (const [index, layer] of layers.entries()) {
    const name = groupOf(layer.path);
    if (found.at(-1)?.name !== name) found.push({ name, layers: [] });
    found.at(-1).layers.push({ layer, index });
  }
  return found;
}

export const isSmall = (layers) => layers.length < OPEN_BELOW;

const shape = (layer) => layer.shape.join("×");
const total = (layers, key) => layers.reduce((sum, one) => sum + one[key], 0);

/** The rows that are shown: a group that is folded is one row. `at` maps the index of a layer to its row. */
export function rows(layers, open) {
  const shown = [], at = new Map();
  for (const { name, layers: own } of groups(layers)) {
    const folds = own.length > 1 && name;
    if (folds) shown.push({ group: name, key: `${name}@${own[0].index}`, first: own[0].index, own: own.map((one) => one.layer) });
    const isOpen = !folds || open.has(`${name}@${own[0].index}`);
    for (const { layer, index } of own) {
      if (isOpen) shown.push({ layer, index });
      at.set(index, shown.length - 1);
    }
  }
  return { shown, at };
}

/** The curves for layers that receive what an earlier layer made, past those between; side by side where they overlap. */
function arcs(layers, at, height) {
  const found = layers.flatMap((layer, index) => layer.sources.filter((from) => from < index - 1).map((from) => [at.get(from), at.get(index)]));
  const lanes = [];
  return [...new Set(found.filter(([a, b]) => b > a).map(String))].map((text) => {
    const [a, b] = text.split(",").map(Number);
    let lane = lanes.findIndex((end) => end <= a);
    if (lane < 0) lane = lanes.push(0) - 1;
    lanes[lane] = b;
    const x = Math.max(2, 22 - 6 * lane), top = (a + 0.5) * height, bottom = (b + 0.5) * height;
    return html`<path class="skip" d="M28,${top}H${x + 6}Q${x},${top} ${x},${top + 6}V${bottom - 6}Q${x},${bottom} ${x + 6},${bottom}H28"/>`;
  });
}

/** The ledger as markup. selected: the path of a layer. open: the keys of open groups. height: of a row, in pixels. */
export function ledger(layers, selected, open, height) {
  const { shown, at } = rows(layers, open);
  const most = Math.max(1, ...groups(layers).map((one) => total(one.layers.map(({ layer }) => layer), "parameters")));
  const bar = (n) => html`<svg class="share" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true"><rect width="${Math.sqrt(n / most)}" height="1"/></svg>`;
  const cells = (n, work) => html`<span class="bar">${bar(n)}</span><span class="n">${n ? count(n) : "·"}</span><span class="n work">${work ? count(work) : "·"}</span>`;
  const lines = shown.map((row) => {
    if (row.group) {
      const isOpen = open.has(row.key), own = row.own;
      return html`<button type="button" class="lrow group" data-group="${row.key}" data-k="g${row.key}" aria-expanded="${isOpen}"><b title="${row.group}">${isOpen ? "▾" : "▸"} ${row.group}</b><span>${own.length} layers</span><span class="shp" title="${shape(own.at(-1))}">${shape(own.at(-1))}</span>${cells(total(own, "parameters"), total(own, "multiply_adds"))}</button>`;
    }
    const { layer } = row, on = layer.path === selected;
    return html`<button type="button" class="lrow" data-layer="${layer.path}" data-k="l${layer.path}" aria-pressed="${on}"><b title="${layer.path}">${layer.path.split(".").slice(groupOf(layer.path) ? groupOf(layer.path).split(".").length : 0).join(".") || layer.path}</b><span title="${layer.layer}">${layer.layer}${layer.uses > 1 ? ` (${layer.uses} times)` : ""}</span><span class="shp" title="${shape(layer)}">${shape(layer)}</span>${cells(layer.parameters, layer.multiply_adds)}</button>`;
  });
  return html`<div class="ledger"><div class="lrow lhead" aria-hidden="true"><span>Layer</span><span>Operation</span><span class="shp">Output</span><span class="bar">√ scale</span><span class="n">Parameters</span><span class="n work">Multiply-adds</span></div><div class="lines"><svg class="arcs" width="36" height="${shown.length * height}" aria-hidden="true"><path d="M28,${height / 2}V${(shown.length - 0.5) * height}"/>${arcs(layers, at, height)}${shown.map((_, k) => html`<circle cx="28" cy="${(k + 0.5) * height}" r="2.5"/>`)}</svg>${lines}</div></div>`;
}
