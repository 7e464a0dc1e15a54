// The view Draw: what is chosen, what the server says of it, and what follows when a person draws, clicks or types.
import { $, $$, argmax, attempts, count, fill, html, maxAbs, num, percent, say, showing } from "/core/dom.js";
import { heat, inSlices, paintScales, scaleBar } from "/core/paint.js";
import { LostError, openOrDefault, uploaded } from "/core/server.js";
import { cards, formula } from "./card.js";
import * as columnView from "./columns.js";
import { listen } from "./events.js";
import { Described, element, parse } from "./model.js";
import { Pad, pngOf } from "/core/pad.js";
import { NONSENSE, Samples, kindOf, paintInput } from "./samples.js";
import * as stripView from "./strips.js";
import { chain, highlighted, why } from "./why.js";

const EPS = 1e-4; // of the finite difference
const FEW = 8; // numbers of an input that are written, such as a point of the playground
const SURE = 0.6; // the probability from which an answer is given without a second one
const MAPS_EVERY = 150; // milliseconds between two paintings of all feature maps while a person draws

const FRAME = html`<div class="panes draw-panes">
  <section class="pane ink" aria-labelledby="ink-h"><h2 id="ink-h">Ink</h2>
    <canvas id="pad" width="448" height="448" tabindex="0" role="img" aria-label="Drawing area. Draw with mouse, pen or finger. Keys 0 to 9 show a sample; with Shift, the arrow keys draw."></canvas>
    <div class="row"><p class="near" id="near" aria-hidden="true"></p><label class="field inline">It is <select id="label"></select></label>
      <span class="row tight"><button class="btn" id="eraser" type="button" aria-pressed="false">Eraser</button><button class="btn" id="unstroke" type="button" aria-label="Undo the last stroke" disabled>Undo</button><button class="btn" id="clear" type="button">Clear</button><button class="btn" id="to-explain" type="button">Explain</button></span></div>
    <div class="samples" id="samples" role="group" aria-label="Samples, as the network sees them"></div>
    <div class="nonsense"><h3 id="fool-h">Fool it</h3><div role="group" aria-labelledby="fool-h">${NONSENSE.map((what) => html`<button class="tile" data-nonsense="${what}" data-tip="Nothing that the network knows; click again for other ${what}"><canvas class="px" data-fool="${what}"></canvas><span></span></button>`)}</div></div>
    <div class="pre"><canvas id="seen" class="px" role="img" aria-label="What the network sees"></canvas><canvas id="beside" class="px" role="img" hidden></canvas><p class="cap" id="seen-cap">Draw, or take a sample.</p></div>
    <div id="field"></div></section>
  <section class="pane net" aria-labelledby="net-h"><div class="head"><h2 id="net-h">Network</h2><div class="seg" role="radiogroup" aria-label="Network" id="models"></div><p class="read" id="cost" aria-live="off"></p></div>
    <p class="notice" id="problem" role="alert" hidden></p><div id="stage"><p class="cap">Loading the network…</p></div><div class="stepper" id="stepper"></div></section>
  <aside class="pane why" aria-labelledby="why-h" id="why"></aside></div><div id="card" role="tooltip" hidden></div>`;

