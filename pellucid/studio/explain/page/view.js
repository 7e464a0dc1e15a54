// The view Explain: the question, what the server answers to it, and what follows when a person clicks, drops or types.
import { $, $$, attempts, fill, html, percent, say, showing } from "/core/dom.js";
import { LostError, openOrDefault, uploaded } from "/core/server.js";
import { Pad } from "/core/pad.js";
import * as drawing from "./drawing.js";

const METHODS = ["saliency", "input_x_gradient", "integrated_gradients", "lrp", "gradcam", "occlusion"]; // shown at first
const DRAG = 4; // screen pixels from which a click is a region

const FRAME = html`<div class="panes explain-panes">
  <section class="pane ask" aria-labelledby="explain-h"><div class="head"><h2 id="explain-h">Why?</h2><p class="read" id="explain-read" aria-live="off"></p></div>
    <div class="row source"><label class="field inline open">Model <select id="explain-model"></select></label><label class="field inline">Picture <select id="explain-sample"></select></label><button class="btn" id="explain-next" type="button">Next</button>
      <label class="btn file open">Upload…<input type="file" id="explain-file" accept="image/png,image/jpeg,image/webp"></label><button class="btn open" id="explain-draw" type="button" aria-expanded="false" aria-controls="explain-drawing">Draw…</button><span class="cap hint open">or drop or paste one</span></div>
    <div id="explain-drawing" class="drawing" hidden><canvas id="explain-pad" width="448" height="448" tabindex="0" role="img" aria-label="Drawing area. With Shift, the arrow keys draw."></canvas><div class="row"><button class="btn" id="explain-clear" type="button">Clear</button><button class="btn primary" id="explain-use" type="button">Explain the drawing</button></div></div>
    <p class="notice" id="explain-problem" role="alert" hidden></p><p class="cap" id="explain-recorded" hidden>This file explains one score of one picture; in <code>pellucid studio</code>, others can be chosen.</p>
    <div class="row question" id="explain-chips"></div><div id="explain-boxes"></div>
    <div class="row controls"><label class="field blend">Blend picture ↔ map<input type="range" id="explain-blend" min="0" max="1" step="0.05"></label><label class="check-l"><input type="checkbox" id="explain-shared"> One scale for all maps</label><div class="row tight" id="explain-methods" role="group" aria-label="Methods"></div></div></section>
  <section class="pane" aria-label="Maps"><div class="figures" id="explain-figures"></div><div id="explain-legend"></div><p class="cap">${drawing.areaNote}</p><p class="legend" id="explain-readout"></p></section>
  <section class="pane" aria-labelledby="explain-rel-h"><h2 id="explain-rel-h">Relevance, layer by layer</h2><div id="explain-relevance" tabindex="0" role="region" aria-labelledby="explain-rel-h"></div></section>
  <section class="pane" aria-labelledby="explain-maps-h"><div class="head"><h2 id="explain-maps-h">Feature maps</h2><label class="field inline">Layer <select id="explain-layer"></select></label></div><div id="explain-sheet"></div><div id="explain-top"></div></section></div>`;

