// The view Train: which recipe and which run are chosen, what the server says of the run, and how a person steers it.
import { $, $$, attempts, fill, html, say, showing } from "/core/dom.js";
import { LostError } from "/core/server.js";
import { RecipeForm } from "./form.js";
import * as panels from "./panels.js";
import { CONTROLS, isAlive, showRun, STATUS } from "./steer.js";

const LIVE = 300, CALM = 2000; // milliseconds between two questions while a training runs, and otherwise
const HEAVY = 1500; // milliseconds between two looks at the weights while a training runs

const FRAME = html`<div class="panes train-panes">
  <section class="pane" aria-labelledby="train-recipe-h"><h2 id="train-recipe-h">Recipe</h2>
    <label class="field">Recipe <select id="train-recipe"></select></label><p class="cap" id="train-about"></p>
    <form id="train-form"><div id="train-main"></div><details><summary class="cap">All settings of the recipe</summary><div id="train-rest"></div></details>
    <div class="row"><button class="btn primary" id="train-start">Start</button><button class="btn quiet" type="button" id="train-reset">Reset</button></div></form>
    <h2>Run</h2><label class="field">Run <select id="train-run"></select></label>
    ${CONTROLS}
    <p id="train-verdict" role="status"></p><button class="btn" type="button" id="train-use" hidden>Use these settings</button>
    <p class="notice" id="train-problem" role="alert" hidden></p>
    <details id="train-with"><summary class="cap">Compare with other runs</summary><div id="train-others" role="group" aria-label="Runs to compare with"></div></details></section>
  <section class="pane" aria-labelledby="train-curves-h"><h2 id="train-curves-h">Curves</h2><div id="train-curves"></div><div id="train-compared"></div><h3>Layers <small>log scale</small></h3><div id="train-layers"></div></section>
  <section class="pane" aria-labelledby="train-conf-h"><h2 id="train-conf-h">Confusion</h2><div id="train-conf"><p class="cap">It begins with the first weights that a run keeps.</p></div><div id="train-cell" aria-live="polite"></div></section>
  <section class="pane" aria-labelledby="train-doctor-h"><div class="head"><h2 id="train-doctor-h">Doctor</h2><button class="btn" id="train-examine">Examine</button></div><div id="train-findings"></div></section>
  <section class="pane through" aria-labelledby="train-through-h"><div class="head"><h2 id="train-through-h">Through time</h2><label class="field grow"><span class="sr">Epoch</span><input type="range" id="train-epoch" min="0" max="0" value="0"></label><button class="btn" id="train-newest">Newest</button><p class="read">epoch <b id="train-at">0</b></p></div>
    <div class="times"><div id="train-film"></div><figure id="train-picture" hidden><img alt=""><figcaption class="cap"></figcaption></figure></div></section></div>`;

