// What the view Explain draws: pictures, maps, curves and tables, from the server's answers alone.
import { $, argmax, count, fill, html, maxAbs, num, percent, signed, tone } from "/core/dom.js";
import { classColour, colour, heat, paintClasses, paintPicture, paintScales, scaleBar } from "/core/paint.js";

const TITLES = { input_x_gradient: "Gradient × input", gradcam: "Grad-CAM", gradcam_plus_plus: "Grad-CAM++", layercam: "Layer-CAM", scorecam: "Score-CAM", guided_gradcam: "Guided Grad-CAM", deeplift: "DeepLIFT", lrp: "LRP", smoothgrad: "SmoothGrad", deconvnet: "DeconvNet", guided_backprop: "Guided backprop", rollout: "Attention rollout" };
const CHIPS = 12; // choices that are shown at once
const LARGE = 4000; // pixels of a map, from which a few may exceed the scale
const BOXES = 24; // of a picture that have a button

export const title = (method) => TITLES[method] ?? (method[0].toUpperCase() + method.slice(1)).replaceAll("_", " ");

/** The number of a choice: its probability, or its logit. */
const worth = (aim, k) => {
  if (Number.isFinite(aim.logits?.[k])) return num(aim.logits[k], 2);
  return Number.isFinite(aim.probabilities?.[k]) ? percent(aim.probabilities[k]) : "";
};

/** What can be asked about the picture, as radio buttons; the rest in a list. */
export function chips(aim) {
  const order = [...aim.choices.keys()];
  const values = aim.logits ?? aim.probabilities ?? [];
  const best = order.length > CHIPS ? order.toSorted((a, b) => (values[b] ?? -Infinity) - (values[a] ?? -Infinity)).slice(0, CHIPS) : order;
  const seen = best.includes(aim.chosen) || aim.chosen === null ? best : [...best.slice(0, -1), aim.chosen];
  const focus = aim.chosen ?? seen[0];
  return html`<div class="chips" role="radiogroup" aria-label="What to explain">${seen.map((k) => {
    const p = aim.probabilities?.[k];
    return html`<button class="chip" type="button" role="radio" data-of="${aim.choices[k]}" data-k="of${k}" aria-checked="${k === aim.chosen}" tabindex="${k === focus ? 0 : -1}" data-tip="${aim.choices[k]}${aim.logits && Number.isFinite(aim.logits[k]) ? `: ${signed(aim.logits[k])}` : ""}${Number.isFinite(p) ? `, ${percent(p)}` : ""}"><b>${aim.choices[k]}</b><small>${worth(aim, k)}</small></button>`;
  })}</div>${aim.logits && html`<p class="cap">Below each name is its score (logit): the network's output, before probabilities are computed from all scores. The maps explain the score of ${aim.label}, <b>${num(aim.score)}</b>.</p>`}${seen.length < order.length && html`<label class="field inline">Other <select id="explain-other" aria-label="Another class"><option value="">choose…</option>${aim.choices.map((name) => html`<option>${name}</option>`)}</select></label>`}`;
}

/** The boxes, points or classes of a picture, over it, and as buttons. */
export function predicted(picture, aim) {
  const { boxes, scores, points } = picture.tensors;
  const [, height, width] = picture.tensors.picture.shape;
  const of = (data, n, k) => Array.from(data.slice(n * k, n * k + n));
  const rects = boxes ? Array.from({ length: boxes.shape[0] }, (_, k) => of(boxes.data, 4, k)) : [];
  const places = rects.map(([x0, y0, x1, y1]) => [Math.max(0, Math.floor(y0)), Math.max(0, Math.floor(x0)), Math.min(height, Math.ceil(y1)), Math.min(width, Math.ceil(x1))]);
  const on = (rect) => aim?.place && maxAbs(rect.map((v, k) => v - aim.place[[1, 0, 3, 2][k]])) <= 1.5;
  const dots = points ? Array.from({ length: points.shape[0] }, (_, k) => of(points.data, 3, k)) : [];
  const place = aim?.place;
  const svg = html`<svg class="marks" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" aria-hidden="true">
    ${rects.map((r, k) => html`<rect class="box ${on(r) ? "on" : ""}" x="${r[0]}" y="${r[1]}" width="${Math.max(0, r[2] - r[0])}" height="${Math.max(0, r[3] - r[1])}"/>`)}
    ${dots.map(([x, y]) => html`<circle class="dot" cx="${x}" cy="${y}" r="${width / 130}"/>`)}
    ${place && !rects.some(on) && html`<rect class="box on" x="${place[1]}" y="${place[0]}" width="${place[3] - place[1]}" height="${place[2] - place[0]}"/>`}</svg>`;
  const buttons = rects.length > 0 && html`<div class="chips boxes" role="group" aria-label="Boxes">${rects.slice(0, BOXES).map((r, k) => html`<button class="chip" type="button" data-place="${places[k].join()}" data-k="box${k}" aria-pressed="${Boolean(on(r))}"><b>${k + 1} ${picture.labels?.[k] ?? ""}</b><small>${scores ? percent(scores.data[k]) : ""}</small></button>`)}</div>`;
  return { svg, buttons };
}

