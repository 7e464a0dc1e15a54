// The canvas that a digit is drawn on, by mouse, pen, finger or keys; its ink is the alpha channel.
import { colour } from "./paint.js";

const SIDE = 448; // pixels of the canvas
const SENT = 112; // pixels of the side that is sent
const PEN = 36;
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
    this.keys = [SIDE / 2, SIDE / 4];
    canvas.onpointerdown = (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
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

  /** Draw from the last point to another. */
  line(to) {
    Object.assign(this.context, { strokeStyle: colour("ink", 1), lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.context.beginPath();
    this.context.moveTo(...this.last);
    this.context.lineTo(to[0] + 0.1, to[1]);
    this.context.stroke();
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
    this.last = from;
    this.line(this.keys);
    this.last = null;
    this.changed(true);
  }

  clear() {
    this.context.clearRect(0, 0, SIDE, SIDE);
    this.empty = true;
  }

  /** Show a picture: values 0 to 255, `side` in a row. */
  show(values, side) {
    const image = new ImageData(side, side);
    values.forEach((v, k) => (image.data[4 * k + 3] = v));
    const source = new OffscreenCanvas(side, side);
    source.getContext("2d").putImageData(image, 0, 0);
    this.clear();
    this.context.drawImage(source, 0, 0, SIDE, SIDE);
    this.recolour();
    this.empty = false;
  }

  /** Give the ink the colour of the theme. */
  recolour() {
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
