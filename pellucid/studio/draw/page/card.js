// The card of the unit under the pointer or the focus: its incoming weights as pictures, and its output with its numbers.
import { fill, html, largest, maxAbs, num } from "/core/dom.js";
import { heat, paintScales, scaleBar } from "/core/paint.js";
import { products } from "./unit.js";

const PRODUCTS = 2; // written out
const MAX_PICTURES = 16; // of input channels
const MAX_ANSWERS = 500;
const REST = 60; // milliseconds that the pointer rests on a unit before its card is asked for
const MAX_LINE = 400; // weights of a neuron without feature maps below it, which are a line

/** The incoming weights as pictures: one for each channel of a kernel or of the maps that a dense layer receives. */
function pictures({ layer }, weights) {
  const [channels, , width] = layer.window ? [layer.weight[1], 0, layer.window.kernel[1]] : layer.grid.length === 3 ? layer.grid : [1, 0, weights.length];
  const size = weights.length / channels;
  if (width > MAX_LINE) return [];
  return Array.from({ length: Math.min(channels, MAX_PICTURES) }, (_, k) => ({ values: weights.slice(k * size, (k + 1) * size), width }));
}

/** A number after others of a sum, with its sign between spaces; before, if it is the first. */
const added = (value, first = false) => `${first ? (value < 0 ? "−" : "") : value < 0 ? " − " : " + "}${num(Math.abs(value), 2)}`;
const factor = (value) => (value < 0 ? `(${num(value, 2)})` : num(value, 2));

/** The output as Σ w·x + b with its strongest products, and the activation after it. */
export function formula(S, stage, unit, weights, bias) {
  const known = products(S, stage, unit);
  if (!known) return html``;
  const terms = weights.map((w, k) => w * known.inputs[k]), strongest = largest(terms, PRODUCTS);
  const rest = terms.reduce((sum, v) => sum + v, 0) - strongest.reduce((sum, k) => sum + terms[k], 0), others = terms.filter(Boolean).length - strongest.length;
  const y = S.run.tensors[stage.y]?.data, size = y ? y.length / stage.layer.shape[0] : 1;
  const [row, column] = known.position ?? [0, 0], at = unit * size + row * (stage.layer.shape[2] ?? 1) + column;
  return html`<p class="math">Σ w·x + b = ${strongest.map((k, n) => `${added(weights[k], n === 0)}·${factor(known.inputs[k])}`)}${others > 0 && `${added(rest)} (${others} more)`}${added(bias, !strongest.length)} = <b>${num(known.output)}</b>${known.position && html`, at (${row}, ${column}), where it is largest`}</p>${stage.activation && y && html`<p class="math">${stage.activation.type}(${num(known.output)}) = <b>${num(y[at])}</b></p>`}`;
}

/** Show the card of the unit that the pointer or the focus is on; returns a function that hides it. S.version: of the weights. */
export function cards(root, card, S, ask) {
  let unitShown = "", dismissed = "", version = -1, described = null;
  const answers = new Map(); // by unit, of the present weights

  const hide = () => {
    unitShown = "";
    card.hidden = true;
    described?.removeAttribute("aria-describedby");
  };

  /** The unit of an element, "path:index"; of a strip of cells that at x, or without x the selected one. */
  function unitOf(element, x) {
    const unit = element.closest?.("[data-card]")?.dataset.card;
    const cells = element.closest?.("[data-cells]");
    if (unit || !cells || !S.model?.stage(cells.dataset.cells)) return unit ?? "";
    const box = cells.getBoundingClientRect(), units = Number(cells.dataset.units);
    const row = x === undefined ? Number(cells.ariaValueNow) : Math.min(units - 1, Math.max(0, Math.floor(((x - box.left) / box.width) * units)));
    return `${cells.dataset.cells}:${row}`;
  }

  /** The incoming weights of a unit; null where they are not known, as in a file that has not recorded them. */
  async function weightsOf(unit, path, row) {
    if (version !== S.version || answers.size > MAX_ANSWERS) answers.clear();
    version = S.version;
    if (!answers.has(unit)) {
      try {
        answers.set(unit, await ask("draw.weights", { path, row }));
      } catch {
        return null;
      }
    }
    return answers.get(unit);
  }

  async function show(element, x) {
    const unit = S.run ? unitOf(element, x) : "";
    if (unit === unitShown) return;
    hide();
    if (unit !== dismissed) dismissed = "";
    const [path, index] = unit.split(":"), row = Number(index), stage = unit && S.model.stage(path);
    if (!stage || dismissed) return;
    unitShown = unit;
    await new Promise((resolve) => setTimeout(resolve, REST)); // so that units that the pointer crosses are not asked for
    if (unit !== unitShown) return;
    const answer = await weightsOf(unit, path, row);
    if (unit !== unitShown || !S.run || !element.isConnected) return; // the pointer has left it
    const isMap = stage.layer.shape.length === 3, weights = answer && Array.from(answer.tensors.weight.data);
    const shown = weights ? pictures(stage, weights) : [], most = (weights && maxAbs(weights)) || 1;
    fill(card, html`<p><b>${path} ${isMap ? "map" : "neuron"} ${row}</b></p>${shown.length > 0 && html`<div class="row tight">${shown.map((_, k) => html`<canvas class="px" data-picture="${k}"></canvas>`)}</div><p class="cap">${weights.length} incoming weights${shown.length === MAX_PICTURES && stage.layer.weight[1] !== MAX_PICTURES && `, ${MAX_PICTURES} channels of them as pictures`} ${scaleBar("div", num(-most, 2), num(most, 2))}</p>`}${weights && formula(S, stage, row, weights, answer.bias ?? 0)}`);
    for (const canvas of card.querySelectorAll("[data-picture]")) {
      const { values, width } = shown[Number(canvas.dataset.picture)];
      heat(canvas, values, width, "div", most);
      canvas.classList.toggle("line", canvas.height === 1);
    }
    paintScales(card);
    card.hidden = false;
    const target = element.closest("[data-card], [data-cells]"), box = target.getBoundingClientRect(), middle = x ?? (box.left + box.right) / 2;
    described = target;
    described.setAttribute("aria-describedby", card.id);
    card.style.left = `${Math.max(4, Math.min(middle + 12, innerWidth - card.offsetWidth - 4))}px`;
    card.style.top = `${box.bottom + card.offsetHeight + 8 < innerHeight ? box.bottom + 8 : Math.max(4, box.top - card.offsetHeight - 8)}px`;
  }

  /** Listen to an event of the window until the view is replaced. */
  function whileConnected(type, action) {
    const listener = (event) => (root.isConnected ? action(event) : removeEventListener(type, listener, true));
    addEventListener(type, listener, true);
  }

  root.addEventListener("pointermove", (event) => event.pointerType === "mouse" && show(event.target, event.clientX));
  root.addEventListener("pointerleave", hide);
  root.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && show(event.target));
  root.addEventListener("focusout", hide);
  whileConnected("scroll", hide);
  whileConnected("keydown", (event) => {
    if (event.key !== "Escape") return;
    dismissed = unitShown;
    hide();
  });
  return hide;
}
