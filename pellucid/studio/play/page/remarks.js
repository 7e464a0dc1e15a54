// What the playground says of a training: its numbers, what they mean together, and what came of a situation that fails.
import { chart } from "/core/chart.js";
import { $, html, num, percent } from "/core/dom.js";

export const NO_POINTS = "No points: click into the plane to put some first.";

/**
 * Situations in which learning fails: what is set, the question to answer before it is started, and after how many
 * epochs `after` says what came of it, "" for nothing.
 */
export const BREAKS = [
  {
    name: "No hidden layer", set: { problem: "circles", hidden: [], inputs: ["x1", "x2"] }, epochs: 20,
    ask: "Without a hidden layer the boundary is one straight line, and the inner points lie within the outer ones. How low will the loss go?",
    after: ({ loss }) => `the training loss is ${num(loss.train)}. Always answering 50 % gives 0.693, and no straight line does much better. A hidden layer bends the boundary.`,
  },
  {
    name: "All weights equal", set: { problem: "xor", hidden: [4], init: "zeros", inputs: ["x1", "x2"] }, epochs: 20,
    ask: "All four neurons begin with the same weights. Can they become different?",
    after: ({ loss }) => `the training loss is still ${num(loss.train)}. Neurons with equal weights get equal derivatives, so they stay equal; here all are 0. Random first weights make them differ.`,
  },
  {
    name: "Rate too high", set: { problem: "moons", hidden: [4, 2], rate: 10, optimizer: "sgd", activation: "tanh" }, epochs: 20,
    ask: "Each step is a hundred times as long as usual. Will the loss fall faster?",
    after: ({ loss }, { history }) => `the training loss is ${num(loss.train)}; before the first step it was ${num(history[0].train)}. Each step goes far past the minimum that it aims at. With a rate of 0.1, the loss falls.`,
  },
  {
    name: "Dead ReLU", set: { problem: "circles", hidden: [4], activation: "relu", rate: 3, optimizer: "sgd" }, epochs: 20,
    ask: "A ReLU gives 0, with slope 0, where its sum is below 0. Which neurons will go blank, and can they come back?",
    after: (state, S) => `dead neurons: ${dead(S)} of 4, which are 0 at all points for training. A step that was too long made the sum negative there; with output 0 and slope 0 a neuron gets no derivative, so it stays as it is. A lower rate prevents it.`,
  },
  {
    name: "Overfit", set: { problem: "moons", noise: 1, count: 100, hidden: [8, 8], inputs: ["x1", "x2", "x1²", "x2²", "x1·x2", "sin x1", "sin x2"], optimizer: "adam", rate: 0.03, l2: 0 }, epochs: 100,
    ask: "50 noisy points to learn from, and 154 weights and biases. The loss in training will go to 0. What will the loss of the test points, the rings, do?",
    after: ({ score }) => `${percent(score.train)} of the training points are read rightly, but ${percent(score.test)} of the rings: the boundary bends around single noisy points. Below the loss stands what helps.`,
  },
];

/** How many ReLU of the first hidden layer, whose inputs are x1 and x2, are 0 at all points for training. */
function dead({ points, train, sizes: [inputs, neurons], state: { tensors } }) {
  const weight = tensors["features.dense1.weight"].data, bias = tensors["features.dense1.bias"].data;
  const sum = (neuron, point) => bias[neuron] + weight[neuron * inputs] * points.data[3 * point] + weight[neuron * inputs + 1] * points.data[3 * point + 1];
  const isDead = (neuron) => Array.from({ length: train }, (_, point) => sum(neuron, point)).every((one) => one <= 0);
  return Array.from({ length: neurons }, (_, neuron) => isDead(neuron)).filter(Boolean).length;
}

/** Show how far the training is, in the bar of the page. */
export function showNumbers(root, { epoch, loss, score }) {
  const shown = { epoch: [epoch, String(epoch)], train: [loss.train, measured(loss.train, score.train)], test: [loss.test, measured(loss.test, score.test)] };
  for (const [id, [value, text]] of Object.entries(shown)) {
    const place = $(`#play-${id}`, root);
    place.textContent = text;
    place.dataset.value = value ?? "";
  }
}

/** A loss with the accuracy, of classes. */
function measured(loss, score) {
  if (loss === null) return "none";
  return score === null ? num(loss) : `${num(loss)} (${percent(score)} right)`;
}

const GAP = 0.2, RISE = 1.1; // of the loss for testing: above that for training, and times its least value
const MANY = 400; // points, which are enough for these networks
const LEARNED = 0.9; // accuracy in training from which a network has learned its points
const JUMP = 2; // times its least value, a loss in training has not stayed low
const RECENT = 10; // measurements: a loss that jumps up and down is not judged by the one that happens to be shown

