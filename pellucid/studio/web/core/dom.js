// Elements, text that is escaped, and numbers as a person reads them.
import { LostError } from "./server.js";

/** @type {(selector: string, root?: ParentNode) => any} The first element below `root`. */
export const $ = (selector, root = document) => root.querySelector(selector);
/** @type {(selector: string, root?: ParentNode) => any[]} */
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
export const isNarrow = () => innerWidth < 720;

class Markup {
  constructor(text) {
    this.text = text;
  }
}

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function asText(value) {
  if (value instanceof Markup) return value.text;
  if (Array.isArray(value)) return value.map(asText).join("");
  return value === null || value === undefined || value === false ? "" : String(value).replace(/[&<>"']/g, (c) => ESCAPES[c]);
}

/** What is filled into a template; false is nothing, but in an attribute it is "false", as ARIA has it. */
const filled = (value, before) => (value === false && before.endsWith('="') ? "false" : asText(value));

/** A template of markup: what is filled in is escaped, unless it is markup itself. */
export const html = (parts, ...values) => new Markup(parts.reduce((text, part, k) => text + filled(values[k - 1], parts[k - 1]) + part));

/** Replace what an element contains; the focus stays on the element with the same data-k. */
export function fill(element, markup) {
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  const had = element.contains(focused) ? focused.dataset.k : "";
  element.innerHTML = markup.text;
  if (had) $(`[data-k="${CSS.escape(had)}"]`, element)?.focus({ preventScroll: true });
}

const SAID = 5000; // milliseconds after which what was said to screen readers is no longer found in the page
let silence = 0;
/** Say a text to screen readers. */
export function say(text) {
  clearTimeout(silence);
  $("#live").textContent = text;
  silence = setTimeout(() => ($("#live").textContent = ""), SAID);
}

/** Show the text of what is pointed at, touched or focused; it repeats what is also elsewhere for screen readers. */
export function showTips() {
  const tip = $("#tip");
  /** @param {any} event */
  const show = ({ target }) => {
    const one = target.closest?.("[data-tip]");
    tip.hidden = !one;
    if (!one) return;
    tip.textContent = one.dataset.tip;
    const box = one.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${box.top > tip.offsetHeight + 6 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
  };
  addEventListener("pointerover", show);
  addEventListener("focusin", show);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
  });
}

const PATIENCE = 250; // milliseconds after which an action shows that it works
/** @type {any} The control that was used last: what it does shows there that it works, or that the connection is lost. */
let used = null;
for (const type of ["pointerdown", "keydown", "change"]) addEventListener(type, ({ target }) => (used = target), true);

/** Say at the control that was used that its action was not done. */
function showLost(control) {
  const note = $("#lost");
  if (!note || !control?.getBoundingClientRect) return;
  const box = control.getBoundingClientRect();
  note.hidden = false;
  note.style.left = `${Math.max(4, Math.min(box.left, innerWidth - note.offsetWidth - 4))}px`;
  note.style.top = `${Math.max(4, Math.min(box.bottom + 6, innerHeight - note.offsetHeight - 4))}px`;
}

/**
 * How a view shows the error of an action, null for none: in the field of the selector, and to screen readers. A lost
 * connection is shown at what was clicked, and a view that another has replaced shows nothing.
 */
export const showing = (root, selector) => (error) => {
  if (error instanceof LostError || !root.isConnected) return;
  const field = $(selector, root);
  field.hidden = !error;
  field.textContent = error?.message ?? "";
  if (error) say(error.message);
};

/** How a view runs its actions: `problem` shows the error of an action that fails, and is cleared before each. */
export const attempts = (problem) => (action) => async (...given) => {
  const control = used?.closest?.("button, select, input, canvas, a") ?? null;
  const slow = setTimeout(() => control?.setAttribute("aria-busy", "true"), PATIENCE);
  try {
    problem(null);
    return await action(...given);
  } catch (error) {
    if (error instanceof LostError) showLost(control);
    problem(error);
  } finally {
    clearTimeout(slow);
    control?.removeAttribute("aria-busy");
  }
};

const minus = (text) => text.replace("-", "−");

/** A number with `digits` significant digits: 0.0123, 1.2e−7. */
export function num(x, digits = 3) {
  if (x === null || x === undefined || !Number.isFinite(x)) return "not a number";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size < 1e-4 || size >= 1e6) return minus(x.toExponential(digits - 1)).replace("e-", "e−").replace("e+", "e");
  return minus(String(+x.toPrecision(digits)));
}
/** A number with exactly `digits` significant digits. */
export const exact = (x, digits) => minus(x.toPrecision(digits));
export const signed = (x, digits = 3) => (x > 0 ? `+${num(x, digits)}` : num(x, digits));
/** A signed number with three decimals, for columns of numbers. */
export const fixed = (x) => (Math.abs(x) < 0.0005 ? "0.000" : `${x > 0 ? "+" : ""}${minus(x.toFixed(3))}`);
export const percent = (p) => `${(100 * p).toFixed(p > 0.9995 || p < 0.0005 ? 0 : 1)} %`;
export const count = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
export const tone = (x) => (x > 0 ? "pos" : x < 0 ? "neg" : "");

/** The first characters of a text that is longer than `most`. */
export const short = (text, most) => ([...text].length > most ? `${[...text].slice(0, most - 1).join("")}…` : text);

export const maxAbs = (values) => values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
export const argmax = (values) => values.reduce((best, x, k) => (x > values[best] ? k : best), 0);
/** The indices of the `n` largest absolute values, largest first, without zeros. */
export const largest = (values, n) =>
  [...values.keys()].filter((k) => values[k] !== 0).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, n);
