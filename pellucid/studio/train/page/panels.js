// What the panes of Train show, from data alone.
import { $$, fill, html, num, short } from "/core/dom.js";
import { colour, heat, paintScales, scaleBar, textOn } from "/core/paint.js";
import { chart, spark } from "/core/chart.js";

const MANY = 20; // classes, beyond which the frequent mistakes are listed
const FRACTIONS = /accuracy|precision|recall|f1|iou|^ap|pck/; // metrics that are shown in per cent
const KINDS = { cause: "✕ Cause", "likely cause": "✕ Likely cause", part: "✕ Part with the fault", symptom: "▲ Symptom", consequence: "↳ Consequence" };

const words = (key) => key.replace(/^(train|val)_/, "").replaceAll("_", " ");
const column = (rows, key) => rows.map((row) => [row.epoch, row[key] ?? NaN]);

/** The first metrics that rows have: the loss, others, parts of the loss; of training data, held-out data or both. */
export function metrics(rows) {
  const names = Object.keys(rows[0] ?? {}).filter((key) => /^(train|val)_/.test(key)).map((key) => key.replace(/^(train|val)_/, ""));
  const rank = (name) => (name === "loss" ? 0 : name.endsWith("loss") ? 2 : 1);
  return [...new Set(names)].sort((a, b) => rank(a) - rank(b)).slice(0, 4);
}

/** The curves of one run, or of several: then one line for each run. runs: [{name, rows, epochs, live}] */
export function curves(root, runs, at) {
  const [first, ...others] = runs;
  const ahead = (one) => (["starting", "running", "paused"].includes(one.status) ? Math.min(one.epochs, Math.ceil(one.rows.length * 1.5) + 4) : 0);
  const xmax = Math.max(...runs.map((one) => Math.max(one.rows.length, ahead(one))));
  const names = metrics(first.rows);
  const batches = first.live ? first.live.losses.map(([step, loss]) => [step / first.live.batches, loss]) : [];
  if (!names.length && !batches.length) {
    fill(root, html`<p class="cap">The curves begin with the first epoch.</p>`);
    return;
  }
  const lines = (name) => {
    if (others.length) return runs.map((one, k) => ({ name: one.name, style: `run${k % 6}`, points: column(one.rows, one.rows[0] && `val_${name}` in one.rows[0] ? `val_${name}` : `train_${name}`) }));
    const both = [{ name: "training", style: "thin", points: column(first.rows, `train_${name}`) }, { name: "held out", style: "bold", points: column(first.rows, `val_${name}`) }];
    return name === "loss" ? [{ name: "", style: "faint", points: batches }, ...both] : both;
  };
  fill(root, html`${(names.length ? names : ["loss"]).map((name) => html`<h3>${words(name)} <small>${[others.length && "on held-out data", name.endsWith("loss") && "log scale"].filter(Boolean).join(", ")}</small></h3>
    ${chart({ lines: lines(name), xmax, log: name.endsWith("loss"), percent: FRACTIONS.test(name), cursor: at, label: `${words(name)} by epoch, to epoch ${first.rows.length}` })}`)}
    ${!others.length && batches.length > 0 && html`<p class="cap">Grey: single batches while this page watches.</p>`}`);
}

/** The gradient norm and the update ratio of each weight: their curves, and their numbers at an epoch. now: live rows */
export function layers(root, rows, at, now) {
  const by = new Map();
  for (const row of rows) if (!row.path.endsWith("bias")) by.set(row.path, [...(by.get(row.path) ?? []), row]);
  for (const row of now ?? []) if (!row.path.endsWith("bias") && !by.has(row.path)) by.set(row.path, []);
  if (!by.size) {
    fill(root, html`<p class="cap">They are measured after the last batch of each epoch.</p>`);
    return;
  }
  const live = new Map((now ?? []).map((row) => [row.path, row]));
  fill(root, html`<div class="scroll" tabindex="0" role="region" aria-label="Gradients and updates of each layer"><table class="layers"><thead><tr><th scope="col">weight</th><th scope="col" colspan="2">gradient norm</th><th scope="col" colspan="2" data-tip="Size of the last update divided by the size of the weight; 0.001 is a good order.">update ratio</th></tr></thead>
    <tbody>${[...by].map(([path, all]) => {
      const index = all.findIndex((row) => row.epoch === at), shown = live.get(path) ?? all[index];
      const ratios = all.map((row) => row.update_ratio).filter(Number.isFinite).sort((a, b) => a - b), middle = ratios[ratios.length >> 1];
      const odd = middle > 0.1 || middle < 1e-5;
      return html`<tr><th scope="row">${path.replace(/\.weight$/, "")}</th><td>${spark(all.map((row) => row.grad_norm), index)}</td><td>${shown ? num(shown.grad_norm, 2) : "–"}</td><td>${spark(all.map((row) => row.update_ratio), index)}</td><td>${odd && html`<span class="neg" role="img" aria-label="unusual" data-tip="The median over the epochs is above 0.1 or below 0.00001.">▲</span> `}${shown ? num(shown.update_ratio, 2) : "–"}</td></tr>`;
    })}</tbody></table></div>`);
}

