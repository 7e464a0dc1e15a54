// The view Inspect: the ledger of a model, and what is inside of the layer that is chosen.
import { $, $$, attempts, count, fill, html, isNarrow, maxAbs, say } from "/core/dom.js";
import { heat, paintScales } from "/core/paint.js";
import { LostError, uploaded } from "/core/server.js";
import { isSmall, groups, ledger } from "./ledger.js";
import { checked, contactSheet, histograms, paintSheet } from "./sheet.js";

const KINDS = [["filters", "Filters"], ["maps", "Feature maps"], ["weights", "Histograms"], ["verify", "Gradients"]];
const ROW = [24, 44]; // pixels of a row, on a wide and on a narrow screen

const FRAME = html`<div class="panes inspect-panes">
  <section class="pane" aria-labelledby="inspect-h"><div class="head"><h2 id="inspect-h">Model</h2><label class="field inline"><span class="sr">Model</span><select id="inspect-model"></select></label><p class="read" id="inspect-read"></p></div>
    <p class="notice" id="inspect-problem" role="alert" hidden></p><div id="inspect-ledger" class="scroll"></div></section>
  <section class="pane" aria-labelledby="inspect-name" id="inspect-node"><div class="head"><h2 id="inspect-name">Layer</h2><p class="read" id="inspect-about"></p></div>
    <div class="head"><div class="seg" role="radiogroup" aria-label="What to show of the layer" id="inspect-kinds"></div><label class="field inline" id="inspect-order-l">Order <select id="inspect-order"><option value="index">by index</option><option value="max">by maximum</option></select></label><label class="field inline" id="inspect-channel-l">Channel <select id="inspect-channel"></select></label></div>
    <div id="inspect-inside"></div><div class="pre" id="inspect-picture"><canvas class="px" id="inspect-x" role="img" aria-label="The picture that the model ran on"></canvas><div><p class="cap" id="inspect-x-cap"></p><div class="row"><label class="btn file">Upload…<input type="file" id="inspect-file" accept="image/png,image/jpeg,image/webp"></label><button class="btn" type="button" id="inspect-bundled">Bundled picture</button></div></div></div></section></div>`;

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember: put }) {
  fill(root, FRAME);
  if (address.has("fixed")) {
    for (const one of $$("#inspect-model, #inspect-picture .row", root)) one.hidden = true;
    $("#inspect-h", root).textContent = address.get("model");
  }
  const S = {
    model: null, wanted: address.get("model"), upload: address.get("upload"), path: address.get("layer"), kind: address.get("kind") ?? "filters", channel: Number(address.get("channel") ?? 0),
    order: address.get("order") ?? "index", tile: 0, open: new Set(), found: null, turn: 0,
  };
  const element = (id) => $(`#inspect-${id}`, root);
  const layerOf = () => S.model.layers.find((one) => one.path === S.path);

  function problem(error) {
    if (error instanceof LostError) return;
    element("problem").hidden = !error;
    element("problem").textContent = error?.message ?? "";
    if (error) say(error.message);
  }
  const attempt = attempts(problem);

  /** Run the model on an uploaded picture; null: on the bundled one. */
  const take = async (upload) => {
    const before = S.upload;
    S.upload = upload;
    try {
      S.model = await server.ask("inspect.open", { model: S.model.model, upload });
      await load();
    } catch (error) {
      S.upload = before;
      throw error;
    }
  };
  const open = attempt(async (name) => {
    S.model = await server.ask("inspect.open", { model: name ?? null, upload: S.upload });
    const { layers } = S.model;
    const keys = groups(layers).filter((one) => one.name && one.layers.length > 1).map((one) => `${one.name}@${one.layers[0].index}`);
    S.open = new Set(isSmall(layers) ? keys : []);
    if (!layerOf()) S.path = (layers.find((one) => one.weight) ?? layers[0]).path;
    const own = groups(layers).find((one) => one.layers.some(({ layer }) => layer.path === S.path));
    S.open.add(`${own.name}@${own.layers[0].index}`);
    fill(element("model"), html`${S.model.models.map((one) => html`<option value="${one}">${one}</option>`)}`);
    element("model").value = S.model.model;
    await load();
    say(`${S.model.model}: ${layers.length} layers`);
  });

  /** Open a model; if the server no longer knows the upload, with the bundled picture, and if not the model, the first. */
  async function begin(name) {
    await open(name);
    if (S.model || !(S.upload || name)) return;
    const { textContent } = element("problem");
    S.upload = null;
    await open(name);
    if (!S.model) await open(null);
    problem(new Error(textContent));
  }

  /** Ask for what is shown of the layer; a later question overtakes an earlier one. */
  const load = attempt(async () => {
    const turn = ++S.turn, layer = layerOf();
    if (S.kind === "filters" && !layer.weight) S.kind = layer.maps ? "maps" : "weights";
    S.found = null;
    draw();
    const kinds = { weights: "inspect.histograms", verify: "inspect.verify" };
    const asked = S.kind in kinds ? server.ask(kinds[S.kind], { path: S.path }) : server.ask("inspect.tiles", { path: S.path, show: S.kind, channel: S.kind === "filters" ? S.channel : 0 });
    const found = await asked;
    if (turn !== S.turn) return;
    S.found = found;
    inside();
  });

  function draw() {
    const { layers } = S.model, layer = layerOf(), parameters = layers.reduce((sum, one) => sum + one.parameters, 0), work = layers.reduce((sum, one) => sum + one.multiply_adds, 0);
    fill(element("read"), html`${S.model.task} · <b>${count(layers.length)}</b> layers · <b id="inspect-parameters">${count(parameters)}</b> parameters · <b>${count(work)}</b> multiply-adds${Object.entries(S.model.idle).map(([name, n]) => html`; only training runs ${name}, of <b>${count(n)}</b> values`)}`);
    fill(element("ledger"), ledger(layers, S.path, S.open, ROW[Number(isNarrow())]));
    element("name").textContent = S.path;
    fill(element("about"), html`${layer.layer} · output <b>${layer.shape.join("×")}</b>${layer.weight && html` · weight <b>${layer.weight.join("×")}</b>`}`);
    fill(element("kinds"), html`${KINDS.filter(([kind]) => kind !== "filters" || layer.weight).map(([kind, title]) => html`<button type="button" role="radio" data-kind="${kind}" data-k="${kind}" aria-checked="${S.kind === kind}" tabindex="${S.kind === kind ? 0 : -1}">${title}</button>`)}`);
    const { x } = S.model.tensors;
    heat(element("x"), x.data.slice(0, x.shape.at(-2) * x.shape.at(-1)), x.shape.at(-1), "div", maxAbs(x.data) || 1);
    element("picture").hidden = !S.model.picture;
    element("bundled").hidden = !S.model.upload;
    element("x-cap").textContent = `It ran on ${S.model.upload ? `upload ${S.model.upload.slice(1)}` : `the bundled picture “${S.model.picture}”`}, as ${S.model.input.join("×")}${S.model.input[0] > 1 ? " (the first channel is shown)" : ""}.`;
    inside();
    put({ model: S.model.model, upload: S.upload, layer: S.path, kind: S.kind === "filters" ? "" : S.kind, channel: S.channel || "", order: S.order === "index" ? "" : S.order });
  }

  function inside() {
    const tiles = S.found && (S.kind === "filters" || S.kind === "maps");
    element("order-l").hidden = !tiles;
    element("channel-l").hidden = !(tiles && S.found.channels > 1);
    if (!S.found) return fill(element("inside"), html`<p class="cap">…</p>`);
    if (tiles) {
      element("order").value = S.order;
      if (S.found.channels > 1) {
        fill(element("channel"), html`${Array.from({ length: Math.min(S.found.channels, 1024) }, (_, k) => html`<option value="${k}">${k}</option>`)}`);
        element("channel").value = String(S.channel);
      }
      fill(element("inside"), contactSheet(S.found, S.order, S.tile));
      paintSheet(element("inside"), S.found, S.order);
      paintScales(element("inside"));
    } else fill(element("inside"), S.kind === "weights" ? histograms(S.found) : checked(S.found));
  }

  const send = attempt(async (file) => take((await uploaded(file)).upload));

  root.addEventListener("click", (event) => {
    const near = (name) => event.target.closest?.(`[data-${name}]`)?.dataset[name];
    const group = near("group"), layer = near("layer"), kind = near("kind"), tile = near("tile");
    if (group !== undefined) {
      S.open[S.open.has(group) ? "delete" : "add"](group);
      draw();
    } else if (layer !== undefined) {
      Object.assign(S, { path: layer, tile: 0, channel: 0 });
      load().then(() => isNarrow() && element("node").scrollIntoView());
    } else if (kind !== undefined) {
      Object.assign(S, { kind, tile: 0 });
      load();
    } else if (event.target.id === "inspect-bundled") {
      attempt(take)(null);
    } else if (tile !== undefined) {
      S.tile = Number(tile);
      inside();
    }
  });
  root.addEventListener("change", ({ target }) => {
    if (target.id === "inspect-model") open(target.value).then(() => S.model && (target.value = S.model.model)); // the old one after an error
    if (target.id === "inspect-file" && target.files.length) {
      const [file] = target.files;
      send(file);
      target.value = ""; // the same file can be chosen again
    }
    if (target.id === "inspect-order") {
      S.order = target.value;
      draw();
    }
    if (target.id === "inspect-channel") {
      S.channel = Number(target.value);
      load();
    }
  });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key], row = event.target.closest?.(".lrow");
    if (!step || !row) return;
    event.preventDefault();
    const rows = $$("button.lrow", root);
    rows[rows.indexOf(row) + step]?.focus();
  });

  return {
    render: () => S.model && draw(),
    opened: (reconnected) => begin(reconnected ? S.model?.model : S.wanted),
  };
}
