// What is inside of a layer: a contact sheet with a loupe, histograms, and the table of checked gradients.
import { count, html, maxAbs, num } from "/core/dom.js";
import { heat, scaleBar } from "/core/paint.js";

const WIDE = 240, HIGH = 72; // of a histogram

/** The tiles of an answer, in the order that is asked for: {index, data, max, silent}. */
export function tilesOf(sheet, order) {
  const { data, shape } = sheet.tensors.tiles, size = shape[1] * shape[2], silent = new Set(sheet.silent);
  const tiles = Array.from({ length: shape[0] }, (_, index) => {
    const own = data.subarray(index * size, (index + 1) * size);
    return { index, data: own, max: maxAbs(own), silent: silent.has(index) };
  });
  return order === "max" ? tiles.sort((a, b) => b.max - a.max) : tiles;
}

const word = (sheet) => (sheet.show === "maps" ? "Map" : "Filter");

export function contactSheet(sheet, order, selected) {
  const tiles = tilesOf(sheet, order), most = Math.max(...tiles.map((one) => one.max)) || 1, tile = tiles.find((one) => one.index === selected) ?? tiles[0];
  const [, high, wide] = sheet.tensors.tiles.shape, mean = tile.data.reduce((a, b) => a + b, 0) / tile.data.length;
  const dead = sheet.silent, isMap = sheet.show === "maps";
  const named = dead.length > 12 ? `${dead.slice(0, 12).map((k) => `#${k}`).join(", ")} and ${dead.length - 12} more` : dead.map((k) => `#${k}`).join(", ");
  const note = dead.length
    ? `${dead.length} of ${sheet.count} ${isMap ? "are not positive anywhere for this picture" : "have less than a hundredth of the median norm"}: ${named}.`
    : isMap ? "Each is positive somewhere." : "None is close to zero.";
  const label = (one) => `${word(sheet)} ${one.index}${one.silent ? ", without effect" : ""}`;
  return html`<p class="legend">${scaleBar("div", num(-most, 2), num(most, 2))} ${sheet.tensors.tiles.shape[0] < sheet.count && html`<span>The first ${sheet.tensors.tiles.shape[0]} of ${count(sheet.count)}.</span>`}</p>
    <div class="sheet ${wide > 3 * high ? "long" : ""}" role="group" aria-label="${isMap ? "Feature maps" : "Filters"}">${tiles.map((one) => html`<button type="button" class="tile" data-tile="${one.index}" data-k="t${one.index}" aria-pressed="${one === tile}" aria-label="${label(one)}" data-tip="${label(one)}: at most ${num(one.max, 2)}"><canvas class="px" data-values="${one.index}"></canvas></button>`)}</div>
    <div class="loupe"><canvas class="px" data-values="${tile.index}"></canvas><div><h3>${label(tile)}</h3><p>Largest magnitude <b>${num(tile.max)}</b>, mean <b>${num(mean)}</b>, ${high}×${wide}.</p><p class="cap">${note} All tiles share one scale.</p></div></div>`;
}

/** Draw the tiles on the canvases of `contactSheet`. */
export function paintSheet(root, sheet, order) {
  const tiles = new Map(tilesOf(sheet, order).map((one) => [one.index, one])), most = Math.max(...[...tiles.values()].map((one) => one.max)) || 1;
  for (const canvas of root.querySelectorAll("[data-values]")) heat(canvas, tiles.get(Number(canvas.dataset.values)).data, sheet.tensors.tiles.shape[2], "div", most);
}

export function histograms(found) {
  const names = Object.keys(found.ranges);
  if (!names.length) return html`<p class="cap">This layer has no parameters.</p>`;
  return html`<div class="histograms">${names.map((name) => {
    const { low, high, mean, std } = found.ranges[name], counts = [...found.tensors[name].data], most = Math.max(...counts), step = WIDE / counts.length;
    return html`<figure><figcaption><b>${name}</b> <span class="cap">${num(mean, 2)} ± ${num(std, 2)}</span></figcaption><svg viewBox="0 0 ${WIDE} ${HIGH}" role="img" aria-label="Histogram of ${name}, from ${num(low)} to ${num(high)}">${counts.map((n, k) => html`<rect x="${k * step}" y="${HIGH - (HIGH * n) / most}" width="${step - 0.5}" height="${(HIGH * n) / most}"/>`)}${low < 0 && high > 0 && html`<path d="M${(-low / (high - low)) * WIDE},0V${HIGH}"/>`}</svg><div class="ends cap"><span>${num(low, 2)}</span><span>${num(high, 2)}</span></div></figure>`;
  })}</div>`;
}

export function checked(found) {
  const cell = (value) => (value === null || value === undefined ? "none" : num(value, 2));
  const good = found.rows.every((row) => row.ok);
  return html`<p id="inspect-verdict" data-ok="${good}">${good ? "✓ Every gradient is that of automatic differentiation and of central differences." : "✕ A gradient is wrong."} <span class="cap">Errors relative to the largest entry; at most ${num(found.tolerance, 1)} beside automatic differentiation, ${num(found.differences, 1)} beside central differences.${found.corner && ` The input is a corner of the feature maps, ${found.corner}×${found.corner}.`}</span></p>
    <div class="scroll"><table><thead><tr><th scope="col">Gradient</th><th scope="col">Entries</th><th scope="col">Automatic</th><th scope="col">Differences</th><th scope="col">Verdict</th></tr></thead><tbody>${found.rows.map((row) => html`<tr><th scope="row">${row.what}</th><td>${count(row.entries)}</td><td>${cell(row.autograd)}</td><td>${cell(row.differences)} <span class="cap">of ${row.checked}</span></td><td>${row.ok ? "right" : "wrong"}${row.kinks ? ` (${row.kinks} at a kink)` : ""}</td></tr>`)}</tbody></table></div>`;
}
