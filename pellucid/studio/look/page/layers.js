// What the view Look draws over a picture, by the kind of a layer; and numbers as bars.
import { html, maxAbs, num, percent } from "/core/dom.js";
import { classColour, colour, heat, isDark, paintClasses, paintPicture } from "/core/paint.js";

const SIDE = 640; // pixels of the longer side of the canvas
const MAX_BARS = 100;

const DASHES = [[2, 4], [12, 4], [12, 4, 2, 4], [6, 6]]; // of boxes before the predicted ones, by layer

const surface = () => new OffscreenCanvas(1, 1);

/** The size of the canvas for a picture, and its pixels for one of the picture. */
export function sizeOf({ shape: [, height, width] }) {
  const scale = SIDE / Math.max(height, width);
  return { width: Math.round(width * scale), height: Math.round(height * scale), scale };
}

/** The dashes of a layer of boxes that are no predictions; null for other layers. */
export function dashOf(layers, layer) {
  const index = layers.filter((one) => one.kind === "boxes" && !one.on && !one.mark).indexOf(layer);
  return index < 0 ? null : DASHES[index % DASHES.length];
}

const numbers = (tensor, n, k) => Array.from(tensor.data.slice(n * k, n * k + n));
/** The boxes of a layer: their corners, score and class. */
export function boxesOf({ boxes, scores, labels }) {
  return Array.from({ length: boxes?.shape[0] ?? 0 }, (_, k) => ({ corners: numbers(boxes, 4, k), score: scores ? scores.data[k] : null, label: labels ? labels.data[k] : null }));
}

const DRAW = {
  image: (pen, { tensors }, { width, height }) => pen.drawImage(paintPicture(surface(), tensors.image), 0, 0, width, height),
  map(pen, { tensors: { values } }, { width, height, opacity }) {
    if (!values) return; // it has just been chosen
    pen.globalAlpha = opacity;
    pen.drawImage(heatOf(values, values.data.every((one) => one >= 0)), 0, 0, width, height);
    pen.globalAlpha = 1;
  },
  classes(pen, { tensors: { mask }, without }, { width, height, opacity, hidden }) {
    pen.globalAlpha = opacity;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(paintClasses(surface(), mask, new Set([...hidden, without])), 0, 0, width, height);
    pen.globalAlpha = 1;
  },
  boxes(pen, { name, tensors, on, mark }, { scale, classes, place, dash }) {
    const isMain = on && !mark;
    for (const { corners: [x0, y0, x1, y1], score, label } of boxesOf(tensors)) {
      const isChosen = place && isMain && maxAbs([y0, x0, y1, x1].map((one, k) => one - place[k])) <= 1.5;
      pen.lineWidth = isChosen || mark ? 4 : isMain ? 2 : 1.5;
      const isMissed = mark && score === null; // a label, not a prediction
      pen.setLineDash(dash ?? (isMain ? [] : isMissed ? [9, 5] : [3, 3]));
      if (mark) write(pen, `${name}: ${classes[label] ?? ""}`, x0 * scale, y1 * scale + 18, "white");
      pen.strokeStyle = mark ? colour("div", isMissed ? 1 : -1) : label === null ? "oklch(0.82 0.15 205)" : classColour(label);
      pen.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
      if (isMain) write(pen, `${classes[label] ?? ""} ${score === null ? "" : score.toFixed(2)}`, x0 * scale, y0 * scale, classColour(label ?? 0));
    }
    pen.setLineDash([]);
  },
  points(pen, { tensors: { points }, names }, { scale, place, maps }) {
    const all = Array.from({ length: points.shape[0] }, (_, k) => numbers(points, 3, k)), chosen = place ? nearest(all, place) : -1;
    const shownMaps = [...maps.values()];
    for (const [k, [x, y]] of all.entries()) {
      const isNamed = k === chosen || shownMaps.includes(names[k]);
      pen.fillStyle = "oklch(0.82 0.15 205)";
      pen.beginPath();
      pen.arc(x * scale, y * scale, isNamed ? 7 : 3.5, 0, 2 * Math.PI);
      pen.fill();
      if (isNamed) write(pen, names[k] ?? `${k}`, x * scale + 9, y * scale, "white");
    }
  },
};

/** The index of the point (x, y, ...) that is nearest to the middle of a place. */
function nearest(points, [top, left, bottom, right]) {
  const distances = points.map(([x, y]) => Math.hypot(x - (left + right) / 2, y - (top + bottom) / 2));
  return distances.indexOf(Math.min(...distances));
}

/** The pixel of a picture at a point of a layer, as an area. */
export function pixelOf({ names, tensors: { points } }, name, { shape: [, height, width] }) {
  const [x, y] = numbers(points, 3, names.indexOf(name)).map(Math.floor);
  const top = Math.min(Math.max(y, 0), height - 1), left = Math.min(Math.max(x, 0), width - 1);
  return [top, left, top + 1, left + 1];
}

function write(pen, text, x, y, colour) {
  pen.font = "600 13px system-ui, sans-serif";
  const { width } = pen.measureText(text), top = Math.max(0, y - 18);
  pen.fillStyle = colour;
  pen.fillRect(x, top, width + 8, 18);
  pen.fillStyle = "black";
  pen.fillText(text, x + 4, top + 13);
}

