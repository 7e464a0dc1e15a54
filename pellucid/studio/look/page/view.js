// The view Look: a model from the list, a picture or a film, layers over it, controls, and why.
import { $, attempts, fill, html, num, percent, say, showing } from "/core/dom.js";
import { classColour } from "/core/paint.js";
import { LostError, openOrDefault, uploadedModel } from "/core/server.js";
import { droppedFiles, grab, isPlaying, play, stop } from "/core/source.js";
import { filesTaker, isModel, uploadedPicture } from "./files.js";
import * as layers from "./layers.js";
import { Picker } from "./picker.js";

const FRAME_SIDES = [480, 480]; // pixels of a frame
const REST = 200; // milliseconds for which a slider rests before pictures are compared
const SLOW = 250; // milliseconds after which it is said that something is worked on
const MAX_MISTAKES = 24; // pictures with a button
const MAX_CHOICES = 12; // buttons; all choices are in the list

const FRAME = html`<div class="panes look-panes">
  <section class="pane" aria-labelledby="look-models-h"><div class="head"><h2 id="look-models-h">Models</h2><p class="read" id="look-count"></p></div>
    <label class="field">Search by name, task, class, kind<input type="search" id="look-search" autocomplete="off"></label><p class="cap" id="look-searched" role="status"></p>
    <div id="look-cards" role="group" aria-label="Models"></div>
    <label class="btn file">Open a file…<input type="file" id="look-model-file" accept=".safetensors,.onnx,.pt2" aria-label="Open a model's file"></label></section>
  <section class="pane" aria-labelledby="look-h"><div class="head"><h2 id="look-h">Look</h2><p class="read" id="look-rate"></p></div>
    <div class="row"><label class="field inline">Picture <select id="look-sample"></select></label><label class="btn file">Choose…<input type="file" id="look-file" accept="image/png,image/jpeg,image/webp,video/*" aria-label="Choose a picture or a video"></label><button class="btn" id="look-camera" type="button">Start the camera</button></div>
    <p class="cap">Or drop or paste a picture, a video or a model's file anywhere.</p>
    <p class="notice" id="look-problem" role="alert" hidden></p>
    <video id="look-video" class="sr" muted playsinline aria-hidden="true" tabindex="-1"></video>
    <canvas id="look-canvas" width="640" height="480" tabindex="0" role="img" aria-label="The picture with its layers. Click a box or a pixel to explain it."></canvas>
    <p class="look-answer" id="look-line" aria-live="polite"></p><div id="look-boxes"></div></section>
  <section class="pane" aria-label="Layers, controls and reasons"><h3>Layers</h3><div class="row" id="look-layers"></div><div class="row" id="look-classes"></div>
    <label class="field">Opacity<input type="range" id="look-opacity" min="0" max="1" step="0.05" value="0.6"></label>
    <div id="look-controls"></div><p class="cap" id="look-time"></p><div id="look-hints" hidden><div class="row"><label class="field inline">Colour <input type="color" id="look-colour" value="#c03020"></label><label class="check-l"><input type="checkbox" id="look-hinting" checked> A click gives this colour</label><button class="btn quiet" id="look-unhint" type="button">Remove hints</button></div></div>
    <div id="look-bars"></div>
    <h3>Labelled pictures</h3><div class="row"><label class="field inline">Data <select id="look-data"></select></label><button class="btn" id="look-judge" type="button">Compare</button></div><p id="look-judged" role="status"></p><div id="look-curve"></div><div id="look-mistakes"></div>
    <h3>Why</h3><div class="row"><label class="field inline">Method <select id="look-method"></select></label><label class="field inline">Not <select id="look-against"></select></label><button class="btn" id="look-ask" type="button">Why?</button></div>
    <div id="look-why"><p class="cap">Click a box, a pixel or a point of the picture.</p></div></section></div>`;

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember: put }) {
  fill(root, FRAME);
  const element = (id) => $(`#look-${id}`, root), video = element("video"), canvas = element("canvas");
  const picker = new Picker(element("cards"), element("search"), element("count"), element("searched"));
  const S = {
    open: null, source: address.get("upload") ? { upload: address.get("upload") } : address.get("sample") ? { sample: address.get("sample") } : null,
    picture: null, layers: [], classes: [], bars: [], hidden: new Set(), switched: new Map(), maps: new Map(), values: [], hints: [],
    opacity: 0.6, place: null, why: null, turn: 0, changing: false, changed: false, works: 0, film: "", seen: null, rows: null, judging: null, times: [],
    isOn: (layer) => (layer.group ? S.maps.get(layer.group) === layer.name : (S.switched.get(layer.name) ?? layer.on)),
  };

  const remember = () => put({ model: S.open?.model, ...(S.source?.labelled === undefined ? S.source : {}), values: S.values.join("_") });

  const problem = showing(root, "#look-problem");
  const attempt = attempts(problem);
  const fields = () => ({ values: S.values, hints: S.hints, maps: [...S.maps].filter(([, name]) => name) });

  const heading = () => (element("h").textContent = S.open ? `${S.open.model}: ${S.open.task}` : "Look");
  const openModel = async (model) => {
    const isFirst = !S.open, slow = setTimeout(() => (element("h").textContent = `Opening ${model ?? "a model"}…`), SLOW);
    const [answer, refused] = await openOrDefault(server, "look.open", model, isFirst).finally(() => {
      clearTimeout(slow);
      heading();
    });
    if (S.open?.model !== answer.model) Object.assign(S, { hints: [], place: null, point: null, why: null, hidden: new Set(), switched: new Map(), maps: new Map() });
    const given = isFirst && !refused ? (address.get("values") ?? "").split("_").filter(Boolean).map(Number) : S.open?.model === answer.model ? S.values : [];
    S.values = given.length === answer.controls.length && given.every(Number.isFinite) ? given : answer.controls.map((one) => one.value);
    const isGone = S.source?.labelled !== undefined; // the server compares pictures anew for each model that is opened
    if (isGone || (S.open && S.open.model !== answer.model && S.source?.sample)) S.source = null;
    S.open = answer;
    frame();
    await list();
    if (!isPlaying(video)) await see(S.source ?? { sample: answer.sample });
    if (refused) problem(refused);
  };
  const open = attempt(openModel);

  const models = async () => (await server.ask("look.models")).models;
  const list = async () => picker.show(await models(), S.open?.model);
  picker.watch(models, () => S.open && !root.hidden && !document.hidden);

  /** Fill what depends on the model alone. */
  function frame() {
    const { controls, takes_hints, methods, kinds, uploads } = S.open;
    heading();
    fill(element("sample"), html`${Object.keys(uploads).length > 0 && html`<optgroup label="Uploads">${Object.entries(uploads).map(([one, name]) => html`<option value="${one}">${name}</option>`)}</optgroup>`}<option id="look-labelled" value="labelled" hidden></option>${kinds.map((kind) => html`<optgroup label="${kind.name}">${kind.samples.map((one) => html`<option>${one}</option>`)}</optgroup>`)}`);
    fill(element("controls"), html`${controls.map(({ label, low, high, step }, k) => (step === 1 && low === 0 && high === 1 ? html`<label class="check-l"><input type="checkbox" data-control="${k}" ${S.values[k] >= 0.5 && html`checked`}> ${label}</label>` : html`<label class="field">${label}<output>${num(S.values[k])}</output><input type="range" data-control="${k}" aria-label="${label}" min="${low}" max="${high}" step="${step}" value="${S.values[k]}"></label>`))}`);
    element("hints").hidden = !takes_hints;
    fill(element("method"), html`${methods.map((one) => html`<option value="${one}">${one.replaceAll("_", " ")}</option>`)}`);
    fill(element("against"), html`<option value="">no other</option>`);
    fill(element("data"), html`<option value="">the model's own</option>${S.open.data.map((one) => html`<option>${one}</option>`)}`);
    for (const part of ["judged", "curve", "mistakes", "time"]) fill(element(part), html``);
    S.rows = null;
  }

  /** Compare the predictions for labelled pictures with the labels; again from the first one, if what is compared has changed. */
  const judge = attempt(async () => {
    const { open } = S;
    if (S.judging === open) return; // what runs takes the new values
    S.judging = open;
    let asked = null, rows = [];
    try {
      for (let found = null; !found?.curve; ) {
        if (asked !== compared()) {
          element("judged").textContent = "Working…";
          await resting(compared);
          if (S.open !== open) return;
          asked = compared();
          rows = [];
        }
        found = await server.ask("look.judge", { ...JSON.parse(asked), start: rows.length });
        if (S.open !== open) return;
        rows.push(...found.rows);
        element("judged").textContent = `${rows.length} of ${found.total} pictures…`;
        if (asked !== compared()) found = null;
        else if (found.curve) showJudged(rows, found, JSON.parse(asked));
      }
    } catch (error) {
      if (S.open !== open) return; // of a model that another has replaced
      element("judged").textContent = "";
      throw error;
    } finally {
      if (S.judging === open) S.judging = null;
    }
  });
  const compared = () => JSON.stringify({ data: element("data").value || null, values: S.values });
  /** Wait until what `read` returns stays the same for a moment, so that a slider is not compared at every step. */
  async function resting(read) {
    for (let seen = null; seen !== read(); ) {
      seen = read();
      await new Promise((resolve) => setTimeout(resolve, REST));
    }
  }

  function showJudged(rows, { curve, available }, { data, values }) {
    S.rows = rows;
    const [right, wrong, missed] = [0, 1, 2].map((k) => rows.reduce((sum, row) => sum + row.counts[k], 0));
    const precision = right / (right + wrong || 1), recall = right / (right + missed || 1);
    const at = S.open.controls.map(({ label }, k) => `${label} ${values[k].toFixed(2)}`).join(", ");
    element("judged").textContent = `Precision ${percent(precision)}, recall ${percent(recall)}${at && ` at ${at}`}: ${right} right, ${wrong} false, ${missed} missed in ${available > rows.length ? `the first ${rows.length} of ${available}` : rows.length} ${data ? "" : "held-out "}pictures`;
    fill(element("curve"), layers.precisionRecall(curve, recall, precision));
    const worst = [...rows.keys()].filter((k) => rows[k].counts[1] + rows[k].counts[2]).sort((a, b) => rows[b].counts[1] + rows[b].counts[2] - rows[a].counts[1] - rows[a].counts[2]).slice(0, MAX_MISTAKES);
    fill(element("mistakes"), html`<div class="chips" role="group" aria-label="Pictures with mistakes">${worst.map((k) => html`<button class="chip" type="button" data-labelled="${k}" data-k="labelled${k}"><b>${rows[k].name}</b><small>${rows[k].counts[1]} false, ${rows[k].counts[2]} missed</small></button>`)}</div>`);
  }

  /** Show a picture: a sample, an upload, or a frame. */
  const seeing = async (source, frame = null) => {
    const turn = ++S.turn;
    let answer;
    try {
      answer = await working(server.ask("look.picture", { ...source, ...fields() }, frame ? { frame } : {}));
    } catch (error) {
      if (!source.upload || error instanceof LostError) throw error;
      S.source = { sample: S.open.sample };
      await see(S.source);
      throw error; // the upload was dropped, or the model does not take it
    }
    if (turn !== S.turn) return;
    Object.assign(S, { picture: answer.tensors.picture, place: null, why: null });
    if (!frame) S.source = source;
    element("labelled").textContent = frame ? S.film : (S.rows?.[source.labelled]?.name ?? "");
    element("sample").value = source.sample ?? source.upload ?? "labelled";
    take(answer);
    if (!frame) remember();
  };
  const see = attempt(seeing);

  /** Take what the server shows of the picture. */
  function take({ line, bars, classes, layers: entries, tensors }) {
    S.layers = entries.map((entry, k) => ({ ...entry, tensors: tensorsOf(tensors, k) }));
    Object.assign(S, { classes, bars, line });
    render();
  }
  const tensorsOf = (tensors, k) => Object.fromEntries(["boxes", "scores", "labels", "values", "mask", "points", "image"].filter((name) => tensors[`${name}${k}`]).map((name) => [name, tensors[`${name}${k}`]]));

  /** Say beside the controls that an answer is worked on, if it takes long. */
  async function working(answer) {
    S.works += 1;
    const line = element("time"), slow = setTimeout(() => (line.textContent = "Working…"), SLOW);
    try {
      return await answer;
    } finally {
      clearTimeout(slow);
      S.works -= 1;
      if (!S.works && line.textContent === "Working…") line.textContent = "";
    }
  }

  /** Ask for what is shown at the present values; while an answer is awaited, only the newest values count. */
  const change = attempt(async () => {
    S.changed = true;
    if (S.changing || !S.picture) return;
    S.changing = true;
    try {
      while (S.changed) {
        S.changed = false;
        const began = performance.now(), turn = S.turn, answer = await working(server.ask("look.change", fields()));
        if (turn !== S.turn) continue;
        take(answer);
        element("time").textContent = `Shown after ${Math.round(performance.now() - began)} ms`;
        element("time").dataset.values = S.values.join();
      }
    } finally {
      S.changing = false;
    }
    remember();
  });

  const mainBoxes = () => S.layers.filter((one) => one.kind === "boxes" && one.on && !one.mark && S.isOn(one)).flatMap((one) => layers.boxesOf(one.tensors));

  const pointLayer = () => S.layers.find((one) => one.kind === "points");
  const why = attempt(async (place, of = null) => {
    await still();
    S.place = place;
    const turn = S.turn, against = element("against").value || null;
    const answer = await server.ask("look.why", { values: S.values, of, against: against === of ? null : against, place, method: element("method").value });
    if (turn !== S.turn) return;
    S.why = answer;
    render();
    say(`Why ${answer.label}`);
  });

  function showWhy() {
    const found = S.why;
    if (!found) return fill(element("why"), html`<p class="cap">Click a box, a pixel or a point of the picture.</p>`);
    const order = [...found.choices.keys()].sort((a, b) => (found.scores[b] ?? -Infinity) - (found.scores[a] ?? -Infinity));
    const shown = order.slice(0, MAX_CHOICES);
    if (found.chosen !== null && !shown.includes(found.chosen)) shown.push(found.chosen);
    const text = (k) => (!Number.isFinite(found.scores[k]) ? "" : found.are_logits ? num(found.scores[k]) : percent(found.scores[k]));
    const asked = { model: S.open.model, sample: S.source?.sample, upload: S.source?.upload, of: found.chosen === null ? null : found.choices[found.chosen], place: found.input_place?.join(".") };
    const explained = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
    fill(element("why"), html`<p data-why>Why <b>${found.label}</b>${found.against && html`, not <b>${found.against}</b>`}? ${found.is_unsigned ? "The stronger the colour, the more depends on it." : found.against ? "Blue speaks for the first, ochre for the second." : "Blue raises it, ochre lowers it."}</p><div class="chips" role="group" aria-label="What to explain">${shown.map((k) => html`<button class="chip" type="button" data-of="${found.choices[k]}" data-k="of${k}" aria-pressed="${k === found.chosen}"><b>${found.choices[k]}</b><small>${text(k)}</small></button>`)}</div><div class="row"><button class="btn quiet" type="button" data-hide>Hide the map</button><a href="#explain?${explained}">All methods in Explain${S.hints.length > 0 && ", without the hints"}</a></div>`);
    const against = element("against");
    fill(against, html`<option value="">no other</option>${found.rivals.map((one) => html`<option>${one}</option>`)}`);
    against.value = found.against ?? "";
  }

  /** The switches of the layers: groups of maps as lists, others as check boxes. */
  function switches() {
    const groups = [...new Set(S.layers.map((one) => one.group).filter(Boolean))], others = S.layers.filter((one) => !one.group);
    fill(element("layers"), html`${groups.map((group) => html`<label class="field inline">${group} <select data-group="${group}" data-k="group ${group}"><option value="">none</option>${S.layers.filter((one) => one.group === group).map(({ name }) => html`<option ${S.maps.get(group) === name && html`selected`}>${name}</option>`)}</select></label>`)}${others.map((one) => layers.layerSwitch(S.layers, one, S.isOn(one)))}`);
    const mask = S.layers.find((one) => one.kind === "classes"), present = mask ? [...new Set(mask.tensors.mask.data)].filter((k) => k !== mask.without).sort((a, b) => a - b) : [];
    fill(element("classes"), html`${present.map((k) => html`<label class="check-l"><input type="checkbox" data-class="${k}" data-k="class ${k}" ${!S.hidden.has(k) && html`checked`}><svg class="look-swatch" viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="${classColour(k)}"/></svg>${S.classes[k] ?? k}</label>`)}`);
  }

  function render() {
    if (!S.picture) return;
    layers.draw(canvas, S);
    element("line").textContent = S.line;
    switches();
    fill(element("boxes"), html`${layers.boxButtons(mainBoxes(), S.classes, S.place)}`);
    fill(element("bars"), layers.bars(S.bars, pointLayer()?.names ?? []));
    showWhy();
  }

  /** Each takes a file, and returns a line about one that it replaces. */
  const send = async (file) => {
    halt();
    if (!S.open) throw new Error("no model is open; open a model's file first");
    const answer = await uploadedPicture(file);
    S.open.uploads[answer.upload] = file.name;
    S.source = { upload: answer.upload };
    frame();
    await seeing(S.source).catch((error) => {
      throw error instanceof LostError ? error : new Error(`${file.name}: ${error.message}`);
    });
    return answer.line;
  };
  const sendModel = async (file) => {
    const answer = await uploadedModel(file);
    element("search").value = ""; // which would hide it
    await list();
    await openModel(answer.model);
    return answer.line;
  };
  const film = async (file) => {
    await play(video, file).catch((error) => {
      throw new Error(file ? `${file.name} cannot be played by this browser; save it as WebM, or as MP4 with H.264` : `no camera (${error.message}); choose a picture or a video instead`);
    });
    element("camera").textContent = "Stop";
    Object.assign(S, { source: null, film: file?.name ?? "the camera" });
  };
  function halt() {
    stop(video);
    element("camera").textContent = "Start the camera";
    element("rate").textContent = "";
  }
  /** Stop a film at the frame that is awaited. */
  const still = async () => isPlaying(video) && (halt(), S.seen);

  /** Show frame after frame while a film plays and this view is shown. */
  async function watch() {
    while (root.isConnected) {
      if (S.open && !root.hidden && isPlaying(video)) {
        await (S.seen = see({}, grab(video, ...FRAME_SIDES)));
        const now = performance.now();
        S.times = [...S.times.filter((time) => now - time < 2000), now];
        if (S.times.length > 2 && isPlaying(video)) element("rate").textContent = `${((1000 * (S.times.length - 1)) / (now - S.times[0])).toFixed(1)} a second`;
      }
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    halt();
  }

  const accept = filesTaker((file) => (isModel(file) ? sendModel(file) : file.type.startsWith("video/") ? film(file) : send(file)), attempt, problem);

  /** The pixel of the picture under the pointer. The canvas keeps its proportions inside its box. */
  function pixel(event) {
    const box = canvas.getBoundingClientRect(), [, height, width] = S.picture.shape;
    const scale = Math.min(box.width / width, box.height / height);
    const x = Math.floor((event.clientX - box.left - (box.width - width * scale) / 2) / scale), y = Math.floor((event.clientY - box.top - (box.height - height * scale) / 2) / scale);
    return x >= 0 && y >= 0 && x < width && y < height ? [x, y] : null;
  }

  canvas.addEventListener("click", async (event) => {
    const at = S.picture && pixel(event);
    if (!at) return;
    await still();
    const [x, y] = at;
    if (S.open.takes_hints && element("hinting").checked) {
      const colour = element("colour").value.match(/[0-9a-f]{2}/gi).map((one) => parseInt(one, 16));
      S.hints.push([x, y, ...colour]);
      return change();
    }
    const around = mainBoxes().map((one) => one.corners).filter((at) => at[0] <= x && x < at[2] && at[1] <= y && y < at[3]);
    const areas = around.map(layers.areaOf).sort((a, b) => (a[2] - a[0]) * (a[3] - a[1]) - (b[2] - b[0]) * (b[3] - b[1]));
    why(areas[0] ?? [y, x, y + 1, x + 1]);
  });
  canvas.addEventListener("keydown", ({ key }) => key === "Enter" && why(null));

  root.addEventListener("click", (event) => {
    const button = event.target.closest?.("button"), data = button?.dataset ?? {};
    if (data.model) open(data.model);
    if (data.box) why(layers.areaOf(mainBoxes()[data.box].corners));
    if (data.of) why(S.place, data.of);
    if (data.point) why(layers.pixelOf(pointLayer(), data.point, S.picture));
    if ("hide" in data) {
      Object.assign(S, { why: null, place: null });
      render();
    }
    if (button === element("ask")) why(S.place);
    if (button === element("judge")) judge();
    if (data.labelled) {
      halt();
      see({ labelled: Number(data.labelled) });
    }
    if (button === element("unhint")) {
      S.hints = [];
      change();
    }
    if (button === element("camera")) {
      if (video.srcObject || video.src) halt();
      else attempt(film)(null);
    }
  });
  root.addEventListener("input", ({ target }) => {
    if (target === element("opacity")) {
      S.opacity = Number(target.value);
      layers.draw(canvas, S);
    }
    if (target.dataset.control) {
      S.values[target.dataset.control] = target.type === "checkbox" ? Number(target.checked) : Number(target.value);
      const output = $("output", target.parentElement);
      if (output) output.textContent = num(Number(target.value));
      if (S.why) Object.assign(S, { why: null, place: null }); // of other boxes
      change();
    }
  });
  root.addEventListener("change", ({ target }) => {
    const { layer, group } = target.dataset;
    if (target.dataset.control && S.rows) judge();
    if (target === element("sample")) {
      halt();
      see(target.value in S.open.uploads ? { upload: target.value } : { sample: target.value });
    }
    if (target.type === "file" && target.files.length) accept([...target.files]);
    if (target.type === "file") target.value = ""; // so that the same file can be chosen again
    if (layer) S.switched.set(layer, target.checked);
    if (target.dataset.class) S.hidden[target.checked ? "delete" : "add"](Number(target.dataset.class));
    if (layer || target.dataset.class) render();
    if (group) {
      S.maps.set(group, target.value);
      change();
    }
    if (S.why && (target === element("method") || target === element("against"))) why(S.place, S.why.chosen === null ? null : S.why.choices[S.why.chosen]);
  });
  root.addEventListener("drop", async ({ dataTransfer }) => accept(await droppedFiles(dataTransfer)));
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!root.hidden && root.isConnected && files.length) accept(files);
  });
  watch();
  /** Show it again; models may have been trained and saved meanwhile. */
  const show = () => {
    render();
    if (S.open) attempt(list)();
  };
  return { render: show, opened: (reconnected) => open(reconnected ? S.open?.model : address.get("model")) };
}
