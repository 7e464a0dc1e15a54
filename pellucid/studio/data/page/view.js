// The view Data: examples as a network receives them, and the numbers and differences of each part.
import { $, $$, attempts, fill, html, say } from "/core/dom.js";
import { LostError } from "/core/server.js";

const FRAME = html`<section class="pane" aria-labelledby="data-h"><div class="head"><h2 id="data-h">Data</h2><label class="field inline"><span class="sr">Data of</span><select id="data-source"></select></label></div>
  <p class="notice" id="data-problem" role="alert" hidden></p><div id="data-shown"></div></section>`;
const group = (label, names) => names.length > 0 && html`<optgroup label="${label}">${names.map((one) => html`<option value="${one}">${one}</option>`)}</optgroup>`;
const tableOf = ([caption, [head, ...rows]]) => html`<details open><summary>${caption}</summary><div class="scroll"><table><thead><tr>${head.map((one) => html`<th scope="col">${one}</th>`)}</tr></thead>
  <tbody>${rows.map(([name, ...cells]) => html`<tr><th scope="row">${name}</th>${cells.map((one) => html`<td>${one}</td>`)}</tr>`)}</tbody></table></div></details>`;
const listOf = ([title, lines]) => html`<details><summary>${title}</summary><ul>${lines.map((one) => html`<li>${one}</li>`)}</ul></details>`;
const picture = (part, [caption, source, width, height]) => html`<figure><img src="${source}" width="${width}" height="${height}" alt="${part}, ${caption}"><figcaption class="cap">${caption}</figcaption></figure>`;

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember }) {
  fill(root, FRAME);
  const S = { names: null, wanted: address.get("name"), shown: null };
  const element = (id) => $(`#data-${id}`, root);

  function problem(error) {
    if (error instanceof LostError) return;
    element("problem").hidden = !error;
    element("problem").textContent = error?.message ?? "";
    if (error) say(error.message);
  }
  const attempt = attempts(problem);

  const show = attempt(async (name) => {
    S.shown = null;
    fill(element("shown"), html`<p class="cap">Reading ${name} …</p>`);
    remember({ name });
    try {
      S.shown = await server.ask("data.show", { name });
      say(`${name}: ${S.shown.faults.length} differences`);
    } finally {
      render();
    }
  });

  function render() {
    if (!S.shown) return fill(element("shown"), html`<p class="cap">Choose the data of a run, a recipe, or of your own.</p>`);
    const { faults, pictures, legend, tables, lists, page } = S.shown;
    const parts = Object.entries(pictures).filter(([, drawn]) => drawn.length);
    fill(element("shown"), html`${faults.map((one) => html`<p class="data-fault">${one}</p>`)}${!faults.length && html`<p>No part differs from training by more than chance.</p>`}
      ${page.notes.map((one) => html`<p>${one}</p>`)}<div class="data-parts">${parts.map(([part, drawn]) => html`<div><h3>${part}</h3><div class="data-row">${drawn.map((one) => picture(part, one))}</div></div>`)}</div>
      <p>${legend.map(([name, colour]) => html`<span class="data-dot" data-colour="${colour}"></span>${name}`)}</p>${lists.map(listOf)}${tables.map(tableOf)}<p class="cap">${page.test}</p>`);
    for (const dot of $$("[data-colour]", root)) dot.style.background = dot.dataset.colour;
  }

  const open = attempt(async () => {
    S.names = await server.ask("data.open");
    fill(element("source"), html`<option value="">Choose…</option>${group("Your own", S.names.own)}${group("Runs", S.names.runs)}${group("Recipes", S.names.recipes)}`);
    element("source").value = S.wanted ?? "";
    if (S.wanted && !S.shown) await show(S.wanted);
    else render();
  });
  root.addEventListener("change", ({ target }) => {
    if (target.id !== "data-source" || !target.value) return;
    S.wanted = target.value;
    show(target.value);
  });
  return { opened: open, render };
}
