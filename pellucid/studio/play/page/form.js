// The settings of the playground: their defaults, their controls, and how they stand in the address.
import { html } from "/core/dom.js";
import { nearest } from "./plane.js";

export const DEFAULTS = {
  problem: "circles", noise: 0.1, count: 200, seed: 0, inputs: ["x1", "x2"], hidden: [4, 2], activation: "tanh", init: "xavier", loss: null,
  optimizer: "sgd", rate: 0.1, batch: 10, l1: 0, l2: 0, train: 0,
};
/** What differs from DEFAULTS where the problem is images: 64 inputs and 10 classes need more neurons and examples. */
const FOR_PICTURES = { noise: 0, count: 400, hidden: [8], rate: 0.3 };
const defaultsOf = (problem) => (problem === "digits" ? { ...DEFAULTS, ...FOR_PICTURES } : DEFAULTS);
const RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const STRENGTHS = [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const BATCHES = [1, 5, 10, 20, 50, 100];
const COUNTS = [20, 50, 100, 200, 400];
const SEEDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const NOISES = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1];

const DOT = 0.1; // the radius of a point, in units of the plane
export const MOST_AGAIN = 20000; // steps that are taken again where an address is opened
const PLACES = 100; // in which the coordinates of one's own points are rounded, to be the same in the address

/** Points (N, 3), rounded as they stand in the address. */
export const pointsOf = (numbers) => ({ dtype: "float32", shape: [numbers.length / 3, 3], data: Float32Array.from(numbers, (one) => Math.round(one * PLACES) / PLACES) });

/**
 * The settings after a click into the plane with a point (x1, x2, value): without the point for training that lies there,
 * or with this one more, after the others for training and moved into the plane.
 */
export function afterClick({ points, train }, [x1, x2, value], extent) {
  const { data } = points, [index, distance] = nearest(points, [x1, x2]);
  if (index < train && distance <= DOT) return { points: pointsOf([...data.slice(0, 3 * index), ...data.slice(3 * index + 3)]), train: train - 1 };
  const [left, up] = [x1, x2].map((one) => Math.min(extent, Math.max(-extent, one)));
  return { points: pointsOf([...data.slice(0, 3 * train), left, up, value, ...data.slice(3 * train)]), train: train + 1 };
}

/** The points of a text such as "-1.5_1.5_1*0.5_0_0": two coordinates, and a class or a value; null if it is none. */
function pointsIn(text) {
  const rows = text.split("*").map((row) => row.split("_").map(Number));
  return rows.every((row) => row.length === 3 && row.every(Number.isFinite)) ? pointsOf(rows.flat()) : null;
}

function textOf({ data, shape }) {
  const numbers = Array.from(data, (one) => Math.round(one * PLACES) / PLACES);
  return Array.from({ length: shape[0] }, (_, k) => numbers.slice(3 * k, 3 * k + 3).join("_")).join("*");
}

/** How many steps an address has, those that can be taken again. */
export const stepsOf = (address) => Math.min(Math.max(Math.trunc(Number(address.get("steps"))) || 0, 0), MOST_AGAIN);

/** What cannot be read in an address, and what was done instead; "" for nothing. */
export function faultOf(address) {
  if (address.has("points") && !pointsIn(address.get("points"))) return "The points of this address cannot be read. The playground opened with others";
  const steps = stepsOf(address), given = address.get("steps") || "0";
  return steps === Number(given) ? "" : `steps must be a whole number from 0 to ${MOST_AGAIN}, not ${given}. The playground used steps=${steps}`;
}

/** The settings in an address; what is not there, or not read, is the default. */
export function fromAddress(address) {
  /** @type {any} */
  const settings = { ...defaultsOf(address.get("problem")), points: pointsIn(address.get("points") ?? "") };
  for (const [key, value] of Object.entries(settings)) {
    if (key === "points") continue;
    const text = address.get(key);
    if (text === null) continue;
    if (Array.isArray(value)) settings[key] = text.split("~").filter(Boolean).map((one) => (key === "hidden" ? Number(one) : one));
    else settings[key] = typeof value === "number" ? Number(text) : text;
    if ([settings[key]].flat().some((one) => typeof one === "number" && !Number.isFinite(one))) settings[key] = value;
  }
  return settings;
}

/** The settings that differ from the defaults, as the address has them. */
export function toAddress(settings) {
  const text = (value) => (Array.isArray(value) ? value.join("~") || "~" : value);
  const defaults = defaultsOf(settings.problem);
  const given = Object.entries(settings).filter(([key, value]) => key in DEFAULTS && (key === "problem" ? value !== DEFAULTS.problem : text(value) !== text(defaults[key])));
  const points = settings.problem.startsWith("own") && settings.points ? { points: textOf(settings.points) } : {};
  return { ...Object.fromEntries(given.map(([key, value]) => [key, text(value)])), ...points };
}

/** The settings that a control of the forms changes; another problem begins without one's own points. */
export function changesOf({ dataset: { set: key }, value }, hadPictures) {
  if (key !== "problem") return { [key]: ["activation", "loss", "optimizer", "init"].includes(key) ? value : Number(value) };
  const { noise, count, hidden, rate } = defaultsOf(value), ofProblem = (value === "digits" || hadPictures) && { noise, count, hidden, rate };
  return { problem: value, points: null, train: 0, loss: null, ...ofProblem };
}

function choice(key, label, value, values) {
  const all = values.map(String).includes(String(value)) ? values : [...values, value];
  return html`<label class="field">${label}<select data-set="${key}" data-k="set-${key}">${all.map((one) => html`<option value="${one}" ${String(one) === String(value) ? "selected" : ""}>${String(one).replaceAll("_", " ")}</option>`)}</select></label>`;
}

/** The controls of the data. */
export function dataForm(S) {
  const { settings: s, choices } = S, isOwn = s.problem.startsWith("own") || S.isEmpty, things = S.hasPictures ? "Pictures" : "Points";
  const problem = S.isEmpty && !s.problem.startsWith("own") ? "own" : s.problem; // so that another can be chosen, also the one before
  return html`${choice("problem", "Problem", problem, choices.problems.filter((one) => !one.startsWith("own") || one === problem))}
    ${!isOwn && choice("noise", "Noise", s.noise, NOISES)}${!isOwn && choice("count", `${things}, half of them to test`, s.count, COUNTS)}
    ${!S.hasPictures && html`<fieldset class="inputs"><legend class="field">Inputs</legend>${choices.inputs.map((one) => html`<label><input type="checkbox" data-input="${one}" data-k="in-${one}" ${s.inputs.includes(one) ? "checked" : ""}>${one}</label>`)}</fieldset>`}`;
}

/** The controls of the network and of how it learns. */
export function hoodForm(S) {
  const { settings: s, choices } = S;
  return html`${choice("activation", "Activation", s.activation, choices.activations)}${choice("loss", "Loss", S.lossName, choices.losses)}${choice("optimizer", "Optimizer", s.optimizer, choices.optimizers)}${choice("rate", "Rate", s.rate, RATES)}${choice("batch", "Batch", s.batch, BATCHES)}${choice("l2", "L2", s.l2, STRENGTHS)}${choice("l1", "L1", s.l1, STRENGTHS)}${choice("init", "First weights", s.init, choices.inits)}${choice("seed", "Seed of data and weights", s.seed, SEEDS)}`;
}