/** A map of values, transparent at 0. */
function heatOf({ data, shape }, isUnsigned) {
  const most = maxAbs(data) || 1, canvas = heat(surface(), data, shape[1], isUnsigned ? "seq" : "div", most);
  const context = canvas.getContext("2d"), image = context.getImageData(0, 0, canvas.width, canvas.height);
  for (let k = 0; k < data.length; k++) image.data[4 * k + 3] = 255 * Math.min(1, (2 * Math.abs(data[k])) / most);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Draw the picture with the layers that are on, and the map of an explanation over them. */
export function draw(canvas, S) {
  const { picture, layers, isOn, why, opacity, place, classes, hidden, hints, maps } = S;
  const size = sizeOf(picture), given = { ...size, opacity, classes, hidden, place, maps };
  Object.assign(canvas, { width: size.width, height: size.height });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = size.scale < 4;
  pen.drawImage(paintPicture(surface(), picture), 0, 0, size.width, size.height);
  const isAbove = (layer) => ["boxes", "points"].includes(layer.kind);
  for (const layer of layers) if (isOn(layer) && !isAbove(layer)) DRAW[layer.kind](pen, layer, given);
  if (why) {
    pen.globalAlpha = opacity;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(heatOf(why.tensors.map, why.is_unsigned), 0, 0, size.width, size.height);
    pen.globalAlpha = 1;
  }
  for (const layer of layers) if (isOn(layer) && isAbove(layer)) DRAW[layer.kind](pen, layer, { ...given, dash: dashOf(layers, layer) });
  if (place && !layers.some((layer) => layer.kind === "points" && isOn(layer))) { // otherwise its point is named
    const [top, left, bottom, right] = place.map((one) => one * size.scale);
    pen.lineWidth = 2;
    pen.strokeStyle = isDark() ? "white" : "black";
    pen.strokeRect(left, top, right - left, bottom - top);
  }
  for (const [x, y, ...colour] of hints) {
    pen.fillStyle = `rgb(${colour.join(" ")})`;
    pen.strokeStyle = "white";
    pen.beginPath();
    pen.arc((x + 0.5) * size.scale, (y + 0.5) * size.scale, 6, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }
}

/** The switch of a layer, with its dashes and what it shows. */
export function layerSwitch(layers, layer, isOn) {
  const { name, about, tensors } = layer, dash = dashOf(layers, layer);
  return html`<label class="check-l"><input type="checkbox" data-layer="${name}" data-k="layer ${name}" ${isOn && html`checked`}> ${dash && html`<svg class="look-dash" viewBox="0 0 36 4" aria-hidden="true"><path d="M0,2H36" stroke-dasharray="${dash.join(" ")}"/></svg>`}<span>${name}${tensors.boxes && ` (${tensors.boxes.shape[0]})`}${about && html`<small class="cap">${about}</small>`}</span></label>`;
}

/** The boxes that can be explained, as buttons. */
export const boxButtons = (boxes, classes, place) => boxes.length > 0 && html`<div class="chips" role="group" aria-label="Boxes">${boxes.map(({ corners, score, label }, k) => html`<button class="chip" type="button" data-box="${k}" data-k="box${k}" aria-pressed="${Boolean(place) && maxAbs(areaOf(corners).map((one, i) => one - place[i])) === 0}"><svg class="look-swatch" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="${classColour(label ?? 0)}"/></svg><b>${k + 1} ${classes[label] ?? ""}</b><small>${score === null ? "" : percent(score)}</small></button>`)}</div>`;

/** A box as top, left, bottom and right in whole pixels. @param {any} corners */
export const areaOf = (corners) => {
  const [x0, y0, x1, y1] = corners;
  const top = Math.max(0, Math.round(y0)), left = Math.max(0, Math.round(x0));
  return [top, left, Math.max(top + 1, Math.round(y1)), Math.max(left + 1, Math.round(x1))];
};

/** Recall to the right and precision upwards: the curve, and the point at the present thresholds. */
export const precisionRecall = (curve, recall, precision) => html`<p class="cap">Precision, upwards, by recall, to the right, both from 0 to 100 %; the dot is at the sliders. A box is right if its IoU with a labelled one of its class is at least 0.5.</p><svg class="look-curve" viewBox="0 0 100 100" role="img" aria-label="Precision ${percent(precision)} at a recall of ${percent(recall)}"><rect class="ground" width="100" height="100"/><polyline points="${curve.map(([x, y]) => `${100 * x},${100 - 100 * y}`).join(" ")}"/><circle cx="${100 * recall}" cy="${100 - 100 * precision}" r="3"/></svg>`;

/** The numbers of a prediction, the largest first; a number of a point, by its name, selects the point. */
export function bars(given, points) {
  const areParts = given.every((one) => one.is_fraction), most = areParts ? 1 : maxAbs(given.map((one) => one.value)) || 1;
  const hasScale = areParts || given.length > 1; // a single quantity has nothing to be compared with
  const order = given.length > MAX_BARS || areParts ? given.toSorted((a, b) => b.value - a.value).slice(0, MAX_BARS) : given;
  return html`${order.map(({ name, value, threshold }) => html`<div class="look-bar ${threshold !== null && value < threshold && "below"}" data-bar="${name}">${points.includes(name) ? html`<button class="btn quiet" type="button" data-point="${name}" data-k="point ${name}">${name}</button>` : html`<span>${name}</span>`}<svg class="look-track" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">${hasScale && html`<rect class="ground" width="100" height="10"/><rect class="value ${value < 0 && "minus"}" width="${(100 * Math.abs(value)) / most}" height="10"/>`}${threshold !== null && html`<path d="M${(100 * threshold) / most},0V10"/>`}</svg><b>${areParts ? percent(value) : num(value, 4)}</b></div>`)}${order.length < given.length && html`<p class="cap">The largest ${order.length} of ${given.length}</p>`}`;
}