/** What the losses for training and testing say together, with advice; nothing without points for testing. */
export function gapOf({ history, isFile, isSteady, changedAt, hasPictures, settings: { problem, count, l1, l2 }, state: { step, loss: { train, test }, score } }) {
  if (test === null) return "";
  const gap = html`The test loss is ${num(Math.abs(test - train))} ${test < train ? "below" : "above"} the training loss.`;
  if (test === train) return html`The losses in training and testing are equal.`;
  const best = history.reduce((least, one) => (one.test < least.test ? one : least));
  const losses = history.map((one) => one.train);
  const isHigh = (loss, lowest) => loss > lowest + GAP && (loss > JUMP * lowest || loss > RISE * losses[0]);
  const hasJumped = losses.some((loss, k) => k >= losses.length - RECENT && isHigh(loss, Math.min(...losses.slice(0, k + 1))));
  // Other points, or a penalty that was set on the way, raise the loss too: then nothing is said of the rate.
  const isUnstable = isSteady && l1 + l2 === 0 && hasJumped;
  if (isUnstable) return html`${gap} The training loss has risen: the steps are <b>too long</b>. Lower the <b>rate</b>, and reset.`;
  const hasLearned = train < best.train && (score.train === null ? train < test / JUMP : score.train >= LEARNED);
  if (!hasLearned || test - train < GAP || test < RISE * best.test) return html`${gap}${l2 > 0 && ` L2 is ${l2}.`}`;
  const risen = html`${gap} The test loss was ${num(best.test)} and has risen: the network <b>overfits</b>, it learns the noise of its training data.`;
  if (isFile) return html`${risen} The training with L2 stops this.`;
  if (step === changedAt) return html`${risen} Start, to see whether the new settings stop it.`;
  const advice = [];
  if (problem.startsWith("own")) advice.push(html`add points`);
  else if (count < MANY) advice.push(html`set <b>${hasPictures ? "Pictures" : "Points"}</b> to ${MANY}`);
  if (!hasPictures) advice.push(html`set <b>L2</b>, below the network, to ${l2 < 1 ? 1 : 3}`); // of pictures, it does not lower the test loss
  return html`${risen}${advice.length > 0 && html` To stop it, ${advice.map((one, k) => html`${k > 0 && " or "}${one}`)}, and go on.`}`;
}

/** As what the chosen picture is read, with its probability where the network gives one. */
export function readOf({ points, point, train, classes, lossName, state: { tensors } }) {
  if (point === null || point < train) return "Click a picture to see as what it is read.";
  const [read, confidence] = tensors.read.data.slice(2 * (point - train), 2 * (point - train) + 2);
  const probability = lossName === "softmax_cross_entropy" && html`, with probability ${percent(confidence)}`;
  return html`This ${classes[points.data[3 * point + 2]]} is read as <b>${classes[read]}</b>${probability}.`;
}

const MOST_PAIRS = 3; // of classes that are read as others

/** How many pictures for testing are read wrongly, and as what most often. */
export function wronglyRead({ points, train, extent, classes, state: { tensors } }) {
  const test = points.shape[0] - train, counts = new Map();
  let wrong = 0, hidden = 0;
  for (let k = 0; k < test; k++) {
    const [x1, , target] = points.data.slice(3 * (train + k), 3 * (train + k) + 3), read = tensors.read.data[2 * k];
    hidden += Number(Math.abs(x1) > extent); // beside the sheet
    if (read === target) continue;
    wrong += 1;
    const pair = `${classes[target]} as ${classes[read]}`;
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  const often = [...counts].sort(([, a], [, b]) => b - a).slice(0, MOST_PAIRS).map(([pair, times]) => `${pair} (${times})`);
  return html`Of ${test} pictures for testing, ${wrong} are read wrongly${often.length > 0 && `, most often ${often.join(", ")}`}.${hidden > 0 && ` The sheet shows the first ${test - hidden}.`}`;
}

/** Of which point the cost is whose derivative Why shows. */
export function whose({ points, point, train, hasClasses, hasPictures, classes }) {
  const [x1, x2, target] = points.data.slice(3 * point, 3 * point + 3), isTest = point >= train;
  const thing = hasPictures ? "a picture" : `the point (${num(x1, 2)}, ${num(x2, 2)})`;
  return html`The cost is that of ${thing}, which is ${hasClasses ? classes[target] : num(target)}${isTest && ", for testing"}.`;
}

/** Links to the same network in other views. */
export function linksOf({ hasClasses, points, point, subject }) {
  const label = hasClasses && point !== null ? points.data[3 * point + 2] : 1;
  const state = new URLSearchParams({ model: "playground", fixed: "1", label: String(label), ...(subject && { what: subject }) });
  return html`${hasClasses && html`<a class="btn" href="#draw?${state}">Open in Draw</a>`}<a class="btn" href="#inspect?model=playground">Open in Inspect</a>`;
}

/** The curves of the losses. */
export function lossChart({ history, state: { loss } }) {
  const line = (name, style) => ({ name, style, points: history.map((one) => [one.epoch, one[name]]) });
  const label = `Loss of the points for training, ${num(loss.train)}, and for testing, ${num(loss.test)}`;
  return html`<h3>Loss by epoch</h3>${chart({ lines: [line("train", "bold"), line("test", "")], xmax: history.at(-1)?.epoch ?? 0, label })}`;
}

/** The question of a situation in which learning fails, in its place; it stays until the settings are others. */
export function asking(place) {
  let situation = null, isAnswered = false;

  function say(text) {
    place.hidden = !text;
    place.style.visibility = "";
    place.textContent = text;
  }
  function ask(one) {
    situation = one;
    isAnswered = false;
    say(`${one.ask} Guess, and press Start.`);
  }
  /** keepsPlace: what is below does not move, such as the plane under the pointer. */
  function end(keepsPlace = false) {
    situation = null;
    if (keepsPlace) place.style.visibility = "hidden";
    else say("");
  }
  return {
    ask, end,
    /** The same situation begins again. */
    again: () => situation && ask(situation),
    /** The network learns, or pauses. */
    start() {
      if (!situation) end();
      else if (!isAnswered) say(situation.ask);
    },
    /** Say once what came of it; S: the state of the view. */
    answer(S) {
      const { epoch } = S.state;
      if (!situation || isAnswered || epoch < situation.epochs) return;
      isAnswered = true;
      say(`${situation.ask} After ${epoch} epochs, ${situation.after(S.state, S)}`);
    },
  };
}
