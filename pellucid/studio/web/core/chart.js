// Line charts as SVG: data in, markup out.
import { html, num } from "./dom.js";

const WIDTH = 430, LEFT = 46, RIGHT = 78, TOP = 10, BOTTOM = 20;
const MOST = 400; // points of a line
const MOST_DIGITS = 6; // of a label of the y axis

/** At most MOST points of a line, evenly, with the last. */
const thin = (points) => {
  const step = Math.ceil(points.length / MOST);
  return step < 2 ? points : points.filter((_, k) => k % step === 0 || k === points.length - 1);
};

/** Round numbers from low to high, about `most` of them. */
export function ticks(low, high, most = 4) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(+(k * step).toPrecision(10));
  return found;
}

/** Powers of ten from low to high, with 3 between them where they are few, or round numbers. */
function decades(low, high) {
  const found = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++) {
    found.push(10 ** k);
    if (Math.log10(high / low) < 2) found.push(3 * 10 ** k);
  }
  const inside = found.filter((one) => one >= low * 0.999 && one <= high * 1.001);
  if (inside.length < 2) return ticks(low, high, 3).filter((one) => one > 0);
  const every = Math.ceil(inside.length / 5);
  return inside.filter((_, k) => k % every === 0);
}

/** Move labels apart so that none is closer than 13 to its neighbour. */
function apart(labels, low, high) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  sorted.forEach((one, k) => (one.y = Math.max(one.y, k ? sorted[k - 1].y + 13 : low)));
  for (let k = sorted.length - 1; k >= 0; k--) sorted[k].y = Math.min(sorted[k].y, k < sorted.length - 1 ? sorted[k + 1].y - 13 : high);
  return labels;
}

/**
 * A chart. lines: [{name, style, points: [[x, y]]}], where style is a class of the line and of its name at its end and
 * an empty name shows none, and a line of one point is a dot; log: the y axis; cursor: an x; label: the text for those who do not see it.
 */
export function chart({ lines, xmax, log = false, cursor = null, height = 132, label, percent = false }) {
  const shown = lines.map((one) => ({ ...one, points: thin(one.points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0))) })).filter((one) => one.points.length);
  if (!shown.length) return html`<p class="cap">Nothing is measured yet.</p>`;
  const values = shown.flatMap((one) => one.points.map(([, y]) => y));
  const as = log ? Math.log10 : (y) => y;
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) [low, high] = log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  const right = WIDTH - RIGHT, bottom = height - BOTTOM, end = Math.max(xmax, 1);
  const X = (x) => LEFT + (x / end) * (right - LEFT);
  const Y = (y) => bottom - ((as(y) - as(low)) / (as(high) - as(low))) * (bottom - TOP);
  const marked = log ? decades(low, high) : ticks(low, high);
  let digits = 2; // of the labels: as many as make them differ
  while (digits < MOST_DIGITS && new Set(marked.map((y) => num(y, digits))).size < marked.length) digits += 1;
  const name = (y) => (percent ? `${+(100 * y).toPrecision(4)} %` : num(y, digits));
  const at = ([x, y]) => [X(x).toFixed(1), Y(y).toFixed(1)];
  const ends = apart(shown.filter((one) => one.name).map((one) => ({ ...one, x: X(one.points.at(-1)[0]), y: Y(one.points.at(-1)[1]) })), TOP + 4, bottom);
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${label}">
    ${marked.map((y) => html`<line class="grid" x1="${LEFT}" x2="${right}" y1="${Y(y)}" y2="${Y(y)}"/><text class="y" x="${LEFT - 6}" y="${Y(y) + 4}">${name(y)}</text>`)}
    ${ticks(0, end, 4).filter(Number.isInteger).map((x) => html`<text class="x" x="${X(x)}" y="${height - 4}">${x}</text>`)}
    ${cursor !== null && html`<line class="cursor" x1="${X(cursor)}" x2="${X(cursor)}" y1="${TOP - 4}" y2="${bottom}"/>`}
    ${shown.map(({ style, points }) => {
      const [x, y] = at(points[0]);
      return points.length > 1 ? html`<path class="${style}" d="M${points.map((one) => at(one).join(" ")).join("L")}"/>` : html`<circle class="${style}" cx="${x}" cy="${y}" r="3.5"/>`;
    })}
    ${ends.map((one) => html`<text class="${one.style}" x="${Math.min(one.x, right) + 5}" y="${one.y + 4}">${one.name}</text>`)}</svg>`;
}

/** A small line on a log scale without axes, with a dot at the index `at`. */
export function spark(values, at) {
  const points = values.map((y, x) => [x, y]).filter(([, y]) => Number.isFinite(y) && y > 0);
  if (!points.length) return html`<svg class="sparkline" viewBox="0 0 72 20" aria-hidden="true"></svg>`;
  const logs = points.map(([, y]) => Math.log10(y)), low = Math.min(...logs), high = Math.max(...logs, low + 0.3);
  const X = (x) => 3 + (x / Math.max(1, values.length - 1)) * 66, Y = (y) => 17 - ((Math.log10(y) - low) / (high - low)) * 14;
  const spot = values[at] > 0 && html`<circle r="2.5" cx="${X(at)}" cy="${Y(values[at])}"/>`;
  return html`<svg class="sparkline" viewBox="0 0 72 20" aria-hidden="true"><path d="M${thin(points).map(([x, y]) => `${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("L")}"/>${spot}</svg>`;
}
