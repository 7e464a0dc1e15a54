// The canvas that a digit is drawn on, by mouse, pen, finger or keys; its ink is the alpha channel.
import { colour } from "./paint.js";

const SIDE = 448; // pixels of the canvas
const SENT = 112; // pixels of the side that is sent
const PEN = 36;
const MAX_STROKES = 20; // that can be undone, of 0.8 MB each
const STEP = 14; // of the pen that the arrow keys move

export class Pad {
  /** canvas: 448 x 448; changed: function of whether the stroke has ended. */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.small = new OffscreenCanvas(SENT, SENT).getContext("2d", { willReadFrequently: true });
    this.empty = true;
    this.last = null;
    this.erasing = false;
    this.isPhoto = false; // what is shown cannot be drawn on
    /** @type {ImageData[]} What was on the pad before each stroke, the oldest first. */
    this.strokes = [];
    this.keys = [SIDE / 2, SIDE / 4];
    canvas.onpointerdown = (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      this.begin();
      this.last = this.at(event);
      this.line(this.last);
    };
    canvas.onpointermove = (event) => {
      if (!this.last) return;
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.line(this.at(one));
    };
    canvas.onpointerup = canvas.onpointercancel = () => {
      if (!this.last) return;
      this.last = null;
      this.changed(true);
    };
    canvas.onkeydown = (event) => this.key(event);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  /** Begin a stroke, which can be undone. */
  begin() {
    if (this.isPhoto) this.clear();
    this.strokes.push(this.context.getImageData(0, 0, SIDE, SIDE));
    if (this.strokes.length > MAX_STROKES) this.strokes.shift();
  }

  /** Return to what was there before the last stroke. */
  undo() {
    const before = this.strokes.pop();
    this.context.putImageData(before, 0, 0);
    this.recolour();
    this.empty = !before.data.some((value, k) => k % 4 === 3 && value);
  }

  /** Draw, or erase, from the last point to another. */
  line(to) {
    this.context.globalCompositeOperation = this.erasing ? "destination-out" : "source-over";
    Object.assign(this.context, { strokeStyle: colour("ink", 1), lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.context.beginPath();
    this.context.moveTo(...this.last);
    this.context.lineTo(to[0] + 0.1, to[1]);
    this.context.stroke();
    this.context.globalCompositeOperation = "source-over";
    this.last = to;
    this.empty = false;
    this.changed(false);
  }

  /** Arrows move the pen; with Shift they draw. */
  key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way) return;
    event.preventDefault();
    const from = this.keys;
    this.keys = from.map((v, k) => Math.min(SIDE - PEN, Math.max(PEN, v + STEP * way[k])));
    if (!event.shiftKey) return;
    this.begin();
    this.last = from;
    this.line(this.keys);
    this.last = null;
    this.changed(true);
  }

  clear() {
    this.context.clearRect(0, 0, SIDE, SIDE);
    this.empty = true;
    this.isPhoto = false;
    this.strokes = [];
  }

  /** Show a picture of values 0 to 255: ink (H, W), or a photograph (3, H, W). */
  show({ data, shape }) {
    const [height, width] = shape.slice(-2), size = height * width;
    const image = new ImageData(width, height);
    this.clear();
    this.isPhoto = shape.length === 3;
    for (let k = 0; k < size; k++) {
      if (this.isPhoto) image.data.set([data[k], data[size + k], data[2 * size + k], 255], 4 * k);
      else image.data[4 * k + 3] = data[k];
    }
    const source = new OffscreenCanvas(width, height);
    source.getContext("2d").putImageData(image, 0, 0);
    const scale = SIDE / Math.max(width, height);
    this.context.drawImage(source, (SIDE - width * scale) / 2, (SIDE - height * scale) / 2, width * scale, height * scale);
    this.recolour();
    this.empty = false;
  }

  /** Give the ink the colour of the theme. */
  recolour() {
    if (this.isPhoto) return;
    this.context.globalCompositeOperation = "source-in";
    this.context.fillStyle = colour("ink", 1);
    this.context.fillRect(0, 0, SIDE, SIDE);
    this.context.globalCompositeOperation = "source-over";
  }

  /** The drawing as a tensor for the server. */
  picture() {
    this.small.clearRect(0, 0, SENT, SENT);
    this.small.drawImage(this.canvas, 0, 0, SENT, SENT);
    const rgba = this.small.getImageData(0, 0, SENT, SENT).data;
    const data = new Uint8Array(SENT * SENT);
    for (let k = 0; k < data.length; k++) data[k] = rgba[4 * k + 3];
    return { dtype: "uint8", shape: [SENT, SENT], data };
  }
}

/** A picture of values 0 to 255, ink (H, W) or a photograph (3, H, W), as a PNG file with the same values. */
export function pngOf({ data, shape }) {
  const [height, width] = shape.slice(-2), size = height * width, isPhoto = shape.length === 3;
  const canvas = new OffscreenCanvas(width, height), image = new ImageData(width, height);
  for (let k = 0; k < size; k++) image.data.set([data[k], data[isPhoto ? size + k : k], data[isPhoto ? 2 * size + k : k], 255], 4 * k);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