/** Start the view in an element; returns what the frame of the page calls. With `fixed` in the state, it shows the model and the pictures that the server holds; with `file`, one score only. */
export function start(root, server, { state: address, remember: put }) {
  fill(root, FRAME);
  const isFixed = address.has("fixed"), isFile = address.has("file");
  for (const one of $$(".open", root)) one.hidden = isFixed;
  const S = {
    open: null, wanted: address.get("model"), source: address.get("upload") ? { upload: address.get("upload") } : address.get("sample") ? { sample: address.get("sample") } : null,
    picture: null, aim: null, of: address.get("of"), place: address.get("place")?.split(".").map(Number) ?? null,
    chosen: address.get("methods")?.split(".") ?? METHODS, blend: Number(address.get("blend") ?? 0.75), shared: address.get("shared") === "1",
    magnitudes: new Set(), maps: {}, curves: {}, faults: {}, hidden: null, relevance: null, sheet: null, top: null, layer: address.get("layer"), map: null, px: [0, 0], turn: 0, pending: 0,
  };
  const pad = new Pad($("#explain-pad", root), () => {});
  const element = (id) => $(`#explain-${id}`, root);

  const remember = () => put({
    model: S.open?.model, ...S.source, of: S.of, place: S.place?.join("."), blend: S.blend === 0.75 ? "" : S.blend, shared: S.shared ? 1 : "",
    methods: S.chosen.join() === METHODS.join() ? "" : S.chosen.join("."), layer: S.layer,
  });

  /** Show an error of the server; a lost connection is shown elsewhere. */
  const problem = showing(root, "#explain-problem");
  const attempt = attempts(problem);

  const open = attempt(async (model) => {
    S.turn++;
    const [answer, refused] = await openOrDefault(server, "explain.open", model);
    if (S.open && S.open.model !== answer.model) Object.assign(S, { source: S.source?.upload ? S.source : null, of: null, place: null, layer: null });
    S.open = answer;
    S.chosen = S.chosen.filter((one) => one === "occlusion" || answer.methods.some((known) => known.name === one));
    S.magnitudes = new Set(answer.methods.filter((one) => one.magnitudes).map((one) => one.name));
    fill(element("model"), html`${answer.models.map((one) => html`<option value="${one}" ${one === answer.model && html`selected`}>${one}</option>`)}`);
    fillSources();
    await show(S.source ?? { sample: answer.sample }, true);
    if (refused) problem(refused);
  });

  function fillSources() {
    fill(element("sample"), html`${Object.keys(S.open.uploads).length > 0 && html`<optgroup label="Uploads">${Object.entries(S.open.uploads).map(([one, name]) => html`<option value="${one}">${name}</option>`)}</optgroup>`}${S.open.kinds.map((kind) => html`<optgroup label="${kind.name}">${kind.samples.map((one) => html`<option>${one}</option>`)}</optgroup>`)}`);
    element("next").hidden = isFixed && S.open.kinds[0].samples.length === 1;
  }

  /** Ask for another picture or score. Until the answer is there, nothing else is computed: it would belong to the new one. */
  async function pend(turn, kind, fields) {
    S.pending = turn;
    try {
      return await server.ask(kind, fields);
    } finally {
      if (S.pending === turn) S.pending = 0;
    }
  }

  /** Show a picture, and explain it; `same`: about the same score and place as before. */
  const show = attempt(async (source, same = false) => {
    const turn = ++S.turn;
    if (!same) Object.assign(S, { of: null, place: null });
    let answer;
    try {
      answer = await pend(turn, "explain.picture", source);
    } catch (error) {
      if (!source.upload || error instanceof LostError || !same) throw error;
      return show({ sample: S.open.sample });
    }
    if (turn !== S.turn) return;
    const [, height, width] = answer.tensors.picture.shape;
    Object.assign(S, { source, picture: answer, aim: null, maps: {}, curves: {}, faults: {}, hidden: null, relevance: null, sheet: null, top: null, px: [height >> 1, width >> 1] });
    S.canPoint = !isFile && ["boxes", "points", "mask", "image"].some((name) => name in answer.tensors);
    element("sample").value = source.sample ?? source.upload;
    root.classList.toggle("can-point", S.canPoint);
    render();
    await aim(S.of, S.place);
  });

  /** Ask about a score at a place, and compute what explains it, one part after another. */
  const aim = attempt(async (of, place) => {
    const turn = ++S.turn;
    let found;
    try {
      found = await pend(turn, "explain.aim", { of, place });
    } catch (error) {
      problem(error);
      if (S.aim && turn === S.turn) await compute(turn); // of what was asked before
      return;
    }
    if (turn !== S.turn) return;
    Object.assign(S, { aim: found, of, place, maps: {}, curves: {}, faults: {}, hidden: null, relevance: null });
    const known = found.layers.map((one) => one.path);
    if (!known.includes(S.layer)) S.layer = found.layers.findLast((one) => one.activation && one.shape[0] <= 64 && one.shape[1] > 3)?.path ?? known.at(-1) ?? null;
    remember();
    render();
    say(`Explaining ${found.label}`);
    await compute(turn);
  });

  /** Ask for what is missing. Stops when something else is asked. */
  async function compute(turn) {
    const is = () => turn === S.turn;
    const take = async (name, kind, fields, receive) => {
      try {
        const found = await server.ask(kind, fields);
        if (is()) receive(found);
      } catch (error) {
        if (error instanceof LostError) throw error;
        if (is()) S.faults[name] = error.message;
      }
      if (is()) figure(name);
    };
    const wanted = () => S.chosen.filter((name) => name !== "occlusion");
    for (const method of wanted()) if (is() && !S.maps[method] && !S.faults[method]) await take(method, "explain.run", { method }, (found) => (S.maps[method] = found));
    if (is() && S.shared) figures();
    if (is() && !S.relevance) {
      await take("", "explain.relevance", {}, (found) => (S.relevance = found));
      if (is() && S.relevance) drawing.relevance(element("relevance"), S.relevance);
    }
    if (is() && S.layer && !S.sheet) await layer(turn);
    for (const method of ["random", ...wanted()]) {
      if (!is() || S.curves[method] || (method !== "random" && !S.maps[method])) continue;
      await take(method === "random" ? "picture" : method, "explain.curve", { method }, (found) => (S.curves[method] = found));
    }
    while (is() && S.chosen.includes("occlusion") && !S.faults.occlusion && (S.hidden?.done ?? 0) < (S.hidden?.total ?? 1)) await take("occlusion", "explain.occlude", { start: S.hidden?.done ?? 0 }, hide);
  }

  /** Take the next squares of the occlusion. */
  function hide({ squares, done, total, tensors }) {
    if (squares) S.hidden = { squares, scores: [], total };
    if (tensors.scores) S.hidden.scores.push(...tensors.scores.data);
    S.hidden.done = done;
    if (tensors.map) S.maps.occlusion = { squares: true, tensors };
  }

  async function layer(turn) {
    try {
      const found = await server.ask("explain.maps", { path: S.layer });
      if (turn !== S.turn) return;
      Object.assign(S, { sheet: found, top: null, map: null });
    } catch (error) {
      if (error instanceof LostError) throw error;
      S.sheet = null;
      problem(error);
    }
    featureMaps();
  }

  const top = attempt(async (map) => {
    const turn = S.turn;
    S.map = map;
    featureMaps();
    do {
      const found = await server.ask("explain.top", { path: S.layer, map });
      if (turn !== S.turn || S.map !== map) return;
      S.top = found;
      drawing.topPatches(element("top"), found);
    } while (S.top.looked < S.top.pictures);
    say(`Strongest patches of map ${map}`);
  });

  const send = attempt(async (file) => {
    const answer = await uploaded(file);
    S.open.uploads[answer.upload] = file.name ?? `upload ${answer.upload.slice(1)}`;
    fillSources();
    await show({ upload: answer.upload });
    if (answer.line) problem(new Error(answer.line));
  });

  /** In a file, what has no recorded answer cannot be chosen. */
  function disableUnrecorded() {
    element("recorded").hidden = !isFile;
    if (isFile) for (const one of $$("#explain-sample, #explain-other, [data-of], [data-place], [data-map]", root)) one.disabled = true;
  }

  function featureMaps() {
    fill(element("layer"), html`${(S.aim?.layers ?? []).map(({ path, shape }) => html`<option value="${path}" ${path === S.layer && html`selected`}>${path}, ${shape.join(" × ")}</option>`)}`);
    element("layer").disabled = !S.layer;
    if (S.sheet) drawing.sheet(element("sheet"), S.sheet, S.map, !isFile);
    else fill(element("sheet"), html`<p class="cap">${S.aim && !S.layer && "This network has no feature maps."}</p>`);
    if (!S.top) fill(element("top"), html``);
    else drawing.topPatches(element("top"), S.top);
    disableUnrecorded();
  }

  /** Draw one figure: the picture, or the map of a method. */
  function figure(name) {
    const place = $(`[data-figure="${name}"]`, root);
    if (!place) return;
    const all = Math.max(...Object.values(S.maps).map(drawing.scaleOf), 0);
    if (name === "picture") drawing.imageFigure(place, S);
    else drawing.mapFigure(place, name, S, all);
    blend();
    probe();
  }

  function figures() {
    const names = ["picture", ...S.chosen];
    if ($$("[data-figure]", root).map((one) => one.dataset.figure).join() !== names.join()) fill(element("figures"), html`${names.map((name) => html`<figure data-figure="${name}"></figure>`)}`);
    names.forEach(figure);
  }

  function blend() {
    for (const one of $$(".over", root)) one.style.opacity = S.blend;
    for (const one of $$(".mask", root)) one.style.opacity = 0.55;
  }

  /** Move the crosshair to the pixel S.px. */
  function probe() {
    const [, height, width] = S.picture.tensors.picture.shape;
    const [row, column] = S.px;
    const grid = element("figures");
    grid.style.setProperty("--x", `${(100 * (column + 0.5)) / width}%`);
    grid.style.setProperty("--y", `${(100 * (row + 0.5)) / height}%`);
    grid.style.setProperty("--cell", `${100 / width}%`);
    grid.style.setProperty("--ratio", `${width} / ${height}`);
    drawing.readout(element("readout"), S, drawing.square(root, S));
  }

  function render() {
    if (!S.picture) return;
    element("blend").value = S.blend;
    element("shared").checked = S.shared;
    const names = [...S.open.methods.map((one) => one.name), "occlusion"];
    fill(element("methods"), html`${names.map((name) => html`<button class="btn small" type="button" data-method="${name}" data-k="m-${name}" aria-pressed="${S.chosen.includes(name)}">${drawing.title(name)}</button>`)}`);
    element("h").textContent = S.aim ? `Why ${S.aim.label}?` : "Why?";
    element("read").textContent = S.picture.label ? `Reads ${S.picture.label}${S.picture.confidence === null ? "" : `, ${percent(S.picture.confidence)}`}` : "";
    fill(element("chips"), S.aim ? drawing.chips(S.aim) : html``);
    fill(element("boxes"), html`${drawing.predicted(S.picture, S.aim).buttons}`);
    fill(element("legend"), html`${drawing.maskLegend(S.picture)}`);
    figures();
    if (S.relevance) drawing.relevance(element("relevance"), S.relevance);
    else fill(element("relevance"), html``);
    featureMaps();
    pad.recolour();
  }

  /** The pixel of the picture under the pointer, and the figure. */
  function pixel(event) {
    const target = event.target.closest?.("[data-shot]");
    if (!target || !S.picture) return null;
    const box = target.getBoundingClientRect(), [, height, width] = S.picture.tensors.picture.shape;
    const at = (value, length) => Math.min(length - 1, Math.max(0, Math.floor(value * length)));
    return [at((event.clientY - box.top) / box.height, height), at((event.clientX - box.left) / box.width, width)];
  }
  /** @type {(from: number[], to: number[]) => number[]} */
  const between = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c) + 1, Math.max(b, d) + 1];

  let began = null; // where the pointer went down: the pixel and the position on the screen
  root.addEventListener("pointerdown", (event) => {
    const at = event.button ? null : pixel(event);
    began = at && S.canPoint ? { at, x: event.clientX, y: event.clientY } : null;
  });
  root.addEventListener("pointermove", (event) => {
    const at = pixel(event);
    if (!at) return;
    S.px = at;
    probe();
  });
  root.addEventListener("pointerup", (event) => {
    const at = began && pixel(event);
    if (!at) return;
    const isDrag = Math.hypot(event.clientX - began.x, event.clientY - began.y) > DRAG;
    aim(null, isDrag ? between(began.at, at) : between(at, at));
    began = null;
  });

  root.addEventListener("keydown", (event) => {
    if (!event.target.dataset?.shot || !S.picture) return;
    const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const [, ...size] = S.picture.tensors.picture.shape;
    if (way) {
      event.preventDefault();
      const step = event.shiftKey ? Math.max(1, Math.round(size[1] / 20)) : 1;
      S.px = S.px.map((v, k) => Math.min(size[k] - 1, Math.max(0, v + step * way[k])));
      probe();
    } else if (event.key === "Enter" && S.canPoint) aim(null, between(S.px, S.px));
  });

  root.addEventListener("click", (event) => {
    const data = event.target.closest?.("button")?.dataset;
    if (data?.of) return aim(data.of, S.place);
    if (data?.place) return aim(null, data.place.split(",").map(Number));
    if (data?.map) return top(Number(data.map));
    if (data?.method) return toggle(data.method);
    if (event.target === element("next")) return next();
    if (event.target === element("clear")) return pad.clear();
    if (event.target === element("use")) return useDrawing();
    if (event.target === element("draw")) {
      element("drawing").hidden = !element("drawing").hidden;
      event.target.ariaExpanded = !element("drawing").hidden;
    }
  });

  function toggle(name) {
    S.chosen = S.chosen.includes(name) ? S.chosen.filter((one) => one !== name) : [...S.chosen, name];
    remember();
    render();
    if (S.aim && !S.pending) attempt(compute)(++S.turn);
  }

  function next() {
    const all = [...element("sample").options].map((one) => one.value), samples = S.open.kinds.find((kind) => kind.samples.includes(S.source.sample))?.samples ?? all;
    const at = samples.indexOf(S.source.sample ?? S.source.upload), name = samples[(at + 1) % samples.length];
    show(sourceOf(name));
  }
  const sourceOf = (name) => (name in S.open.uploads ? { upload: name } : { sample: name });

  /** Send the drawing as dark ink on white. */
  const useDrawing = attempt(async () => {
    if (pad.empty) throw new Error("draw something first");
    const { width, height } = pad.canvas;
    const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
    context.drawImage(pad.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "black";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    await send(await canvas.convertToBlob());
  });

  root.addEventListener("input", ({ target }) => {
    if (target === element("blend")) {
      S.blend = Number(target.value);
      blend();
    }
    if (target === element("shared")) {
      S.shared = target.checked;
      figures();
    }
  });
  root.addEventListener("change", ({ target }) => {
    if (target === element("model")) open(target.value);
    if (target === element("sample")) show(sourceOf(target.value));
    if (target === element("file") && target.files[0]) send(target.files[0]).then(() => (target.value = ""));
    if (target.id === "explain-other" && target.value) aim(target.value, S.place);
    if (target === element("layer")) {
      Object.assign(S, { layer: target.value, sheet: null, top: null, map: null });
      remember();
      attempt(layer)(S.turn);
    }
    if (target === element("blend") || target === element("shared")) remember();
  });

  const isShown = () => !root.hidden;
  const pictureOf = (transfer) => [...(transfer?.files ?? [])].find((one) => !isFixed && one.type.startsWith("image/"));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = pictureOf(event.dataTransfer);
    if (file) send(file);
  });
  addEventListener("paste", (event) => {
    const file = isShown() && root.isConnected && pictureOf(event.clipboardData);
    if (file) send(file);
  });

  return {
    render,
    opened: (reconnected) => open(reconnected ? S.open?.model : S.wanted),
  };
}
