// Values over the plane as colours, their boundary, and points; the values are rows from the top left, as the server sends them.
import { $, html, num, say } from "/core/dom.js";
import { colour, heat } from "/core/paint.js";

/** Paint values (side x side) of which `middle` is neither sign; of a thumbnail the boundary is painted too. */
export function paintPlane(canvas, values, side, { middle = 0, scale = 1, hasLine = false }) {
  const shifted = middle ? values.map((one) => one - middle) : values;
  heat(canvas, shifted, side, "div", scale);
  if (!hasLine) return;
  const context = canvas.getContext("2d");
  context.fillStyle = colour("ink", 1);
  for (let k = 0; k < shifted.length - side; k++) {
    const isPositive = shifted[k] > 0, isAtEnd = k % side === side - 1;
    if (isPositive !== shifted[k + side] > 0 || (!isAtEnd && isPositive !== shifted[k + 1] > 0)) context.fillRect(k % side, Math.floor(k / side), 1, 1);
  }
}

/** The line on which values (side x side) are 0, as an SVG path in units of the grid: marching squares. */
export function boundary(values, side) {
  const parts = [];
  const between = (a, b) => a / (a - b);
  for (let row = 0; row < side - 1; row++) {
    for (let column = 0; column < side - 1; column++) {
      const k = row * side + column;
      const a = values[k], b = values[k + 1], c = values[k + side + 1], d = values[k + side]; // clockwise from the top left
      const ends = [];
      if (a > 0 !== b > 0) ends.push([column + between(a, b), row]);
      if (b > 0 !== c > 0) ends.push([column + 1, row + between(b, c)]);
      if (d > 0 !== c > 0) ends.push([column + between(d, c), row + 1]);
      if (a > 0 !== d > 0) ends.push([column, row + between(a, d)]);
      for (let n = 0; n + 1 < ends.length; n += 2) parts.push(`M${ends[n].map((one) => one.toFixed(2))}L${ends[n + 1].map((one) => one.toFixed(2))}`);
    }
  }
  return parts.join("");
}

const PICTURE = 10; // of the 100 units of a sheet's side

/** Where a point of the plane lies in a square of size 1, from the top left. */
const placeOf = ([x1, x2], extent) => [(x1 + extent) / (2 * extent), (extent - x2) / (2 * extent)];

/**
 * The place in the plane that a click on its element means.
 * @returns {[number, number]}
 */
export function placeUnder({ clientX, clientY }, plane, extent) {
  const box = plane.getBoundingClientRect();
  return [((clientX - box.left) / box.width) * 2 * extent - extent, extent - ((clientY - box.top) / box.height) * 2 * extent];
}

/** The points as SVG in a square of size 100: those for testing are rings. points: (N, 3) as the server sends them. */
export function pointMarks({ data, shape: [count] }, train, extent, chosen) {
  return html`${Array.from({ length: count }, (_, k) => {
    const [x, y] = placeOf([data[3 * k], data[3 * k + 1]], extent), sign = data[3 * k + 2] > (train.hasClasses ? 0.5 : 0) ? "blue" : "ochre";
    return html`<circle class="${sign} ${k < train.count ? "" : "test"} ${k === chosen ? "chosen" : ""}" cx="${(100 * x).toFixed(2)}" cy="${(100 * y).toFixed(2)}" r="${k === chosen ? 2.2 : 1.3}"/>`;
  })}`;
}

/** A frame around a picture of the sheet, as SVG in a square of size 100. */
export function pictureMark({ data }, extent, chosen) {
  const [x, y] = placeOf([data[3 * chosen], data[3 * chosen + 1]], extent);
  return html`<rect class="chosen" x="${100 * x - PICTURE / 2}" y="${100 * y - PICTURE / 2}" width="${PICTURE}" height="${PICTURE}"/>`;
}

/** The index of the point that is nearest to a place in the plane, and its distance; -1 and Infinity without points. */
export function nearest({ data, shape: [count] }, [x1, x2]) {
  let best = -1, least = Infinity;
  for (let k = 0; k < count; k++) {
    const distance = Math.hypot(data[3 * k] - x1, data[3 * k + 1] - x2);
    if (distance < least) [best, least] = [k, distance];
  }
  return [best, least];
}

const CURSOR_STEP = 0.1;

/** Let arrow keys move a cursor over the plane, and Enter use its place; extent: of the plane, in `S`. */
export function cursorKeys(plane, S, use) {
  let at = [0, 0];
  plane.addEventListener("keydown", (event) => {
    const way = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!way && event.key !== "Enter") return;
    event.preventDefault();
    if (!way) return use(at);
    at = at.map((one, k) => Math.min(S.extent, Math.max(-S.extent, one + way[k] * CURSOR_STEP)));
    const [x, y] = placeOf([at[0], at[1]], S.extent).map((one) => 100 * one), cursor = $("#play-cursor", plane);
    cursor.removeAttribute("hidden");
    cursor.setAttribute("d", `M${x - 3} ${y}h6M${x} ${y - 3}v6`);
    say(`${num(at[0], 2)}, ${num(at[1], 2)}`);
  });
}
