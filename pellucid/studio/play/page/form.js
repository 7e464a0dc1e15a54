// The settings of the playground: their defaults, their controls, and how they stand in the address.
import { html, num, percent } from "/core/dom.js";

export const DEFAULTS = {
  problem: "circles", noise: 0.1, count: 200, seed: 0, inputs: ["x1", "x2"], hidden: [4, 2], activation: "tanh", init: "xavier", loss: null,
  optimizer: "sgd", rate: 0.1, batch: 10, l1: 0, l2: 0, train: 0,
};
const RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const STRENGTHS = [0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
const BATCHES = [1, 5, 10, 20, 50, 100];
const COUNTS = [20, 50, 100, 200, 400];
const SEEDS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const NOISES = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1];

/** Situations in which learning fails: what is set, and the question to answer before it is started. */
export const BREAKS = [
  { name: "No hidden layer", set: { problem: "circles", hidden: [], inputs: ["x1", "x2"] }, ask: "Without a hidden layer the boundary is one straight line, and the inner points lie within the outer ones. How low will the loss go?" },
  { name: "All weights equal", set: { problem: "xor", hidden: [4], init: "zeros", inputs: ["x1", "x2"] }, ask: "All four neurons begin with the same weights. Can they become different?" },
  { name: "Rate too high", set: { problem: "moons", hidden: [4, 2], rate: 10, optimizer: "sgd", activation: "tanh" }, ask: "Each step is a hundred times as long as usual. Will the loss fall faster?" },
  { name: "Dead ReLU", set: { problem: "circles", hidden: [4], activation: "relu", rate: 3, optimizer: "sgd" }, ask: "A ReLU gives 0, with slope 0, where its sum is below 0. Which neurons will go blank, and can they come back?" },
  { name: "Overfit", set: { problem: "moons", noise: 0.7, count: 50, hidden: [8, 8], optimizer: "adam", rate: 0.03, l2: 0 }, ask: "25 noisy points to learn from, and 114 weights and biases. The loss in training will go to 0. What will the loss of the test points, the rings, do?" },
];

const PLACES = 100; // in which the coordinates of one's own points are rounded, to be the same in the address

/** Points (N, 3), rounded as they stand in the address. */
export const pointsOf = (numbers) => ({ dtype: "float32", shape: [numbers.length / 3, 3], data: Float32Array.from(numbers, (one) => Math.round(one * PLACES) / PLACES) });

/** The points of a text such as "-1.5_1.5_1*0.5_0_0": two coordinates, and a class or a value; null if it is none. */
function pointsIn(text) {
  const rows = text.split("*").map((row) => row.split("_").map(Number));
  return rows.every((row) => row.length === 3 && row.every(Number.isFinite)) ? pointsOf(rows.flat()) : null;
}

function textOf({ data, shape }) {
  const numbers = Array.from(data, (one) => Math.round(one * PLACES) / PLACES);
  return Array.from({ length: shape[0] }, (_, k) => numbers.slice(3 * k, 3 * k + 3).join("_")).join("*");
}

/** A loss with the accuracy, of classes. */
export function measured(loss, score) {
  if (loss === null) return "none";
  return score === null ? num(loss) : `${num(loss)} (${percent(score)})`;
}

const GAP = 0.2, RISE = 1.1; // of the loss for testing: above that for training, and times its least value

/** What the losses for training and testing say together, with the advice against overfitting; nothing without points for testing. */
export function gapOf({ history, isFile, settings: { l2 } }) {
  const { train, test } = history.at(-1), least = Math.min(...history.map((one) => one.test));
  if (test === null) return "";
  const gap = html`The test loss is ${num(Math.abs(test - train))} ${test < train ? "below" : "above"} the training loss.`;
  if (test - train < GAP || test < RISE * least) return html`${gap}${l2 > 0 && ` L2 is ${l2}.`}`;
  const risen = html`${gap} It was ${num(least)} and has risen: the network <b>overfits</b>, it learns the noise of its training data.`;
  if (isFile) return html`${risen} The training with L2 stops this.`;
  return html`${risen} To stop it, set <b>L2</b>, below the network, to ${l2 < 1 ? 1 : 3} and go on. Fewer neurons and more data help too.`;
}

/** The settings in an address; what is not there, or not read, is the default. */
export function fromAddress(address) {
  /** @type {any} */
  const settings = { ...DEFAULTS, points: pointsIn(address.get("points") ?? "") };
  for (const [key, value] of Object.entries(DEFAULTS)) {
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
  const given = Object.entries(settings).filter(([key, value]) => key in DEFAULTS && text(value) !== text(DEFAULTS[key]));
  const points = settings.problem.startsWith("own") && settings.points ? { points: textOf(settings.points) } : {};
  return { ...Object.fromEntries(given.map(([key, value]) => [key, text(value)])), ...points };
}

function choice(key, label, value, values) {
  const all = values.map(String).includes(String(value)) ? values : [...values, value];
  return html`<label class="field">${label}<select data-set="${key}" data-k="set-${key}">${all.map((one) => html`<option value="${one}" ${String(one) === String(value) ? "selected" : ""}>${String(one).replaceAll("_", " ")}</option>`)}</select></label>`;
}

/** The controls of the data. */
export function dataForm(S) {
  const { settings: s, choices } = S, isOwn = s.problem.startsWith("own"), things = S.hasPictures ? "Pictures" : "Points";
  return html`${choice("problem", "Problem", s.problem, choices.problems.filter((one) => !one.startsWith("own") || one === s.problem))}
    ${!isOwn && choice("noise", "Noise", s.noise, NOISES)}${!isOwn && choice("count", `${things}, half of them to test`, s.count, COUNTS)}
    ${!S.hasPictures && html`<fieldset class="inputs"><legend class="field">Inputs</legend>${choices.inputs.map((one) => html`<label><input type="checkbox" data-input="${one}" data-k="in-${one}" ${s.inputs.includes(one) ? "checked" : ""}>${one}</label>`)}</fieldset>`}`;
}

/** The controls of the network and of how it learns. */
export function hoodForm(S) {
  const { settings: s, choices } = S;
  return html`${choice("activation", "Activation", s.activation, choices.activations)}${choice("loss", "Loss", S.lossName, choices.losses)}${choice("optimizer", "Optimizer", s.optimizer, choices.optimizers)}${choice("rate", "Rate", s.rate, RATES)}${choice("batch", "Batch", s.batch, BATCHES)}${choice("l2", "L2", s.l2, STRENGTHS)}${choice("l1", "L1", s.l1, STRENGTHS)}${choice("init", "First weights", s.init, choices.inits)}${choice("seed", "Seed of data and weights", s.seed, SEEDS)}`;
}