const number = (text) => (text !== null && text !== "" && Number.isInteger(Number(text)) ? Number(text) : null);

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember: put }) {
  fill(root, FRAME);
  const S = {
    recipes: [], runs: [], recipe: address.get("recipe") ?? "digits", run: address.get("run"), at: number(address.get("at")),
    others: (address.get("with") ?? "").split(",").filter(Boolean), cell: address.get("cell")?.split(",").map(Number) ?? null,
    known: new Map(), // runs by name: {name, rows, layers, status, epochs, live, message, pictures, weights}
    confusion: null, diagnosis: undefined, examined: 0, examining: false, figure: "", stopping: false, told: "", missing: "",
    formRun: null, // the run whose settings the form has, perhaps changed
  };
  let timer = 0, round = 0, examination = 0, asked = 0, listed = 0, shown = { weights: "", picture: "", compared: "" }, looking = false;
  /** @type {Set<string>} */
  const awaited = new Set(); // runs that the doctor was asked about and has not answered for
  const form = new RecipeForm(server, $("#train-about"), $("#train-main"), $("#train-rest"));
  const remember = () => put({ recipe: S.recipe, set: form.recipe ? form.settings().join("\n") : address.get("set"), run: S.run, at: S.at, with: S.others.join(","), cell: S.cell?.join(",") });
  const now = () => S.known.get(S.run);
  const newest = () => now()?.rows.length ?? 0;
  const at = () => Math.min(S.at ?? newest(), newest());
  /** The last of some epochs that is not after the one that is shown. */
  const before = (epochs) => epochs.filter((one) => one <= at()).at(-1) ?? epochs[0];

  const problem = showing(root, "#train-problem");
  const attempt = attempts(problem);
  /** Run an action that nobody asked for: it shows its error, and leaves that of a person's last action. */
  const unasked = (action) => (...given) => action(...given).catch(problem);

  // ---- the recipe
  async function readRecipe(settings = []) {
    $("#train-recipe").value = S.recipe;
    await form.read(S.recipe, settings);
    S.formRun = null;
    remember();
  }

  const begin = attempt(async () => {
    const { run } = await server.ask("train.start", { recipe: S.recipe, settings: form.settings() });
    await readRuns();
    choose(run);
    S.formRun = run;
    say(`${run} is starting`);
  });

  /** Put the recipe and the settings of the chosen run into the form. */
  const useSettings = attempt(async () => {
    await readSettings();
    say(`The form has the settings of ${S.run}`);
    $("#train-recipe").focus();
  });
  async function readSettings() {
    const run = S.run, { recipe, settings } = await server.ask("train.settings", { run });
    S.recipe = recipe;
    await readRecipe(settings);
    S.formRun = run;
  }

  /** Put what a finding of the chosen run changes into the form, beside the settings of that run. */
  const applyFinding = attempt(async (settings) => {
    if (S.formRun !== S.run) await readSettings();
    await form.apply(settings);
    remember();
    form.show(settings);
    say(`The form has the settings of ${S.run} with ${settings.join(", ")}`);
  });

  // ---- the runs
  async function readRuns() {
    const found = await server.ask("train.open");
    Object.assign(S, { recipes: found.recipes, runs: found.runs });
    if (!S.recipes.some((one) => one.name === S.recipe)) S.recipe = S.recipes[0].name;
    S.missing = S.run && !S.runs.includes(S.run) ? `no run ${S.run} in ${found.folder}` : "";
    if (!S.runs.includes(S.run)) S.run = S.runs[0] ?? null;
    S.others = S.others.filter((name) => S.runs.includes(name) && name !== S.run);
    fill($("#train-recipe"), html`${S.recipes.map((one) => html`<option>${one.name}</option>`)}`);
    fill($("#train-run"), html`${S.runs.length ? S.runs.map((name) => html`<option value="${name}">${name}</option>`) : html`<option value="">none yet in ${found.folder}</option>`}`);
    $("#train-recipe").value = S.recipe;
    $("#train-run").value = S.run ?? "";
    listOthers();
  }
  /** List trainings that were started elsewhere, such as on the command line. */
  async function listNewRuns() {
    if (performance.now() - listed < CALM) return;
    listed = performance.now();
    const { runs } = await server.ask("train.open");
    if (runs.some((name) => !S.runs.includes(name))) await readRuns();
  }
  function listOthers() {
    fill($("#train-others"), html`${S.runs.filter((name) => name !== S.run).slice(0, 40).map((name) => html`<label class="field inline check"><input type="checkbox" data-other="${name}" data-k="o${name}"> ${name}</label>`)}`);
    for (const box of $$("[data-other]", root)) box.checked = S.others.includes(box.dataset.other);
    if (S.others.length) $("#train-with").open = true;
  }
  function choose(name) {
    Object.assign(S, { run: name, at: null, others: S.others.filter((one) => one !== name), confusion: null, diagnosis: undefined, examined: 0, examining: false, figure: "", stopping: false, told: "" });
    shown = { weights: "", picture: "", compared: shown.compared };
    $("#train-run").value = name;
    $(".times", root).append($("#train-picture"));
    $("#train-picture").hidden = true;
    for (const id of ["film", "cell", "verdict"]) fill($(`#train-${id}`), html``);
    fill($("#train-conf"), html`<p class="cap">It begins with the first weights that the run keeps.</p>`);
    $("#train-examine").disabled = false;
    problem(null);
    for (const id of ["curves", "compared", "layers"]) fill($(`#train-${id}`), html``);
    listOthers();
    remember();
    render();
    poll();
    examination++;
    if (awaited.has(name)) examine(false); // left before the doctor had answered
  }

  /** Ask for the state of a run, and append its new epochs to what is known. */
  async function readState(name) {
    const had = S.known.get(name), found = await server.ask("train.state", { run: name, since: had?.rows.length ?? 0 });
    const known = had && found.since ? had : { rows: [], layers: [] };
    const one = { ...found, name, rows: [...known.rows, ...found.rows], layers: [...known.layers, ...found.layers] };
    const changed = !had || JSON.stringify([had.status, had.message, had.live, had.weights, had.pictures, had.rows.length]) !== JSON.stringify([one.status, one.message, one.live, one.weights, one.pictures, one.rows.length]);
    S.known.set(name, one);
    return changed;
  }

  /** Ask again and again while the view is seen. */
  async function poll() {
    clearTimeout(timer);
    const mine = ++round;
    if (root.isConnected === false) return;
    let wait = CALM;
    if (!root.hidden && !document.hidden) {
      try {
        await listNewRuns();
        const name = S.run, was = now()?.status;
        let changed = name !== null && (await readState(name));
        for (const other of S.others) if (!S.known.has(other) || isAlive(S.known.get(other))) changed = (await readState(other)) || changed;
        if (mine !== round) return;
        if (!isAlive(now())) S.stopping = false;
        if (changed) render();
        if (now()) tell(was);
        await look();
      } catch (error) {
        problem(error);
      }
      if (mine !== round) return;
      if (isAlive(now())) wait = LIVE;
    }
    timer = setTimeout(poll, wait);
  }

  /** Say what has become of a training, and let the doctor look at one that goes on or has ended in sight. */
  function tell(was) {
    const { status, rows, name } = now();
    if (S.told !== `${name} ${status}`) {
      if (S.told) say(`${name}: ${STATUS[status]}${rows.length ? ` after epoch ${rows.length}` : ""}`);
      S.told = `${name} ${status}`;
      if (!isAlive({ status }) && (isAlive({ status: was }) || rows.length)) examine(false);
    }
    if (["running", "paused"].includes(status) && rows.length && rows.length >= 2 * S.examined) examine(false);
  }

  const steer = attempt(async (action, fields = {}) => {
    const name = S.run;
    if (action === "stop") S.stopping = true;
    if (action === "resume") S.stopping = false;
    render();
    await server.ask("train.control", { run: name, action, ...fields });
    poll();
  });

  // ---- what the weights of the epoch do
  /** Read the pictures, the filters and the confusion matrix of the epoch that is shown, if they are not shown yet. */
  async function look() {
    const one = now();
    if (!one || looking || (one.status === "running" && performance.now() - asked < HEAVY)) return;
    looking = true;
    asked = performance.now();
    try {
      const picture = before(one.pictures), epoch = before(one.weights);
      if (picture !== undefined && shown.picture !== `${one.name} ${picture}`) {
        shown.picture = `${one.name} ${picture}`;
        const { tensors } = await server.ask("train.picture", { run: one.name, epoch: picture });
        const image = $("#train-picture img");
        URL.revokeObjectURL(image.src);
        image.src = URL.createObjectURL(new Blob([tensors.png.data], { type: "image/png" }));
        image.alt = `Held-out examples with what the model makes of them after epoch ${picture}`;
        $("#train-picture figcaption").textContent = `By the task, after epoch ${picture}`;
        $("#train-picture").hidden = false;
      }
      if (epoch === undefined) {
        if (!isAlive(one)) fill($("#train-conf"), html`<p class="cap">This run kept no weights of its epochs. Set train.keep, as trainings that are started here do.</p>`);
      } else if (shown.weights !== `${one.name} ${epoch}`) {
        shown.weights = `${one.name} ${epoch}`;
        let samples = null;
        await attempted("train-film", async () => {
          const found = await server.ask("train.maps", { run: one.name, epoch });
          samples = found.tensors.samples;
          panels.film($("#train-film"), found);
        });
        S.confusion = null;
        await attempted("train-conf", async () => {
          S.confusion = await server.ask("train.confusion", { run: one.name, epoch });
          panels.confusion($("#train-conf"), S.confusion, S.cell);
          await readCell();
        });
        if (samples) panels.sheet($("#train-conf"), samples); // in place of a confusion matrix
        (S.confusion ? $(".times", root) : $("#train-cell")).append($("#train-picture"));
        $("#train-conf-h").textContent = S.confusion ? "Confusion" : "Pictures";
      }
    } finally {
      looking = false;
    }
  }
  /** Fill a pane; what the task does not have is said there. */
  async function attempted(id, action) {
    try {
      await action();
    } catch (error) {
      if (error instanceof LostError) throw error;
      fill($(`#${id}`), html`<p class="cap">${error.message}</p>`);
    }
  }
  async function readCell() {
    if (!S.cell || !S.confusion || Math.max(...S.cell) >= S.confusion.classes.length) return fill($("#train-cell"), html`<p class="cap">Choose a cell to see its pictures.</p>`);
    const { run, epoch, classes } = S.confusion, [t, p] = S.cell;
    panels.cellImages($("#train-cell"), await server.ask("train.cell", { run, epoch, true: t, predicted: p }), classes);
  }

  /** Show what the doctor found last, and wait for what it finds now; again: also if the run has not gone on. */
  const examine = unasked(async (again) => {
    const name = S.run;
    if (S.examining) return;
    const mine = ++examination;
    S.examining = true;
    awaited.add(name);
    $("#train-examine").disabled = true;
    let found, asks = again;
    try {
      do {
        found = await server.ask("train.findings", { run: name, again: asks });
        asks = false;
        if (mine !== examination) return;
        Object.assign(S, { diagnosis: found.diagnosis, examined: Math.max(1, found.epochs), figure: found.figure });
        findings(found.working);
        if (found.working) await new Promise((done) => setTimeout(done, 500));
      } while (found.working && mine === examination);
      if (mine !== examination) return;
      awaited.delete(name);
      say(`The doctor found ${S.diagnosis.findings.length || "nothing wrong"}`);
    } catch (error) {
      if (error instanceof LostError || mine !== examination) throw error;
      awaited.delete(name);
      Object.assign(S, { diagnosis: null, examined: Math.max(1, newest()) });
      const failed = now()?.status === "failed" ? ["The training failed, so there is nothing to examine: ", ". Click “Use these settings”, change what is named here, and start again."] : ["", ""];
      panels.findings($("#train-findings"), { problem: failed.join(error.message) });
    } finally {
      if (mine === examination) {
        S.examining = false;
        $("#train-examine").disabled = false;
      }
    }
  });
  function findings(working) {
    panels.findings($("#train-findings"), { diagnosis: S.diagnosis, epochs: S.examined, working, isTrained: isAlive(now()) });
    fill($("#train-verdict"), html`${S.figure} ${S.diagnosis ? html`<b>Doctor:</b> ${S.diagnosis.summary}` : working && "The doctor is at work…"}`);
  }

  const compare = unasked(async () => {
    const names = [S.run, ...S.others].filter((name) => S.known.get(name)?.rows.length), key = names.join();
    if (names.length < 2) fill($("#train-compared"), html``);
    else if (shown.compared !== key) panels.comparison($("#train-compared"), await server.ask("train.compare", { runs: names }));
    shown.compared = names.length < 2 ? "" : key;
  });

  // ---- what is shown
  function render() {
    const one = now();
    showRun(one, S.stopping);
    $("#train-use").hidden = !one;
    if (!one) return findings(false);
    const runs = [one, ...S.others.map((name) => S.known.get(name)).filter(Boolean)];
    panels.curves($("#train-curves"), runs, at() || null);
    const isLive = S.at === null && isAlive(one);
    panels.layers($("#train-layers"), one.layers, at(), isLive ? one.live?.layers : null);
    const slider = $("#train-epoch");
    slider.max = newest();
    slider.value = at();
    slider.setAttribute("aria-valuetext", `epoch ${at()}`);
    $("#train-at").textContent = at();
    $("#train-newest").disabled = S.at === null;
    if (S.confusion) panels.confusion($("#train-conf"), S.confusion, S.cell);
    if (S.diagnosis === undefined && !S.examining) findings(false);
    compare();
  }
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  root.addEventListener("click", (event) => {
    const action = event.target.closest("[data-action]")?.dataset.action, cell = event.target.closest("[data-cell]")?.dataset.cell;
    if (action) steer(action);
    if (cell) pick(cell.split(",").map(Number));
    if (event.target.id === "train-examine") examine(S.diagnosis !== undefined);
    if (event.target.id === "train-reset") attempt(readRecipe)();
    if (event.target.id === "train-use") useSettings();
    if (event.target.dataset.apply) applyFinding(event.target.dataset.apply.split("\n"));
    if (event.target.id === "train-newest") scrub(null);
  });
  const pick = attempt(async (cell) => {
    S.cell = cell;
    remember();
    panels.confusion($("#train-conf"), S.confusion, cell);
    await readCell();
  });
  function scrub(epoch) {
    S.at = epoch === newest() && isAlive(now()) ? null : epoch;
    asked = 0;
    remember();
    render();
    attempt(look)();
  }
  root.addEventListener("input", (event) => {
    if (event.target.id === "train-epoch") scrub(+event.target.value);
  });
  root.addEventListener("change", (event) => {
    if (event.target.id === "train-recipe") {
      S.recipe = event.target.value;
      attempt(readRecipe)();
    } else if (event.target.closest("#train-form")) {
      if (form.isPart(event.target.name)) attempt(form.choosePart.bind(form))(event.target).then(remember);
      else remember();
    } else if (event.target.id === "train-rate") steer("rate", { rate: Number(event.target.value) });
    else if (event.target.id === "train-run" && event.target.value) choose(event.target.value);
    else if (event.target.dataset.other) {
      const name = event.target.dataset.other;
      S.others = event.target.checked ? [...S.others, name].slice(0, 7) : S.others.filter((one) => one !== name);
      remember();
      attempt(poll)().then(render);
    }
  });
  root.addEventListener("keydown", (event) => {
    const [t, p] = event.target.dataset?.cell?.split(",").map(Number) ?? [], step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const next = step && t !== undefined && $(`.conf [data-cell="${t + step[0]},${p + step[1]}"]`, root);
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  /** The connection is there, for the first time or again. */
  const opened = attempt(async () => {
    looking = false;
    await readRuns();
    try {
      await readRecipe(form.recipe ? form.settings() : (address.get("set") ?? "").split("\n").filter(Boolean));
    } catch (error) {
      if (error instanceof LostError) throw error;
      await readRecipe(); // an address with settings of another version
      problem(error);
    }
    shown = { weights: "", picture: "", compared: "" };
    render();
    await poll();
    if (S.missing) problem(new Error(S.missing));
  });
  return {
    opened,
    render() {
      shown.weights = ""; // the theme may have changed
      render();
      poll();
    },
  };
}
