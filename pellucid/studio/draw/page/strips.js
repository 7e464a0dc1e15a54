// Any network as one strip per layer: feature maps as tiles, neurons as cells; and one unit taken apart.
import { $, $$, argmax, count, html, isNarrow, largest, maxAbs, num, percent, short, signed, tone } from "/core/dom.js";
import { colour, heat, inSlices, scaleBar, textOn } from "/core/paint.js";
import { formula } from "./card.js";
import { element } from "./model.js";
import { products } from "./unit.js";

const MAX_VALUES = 200_000; // of a layer's output; the server sends no larger ones
const MAX_TILES = 32; // of a layer
const MANY = 10; // layers; with more of them, the tiles are small
const MAX_BARS = 20; // classes whose probabilities are drawn
const STRONGEST = 8;
const CELLS = 7; // of a kernel's side that is shown as numbers

const GAP = 4; // pixels between tiles
const scratch = new OffscreenCanvas(1, 1);

/** The width for the tiles of a layer, in pixels. */
const room = () => ($("#stage").clientWidth || innerWidth - 32) - (isNarrow() ? 0 : 120);

/** The context of a canvas of this size, on which pictures are enlarged without smoothing. */
function fitted(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  return context;
}

export const passes = (model) => {
  const names = model.stages.map((one) => model.names.get(one.layer.name));
  return [...names, "Cost", ...names.toReversed()];
};

/** The stage and the direction of a step. */
export function passOf(S) {
  const n = S.model.stages.length;
  return S.pass <= n ? { stage: S.pass - 1 } : S.pass === n + 1 ? { stage: n } : { stage: 2 * n + 1 - S.pass, back: true };
}

export function explainPass(S) {
  const { stage, back } = passOf(S);
  const at = S.model.stages[stage];
  if (!at) return `The label is ${S.model.classes[S.run.label]}, read at ${percent(S.run.probabilities[S.run.label])}; that makes the cost C = ${num(S.run.cost)}.`;
  const name = `${at.layer.path}, ${at.layer.title}${at.activation ? `, then ${at.activation.type}` : ""}`;
  return back ? `Backward, at ${name}: how C answers to each value, from this layer to the cost. Blue raises it, ochre lowers it.` : `Forward: ${name} gives ${at.layer.shape.join("×")} values.`;
}

/** The name of what the page shows of a stage's output: its activations, its gradients, or "", nothing yet. */
function shown(S, k) {
  const { stage, back } = passOf(S);
  const at = S.model.stages[k];
  if (back && k >= stage) return `∂${at.y}`;
  return back || k <= stage ? at.y : "";
}

/** The map of a stage's values and the value of its end; they are read from all values, so only for what is seen. */
const shades = (name, data) => [name.startsWith("∂") || data.some((one) => one < 0) ? "div" : "seq", maxAbs(data) || 1];