/** The classes in a mask, each with its colour. */
export const maskLegend = (picture) =>
  picture.tensors.mask && html`<p class="legend">${[...new Set(picture.tensors.mask.data)].slice(0, 14).map((k) => html`<span><svg class="swatch" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="${classColour(k)}"/></svg>${picture.labels?.[k] ?? k}</span>`)}</p>`;

const shot = (name, label) => html`<div class="shot" data-shot="${name}" data-k="shot-${name}" tabindex="0" role="img" aria-label="${label}. Arrow keys move the crosshair.">`;
const CROSS = html`<i class="cross" aria-hidden="true"></i></div>`;

/** Fill the figure of the picture itself. */
export function imageFigure(element, { picture, aim, curves }) {
  const { svg } = predicted(picture, aim);
  fill(element, html`<figcaption><b>Picture</b></figcaption>${shot("picture", "The picture as the model sees it")}<canvas class="px base"></canvas>${picture.tensors.mask && html`<canvas class="px mask"></canvas>`}${svg}${CROSS}
    <p class="cap">${picture.line}</p>${curves.random && curve(curves.random, `random order, mean of ${curves.random.orders}`, curves.random)}`);
  const painted = picture.tensors.image ?? picture.tensors.picture;
  paintPicture($(".base", element), painted.shape[0] === 1 ? picture.tensors.picture : painted);
  if (picture.tensors.mask) paintClasses($(".mask", element), picture.tensors.mask);
}

/** The value of the strongest colour: the largest one, of a large map that which a few pixels in a thousand exceed. */
export function scaleOf(found) {
  const values = found.tensors.map.data;
  if (values.length < LARGE) return maxAbs(values);
  found.scale ??= values.map(Math.abs).sort()[Math.floor(0.997 * values.length)] || maxAbs(values);
  return found.scale;
}

/** Fill the figure of one method: the map over the picture, its sum, and its deletion curve. */
export function mapFigure(element, name, S, all) {
  const { picture, maps, curves, faults, magnitudes, shared } = S;
  const found = maps[name], fault = faults[name];
  const sequential = magnitudes.has(name);
  const most = found ? (shared ? all : scaleOf(found)) : 0, cut = found && most < maxAbs(found.tensors.map.data);
  const waiting = name === "occlusion" && S.hidden ? `${S.hidden.done} of ${S.hidden.total} squares` : "computing…";
  fill(element, html`<figcaption><b>${title(name)}</b></figcaption>${shot(name, `Map of ${title(name)}`)}<canvas class="px base"></canvas><canvas class="px over"></canvas>${name === "occlusion" && html`<svg class="marks square" preserveAspectRatio="none" aria-hidden="true"></svg>`}${CROSS}
    ${fault ? html`<p class="cap">${fault}</p>` : !found ? html`<p class="cap">${waiting}</p>` : html`<p class="cap">${scaleBar(sequential ? "seq" : "div", sequential ? "0" : `${cut ? "≤ " : ""}${num(-most, 2)}`, `${cut ? "≥ " : ""}${num(most, 2)}`)}</p><p class="cap sum">${sumOf(found, S)}</p>`}
    ${curves[name] && curve(curves[name], "deletion", curves.random)}`);
  paintPicture($(".base", element), picture.tensors.picture);
  if (found) heat($(".over", element), found.tensors.map.data, found.tensors.map.shape[1], sequential ? "seq" : "div", most || 1);
  paintScales(element);
}

