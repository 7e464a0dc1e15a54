// The markup of the view Teach: its panes, the cards of its classes, and frames as thumbnails.
import { $, $$, fill, html } from "/core/dom.js";
import { paintPicture } from "/core/paint.js";

const MOST_NAMES = 20; // of files that are left out for one reason, before the others are folded
const ACCEPTED = "image/png,image/jpeg,image/webp,image/gif,video/*";

/** The view, before it is opened. */
export const VIEW = html`<div class="panes teach-panes">
  <section class="pane teach-watch" aria-labelledby="teach-h"><div class="head"><h2 id="teach-h">Teach</h2><p class="read" id="teach-total"></p></div>
    <div class="teach-shot" id="teach-shot"><video id="teach-video" muted playsinline aria-label="What is watched"></video><canvas class="still" id="teach-still" role="img" aria-label="The picture that is tried" hidden></canvas></div>
    <div class="row"><button class="btn" id="teach-camera" type="button">Start the camera</button><label class="btn file">Try a file…<input type="file" id="teach-try" accept="${ACCEPTED}"></label></div></section>
  <section class="pane teach-collect" aria-label="Classes"><p class="notice" id="teach-problem" role="alert" hidden></p>
    <p class="cap">Frames stay on this machine, in memory until Save. Hold a class's button, or drop pictures, videos or a folder on it.</p>
    <label class="field inline" id="teach-saved-runs" hidden>Continue a saved one <select id="teach-continue"></select></label>
    <div id="teach-classes"></div>
    <form class="row" id="teach-add"><label class="field inline">New class <input id="teach-name" required autocomplete="off"></label><button class="btn">Add</button><button class="btn quiet" type="button" id="teach-new">New collection</button></form></section>
  <section class="pane teach-live" aria-labelledby="teach-live-h"><div class="head"><h2 id="teach-live-h">Live</h2><p class="read" id="teach-rate"></p></div>
    <div class="row"><button class="btn primary" id="teach-fit" type="button">Train</button><label class="check-l"><input type="checkbox" id="teach-why" checked> Why</label></div>
    <p class="notice" id="teach-refusal" role="alert" hidden></p>
    <p class="notice" id="teach-stale" role="status" hidden></p>
    <p id="teach-answer" class="teach-answer" aria-live="off"></p><p class="cap" id="teach-reason"></p><div id="teach-bars"></div>
    <figure class="teach-why" id="teach-because" hidden><div class="teach-shot"><canvas id="teach-frame" role="img" aria-label="The frame that is explained"></canvas><canvas class="over" id="teach-map" role="img" aria-label="Where the evidence lies"></canvas></div>
      <figcaption><p id="teach-read"></p><p class="scale"><i>none</i><canvas class="bar over" id="teach-ramp" aria-hidden="true"></canvas><i>most evidence</i></p><p class="cap" id="teach-edge"></p></figcaption></figure>
    <fieldset id="teach-thresholds" aria-label="Thresholds"></fieldset>
    <h3>Held-out frames</h3><div id="teach-confusion"><p class="cap">Not trained yet.</p></div>
    <h3>Remarks</h3><div id="teach-remarks"><p class="cap">Not trained yet.</p></div>
    <form class="row" id="teach-save" hidden><label class="field inline">Save as <input id="teach-run" value="gestures" required autocomplete="off" pattern="[A-Za-z0-9][A-Za-z0-9_\\-]{0,39}"></label><button class="btn" id="teach-store">Save</button><span class="cap" id="teach-saved" role="status"></span></form></section></div>`;

/** Some frames of a class, the newest last, each with a button that removes it; see `paintFrames`. */
export const frameList = ({ name, page, first, held_out, tensors }) => html`<div class="teach-frames"><div class="images">${Object.keys(tensors).map((_, k) => html`<span><canvas data-frame="${k}" role="img" aria-label="Frame ${first + k + 1} of ${name}"></canvas><button class="btn small" type="button" data-frame-index="${first + k}" data-k="frame ${first + k}" aria-label="Remove frame ${first + k + 1} of ${name}">Remove</button>${held_out[k] && html`<span class="cap">held out</span>`}</span>`)}</div>
  <div class="row tight"><button class="btn small" type="button" data-page="${page + 1}" data-k="older" ${first === 0 && html`disabled`}>Older</button><button class="btn small" type="button" data-page="${page - 1}" data-k="newer" ${page === 0 && html`disabled`}>Newer</button></div></div>`;