function strip(S, k, highlighted, paints, across) {
  const { layer, activation, y } = S.model.stages[k], name = shown(S, k), [units, height, width] = layer.shape;
  const { tensors } = S.run, isSent = layer.shape.reduce((product, one) => product * one, 1) <= MAX_VALUES;
  const head = html`<p><b>${S.model.names.get(layer.name)}</b>${layer.title}${activation && html` · ${activation.type}`}<span class="size">${layer.shape.join("×")} · ${count(layer.parameters)}${layer.shape.length === 3 && units > MAX_TILES && html`<br>the first ${MAX_TILES}`}</span></p>`;
  if (!name || !isSent) return html`<div class="strip off">${head}<div></div></div>`;
  const needs = name === y ? y : `${y} ${name}`; // a card also shows the output
  const chosen = S.at?.path === layer.path;
  if (layer.shape.length === 3) {
    const size = Math.round(Math.min(S.model.stages.length > MANY ? 32 : isNarrow() ? 44 : 72, Math.max(24, width * 2.4))), n = Math.min(units, MAX_TILES);
    const per = Math.max(1, Math.min(n, Math.floor((across + GAP) / (size + GAP))));
    const wide = per * (size + GAP) - GAP, high = Math.ceil(n / per) * (size + GAP) - GAP;
    paints.push([`${k}`, (canvas) => {
      const data = tensors[name]?.data;
      if (!data) return;
      const place = (m) => [(m % per) * (size + GAP), Math.floor(m / per) * (size + GAP)];
      const [map, scale] = shades(name, data), context = fitted(canvas, wide, high);
      for (let m = 0; m < n; m++)
        context.drawImage(heat(scratch, data.subarray(m * height * width, (m + 1) * height * width), width, map, scale), ...place(m), size, size);
    }]);
    const tiles = Array.from({ length: n }, (_, m) => {
      const name = `${layer.path} map ${m}`;
      const unit = `${layer.path}:${m}`, lit = highlighted.has(unit) ? "lit" : "";
      return layer.weight ? html`<button class="tile ${lit}" data-unit="${unit}" data-card="${unit}" data-k="u${k}:${m}" aria-pressed="${chosen && S.at.row === m}" aria-label="${name}"></button>` : html`<span class="tile ${lit}" data-tip="${name}"></span>`;
    });
    return html`<div class="strip" data-needs="${needs}">${head}<div class="sheet"><canvas class="px" width="${wide}" height="${high}" data-h="${k}" role="img" aria-label="The maps of ${layer.path}"></canvas><div class="tiles" data-per="${per}" data-size="${size}">${tiles}</div></div></div>`;
  }
  paints.push([`${k}`, (canvas) => tensors[name] && heat(canvas, tensors[name].data, layer.shape.at(-1), ...shades(name, tensors[name].data))]);
  if (!layer.weight || layer.shape.length !== 1) return html`<div class="strip" data-needs="${needs}">${head}<div><span class="cells"><canvas class="px ${layer.shape.length === 1 ? "vec" : "tokens"}" data-h="${k}" role="img" aria-label="Values of ${layer.path}"></canvas></span></div></div>`;
  const row = chosen ? S.at.row : 0, lit = Array.from({ length: units }, (_, unit) => unit).filter((unit) => highlighted.has(`${layer.path}:${unit}`));
  return html`<div class="strip" data-needs="${needs}">${head}<div><span class="cells" role="slider" tabindex="0" data-cells="${layer.path}" data-units="${units}" data-k="v${k}" aria-label="Neurons of ${layer.path}" aria-valuemin="0" aria-valuemax="${units - 1}" aria-valuenow="${row}" aria-valuetext="neuron ${row}: ${name === y ? "activation" : "gradient"} ${num(tensors[name]?.data[row])}"><canvas class="px vec" data-h="${k}"></canvas><svg viewBox="0 0 ${units} 1" preserveAspectRatio="none" aria-hidden="true">${lit.map((unit) => html`<rect class="lit" x="${unit}" width="1" height="1"/>`)}${chosen && html`<rect class="chosen" x="${row}" width="1" height="1"/>`}</svg></span></div></div>`;
}

/** The probabilities as vertical bars, one for each class; of many classes, the largest. */
export function bars(S) {
  const p = S.run.probabilities, best = argmax(p), w = 34;
  const shown = p.length > MAX_BARS ? largest(p, MAX_BARS) : [...p.keys()], columns = Math.max(shown.length, 10); // few bars are not wider
  return html`<svg class="bars" viewBox="0 0 ${columns * w} 74" role="img" aria-label="${shown.map((i) => `${S.model.classes[i]}: ${percent(p[i])}`).join(", ")}">
    ${shown.map((i, k) => html`<g data-tip="${S.model.classes[i]}: ${percent(p[i])}"><rect class="track" x="${k * w + 4}" y="2" width="${w - 8}" height="54"/><rect class="fill ${i === best ? "best" : ""}" x="${k * w + 4}" y="${2 + 54 * (1 - p[i])}" width="${w - 8}" height="${54 * p[i]}"/>${i === S.run.label && html`<path class="want" d="M${k * w + 1},2h${w - 2}"/>`}<text x="${k * w + w / 2}" y="70" text-anchor="middle">${short(S.model.classes[i], 6)}</text></g>`)}</svg>`;
}

