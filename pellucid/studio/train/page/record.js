// What is known of a training, in a notebook: its curves, the layers at an epoch, and what the doctor found.
import { $, fill, html } from "/core/dom.js";
import * as panels from "./panels.js";

const FRAME = html`<div class="panes record-panes">
  <section class="pane curves" aria-label="Curves"><div id="record-curves"></div>
    <label class="field">Epoch <b id="record-at"></b><input type="range" id="record-epoch" min="1"></label><div id="record-layers"></div></section>
  <section class="pane doctor" aria-label="Doctor"><div id="record-findings"></div></section></div>`;

/** Start the view in an element; returns what the document calls. */
export function start(root, server) {
  fill(root, FRAME);
  let found = null, at = 0;

  function render() {
    const { rows, layers, diagnosis } = found, now = rows[at - 1];
    $(".curves", root).hidden = !rows.length;
    $(".doctor", root).hidden = !diagnosis;
    if (diagnosis) panels.findings($("#record-findings"), { diagnosis });
    if (!now) return;
    panels.curves($("#record-curves"), [{ name: "", rows, epochs: rows.length }], now.epoch);
    panels.layers($("#record-layers"), layers, now.epoch);
    $("#record-at").textContent = now.epoch;
  }

  root.addEventListener("input", ({ target }) => {
    at = Number(target.value);
    render();
  });

  return {
    render,
    async opened() {
      found = await server.ask("record.open");
      at = found.rows.length;
      Object.assign($("#record-epoch"), { max: at, value: at });
      render();
    },
  };
}
