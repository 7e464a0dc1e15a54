// The state of the chosen run, and the controls by which a person steers it.
import { $, fill, html, num } from "/core/dom.js";

const ALIVE = ["starting", "running", "paused", "finishing"];
export const STATUS = { starting: "Starting", running: "Training", paused: "Paused", finishing: "Writing the report", finished: "Finished", stopped: "Stopped", failed: "Failed", stopping: "Saving" };

/** The factor of the learning rate of a run, and the step after which it was set; the step is unknown if the page did not see it. */
let rate = { run: "", factor: 1, step: -1 };

export const isAlive = (one) => ALIVE.includes(one?.status);

export const CONTROLS = html`<div class="row" role="group" aria-label="Steer the training" id="train-steer"></div>
    <label class="field inline" id="train-rate-field" hidden><span>Learning rate times</span><input type="number" id="train-rate" min="0" step="any" data-tip="A factor of the recipe's learning rate; 1 is the recipe's own."></label>
    <p id="train-status"></p><progress id="train-done" max="1" value="0" aria-label="Epochs done"></progress><p class="cap" id="train-message"></p><p class="cap" id="train-elsewhere"></p>`;

/** Show a run, undefined for none; isStopping: whether a person has stopped it. */
export function showRun(one, isStopping) {
  const status = isStopping && isAlive(one) ? "stopping" : one?.status;
  const buttons = !one ? [] : isAlive(one) ? [status === "paused" ? ["go", "Continue"] : ["pause", "Pause"], ["step", "Step"], ["stop", "Stop"]] : one.status === "finished" ? [] : [["resume", "Resume"]];
  const usable = { paused: ["go", "step", "stop"], running: ["pause", "step", "stop"], starting: ["stop"] }[status] ?? ["resume"];
  fill($("#train-steer"), html`${buttons.map(([action, text]) => html`<button class="btn" data-action="${action}" data-k="${action}" ${usable.includes(action) ? "" : "disabled"}>${text}</button>`)}`);
  const wasTaught = one?.status === "finished" && !one.epochs; // in the view Teach
  const live = one?.live, field = $("#train-rate");
  if (live && (rate.run !== one.name || rate.factor !== live.lr_factor)) rate = { run: one.name, factor: live.lr_factor, step: rate.run === one.name ? live.step : -1 };
  $("#train-rate-field").hidden = !live;
  if (live && document.activeElement !== field) field.value = live.lr_factor;
  fill($("#train-status"), one ? html`<b data-status="${status}">${STATUS[status]}</b>${live ? html` in epoch ${Math.min(live.epoch + 1, live.epochs)} of ${live.epochs}, batch ${live.batch} of ${live.batches}, step <b id="train-step">${live.step}</b>${live.losses.length > 0 && html`, loss <b>${num(live.losses.at(-1)[1])}</b>`}, learning rate <b id="train-lr">${num(live.lr)}</b>${live.lr_factor !== 1 && html`, factor <b>${num(live.lr_factor)}</b> ${live.step === rate.step ? "from the next step on" : "included"}`}` : !wasTaught && html`, ${one.rows.length} of ${one.epochs} epochs`}` : html`No run yet. Choose a recipe and start it; digits takes seconds.`);
  $("#train-done").value = wasTaught ? 1 : one ? (one.rows.length + (live ? live.batch / live.batches : 0)) / Math.max(1, one.epochs) : 0;
  $("#train-message").textContent = one?.message ?? "";
  const link = (view, title) => html`<a href="#${view}?${new URLSearchParams({ model: one.name })}" data-k="to-${view}">${title}</a>`;
  fill($("#train-elsewhere"), html`${one?.trained && html`Its weights in ${link("draw", "Draw")}, ${link("explain", "Explain")} and ${link("inspect", "Inspect")}`}`);
}
