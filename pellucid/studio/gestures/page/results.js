// What a fitted model answers: bars of the classes, confusion on the held-out frames, remarks and shortcuts.
import { $, $$, fill, html, num, percent } from "/core/dom.js";
import { heat, paintPicture, textOn } from "/core/paint.js";
import { cellImages } from "/train/panels.js";

/** Draw a map (H, W) over a picture: one colour, the more opaque the larger a value, so that equal areas of it are equal sums. */
export function drawMap(canvas, { data, shape: [height, width] }) {
  const largest = Math.max(...data) || 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(canvas, { width, height });
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillRect(0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  for (let k = 0; k < data.length; k++) image.data[4 * k + 3] = 255 * Math.max(0, data[k] / largest);
  context.putImageData(image, 0, 0);
}

/** Show a frame with the map of its evidence, and how much of that lies outside the line; root: of the view. */
export function showWhy(root, frame, { label, edge, area, shortcut, tensors }) {
  const [, height, width] = frame.shape, element = (id) => $(`#teach-${id}`, root);
  element("because").style.setProperty("--ratio", width / height);
  paintPicture(element("frame"), frame);
  drawMap(element("map"), tensors.map);
  drawMap(element("ramp"), { data: Array.from({ length: 56 }, (_, k) => k / 55), shape: [1, 56] });
  element("read").textContent = `This frame: evidence for ${label}`;
  const verdict = edge < 0.5 ? "mostly in the middle; compare the map with the object" : edge > area ? "mostly at the edge, on the background unless the object is there" : "spread over the middle and the edge";
  const sentence = edge === null ? "It has none." : `${percent(edge)} of it lies outside the dashed line, in the outer fifth of each side, which is ${percent(area)} of the frame: ${verdict}.`;
  element("edge").textContent = `${sentence} ${shortcut ? `Beware of the ${shortcut}.` : ""}`;
  element("because").hidden = false;
}

/** The rows of the live bars, before the first answer. */
export const bars = (classes) => html`${classes.map((name, k) => html`<div class="teach-bar" data-bar="${k}"><span>${name}</span><div class="teach-track"><i></i></div><b></b></div>`)}`;

/** Show an answer in the bars; returns its text: a class, or why there is none. */
export function showAnswer(element, { probabilities, label, is_unsure, is_unlike, distance, limit }) {
  for (const row of $$("[data-bar]", element)) {
    const p = probabilities[row.dataset.bar];
    row.querySelector("i").style.width = `${100 * p}%`;
    row.querySelector("b").textContent = percent(p);
  }
  if (is_unlike) return [`unlike anything it was trained on`, `distance ${num(distance)} of at most ${num(limit)}`];
  if (is_unsure) return ["unsure", `the best, ${label}, is below the threshold`];
  return [label, ""];
}

/** The confusion on the held-out frames, with the thresholds. */
export function confusion(element, { classes, counts, accuracy, interval, train, unsure, unlike, answered, seconds }) {
  const total = counts.flat().reduce((sum, n) => sum + n, 0);
  const most = counts.map((row) => Math.max(1, row.reduce((sum, n) => sum + n, 0)));
  fill(element, html`<p><b id="teach-accuracy" data-value="${accuracy}">${percent(accuracy)}</b> of ${total} held-out frames right (95 % interval ${num(100 * interval[0], 2)} to ${percent(interval[1])}); learned from ${train} in ${num(seconds, 2)} s.</p>
    <p class="cap">Rows: the class. Columns: the prediction. Held out is the last fifth of each stretch.</p><div class="scroll" tabindex="0" role="region" aria-label="Confusion"><table class="teach-confusion"><thead><tr><td></td>${classes.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
    <tbody>${counts.map((row, i) => html`<tr><th scope="row">${classes[i]}</th>${row.map((n, j) => html`<td data-share="${n / most[i]}" data-count="${i},${j}">${n ? html`<button type="button" data-cell="${i},${j}" aria-label="${classes[i]} read as ${classes[j]}: ${n}">${n}</button>` : n}</td>`)}</tr>`)}</tbody></table></div><div id="teach-cell" class="teach-frames"><p class="cap">Choose a cell to see its frames.</p></div>
    <p class="cap">${unsure === null ? "It is never unsure." : unsure > 0.9995 ? "It never answers: every frame is “unsure”, since it was wrong too often on these frames." : html`Unsure below ${percent(unsure)}, fitted on these frames: sure of ${answered} of them.`} ${unlike === null && "It cannot say “unlike anything”: that takes 20 held-out frames, so 100 in all."}</p>`);
  for (const cell of $$("[data-share]", element)) {
    heatCell(cell, Number(cell.dataset.share));
  }
}

/** Show the held-out frames of a cell, in the shape that they had before they were made square for the network. */
export function showCell(element, found, classes) {
  cellImages(element, found, classes);
  $$("canvas", element).forEach((canvas, k) => (canvas.style.aspectRatio = found.ratios[k]));
}

/** The sliders of the thresholds that a model has: those that were fitted, and as they were moved. */
export function thresholds(fitted, { unsure, unlike }) {
  const values = [unsure !== null && percent(fitted.unsure), unlike !== null && num(fitted.unlike)].filter(Boolean).join(" and ");
  return html`${unsure !== null && html`<label class="field inline">Unsure below <input type="range" data-threshold="unsure" min="0" max="1" step="any" value="${unsure}" aria-valuetext="${percent(unsure)}"> <output>${percent(unsure)}</output></label>`}
  ${unlike !== null && html`<label class="field inline" data-tip="1 is the distance from the nearest class, in the network's features, that one training frame in a hundred exceeds.">Unlike from a distance of <input type="range" data-threshold="unlike" min="0.1" max="${Math.max(20, 2 * fitted.unlike)}" step="any" value="${unlike}" aria-valuetext="${num(unlike)}"> <output>${num(unlike)}</output></label>`}
  ${values && html`<p class="cap">Save keeps these. <button class="btn quiet small" type="button" data-fitted>As fitted: ${values}</button></p>`}`;
}

/** Give a cell the colour of a share, with readable text. */
function heatCell(cell, share) {
  const canvas = heat(document.createElement("canvas"), [share], 1, "seq", 1);
  const [r, g, b] = canvas.getContext("2d").getImageData(0, 0, 1, 1).data;
  cell.style.background = `rgb(${r} ${g} ${b})`;
  cell.style.color = textOn("seq", share) === "paper" ? "#fff" : "#000";
}

/** Remarks on the frames; each shortcut with a frame and its map. */
export function remarks(element, { remarks: sentences, shortcuts, tensors }) {
  fill(element, html`${shortcuts.map((text, k) => html`<figure class="teach-shortcut"><div class="teach-shot"><canvas data-picture="${k}" role="img" aria-label="A frame"></canvas><canvas class="over" data-map="${k}" role="img" aria-label="Where the evidence lies"></canvas></div><figcaption>${text}</figcaption></figure>`)}
    <ul>${sentences.map((text) => html`<li>${text}</li>`)}</ul>${!sentences.length && !shortcuts.length && html`<p class="cap">Nothing to remark.</p>`}`);
  shortcuts.forEach((_, k) => {
    paintPicture(element.querySelector(`[data-picture="${k}"]`), tensors[`picture${k}`]);
    drawMap(element.querySelector(`[data-map="${k}"]`), tensors[`map${k}`]);
  });
}
