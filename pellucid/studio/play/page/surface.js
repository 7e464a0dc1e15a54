// The loss around the present weights, along the two directions in which they have moved most, with their path.
import { $, fill, html, maxAbs, num, percent } from "/core/dom.js";
import { heat, paintScales, scaleBar } from "/core/paint.js";

const FLOOR = 1e-3; // added to losses before their logarithm

export const SURFACE = html`<summary>Loss surface</summary><div class="plane"><canvas role="img" aria-label="The loss around the present weights"></canvas><svg viewBox="-1 -1 2 2" aria-hidden="true"><path/><circle r="0.03"/></svg></div><p class="cap"></p>`;

/** A function that shows the surface in its place, if that is unfolded; one request at a time. */
export function surveys(place, server) {
  let isBusy = false;
  return async () => {
    if (!place.open || isBusy) return;
    isBusy = true;
    try {
      show(place, await server.ask("play.surface"));
    } finally {
      isBusy = false;
    }
  };
}

function show(place, { reach, share, tensors: { losses, path } }) {
  const low = Math.min(...losses.data), most = Math.max(...losses.data);
  const logs = Array.from(losses.data, (one) => Math.log10((one + FLOOR) / (low + FLOOR)));
  heat($("canvas", place), logs, Math.sqrt(losses.data.length), "seq", maxAbs(logs) || 1);
  const ends = Array.from({ length: path.shape[0] }, (_, k) => [path.data[2 * k], path.data[2 * k + 1]].map((one) => (one / reach).toFixed(3)));
  $("path", place).setAttribute("d", `M${ends.join("L")}`);
  fill($(".cap", place), html`The loss of the points for training, by powers of ten ${scaleBar("seq", num(low), num(most))}, along the two directions in which the weights have moved most, up to ±${num(reach, 2)}. The line is their path, the dot where they are.${share !== null && ` These directions hold ${percent(share)} of it.`}`);
  paintScales(place);
}