/** What the sum of a map says. */
function sumOf({ sum, expected, verdict, squares, passes }, { aim }) {
  if (squares) return html`Score without a square <b>${num(aim.score)}</b>`;
  if (!verdict) return html`Σ <b>${num(sum)}</b>, no sum is promised${passes && html`; ${passes} passes`}`;
  const off = sum - expected, within = num(sum) === num(expected) ? "" : ` within ${percent(Math.abs(off / expected))}`;
  return html`Σ <b>${num(sum)}</b> of <b>${num(expected)}</b> ${verdict.passed ? html`<b class="ok">✓ adds up${within}</b>` : html`<b class="off">▲ off by ${signed(off)}</b>`}${passes && html`; ${passes} passes`}`;
}

/** A curve of scores over deleted pixels, with that of random orders behind it. */
function curve({ scores, parts, area }, text, random) {
  const both = [...scores, ...(random?.scores ?? [])];
  const low = Math.min(0, ...both), high = Math.max(low + 1e-9, ...both);
  const at = (values) => values.map((v, k) => `${100 * parts[k]},${39 - (38 * (v - low)) / (high - low)}`).join(" ");
  const zero = 39 - (38 * (0 - low)) / (high - low);
  return html`<svg class="spark" viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="${text}: from ${num(scores[0], 2)} to ${num(scores.at(-1), 2)}, area ${num(area, 2)}"><polygon points="0,${zero} ${at(scores)} 100,${zero}"/>${random && random.scores !== scores && random.scores.length === scores.length && html`<polyline class="random" points="${at(random.scores)}"/>`}<path class="axis" d="M0,${zero}H100"/></svg><p class="cap">${text}, area <b>${num(area, 2)}</b></p>`;
}

/** The values of all maps at the crosshair. */
export function readout(element, { picture, maps, px, hidden }, square) {
  const [row, column] = px;
  const [, height, width] = picture.tensors.picture.shape; // of the network's input
  const values = Object.entries(maps).map(([name, one]) => [title(name), one.tensors.map.data[row * width + column]]);
  fill(element, html`<span>Row ${row}, column ${column} of ${height} × ${width}</span>${values.map(([name, v]) => html`<span>${name} <b class="${tone(v)}">${signed(v)}</b></span>`)}${square !== null && hidden && html`<span>Square there: score <b>${num(hidden.scores[square])}</b></span>`}`);
}

/** What takes relevance on the way to the input, in words, by the causes of the ledger. */
const ABSORBERS = {
  bias: "the biases", parameter: "the network's own inputs, such as position embeddings", constant: "constants, such as padding", softmax: "the softmax of attention",
  stabilizer: "the small numbers that the rule adds to denominators", rule: "neurons whose share the rule drops",
};

/** One sentence: how much of the score reaches the picture, and what took the rest. */
function whereItWent(score, input, absorbed) {
  const taken = Object.entries(absorbed).filter(([, value]) => Math.abs(value) >= 0.005 * Math.abs(score)).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  const rest = taken.map(([cause, value]) => `${signed(value)} by ${ABSORBERS[cause] ?? cause}`).join(", ");
  return `Of the score ${num(score)}, ${num(input)} reaches the picture; ${taken.length ? `taken on the way: ${rest}` : "nothing is taken on the way"}.`;
}