/** Start the view in an element; returns what the frame of the page calls. With `fixed` in the state, it shows the picture that the server holds, and nothing can be drawn; with `recorded` too, nothing can be changed. */
export function start(root, server, { state: address, remember: put }) {
  fill(root, FRAME);
  if (address.has("fixed")) {
    for (const one of $$("#pad, #clear, #eraser, #unstroke, #to-explain, .samples, .nonsense", root)) one.hidden = true;
    $("#ink-h").textContent = "Picture";
  }
  $("#label").disabled = address.has("recorded"); // the answers are about one label
  const S = {
    model: null, run: null, label: address.has("label") ? Number(address.get("label")) : null, pass: Number(address.get("pass")) || 0,
    subject: address.get("what"), chosen: address.has("what"), selected: null, factor: 0, trail: [], explained: null, checked: null, stepped: null,
    fixed: address.has("fixed"), recorded: address.has("recorded"), version: 0 /* of the weights: it changes with each step */, hid: 0, out: 0, at: null, channel: 0, weights: {}, rate: 1, scope: "one", sample: address.get("sample") ?? "3.1", wanted: address.get("model"),
  };
  const PARTS = S.fixed ? {} : { whole: false }; // a file has one recorded answer
  /** @type {"" | "fresh" | "live"} Whether to run again, and how. */
  let again = "";
  let busy = false, asking = false /* for a run, so that the server has another one than is shown */, drawn = false /* what to send: true for what is on the pad, or a picture */, sent = null /* the picture that the server has */, began = 0, painted = 0;
  let stopPainting = () => {};
  let original = ""; // the sample on which strokes were drawn
  const pad = new Pad($("#pad"), (ended) => {
    if (S.sample) [original, S.label] = [S.sample, null]; // what it was is not what it becomes
    S.sample = "";
    drawn = true;
    began ||= performance.now();
    run(ended);
  });

  const remember = () => put({ model: S.model?.model, sample: S.sample, what: S.chosen ? S.subject : "", label: S.label, pass: S.pass });

  /** Show an error of the server; a lost connection is shown elsewhere. */
  const problem = showing(root, "#problem");
  const attempt = attempts(problem);

  const open = attempt(async (name) => {
    const [answer, refused] = await openOrDefault(server, "draw.open", name, !S.model);
    const isNew = S.model?.model !== answer.model;
    S.model = new Described(answer);
    S.version += 1;
    Object.assign(S, { explained: null, checked: null, stepped: null, weights: {}, at: null, factor: 0, trail: [], run: null });
    if (isNew && S.model.model !== S.wanted) Object.assign(S, { subject: null, chosen: false });
    if (refused) S.label = null; // it was a class of the other model
    S.wanted = null;
    const known = S.model.columns ? columnView.PASSES.length : stripView.passes(S.model).length;
    if (!S.pass || S.pass > known || isNew) S.pass = S.pass && S.pass <= known && address.has("pass") ? S.pass : S.model.columns ? 4 : S.model.stages.length + 1;
    address.delete("pass");
    fill($("#models"), html`${answer.models.map((one) => html`<button type="button" role="radio" data-model="${one}" data-k="${one}" aria-checked="${one === answer.model}" tabindex="${one === answer.model ? 0 : -1}">${one}</button>`)}`);
    fill($("#label"), html`<option value="">choose</option>${answer.classes.map((one, k) => html`<option value="${k}">${one}</option>`)}`);
    if (S.label !== null && S.label >= answer.classes.length) S.label = null;
    if (S.fixed) return run(true);
    samples.begin();
    drawn = !pad.empty;
    if (S.sample && !samples.offers(S.sample)) Object.assign(S, { sample: `${answer.samples[0]}.0`, label: null });
    if (S.sample) await take(S.sample, S.label);
    else await run(true);
    if (refused) problem({ message: `${refused.message}. ${S.model.model} was opened instead` });
    await samples.load();
    render();
  });

  const samples = new Samples(S, server, (name, picture, label) => {
    pad.show(picture);
    Object.assign(S, { sample: name, label });
    drawn = picture; // the pad would smooth it
    return run(true);
  });
  const take = attempt((name, label) => samples.take(name, label));
  /** Open the same picture in the view Explain. */
  const toExplain = attempt(async () => {
    if (pad.empty || !sent) throw new Error("draw something first");
    const { upload } = await uploaded(await pngOf(sent));
    location.hash = `#explain?${new URLSearchParams({ model: S.model.model, upload })}`;
  });

  /** Run the drawing; `fresh`: also ask for weights and the derivative, otherwise only what changes while drawing. */
  const run = attempt(async (fresh) => {
    if ((pad.empty && !S.fixed) || !S.model) return render();
    if (busy) {
      again = again || fresh ? "fresh" : "live";
      return;
    }
    busy = true;
    try {
      if (drawn) sent = drawn === true ? pad.picture() : drawn;
      const tensors = drawn ? { picture: sent } : {};
      drawn = false;
      asking = true;
      S.run = await server.ask("draw.run", { label: S.label, ...PARTS }, tensors);
      asking = false;
      if (fresh) {
        S.stepped = null;
        await choose();
      }
    } finally {
      asking = false;
      busy = false;
    }
    render(!fresh);
    if (fresh) say($("#near").textContent);
    if (began) {
      const took = performance.now() - began;
      began = 0;
      $("#seen-cap").dataset.latency = took.toFixed(1);
    }
    if (again) {
      const next = again === "fresh";
      again = "";
      await run(next);
    }
  });

  /** Ask for outputs of layers that the answer to `draw.run` left out. */
  async function needValues(names) {
    const { tensors } = S.run, missing = names.filter((name) => name && !tensors[name]);
    if (S.fixed || asking || !missing.length) return;
    Object.assign(tensors, (await server.ask("draw.values", { names: missing })).tensors);
  }

  /** What is read, with the second answer where the first is not sure. */
  function answer(isMain) {
    const p = S.run.probabilities, { read } = S.run, { classes } = S.model;
    const name = isMain ? html`<b id="read">${classes[read]}</b>` : html`<b>${classes[read]}</b>`;
    if (p[read] >= SURE) return html`Reads ${name} at ${percent(p[read])}`;
    const second = argmax(p.map((one, k) => (k === read ? -Infinity : one)));
    return html`Unsure: ${name} or ${classes[second]}, at ${percent(p[read])} and ${percent(p[second])}`;
  }

  /** Choose what is looked at, unless a person has: the strongest weight into the class that is read. */
  async function choose() {
    const { model } = S;
    if (S.chosen) {
      try {
        return await load();
      } catch (error) {
        if (error instanceof LostError) throw error;
        problem(error); // an address of another model
      }
    }
    if (model.columns) {
      const [first, second] = model.weighted;
      S.out = S.run.read;
      const { tensors: { weight } } = await server.ask("draw.weights", { path: second.layer.path, row: S.out });
      const a = S.run.tensors[first.y].data;
      S.hid = argmax(Array.from(weight.data, (w, j) => Math.abs(w * a[j])));
      return look(element(second.layer.path, [S.out, S.hid]));
    }
    const conv = model.weighted.find((one) => one.layer.weight.length === 4);
    if (!conv) return look(element(model.weighted.at(-1).layer.path, [S.run.read, 0]));
    await needValues([conv.y]);
    const [maps, , height, width] = conv.layer.weight, y = S.run.tensors[conv.y];
    if (!y) return look(element(conv.layer.path, [0, 0, height >> 1, width >> 1])); // too large to be sent
    const size = y.data.length / maps;
    const best = argmax(Array.from({ length: maps }, (_, m) => maxAbs(y.data.slice(m * size, (m + 1) * size))));
    return look(element(conv.layer.path, [best, 0, height >> 1, width >> 1]));
  }

  /** Make a number the subject of Why, and select the units it belongs to. */
  function look(name) {
    S.subject = name;
    S.factor = 0;
    return load();
  }

  /** Ask the server for what is shown of the selection. */
  async function load() {
    const { model, subject } = S, { tensor, index } = parse(subject), asked = [];
    const stage = model.stage(tensor.replace(/\.(weight|bias)$/, ""));
    S.selected = stage && tensor.endsWith(".weight") ? { layer: model.weighted.indexOf(stage), row: index[0], col: index[1] } : null;
    if (stage) S.at = { path: stage.layer.path, row: index[0] };
    if (S.selected && index.length === 4) S.channel = index[1];
    const weights = {};
    const need = (key, path, where) => asked.push(server.ask("draw.weights", { path, ...where }).then((found) => (weights[key] = { ...found.tensors, bias: found.bias })));
    if (model.columns) {
      const [first, second] = model.weighted;
      if (S.selected?.layer === 0) S.hid = index[0];
      if (S.selected?.layer === 1) [S.out, S.hid] = index;
      need("hid", first.layer.path, { row: S.hid });
      need("out", second.layer.path, { row: S.out });
      need("col", second.layer.path, { col: S.hid });
    } else if (S.at) need("unit", S.at.path, { row: S.at.row });
    if (stage && !model.columns) asked.push(needValues([stage.layer.x, stage.layer.y, S.run.label !== null && `∂${stage.layer.y}`]));
    let explained = null, checked = null;
    if (S.run.label !== null) {
      asked.push(server.ask("draw.explain", { what: subject }).then((found) => (explained = found)));
      asked.push(server.ask("draw.check", { what: subject, eps: EPS }).then((found) => (checked = found)));
    }
    await Promise.all(asked);
    if (S.subject !== subject) return;
    Object.assign(S, { weights, explained, checked });
    const factors = explained && chain(explained);
    if (factors && S.factor >= factors.length) S.factor = 0;
  }

  const pick = attempt(async (name, keepTrail = false) => {
    if (!keepTrail) S.trail = [];
    S.chosen = true;
    await look(name);
    render();
  });

  /** Choose a neuron or a map: its strongest incoming weight becomes the subject. */
  const pickUnit = attempt(async (path, row) => {
    const stage = S.model.stage(path), { tensors: { weight } } = await server.ask("draw.weights", { path, row });
    await needValues([stage.layer.x]);
    const x = S.run.tensors[stage.layer.x]?.data, shape = weight.shape;
    const strength = shape.length === 1 && x ? Array.from(weight.data, (w, j) => Math.abs(w * x[j])) : Array.from(weight.data, Math.abs);
    let k = argmax(strength);
    const index = [row];
    for (const length of shape.slice(1).toReversed()) {
      index.splice(1, 0, k % length);
      k = Math.floor(k / length);
    }
    index.splice(1, 0, k);
    await pick(element(path, index));
    say(`${path} unit ${row}`);
  });

  const stepOnce = attempt(async () => {
    const what = S.scope === "one" ? { what: S.subject } : {};
    const found = await server.ask("draw.step", { rate: S.rate, ...what }), was = S.explained.value;
    S.version += 1;
    S.run = await server.ask("draw.run", { label: S.run.label, ...PARTS });
    await load();
    S.stepped = { ...found, was, now: S.explained.value };
    render();
    await samples.loadNonsense();
    say(`Cost ${num(found.before)} to ${num(found.after)}`);
  });

  const undo = attempt(async () => {
    await server.ask("draw.undo");
    S.version += 1;
    S.run = await server.ask("draw.run", { label: S.run.label, ...PARTS });
    await load();
    S.stepped = null;
    render();
    await samples.loadNonsense();
    say(`Step undone. Cost ${num(S.run.cost)}`);
  });

  const hideCard = cards(root, $("#card", root), S, (kind, fields) => server.ask(kind, fields));

  function render(live = false) {
    if (!S.model) return;
    if (!live) hideCard();
    if (!live) pad.recolour();
    $("#label").value = S.label ?? "";
    for (const one of $$("[data-take], [data-nonsense]", root)) one.setAttribute("aria-pressed", kindOf(S.sample) === (one.dataset.take ?? one.dataset.nonsense));
    $("#unstroke").disabled = !pad.strokes.length;
    if (!S.run) {
      fill($("#stage"), html`<p class="cap">${count(S.model.parameters)} parameters wait for a drawing.</p>`);
      fill($("#cost"), html``);
      fill($("#near"), html``);
      fill($("#field"), html``);
      fill($("#stepper"), html``);
      why(S, $("#why"));
      return;
    }
    const { run, model } = S, x = run.tensors.x, size = x.shape.slice(1), name = model.classes[run.read], like = S.fixed ? null : samples.pictures.get(name);
    const lastForward = model.columns ? columnView.LAST_FORWARD : model.stages.length;
    if (run.label === null) S.pass = Math.min(S.pass, lastForward); // the passes after it need a cost
    paintInput($("#seen"), x);
    $("#beside").hidden = !like;
    if (like) {
      paintInput($("#beside"), like);
      $("#beside").setAttribute("aria-label", `A sample of ${name}`);
    }
    $("#seen-cap").textContent = S.fixed ? `The input, ${size.join("×")}${x.data.length <= FEW ? `: ${Array.from(x.data, (one) => num(one)).join(", ")}` : ""}.` : `What the network sees, ${size.join("×")}. ${like ? `Beside it a sample of ${name}, as which it is read.` : ""}`;
    fill($("#near"), answer(false));
    fill($("#cost"), html`${answer(true)} ${run.label !== null && html`<span>C</span> <b id="cost-value">${num(run.cost)}</b>`}`);
    if (model.columns) {
      fill($("#stage"), columnView.columns(S, highlighted(S)));
      if (!live) field();
    } else {
      const bars = live && $("#bars", root);
      if (bars) fill(bars, stripView.bars(S));
      if (!bars || performance.now() - painted > MAPS_EVERY) {
        const { markup, paint } = stripView.strips(S, highlighted(S));
        if (!bars) fill($("#stage"), markup);
        stopPainting();
        stopPainting = paint($("#stage"), (names) => needValues(names).catch(problem));
        painted = performance.now();
      }
      fill($("#field"), html``);
    }
    if (!live) {
      stepper();
      why(S, $("#why"));
      remember();
    }
    if (!live || model.columns) paintScales(root);
  }

  /** What the selected hidden neuron looks for: its incoming weights as a picture, and the strongest. */
  function field() {
    const [first] = S.model.weighted, own = S.weights.hid?.weight;
    if (!own) return fill($("#field"), html``);
    const most = maxAbs(own.data), width = first.layer.grid[2];
    fill($("#field"), html`<div class="pre"><canvas class="px" id="looks" data-weights="${first.layer.path}" data-row="${S.hid}" data-from="0" data-width="${width}" role="img" aria-label="Incoming weights of hidden ${S.hid}"></canvas><p class="cap">What hidden ${S.hid} looks for: its ${own.data.length} weights. It answers ${num(S.run.tensors[first.y].data[S.hid])} here.<br>${scaleBar("div", num(-most, 2), num(most, 2))}</p></div>${formula(S, first, S.hid, Array.from(own.data), S.weights.hid.bias ?? 0)}<details><summary class="cap">Its strongest weights here</summary>${stripView.strongest(S, first, S.hid)}</details>`);
    heat($("#looks"), own.data, width, "div", most || 1);
  }

  function stepper() {
    const names = S.model.columns ? columnView.PASSES : stripView.passes(S.model);
    const middle = S.model.columns ? 4 : S.model.stages.length + 1;
    const text = (S.model.columns ? columnView : stripView).explainPass(S);
    fill($("#stepper"), html`<div class="steps" role="radiogroup" aria-label="Forward and backward, step by step">${names.map((name, k) => html`${k === 0 ? html`<i>Forward</i>` : k === middle ? html`<i>Backward</i>` : ""}<button type="button" role="radio" data-pass="${k + 1}" data-k="p${k}" aria-checked="${S.pass === k + 1}" tabindex="${S.pass === k + 1 ? 0 : -1}" ${S.run.label === null && k >= middle - 1 ? "disabled" : ""}>${name}</button>`)}</div><p>${text}</p>`);
  }

  function clear() {
    pad.clear();
    original = "";
    Object.assign(S, { run: null, sample: "", label: null, subject: null, chosen: false, explained: null, checked: null, stepped: null, trail: [] });
    remember();
    render();
  }

  /** Take back the last stroke: what is drawn then has no label, unless it is the sample again. */
  function unstroke() {
    pad.undo();
    if (!pad.strokes.length && original) return take(original);
    if (pad.empty) return clear();
    S.label = null;
    drawn = true;
    return run(true);
  }

  function erase(button) {
    pad.erasing = !pad.erasing;
    button.setAttribute("aria-pressed", pad.erasing);
  }

  listen(root, S, { clear, erase, open, pick, pickUnit, render, run, toExplain, unstroke, sample: (kind) => samples.offers(kind) && take(samples.ofTile(kind)), stepOnce, undo });
  /** The connection is there, for the first time or again. */
  async function opened(reconnected) {
    again = "";
    busy = false;
    await open(S.model?.model ?? S.wanted);
    if (reconnected) say("Connected again. The steps were undone.");
  }
  return { render, opened };
}