/** A confusion matrix; cell: [true, predicted], the one that is chosen. */
export function confusion(root, found, cell) {
  const { classes, counts } = found, spots = counts.flatMap((row, t) => row.map((n, p) => [t, p, n])).filter(([t, p]) => t !== p);
  const total = counts.flat().reduce((a, b) => a + b, 0);
  const right = counts.reduce((sum, row, k) => sum + row[k], 0);
  const sums = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const chosen = cell ?? [0, 0];
  const key = ([t, p]) => `${t},${p}`;
  if (classes.length > MANY) {
    const worst = spots.filter(([, , n]) => n).sort((a, b) => b[2] - a[2]).slice(0, 12);
    fill(root, html`<p class="cap">${right} of ${total} held-out pictures are read correctly. The most frequent mistakes:</p><div class="row tight">${worst.map(([t, p, n]) => html`<button class="btn small" data-cell="${t},${p}" data-k="c${t},${p}" aria-pressed="${cell !== null && key(cell) === `${t},${p}`}">${classes[t]} read as ${classes[p]}: ${n}</button>`)}</div>`);
    return;
  }
  fill(root, html`<p class="cap">Rows are the true classes, columns what is read: ${right} of ${total} held-out pictures are right.</p>
    <div class="wide"><table class="conf" role="grid" aria-label="Confusion matrix"><thead><tr><td></td>${classes.map((name) => html`<th scope="col" data-tip="${name}">${name.slice(0, 3)}</th>`)}</tr></thead>
    <tbody>${counts.map((row, t) => html`<tr><th scope="row" data-tip="${classes[t]}">${short(classes[t], 6)}</th>${row.map((n, p) => html`<td><button data-cell="${t},${p}" data-n="${n}" data-k="c${t},${p}" tabindex="${key(chosen) === `${t},${p}` ? 0 : -1}" aria-pressed="${cell !== null && key(cell) === `${t},${p}`}" aria-label="${classes[t]} read as ${classes[p]}: ${n}" data-tip="${classes[t]} read as ${classes[p]}: ${n} of ${sums[t]}">${n > 0 && n}</button></td>`)}</tr>`)}</tbody></table></div>
    <p class="legend">${scaleBar("div", "100 % wrong", "100 % right")}</p><p class="cap">The share of the true class; the colour is its square root.</p>`);
  for (const button of $$(".conf [data-cell]", root)) {
    const [t, p] = button.dataset.cell.split(",").map(Number), share = Math.sqrt(button.dataset.n / Math.max(1, sums[t])) * (t === p ? 1 : -1);
    button.style.background = colour("div", share);
    button.classList.add(textOn("div", share));
  }
  paintScales(root);
}

/** The pictures of a cell: images (n, C, H, W) uint8. */
export function cellImages(root, found, classes) {
  const { true: t, predicted: p, count, tensors } = found, images = tensors.images;
  const many = `${count} ${count === 1 ? "picture" : "pictures"}`;
  const shown = images?.shape[0] ?? 0;
  fill(root, html`<p class="cap">${t === p ? html`${classes[t]}, read correctly: ${many}` : html`${classes[t]}, read as ${classes[p]}: ${many}`}${shown && shown < count ? `, ${shown} of them here` : ""}.</p>
    ${shown > 0 && html`<div class="images">${[...Array(shown).keys()].map((k) => html`<canvas class="px" data-image="${k}" role="img" aria-label="${classes[t]}, read as ${classes[p]}"></canvas>`)}</div>`}
    ${count > 0 && !shown && html`<p class="cap">These data are no pictures.</p>`}`);
  for (const canvas of $$("[data-image]", root)) image(canvas, images, +canvas.dataset.image);
}

