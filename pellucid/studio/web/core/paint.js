// Values as colours: `ink` for pixels, `seq` for activations (0 to 1), `div` for signed values (−1 to 1, 0 is paper).
import { html } from "./dom.js";

const STEPS = 256;
// OKLCH stops [lightness, chroma, hue], of a light and of a dark page; both arms of `div` have the same lightness. The
// ends of the light `div` are NEGATIVE_RGB and POSITIVE_RGB of pellucid/ops/colour.py: a sign has one colour everywhere.
const MAPS = {
  ink: { light: [[0.988, 0.002, 205], [0.25, 0.014, 215]], dark: [[0.205, 0.008, 215], [0.94, 0.006, 205]] },
  seq: { light: [[0.97, 0.006, 140], [0.72, 0.06, 180], [0.38, 0.07, 205]], dark: [[0.235, 0.012, 215], [0.52, 0.07, 190], [0.9, 0.07, 170]] },
  div: {
    light: [[0.485, 0.11, 58], [0.78, 0.06, 62], [0.97, 0.003, 205], [0.78, 0.06, 252], [0.475, 0.13, 252]],
    dark: [[0.78, 0.11, 62], [0.5, 0.07, 60], [0.235, 0.01, 215], [0.5, 0.08, 252], [0.78, 0.1, 252]],
  },
};
let tables = {};

export const isDark = () => {
  const theme = document.documentElement.dataset.theme;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
};
export const forgetColours = () => {
  tables = {};
};

/** The colours of a map, for the page's theme: RGBA in 32 bits, as a canvas stores them. */
function table(map) {
  if (tables[map]) return tables[map];
  const stops = MAPS[map][isDark() ? "dark" : "light"];
  const canvas = new OffscreenCanvas(STEPS, 1);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let k = 0; k < STEPS; k++) {
    const at = (k / (STEPS - 1)) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    const [l, c, h] = stops[low].map((v, i) => v + (at - low) * (stops[low + 1][i] - v));
    const arm = stops[at < 2 ? 1 : 3]; // of `div`: paper has no hue of its own
    context.fillStyle = `oklch(${l} ${c} ${map === "div" ? arm[2] : h})`;
    context.fillRect(k, 0, 1, 1);
  }
  return (tables[map] = new Uint32Array(context.getImageData(0, 0, STEPS, 1).data.buffer));
}

const place = (map, value) => Math.round(Math.min(1, Math.max(0, map === "div" ? (value + 1) / 2 : value)) * (STEPS - 1));

/** The colour of a value, as text. */
export function colour(map, value) {
  const [r, g, b] = new Uint8Array(table(map).slice(place(map, Number.isFinite(value) ? value : 0)).buffer);
  return `rgb(${r} ${g} ${b})`;
}

/** The class of text on the colour of a value: "paper", white, or "on-paper", black, whichever is easier to read. */
export function textOn(map, value) {
  const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = colour(map, value).match(/\d+/g).map((one) => linear(Number(one) / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.179 ? "paper" : "on-paper"; // at 0.179 both have a contrast of 4.58
}

/** Draw values (row by row) on a canvas, divided by `scale`. */
export function heat(canvas, values, width, map, scale) {
  const height = Math.ceil(values.length / width);
  const colours = table(map);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let k = 0; k < values.length; k++) pixels[k] = colours[place(map, scale ? values[k] / scale : 0)];
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Paint a picture (3, H, W) uint8. */
export function paintPicture(canvas, { shape, data }) {
  const [, height, width] = shape;
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height), size = width * height;
  for (let k = 0; k < size; k++) image.data.set([data[k], data[size + k], data[2 * size + k], 255], 4 * k);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export const classColour = (k) => `oklch(0.65 0.14 ${(k * 137.5) % 360})`;

/** Paint the class of each pixel (H, W) uint8, except for those of the classes in `hidden`. */
export function paintClasses(canvas, { shape: [height, width], data }, hidden = new Set()) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  /** @type {[number, number[]][]} */
  const colours = [...new Set(data)].map((k) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = classColour(k);
    if (!hidden.has(k)) context.fillRect(0, 0, 1, 1);
    return [k, [...context.getImageData(0, 0, 1, 1).data]];
  });
  const table = new Map(colours);
  const image = new ImageData(width, height);
  data.forEach((k, at) => image.data.set(table.get(k), 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Draw a picture in colours on a canvas: values (3, H, W) from their smallest to their largest. */
export function paintColours(canvas, values, width) {
  const size = values.length / 3;
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  canvas.width = width;
  canvas.height = size / width;
  const context = canvas.getContext("2d"), image = context.createImageData(width, canvas.height);
  for (let k = 0; k < size; k++) {
    for (let c = 0; c < 3; c++) image.data[4 * k + c] = (255 * (values[c * size + k] - low)) / (high - low || 1);
    image.data[4 * k + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

const BUDGET = 8; // milliseconds of painting in one frame of the screen

/**
 * Do work a few milliseconds in each frame, so that the page answers in between; returns a function that ends it.
 * @type {(work: Generator, done?: () => any) => () => void} work: a generator that pauses after each part.
 */
export function inSlices(work, done = () => {}) {
  let isOver = false;
  function slice() {
    const end = performance.now() + BUDGET;
    while (!isOver && performance.now() < end) {
      if (!work.next().done) continue;
      isOver = true;
      done();
    }
    if (!isOver) requestAnimationFrame(slice);
  }
  slice();
  return () => (isOver = true);
}

/** A small legend of a map with its two ends. */
export const scaleBar = (map, low, high) =>
  html`<span class="scale"><i>${low}</i><canvas class="bar" data-scale="${map}" aria-hidden="true"></canvas><i>${high}</i></span>`;

export function paintScales(root) {
  for (const canvas of root.querySelectorAll("[data-scale]")) {
    const map = canvas.dataset.scale;
    heat(canvas, Array.from({ length: 56 }, (_, k) => (map === "div" ? k / 27.5 - 1 : k / 55)), 56, map, 1);
  }
}