/** The relevance at each layer, as bars around zero, with its sum beside the score, and what was absorbed. */
export function relevance(element, { layers, score, input, absorbed }) {
  const rows = [...layers, { path: "input", type: "", n: null, positive: Math.max(0, input), negative: Math.min(0, input), depth: 0 }];
  const most = 1.05 * Math.max(Math.abs(score), ...rows.map((one) => Math.max(one.positive, -one.negative)), 1e-12);
  const x = (value) => 50 + (50 * value) / most;
  fill(element, html`<p class="cap">${whereItWent(score, input, absorbed)}</p><table class="rel"><thead><tr><th scope="col">Relevance into</th><th scope="col" class="wide">− and +</th><th scope="col">sum</th><th scope="col">beside ${num(score)}</th></tr></thead><tbody>${rows.map(({ path, type, n, positive, negative, depth }) => {
    const sum = positive + negative, off = sum - score;
    return html`<tr><th scope="row"><b>${path}</b> ${type} ${n && html`<small>${count(n)} values</small>`}</th><td class="wide"><svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="ground" width="100" height="10"/><rect fill="${colour("div", -0.6)}" x="${x(negative)}" y="1" width="${50 - x(negative)}" height="8"/><rect fill="${colour("div", 0.6)}" x="50" y="1" width="${x(positive) - 50}" height="8"/><path class="target" d="M${x(score)},0V10"/><path class="total" d="M${x(sum)},0V10"/></svg></td><td>${signed(sum)}</td><td class="${depth === 0 ? (Math.abs(off) > 0.05 * Math.abs(score) ? "off" : "") : "part"}">${depth === 0 ? (Math.abs(off) < 0.005 * Math.abs(score) ? "=" : signed(off, 2)) : "a branch"}</td></tr>`;
  })}</tbody></table><p class="cap">The line in the colour of the text is the score, ${num(score)}. A branch carries only a part.</p>`);
}

/** The feature maps of a layer, as buttons; hasPatches: whether a click shows a map's patches. */
export function sheet(element, { path, count: total, largest, tensors: { maps } }, chosen, hasPatches) {
  const [, height, width] = maps.shape, size = height * width;
  fill(element, html`<div class="sheet-maps" role="group" aria-label="Feature maps of ${path}">${largest.map((value, k) => html`<button class="tile" type="button" data-map="${k}" data-k="map${k}" aria-pressed="${k === chosen}" aria-label="Map ${k}, largest value ${num(value)}" data-tip="Map ${k}: at most ${num(value)}"><canvas class="px"></canvas></button>`)}</div><p class="cap">${largest.length < total && `The first ${largest.length} of ${total} maps. `}${hasPatches && "Click a map for the patches that activate it most."}</p>`);
  element.querySelectorAll("canvas").forEach((canvas, k) => {
    const values = maps.data.subarray(k * size, (k + 1) * size);
    heat(canvas, values, width, largest[k] > 0 && values.every((v) => v >= 0) ? "seq" : "div", maxAbs(values) || 1);
  });
}

/** The nine pictures that activate a map most: the patch that it sees, and its deconvolution. */
export function topPatches(element, { path, map, names, values, tensors, looked, pictures }) {
  fill(element, html`<h3>Map ${map} of ${path} <small>strongest in ${looked < pictures ? `${looked} of ${pictures}` : pictures} pictures</small></h3><div class="tops">${names.map((name, k) => html`<figure><div class="pair"><canvas class="px" data-patch="${k}"></canvas><canvas class="px" data-deconvolution="${k}"></canvas></div><figcaption class="cap">${name} <b>${num(values[k])}</b></figcaption></figure>`)}</div><p class="cap">Left what the unit sees, right the deconvolution of its activation. At most one patch of each picture.</p><button class="btn" type="button" data-of="${path}[${map}]" data-k="unit">Explain this map in the picture</button>`);
  for (const k of names.keys()) {
    paintPicture($(`[data-patch="${k}"]`, element), tensors[`patch${k}`]);
    const { data, shape } = tensors[`deconvolution${k}`];
    heat($(`[data-deconvolution="${k}"]`, element), data, shape[1], "div", maxAbs(data) || 1);
  }
}

/** The square that hides what the crosshair points at; its index, or null. */
export function square(root, { hidden, px, picture }) {
  const [row, column] = px;
  const svg = $(".square", root);
  if (!svg || !hidden?.scores.length) return null;
  const [, height, width] = picture.tensors.picture.shape;
  // While squares are being computed, the last one; then the one whose middle is nearest to the crosshair.
  const distance = ([top, left, bottom, right]) => -Math.hypot((top + bottom) / 2 - row, (left + right) / 2 - column);
  const index = hidden.done < hidden.total ? hidden.scores.length - 1 : argmax(hidden.squares.map(distance));
  const [top, left, bottom, right] = hidden.squares[index];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  fill(svg, html`<rect class="hide" x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/>`);
  return index;
}

export const areaNote = "Σ is the sum of a map. Of LRP it should be the score; of integrated gradients and DeepLIFT, what the score gains from an input of zeros, such as a black picture, to this picture. Deletion: pixels are removed, the strongest first. The lower the curve beside the thin line of random orders, the better the map found what mattered.";