export function paintFrames(root, { tensors }) {
  for (const canvas of $$("[data-frame]", root)) paintPicture(canvas, tensors[`frame${canvas.dataset.frame}`]);
}

/** The files of a class that were left out, by reason; errors: pairs of a file's name and its error. */
function leftOut(name, { errors, total }) {
  const names = {};
  for (const [file, { message }] of errors) (names[message] ??= []).push(file);
  return html`<div class="notice" data-left><p>${errors.length} of ${total} ${total === 1 ? "file" : "files"} left out</p><ul>${Object.entries(names).map(([reason, all]) => html`<li>${reason}: ${all.slice(0, MOST_NAMES).join(", ")}
    ${all.length > MOST_NAMES && html`<details><summary>and ${all.length - MOST_NAMES} more</summary>${all.slice(MOST_NAMES).join(", ")}</details>`}</li>`)}</ul><button class="btn small" type="button" data-close aria-label="Close the list of ${name}">Close</button></div>`;
}

/**
 * Fill the cards of the classes; shown and left: as in `cards`. A focus whose element is gone or disabled moves to the
 * same or the nearest control of its card, else to a button that collects, which removes nothing if a key is held down.
 */
export function fillCards(root, classes, shown, left) {
  const old = /** @type {HTMLElement} */ (document.activeElement), before = $$("[data-class]", root);
  const isContinued = old.id === "teach-continue" && classes.length > 0; // it is then hidden
  const at = isContinued ? 0 : before.findIndex((card) => card.contains(old));
  fill($("#teach-classes", root), cards(classes, shown, left));
  if (at < 0 || (document.activeElement !== document.body && !isContinued)) return;
  const card = $$("[data-class]", root)[at], find = (selector) => card && $$(selector, card).at(-1);
  const kind = classes.length < before.length ? "hold" : old.dataset.k?.split(" ")[0]; // of a renamed class, the same control
  const near = find(`[data-k^="${kind} "]:enabled`) ?? (old.dataset.page && find("[data-page]:enabled"));
  (near || find("[data-hold]") || $("#teach-name", root)).focus({ preventScroll: true });
}

/** The cards of the classes; shown: what `frameList` takes, null for none; left: what `leftOut` takes, by class. */
const cards = (classes, shown, left) => html`${classes.map(({ name, frames, stretch }) => html`<div class="teach-class" data-class="${name}"><canvas width="64" height="48" role="img" aria-label="The latest frame of ${name}"></canvas>
      <div><div class="row tight"><input data-rename value="${name}" aria-label="Name of ${name}" autocomplete="off" data-k="rename ${name}"><span class="cap"><b data-frames>${frames}</b> <span data-unit>${frames === 1 ? "frame" : "frames"}</span></span></div>
      <div class="row tight"><button class="btn" type="button" data-hold data-k="hold ${name}" aria-label="Hold to collect ${name}">Hold to collect</button><label class="btn file">Files…<input type="file" multiple data-files data-k="files ${name}" accept="${ACCEPTED}" aria-label="Files of ${name}"></label><label class="btn file">Folder…<input type="file" multiple webkitdirectory data-files data-k="folder ${name}" aria-label="Folder of ${name}"></label>
      <button class="btn quiet" type="button" data-drop ${stretch === null && html`disabled`} data-k="drop ${name}" aria-label="Undo: remove the last stretch of ${name}">Undo</button><button class="btn quiet" type="button" data-show aria-expanded="${shown?.name === name}" ${!frames && html`disabled`} data-k="show ${name}" aria-label="Frames of ${name}">Frames</button><button class="btn quiet" type="button" data-remove data-k="remove ${name}" aria-label="Remove ${name}">Remove</button></div>${left.has(name) && leftOut(name, left.get(name))}${shown?.name === name && frames > 0 && frameList(shown)}</div></div>`)}`;
