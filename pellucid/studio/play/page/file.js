// The playground in a file: recorded trainings, one of which is shown at an epoch of the slider.
import { $, fill, html } from "/core/dom.js";
import { DEFAULTS, toAddress } from "./form.js";
import { start as startView } from "./view.js";

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember }) {
  const trainings = JSON.parse(address.get("trainings")), last = Number(address.get("last"));
  fill(root, html`<p class="cap recording">These are recorded trainings, which need no server; to change the data, the network or the optimizer, start <code>pellucid studio</code>.</p><form class="row recording" aria-label="Recording"><label class="field inline">Training <select id="play-training">${trainings.map(([name], k) => html`<option value="${k}">${name}</option>`)}</select></label>
    <label class="field inline">Recorded epochs <input type="range" id="play-frame" min="0" max="${last}" value="0"></label></form><div class="recorded"></div>`);
  const range = $("#play-frame", root), select = $("#play-training", root);
  let at = 0, wanted = null, view = null;

  const recording = {
    /** The answer that was recorded at the present place, or at the next one if there are steps to take. */
    async ask(kind) {
      if (kind === "play.open") at = 0;
      if (kind === "play.learn") {
        if (at === last) throw new Error("The recording ends here. Reset, or move the slider back.");
        at += 1;
      }
      if (wanted === null) range.value = String(at);
      return server.ask(`${select.value}.${at} ${kind}`);
    },
  };

  /** Go to a place of the recording, by all places before it, which the curves need. */
  async function seek(place) {
    const isSeeking = wanted !== null;
    wanted = place;
    if (isSeeking) return;
    view.pause();
    while (at !== wanted) {
      if (at > wanted) await view.reset();
      else await view.learn(1);
      await new Promise((resolve) => setTimeout(resolve));
    }
    wanted = null;
  }

  async function begin() {
    const own = document.createElement("div"), [, settings] = trainings[Number(select.value)];
    $(".recorded", root).replaceChildren(own);
    const state = new URLSearchParams(typeof settings === "string" ? settings : toAddress({ ...DEFAULTS, ...settings }));
    state.set("file", "1");
    view = startView(own, recording, { state, remember });
    await view.opened(false);
    $("[data-speed=slow]", own).click(); // a recorded epoch three times a second
    await seek(Number(address.get("start") ?? 0));
    range.value = String(at);
  }

  range.addEventListener("input", () => seek(Number(range.value)));
  select.addEventListener("change", begin);
  return { render: () => view?.render(), opened: begin };
}