const brief = (v) => (Math.abs(v) < 0.005 ? "·" : v.toFixed(Math.abs(v) < 0.095 ? 2 : 1).replace("-", "−").replace("0.", "."));

function grid(values, side, map, scale, cell) {
  return html`<span class="numbers side${side}">${Array.from(values, (v, q) => {
    const look = textOn(map, v / scale);
    return cell ? html`<button class="${look}" data-fill="${colour(map, v / scale)}" data-e="${cell(q)}" data-k="n${q}" aria-label="kernel cell ${Math.floor(q / side)}, ${q % side}: ${num(v)}">${brief(v)}</button>` : html`<i class="${look}" data-fill="${colour(map, v / scale)}">${brief(v)}</i>`;
  })}</span>`;
}

/** One output of a convolution: patch times kernel, summed. */
function convolution(S, stage, paints) {
  const { layer } = stage, row = S.at.row, own = S.weights.unit?.weight, known = own && products(S, stage, row);
  if (!known) return html``;
  const [r, c] = known.position, [height, width] = layer.window.kernel, size = height * width, channels = own.shape[0];
  const part = (values, channel) => values.slice(channel * size, (channel + 1) * size);
  const channel = Math.min(S.channel, channels - 1), most = maxAbs(own.data) || 1;
  const tiles = channels > 1 && html`<div class="row tight" role="group" aria-label="Kernels, one for each input channel">${Array.from({ length: channels }, (_, j) => {
    paints.push([`kernel${j}`, (canvas) => heat(canvas, part(own.data, j), width, "div", most)]);
    return html`<button class="tile" data-channel="${j}" data-k="j${j}" aria-pressed="${j === channel}" aria-label="Kernel for input channel ${j}"><canvas class="px kernel" data-h="kernel${j}"></canvas></button>`;
  })}</div>`;
  const terms = known.inputs.map((v, k) => v * own.data[k]), sum = (values) => values.reduce((total, v) => total + v, 0);
  const weights = part(own.data, channel), bias = S.weights.unit.bias ?? 0;
  return html`<h3>${layer.path} map ${row} <small>where it answers most: (${r}, ${c})</small></h3>${tiles}
    ${Math.max(height, width) <= CELLS ? html`<div class="arith scroll">${grid(part(known.inputs, channel), width, "seq", maxAbs(S.run.tensors[layer.x].data) || 1)}<b>⊙</b>${grid(weights, width, "div", most, (q) => element(layer.path, [row, channel, Math.floor(q / width), q % width]))}<b>=</b>${grid(part(terms, channel), width, "div", most)}
    <p class="math">Σ = <b>${num(sum(part(terms, channel)))}</b>${channels > 1 && html`<br>all ${channels} channels: <b>${num(sum(terms))}</b>`}<br>+ bias ${num(bias)} = <b>${num(known.output)}</b></p></div>` : ""}
    <p class="cap">Click a number of the kernel in the middle: why does the cost depend on it?</p>`;
}

/** The strongest products of a neuron's weights with its inputs, as buttons. */
export function strongest(S, stage, row) {
  const own = S.weights[S.model.columns ? (stage === S.model.weighted[0] ? "hid" : "out") : "unit"], known = own && products(S, stage, row);
  if (!known) return html``;
  const x = known.inputs, terms = Array.from(own.weight.data, (w, j) => w * x[j]);
  return html`<ul class="strongest">${largest(terms, STRONGEST).map((j) => {
    const name = element(stage.layer.path, [row, j]);
    return html`<li><button class="btn small" data-e="${name}" data-k="s${j}" aria-pressed="${name === S.subject}">${S.model.symbol(name)} = ${signed(own.weight.data[j], 2)} <span class="${tone(terms[j])}">×${num(x[j], 2)} = ${signed(terms[j], 2)}</span></button></li>`;
  })}</ul>`;
}

