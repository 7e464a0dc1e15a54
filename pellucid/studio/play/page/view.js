// The playground: a small network on points in the plane. The server computes; the page asks for steps, and paints.
import { $, $$, attempts, fill, html, num, say } from "/core/dom.js";
import { inSlices, paintScales } from "/core/paint.js";
import { LostError } from "/core/server.js";
import { Described } from "/draw/model.js";
import { why } from "/draw/why.js";
import { afterClick, changesOf, dataForm, faultOf, fromAddress, hoodForm, MOST_AGAIN, pointsOf, stepsOf, toAddress } from "./form.js";
import { FRAME } from "./frame.js";
import { incoming, layOut, named, paint, valueOf } from "./network.js";
import { boundary, cursorKeys, nearest, paintPlane, pictureMark, placeUnder, pointMarks } from "./plane.js";
import { asking, BREAKS, gapOf, linksOf, lossChart, NO_POINTS, readOf, showNumbers, whose, wronglyRead } from "./remarks.js";
import { surveys } from "./surface.js";

const NEAR = 0.2; // from a point, in units of the plane, a click means that point
const PALER = 1.4; // than the colour of its value, so that points are seen on it
const CHART_EVERY = 250; // milliseconds between two drawings of the curves, or of the derivative, while it learns
/** Steps of a request, and milliseconds before the next. */
const SPEEDS = {
  slow: [() => 1, 300],
  medium: [() => 1, 0],
  fast: [(state) => state.batches, 0],
};

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember }) {
  fill(root, FRAME);
  const S = {
    settings: fromAddress(address), isFile: address.has("file"), points: null, state: null, sizes: [], choices: null, lossName: "", changedAt: 0, replayed: 0 /* steps that the address has, while they are taken again */, hasClasses: true, hasPictures: false, isProbability: true, classes: [], side: 0, extent: 1, train: 0,
    get isEmpty() {
      return this.points?.shape[0] === 0;
    },
    history: [], speed: "medium", click: "ask", running: false, unit: "", isSteady: true, // the settings are those of the first step
    // of Why, as in the view Draw
    subject: null, point: null, run: null, explained: null, checked: null, model: null, factor: 0, trail: [], recorded: true,
  };
  const question = asking($("#play-ask", root));
  let wanted = null, opening = 0 /* the last settings that are not yet answered, and how many are not */, busy = false, charted = 0, isPainting = false, isStale = false, stopPainting = () => {};

  function problem(error) {
    if (error) S.running = false;
    if (error instanceof LostError || !root.isConnected) return nameButtons();
    $("#play-problem").hidden = !error;
    $("#play-problem").textContent = error?.message ?? "";
    if (error) nameButtons();
  }
  const attempt = attempts(problem);

  /** Apply settings; points: those of a person, which make the problem one of own points. */
  const open = attempt(async (changes = {}, fresh = false) => {
    const settings = { ...(wanted ?? S.settings), ...changes }, shown = S.settings;
    const { points, ...fields } = settings;
    const tensors = settings.problem.startsWith("own") && points ? { points } : {};
    if (settings.problem.startsWith("own") && !points) fields.problem = "circles"; // the address has none
    wanted = settings;
    opening += 1;
    const staysEmpty = S.isEmpty && !points && !("problem" in changes); // other settings bring no removed points back
    const answer = await server.ask("play.open", { ...fields, fresh }, tensors).finally(() => {
      opening -= 1;
      if (!opening) wanted = null;
    });
    if (Object.keys(changes).length) question.end("points" in changes && points !== null); // it is not asked of other settings
    else if (fresh) question.again();
    Object.assign(S, {
      settings: { ...settings, problem: fields.problem }, choices: answer.choices, lossName: answer.loss_name, sizes: answer.sizes, hasClasses: answer.has_classes, hasPictures: answer.has_pictures,
      classes: answer.classes, isSteady: answer.step === 0, changedAt: answer.step, side: answer.side, extent: answer.extent, train: answer.train, points: answer.tensors.points,
    });
    $(".play", root).classList.toggle("pictures", S.hasPictures);
    S.isProbability = S.hasClasses && !S.hasPictures && /cross_entropy/.test(S.lossName);
    const hasOtherPoints = !points && ["problem", "noise", "count"].some((key) => S.settings[key] !== shown[key]);
    if (answer.step === 0 || hasOtherPoints) S.history = []; // losses of other points are no measure
    S.point = S.point !== null && S.point < S.points.shape[0] && !fresh && !("problem" in changes) ? S.point : null;
    take(answer);
    if (staysEmpty) empty();
    if (S.subject && valueOf(S, S.subject) === null) Object.assign(S, { subject: null, explained: null, trail: [] });
    if (S.unit && !$(`[data-unit="${S.unit}"]`, root)) S.unit = "";
    draw();
    keep();
    await explain();
    await survey();
    if ($("#play-code", root).open) await code();
  });

  /** Put the settings, and how many steps were taken with them, into the address. */
  function keep() {
    const step = Math.max(S.state.step, S.replayed), isKept = S.isSteady && step > 0 && step <= MOST_AGAIN;
    remember({ ...toAddress(S.settings), steps: isKept ? step : "" });
    $("#play-copied", root).hidden = true; // it speaks of the address before
  }

  /** Take as many steps again as an address has, some at a time; Pause ends it. */
  async function again() {
    let left = S.replayed;
    const some = Math.ceil(left / 40);
    S.running = left > some;
    nameButtons();
    for (; left > some && S.running && root.isConnected; left -= some) await learn(some);
    S.replayed = 0;
    if (left > some || !left) return keep(); // paused, or nothing to take
    S.running = false;
    await learn(left);
  }

  function take(answer) {
    S.state = answer;
    if (S.history.at(-1)?.step === answer.step) S.history.pop(); // with other settings
    S.history.push({ step: answer.step, epoch: answer.epoch + answer.position / answer.batches, ...answer.loss });
  }

  /** Take steps, one request after the other while it runs. */
  const learn = attempt(async (steps) => {
    if (busy) return;
    busy = true;
    try {
      take(await server.ask("play.learn", { steps }));
    } finally {
      busy = false;
    }
    show();
    if (!S.running) {
      keep();
      await Promise.all([explain(), survey()]);
    } else if (S.subject && performance.now() - charted > CHART_EVERY) await explain();
  });

  async function loop() {
    while (S.running && root.isConnected && !root.hidden) {
      const [steps, wait] = SPEEDS[S.speed];
      await learn(steps(S.state));
      await new Promise((resolve) => (wait ? setTimeout(resolve, wait) : requestAnimationFrame(resolve)));
    }
    if (!S.running) return;
    S.running = false; // another view is shown
    nameButtons();
  }

  function toggle() {
    S.running = !S.running;
    question.start();
    nameButtons();
    if (S.running) loop();
    else {
      keep();
      explain();
      survey();
      say(`Paused at epoch ${S.state.epoch}. Loss ${num(S.state.loss.train)}`);
    }
  }

  /** Ask why for the chosen weight. */
  const explain = attempt(async () => {
    if (S.subject && !opening) {
      const what = S.subject, answer = await server.ask("play.explain", { what, point: S.point });
      if (what !== S.subject) return;
      S.model = named(new Described(answer), S);
      S.explained = answer.explained;
      S.checked = { numeric: answer.numeric, eps: answer.eps };
      S.run = { label: answer.label ?? 0, cost: answer.cost, steps: 0, tensors: {} };
      S.point = answer.point;
    }
    showWhy();
  });

  const survey = attempt(surveys($("#play-surface", root), server));

  const code = attempt(async () => {
    $("#play-code pre", root).textContent = (await server.ask("play.code")).text;
  });

  /** Paint in slices, and again if the numbers have changed in the meantime. */
  function show() {
    if (isPainting) isStale = true;
    else {
      isPainting = true;
      stopPainting = inSlices(refresh(), () => {
        isPainting = false;
        if (isStale) requestAnimationFrame(show);
        isStale = false;
      });
    }
  }

  /** Draw all anew. */
  function draw() {
    fill($("#play-data", root), dataForm(S));
    fill($("#play-hood", root), hoodForm(S));
    layOut(S, $("#play-net", root));
    charted = 0;
    stopPainting(); // of other columns
    isPainting = false;
    show();
    showWhy();
  }

  /** Show the present numbers. */
  function* refresh() {
    const { tensors } = S.state;
    showNumbers(root, S.state);
    nameButtons();
    fill($("#play-gap", root), html`${S.isEmpty ? NO_POINTS : gapOf(S)}`);
    if (S.hasPictures) fill($("#play-read", root), html`${readOf(S)}`);
    fill($("#play-wrong", root), html`${S.hasPictures && wronglyRead(S)}`);
    question.answer(S);
    if (S.subject) $("#play-now", root)?.replaceChildren(num(valueOf(S, S.subject), 6));
    yield;
    const paler = S.isProbability || !S.hasClasses ? PALER : 2 * PALER;
    paintPlane($("#play-plane canvas", root), tensors.plane.data, Math.sqrt(tensors.plane.data.length), { scale: S.hasPictures ? 1 : paler });
    const cell = 100 / S.side;
    $("#play-boundary", root).setAttribute("d", S.hasPictures ? "" : boundary(tensors.plane.data, S.side));
    $("#play-boundary", root).setAttribute("transform", `translate(${cell / 2} ${cell / 2}) scale(${cell})`);
    yield;
    yield* paint(S, $("#play-net", root));
    if (performance.now() - charted < CHART_EVERY && S.running) return;
    charted = performance.now();
    if (S.unit) fill($("#play-unit", root), incoming(S));
    yield;
    fill($("#play-chart", root), lossChart(S));
  }

  let marked = null; // the points that are drawn, and which of them is chosen
  function showPoints() {
    if (marked?.points === S.points && marked.point === S.point) return;
    marked = { points: S.points, point: S.point };
    if (S.hasPictures) fill($("#play-marks", root), S.point === null ? html`` : pictureMark(S.points, S.extent, S.point));
    else fill($("#play-marks", root), pointMarks(S.points, { count: S.train, hasClasses: S.hasClasses }, S.extent, S.point));
    const test = S.points.shape[0] - S.train;
    $("#play-rings", root).hidden = test === 0;
    $("#play-plane", root).setAttribute("aria-label", `${S.hasPictures ? "A sheet of pictures" : "The plane"}, ${S.train} ${S.hasPictures ? "pictures" : "points"} to train and ${test} to test. Arrow keys move a cursor, Enter uses it.`);
  }

  function showWhy() {
    if (S.unit) fill($("#play-unit", root), incoming(S));
    else fill($("#play-unit", root), html`${!S.subject && html`<h2>Why</h2>`}<p class="cap">Click a link, or a neuron and one of its weights.</p>`);
    showPoints();
    const place = $("#play-why", root);
    if (!S.subject || !S.explained) fill(place, html``);
    else {
      why(S, place);
      const said = html`. Now <b id="play-now">${num(valueOf(S, S.subject), 6)}</b>. ${whose(S)}`;
      $("#subject", place)?.insertAdjacentHTML("beforeend", said.text);
    }
    fill($("#play-links", root), linksOf(S));
    paintScales(root);
  }

  function nameButtons() {
    const go = $("#play-go", root);
    go.textContent = S.running ? "Pause" : "Start";
    const hasPoints = S.points !== null && !S.isEmpty;
    go.disabled = !hasPoints;
    go.title = S.isEmpty ? NO_POINTS : "";
    for (const one of $$("#play-step, #play-epoch-go", root)) one.disabled = S.running || !hasPoints;
    $("#play-less", root).disabled = !S.settings.hidden.length;
    $("#play-more", root).disabled = S.settings.hidden.length >= (S.choices?.layers ?? 0);
    for (const one of $$("[data-speed]", root)) mark(one, one.dataset.speed === S.speed);
    for (const one of $$("[data-click]", root)) mark(one, one.dataset.click === S.click);
  }
  function mark(button, isChosen) {
    button.setAttribute("aria-checked", isChosen);
    button.tabIndex = isChosen ? 0 : -1;
  }

  /** Use a place of the plane: choose the point there, add one, or take the one there away. */
  function use([x1, x2]) {
    const [index, distance] = nearest(S.points, [x1, x2]);
    if (S.click === "ask" || S.hasPictures) {
      if (distance > NEAR && !S.hasPictures) return;
      S.point = index;
      show();
      return explain();
    }
    const before = wanted?.points ? wanted : S; // with the points of clicks that are not yet answered
    const after = afterClick(before, [x1, x2, S.hasClasses ? Number(S.click) : 2 * Number(S.click) - 1], S.extent);
    return after.train ? open({ ...after, problem: S.hasClasses ? "own" : "own values" }) : removePoints();
  }

  /** Leave the network as it is, without points. */
  function empty() {
    const none = { train: null, test: null };
    Object.assign(S, { points: pointsOf([]), train: 0, point: null, history: [], state: { ...S.state, loss: none, score: none } });
  }

  /** Begin with no points: the next clicks add one's own. */
  function removePoints() {
    empty();
    question.end();
    Object.assign(S, { settings: { ...S.settings, points: null }, subject: null, running: false, click: S.click === "ask" ? "1" : S.click });
    draw();
    say(NO_POINTS);
  }

  const copyLink = attempt(async () => {
    await navigator.clipboard.writeText(location.href);
    $("#play-copied", root).hidden = false;
    say("Copied");
  });

  function ask(what, keepsTrail = false) {
    if (!keepsTrail) S.trail = [];
    S.subject = what;
    S.factor = 0;
    show();
    return explain();
  }

  root.addEventListener("click", (event) => {
    const { target } = event;
    const of = (selector) => target.closest?.(selector)?.dataset;
    const { hidden } = S.settings;
    let found;
    if (!S.state) return;
    if (target.id === "play-go") return toggle();
    if (target.id === "play-step") return learn(1);
    if (target.id === "play-epoch-go") return learn(S.state.batches - S.state.position);
    if (target.id === "play-fresh") return open({}, true);
    if (target.id === "play-less") return open({ hidden: hidden.slice(0, -1) });
    if (target.id === "play-more") return open({ hidden: [...hidden, hidden.at(-1) ?? 4] });
    if (target.id === "play-none") return removePoints();
    if (target.id === "play-link") return copyLink();
    if (target.id === "back") return ask(S.trail.pop(), true);
    if ((found = of("[data-less]"))) return open({ hidden: hidden.map((one, k) => (k === Number(found.less) ? one - 1 : one)) });
    if ((found = of("[data-more]"))) return open({ hidden: hidden.map((one, k) => (k === Number(found.more) ? one + 1 : one)) });
    if ((found = of("[data-speed]"))) return choose({ speed: found.speed });
    if ((found = of("[data-click]"))) return choose({ click: found.click });
    if ((found = of("[data-break]"))) return spoil(BREAKS[Number(found.break)]);
    if ((found = of("[data-factor]"))) {
      S.factor = Number(found.factor);
      return showWhy();
    }
    if ((found = of("#play-why [data-what]"))) {
      S.trail.push(S.subject);
      return ask(found.what, true);
    }
    if ((found = of("[data-what]"))) return ask(found.what);
    if ((found = of("[data-unit]"))) {
      S.unit = S.unit === found.unit ? "" : found.unit;
      showWhy();
      return show();
    }
    if (target.closest?.("#play-plane")) return use(placeUnder(event, $("#play-plane", root), S.extent));
  });

  function choose(values) {
    Object.assign(S, values);
    nameButtons();
  }

  /** Set a situation in which learning fails, and ask what will happen. */
  async function spoil(situation) {
    S.running = false;
    await open({ ...fromAddress(new URLSearchParams()), points: null, ...situation.set }, true);
    question.ask(situation);
  }

  root.addEventListener("pointerover", ({ target }) => {
    const link = target.closest?.(".synapse");
    if (link && S.state) link.dataset.tip = `${link.dataset.what}: ${num(valueOf(S, link.dataset.what))}`;
  });

  root.addEventListener("change", ({ target }) => {
    if (target.dataset.set) {
      return open(changesOf(target, S.hasPictures), target.dataset.set === "init");
    }
    if (target.dataset.input) {
      const names = S.choices.inputs.filter((one) => (one === target.dataset.input ? target.checked : S.settings.inputs.includes(one)));
      if (names.length) return open({ inputs: names });
      target.checked = true; // the last input stays
    }
  });
  $("#play-hood", root).addEventListener("submit", (event) => event.preventDefault());
  $("#play-surface", root).addEventListener("toggle", () => S.state && survey());
  $("#play-code", root).addEventListener("toggle", () => $("#play-code", root).open && S.state && code());

  cursorKeys($("#play-plane", root), S, use);
  nameButtons();
  return {
    render: () => S.state && draw(),
    learn,
    reset: () => open({}, true),
    pause() {
      S.running = false;
      nameButtons();
    },
    /** The connection is there, for the first time or again. */
    async opened(reconnected) {
      const steps = !reconnected ? stepsOf(address) : S.state && S.isSteady ? S.state.step : 0;
      Object.assign(S, { replayed: Math.min(steps, MOST_AGAIN), running: false });
      busy = false;
      await open({}, true);
      if (S.state) await again();
      if (!reconnected && faultOf(address)) problem({ message: faultOf(address) });
      const refusal = $("#play-problem", root).textContent;
      if (!S.state && refusal) { // the address asks for what is refused
        Object.assign(S, { settings: fromAddress(new URLSearchParams()), replayed: 0 });
        await open({}, true);
        problem({ message: `${refusal}. The playground opened with its own settings` });
      }
      if (reconnected) say(`Connected again. The network is at step ${S.state?.step}.`);
    },
  };
}