/** Draw picture k of (n, C, H, W), or a picture (C, H, W), uint8, on a canvas: as it is, without a colour map. */
export function image(canvas, tensor, k = 0) {
  const [channels, height, width] = tensor.shape.slice(-3), size = height * width, start = k * channels * size;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  for (let i = 0; i < size; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = tensor.data[start + (c % channels) * size + i];
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
}

/** A sheet of a generator's samples (n, C, H, W). */
export function sheet(root, samples) {
  fill(root, html`<div class="images">${[...Array(samples.shape[0]).keys()].map((k) => html`<canvas class="px" data-sample="${k}" role="img" aria-label="Sample ${k}"></canvas>`)}</div><p class="cap">Made from the same random numbers in every epoch.</p>`);
  for (const canvas of $$("[data-sample]", root)) image(canvas, samples, +canvas.dataset.sample);
}

/** Filters, and the feature maps that they make of one picture. */
export function film(root, found) {
  const { filters, maps, image: probe } = found.tensors;
  if (!filters) return fill(root, html`<p class="cap">This network has no weights that can be seen as pictures.</p>`);
  const sizes = (one) => one.shape.slice(1);
  const [h, w] = sizes(filters), withMaps = maps && maps.shape[1] * maps.shape[2] > 1;
  const most = (one) => one.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  fill(root, html`<div class="film">${probe && html`<figure><canvas class="px" data-film="probe" role="img" aria-label="The held-out picture"></canvas><figcaption class="cap">picture</figcaption></figure>`}
    ${[...Array(filters.shape[0]).keys()].map((k) => html`<figure><span><canvas class="px" data-film="f${k}" role="img" aria-label="Filter ${k}"></canvas>${withMaps && html`<canvas class="px" data-film="m${k}" role="img" aria-label="Feature map ${k}"></canvas>`}</span><figcaption class="cap">${k}</figcaption></figure>`)}</div>
    <p class="legend"><span>${scaleBar("div", `−${num(most(filters), 2)}`, num(most(filters), 2))} filters of ${found.path}</span>${withMaps && html`<span>${scaleBar("div", `−${num(most(maps), 2)}`, num(most(maps), 2))} what they make of the picture</span>`}</p>`);
  for (const canvas of $$("[data-film]", root)) {
    const what = canvas.dataset.film, k = +what.slice(1);
    if (what === "probe") image(canvas, probe);
    else if (what[0] === "f") heat(canvas, filters.data.slice(k * h * w, (k + 1) * h * w), w, "div", most(filters));
    else {
      const [mh, mw] = sizes(maps);
      heat(canvas, maps.data.slice(k * mh * mw, (k + 1) * mh * mw), mw, "div", most(maps));
    }
  }
  paintScales(root);
}

/** What the doctor found. diagnosis: null or undefined without one. epochs: those that it knows. working: whether it makes another. isTrained: whether the run goes on. problem: why there is no diagnosis. */
export function findings(root, { diagnosis = null, epochs = 0, working = false, isTrained = false, problem = "" }) {
  if (problem) fill(root, html`<p class="notice">${problem}</p>`);
  else if (!diagnosis && working) fill(root, html`<p class="cap" role="status">The doctor is at work…</p>`);
  else if (!diagnosis) fill(root, html`<p class="cap">The doctor looks for causes in the data, the network and the training, and shows the numbers that speak for each. During a training it looks after the first epoch, and again whenever the epochs have doubled. It takes some seconds; beside a running training its process has a low priority.</p>`);
  else {
    const { findings: all, summary, notes } = diagnosis;
    const when = isTrained ? `As of epoch ${epochs}; the training goes on.${working ? " The doctor is at work again…" : ""}` : working ? "The doctor is at work again…" : "";
    fill(root, html`${when && html`<p class="cap" id="train-examined">${when}</p>`}${!isTrained && notes.map((note) => html`<p class="cap">${note}</p>`)}<p><b>${summary}</b></p>
      <ul class="findings">${all.map((one, k) => html`<li><p class="kind ${one.kind === "consequence" ? "" : "neg"}">${KINDS[one.kind] ?? one.kind}</p><h3>${one.check.replaceAll("-", " ")} <small>${one.path}</small></h3>
        ${one.cause && html`<p>${one.cause}</p>`}${one.fix && html`<p><b>Fix:</b> ${one.fix}</p>`}${one.form_settings?.length > 0 && html`<button class="btn" data-apply="${one.form_settings.join("\n")}" data-k="apply${k}" data-tip="Sets ${one.form_settings.join(", ")}; starts nothing.">Apply to the form</button>`}${one.follows_from && html`<p>May follow from ${one.follows_from.replaceAll("-", " ")}.</p>`}
        <details><summary>What was measured</summary><dl>${Object.entries(one.evidence).map(([name, value]) => html`<div><dt>${name.replaceAll("_", " ")}</dt><dd>${typeof value === "number" ? num(value) : value}</dd></div>`)}</dl></details></li>`)}</ul>`);
  }
}

/** The differences between compared runs; a run that cannot be read is named. */
export function comparison(root, found) {
  const table = (head, rows) => html`<div class="scroll" tabindex="0" role="region" aria-label="${head}"><table class="compared"><thead><tr><th scope="col">${head}</th>${found.runs.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>${rows.map(([key, ...values]) => html`<tr><th scope="row">${key}</th>${values.map((value) => html`<td>${value}</td>`)}</tr>`)}</tbody></table></div>`;
  const faults = Object.entries(found.faults).map(([name, message]) => html`<p class="notice">${name} is left out: ${message}</p>`);
  const recipes = found.recipes.length ? table("Recipe", found.recipes) : found.runs.length > 1 && html`<p class="cap">The recipes do not differ.</p>`;
  fill(root, html`${faults}${found.runs.length > 0 && table("Result on test data", found.results)}${recipes}`);
}