function neuron(S, stage, paints) {
  const { layer } = stage, own = S.weights.unit?.weight, row = S.at.row;
  if (!own) return html``;
  const [tiles, width] = layer.grid.length === 3 ? [layer.grid[0], layer.grid[2]] : [1, own.data.length];
  const each = own.data.length / tiles, most = maxAbs(own.data) || 1;
  const pictures = Array.from({ length: Math.min(tiles, MAX_TILES) }, (_, k) => {
    paints.push([`w${k}`, (canvas) => heat(canvas, own.data.slice(k * each, (k + 1) * each), width, "div", most)]);
    return html`<canvas class="px ${tiles > 1 || layer.grid.length === 3 ? "patch" : "vec"}" data-h="w${k}" data-weights="${layer.path}" data-row="${row}" data-from="${k * each}" data-width="${width}" role="img" aria-label="Weights from input map ${k}"></canvas>`;
  });
  return html`<h3>${layer.path} neuron ${row} <small>its ${count(own.data.length)} incoming weights ${scaleBar("div", num(-most, 2), num(most, 2))}</small></h3><div class="row tight">${pictures}</div>${formula(S, stage, row, Array.from(own.data), S.weights.unit.bias ?? 0)}<p class="cap">The strongest here, weight × input:</p>${strongest(S, stage, row)}`;
}

/** The drawing of the network, and what paints its canvases; highlighted: as for `columns`. */
export function strips(S, highlighted) {
  const paints = [], across = room(), stage = S.at && S.model.stage(S.at.path);
  const input = S.run.tensors.x, [channels, height, width] = input.shape;
  for (let k = 0; k < channels; k++) paints.push([`in${k}`, (canvas) => heat(canvas, input.data.slice(k * height * width, (k + 1) * height * width), width, "ink", maxAbs(input.data) || 1)]);
  const markup = html`<div class="strips"><div class="strip"><p><b>Input</b>${input.shape.join("×")}</p><div>${Array.from({ length: channels }, (_, k) => html`<canvas class="px input ${highlighted.has(`x:${k}`) ? "lit" : ""}" data-h="in${k}" role="img" aria-label="Input"></canvas>`)}</div></div>
    ${S.model.stages.map((_, k) => strip(S, k, highlighted, paints, across))}<div class="strip"><p><b>Probabilities</b>of ${S.run.probabilities.length} classes${S.run.probabilities.length > MAX_BARS && `, the ${MAX_BARS} largest`}</p><div id="bars">${bars(S)}</div></div></div>
    <div class="unit">${stage && (stage.layer.shape.length === 3 ? convolution(S, stage, paints) : neuron(S, stage, paints))}</div>`;
  return {
    markup,
    /** Paint the canvases below an element as soon as they are seen; returns a function that ends it. need: see view.js. */
    paint(root, need) {
      for (const one of $$("[data-fill]", root)) one.style.background = one.dataset.fill;
      for (const { dataset, style } of $$(".tiles", root)) {
        style.gridTemplateColumns = `repeat(${dataset.per}, ${dataset.size}px)`;
        style.gridAutoRows = `${dataset.size}px`;
      }
      const ways = new Map(paints), stops = [];
      function* painted(box) {
        for (const canvas of $$("[data-h]", box)) {
          ways.get(canvas.dataset.h)?.(canvas);
          yield;
        }
      }
      const seen = new IntersectionObserver(async (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          seen.unobserve(target);
          await need((/** @type {HTMLElement} */ (target).dataset.needs ?? "").split(" "));
          if (target.isConnected) stops.push(inSlices(painted(target)));
        }
      }, { rootMargin: "100px" });
      for (const box of $$(".strip, .unit", root)) seen.observe(box);
      return () => {
        seen.disconnect();
        for (const stop of stops) stop();
      };
    },
  };
}
