// The view Teach: frames of a class while a button is held, a model of them in seconds, and its answers while one watches.
import { $, $$, attempts, fill, html, isNarrow, num, percent, say, showing } from "/core/dom.js";
import { paintPicture } from "/core/paint.js";
import { LostError, Server } from "/core/server.js";
import * as markup from "./markup.js";
import * as results from "./results.js";
import { droppedFiles, framesOf, grab, inOrder, isPlaying, play, stop } from "/core/source.js";

const SIDES = [128, 256]; // pixels of a frame: the shorter side, which the backbone needs, and the longest that the server accepts
const PACE = 100; // milliseconds between two frames
const WHY_PACE = 450; // milliseconds between two maps, at most two a second at this pace
/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember }) {
  fill(root, markup.VIEW);
  const element = (id) => $(`#teach-${id}`, root), video = element("video");
  const S = { collection: address.get("collection") ?? sessionStorage.getItem("collection"), classes: [], limits: null, fitted: null, latest: new Map(), left: new Map(), cell: null, held: null, stretch: 0, busy: false, changes: 0, fittedChanges: 0, savedChanges: 0, times: [], mapped: 0, turn: 0, tried: null, saved: [], shown: null, moved: {} };

  const problem = showing(root, "#teach-problem");
  const attempt = attempts(problem);
  const attemptTraining = attempts(showing(root, "#teach-refusal")); // shown at its button, far from the classes on a phone

  const open = attempt(async (run = null) => {
    S.busy = true; // no frame is predicted meanwhile: another collection may have no model
    S.turn += 1;
    const answer = await server.ask("gestures.open", { collection: S.collection, run }).finally(() => (S.busy = false));
    S.saved = answer.saved;
    if (answer.collection !== S.collection) {
      Object.assign(S, { fitted: null, latest: new Map(), left: new Map(), shown: null, tried: null, changes: 0, fittedChanges: 0, savedChanges: 0 });
      clearAnswer();
    }
    Object.assign(S, { collection: answer.collection, limits: answer.limits });
    remember({ collection: S.collection });
    sessionStorage.setItem("collection", S.collection); // for a page that is loaded again at another view
    answer.classes.forEach(({ name }, k) => answer.tensors[`frame${k}`] && S.latest.set(name, answer.tensors[`frame${k}`]));
    take(answer.classes);
    S.changes ||= !run && answer.classes.some(({ frames }) => frames > 0) ? 1 : 0; // of frames before a reload it is unknown whether they were saved
    if (answer.is_taught && !S.fitted) await fit(true);
    render();
    if (run) element("run").value = run.replace(/-\d+$/, ""); // saved beside it, as NAME-N
    if (answer.note) problem(new Error(answer.note));
  });

  function take(classes) {
    S.classes = classes;
    S.stretch = Math.max(S.stretch, ...classes.map((one) => one.stretch ?? 0));
    list();
  }

  function list() {
    const total = S.classes.reduce((sum, one) => sum + one.frames, 0);
    element("total").textContent = `${total} frames of at most ${S.limits?.frames ?? ""}`;
    markup.fillCards(root, S.classes, S.shown, S.left);
    if (S.shown) markup.paintFrames(root, S.shown);
    for (const card of $$("[data-class]", root)) if (S.latest.has(card.dataset.class)) paintPicture($("canvas", card), S.latest.get(card.dataset.class));
    element("saved-runs").hidden = S.classes.length > 0 || !S.saved.length;
    fill(element("continue"), html`<option value="">choose a run</option>${S.saved.map((name) => html`<option>${name}</option>`)}`);
    showStale();
    element("fit").disabled = S.classes.length < 2;
    element("fit").title = S.classes.length < 2 ? "add two classes with pictures" : "";
  }

  /** Say so if the model is of other classes or frames. */
  function showStale() {
    const taught = S.fitted?.classes ?? [], isOther = taught.length !== S.classes.length || S.classes.some(({ name }) => !taught.includes(name));
    element("stale").hidden = !S.fitted || !(isOther || S.changes !== S.fittedChanges);
    element("stale").textContent = element("stale").hidden ? "" : `The model and the results below are still of ${isOther ? taught.join(", ") : "the frames before these changes"}: train again for the ${isOther ? "classes" : "frames"} as they are now. Save would save that model.`;
  }

  /** Show that a class has a further frame. */
  function count(name, frame, frames, stretch) {
    const one = S.classes.find((each) => each.name === name);
    if (!one) return;
    Object.assign(one, { frames, stretch });
    S.changes += 1;
    S.latest.set(name, frame);
    S.left.delete(name);
    const card = $(`[data-class="${CSS.escape(name)}"]`, root);
    $("[data-left]", card)?.remove();
    $("[data-frames]", card).textContent = frames;
    $("[data-unit]", card).textContent = frames === 1 ? "frame" : "frames";
    for (const button of $$("[data-drop], [data-show]", card)) button.disabled = false;
    showStale();
    paintPicture($("canvas", card), frame);
    element("total").textContent = `${S.classes.reduce((sum, each) => sum + each.frames, 0)} frames of at most ${S.limits.frames}`;
  }

  async function send(name, frame, stretch) {
    count(name, frame, (await server.ask("gestures.collect", { name, stretch }, { frame })).count, stretch);
  }

  /** Collect frames of a class until its button is released. */
  const hold = attempt(async (name) => {
    if (S.held) return;
    if (!isPlaying(video)) throw new Error("nothing is watched; start the camera, or try a video file");
    const held = (S.held = { name }); // of this press alone: another may begin before the last frame is answered
    const stretch = ++S.stretch;
    try {
      do {
        const began = performance.now();
        await send(name, grab(video, ...SIDES), stretch);
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, PACE - (performance.now() - began))));
      } while (S.held === held);
    } finally {
      if (S.held === held) S.held = null;
      await refreshFrames();
    }
  });
  const release = () => (S.held = null);

  /** Collect the frames of files as one stretch; a file that cannot be used does not end it. */
  const collect = attempt(async (name, files) => {
    const stretch = ++S.stretch;
    const errors = []; // [name, error] of each file that is left out
    for (const file of files) {
      try {
        for await (const frame of framesOf(file, ...SIDES)) await send(name, frame, stretch);
      } catch (error) {
        if (error instanceof LostError) throw error;
        errors.push([file.name, error]);
      }
    }
    await refreshFrames();
    if (errors.length) S.left.set(name, { errors, total: files.length });
    list();
    say(`${name}: collected ${files.length - errors.length} of ${files.length} ${files.length === 1 ? "file" : "files"}`);
  });

  /** Show no answer: nothing is predicted until the model is fitted. */
  function clearAnswer() {
    for (const id of ["answer", "reason", "rate"]) element(id).textContent = "";
    fill(element("bars"), S.fitted ? results.bars(S.fitted.classes) : html``);
    element("because").hidden = true;
    Object.assign(S, { times: [], mapped: 0 });
  }

  /** Fit a model, or read the results of the latest fit (isKept), as for a page that is loaded again. */
  const fit = attemptTraining(async (isKept = false) => {
    S.busy = true;
    S.turn += 1;
    element("store").disabled = element("thresholds").disabled = true;
    clearAnswer();
    const began = performance.now();
    const monitor = new Server(() => {}); // a connection of its own, since requests of one are answered in turn
    const tick = () => {
      element("fit").textContent = `Training… ${Math.round((performance.now() - began) / 1000)} s`;
      monitor.ask("gestures.progress", { collection: S.collection }).then(showStep, () => {}); // none before it is connected
    };
    const showStep = ({ step, steps }) => {
      if (S.busy && step) element("reason").textContent = `Step ${step} of ${steps.length}: ${steps[step - 1]}`;
    };
    tick();
    const clock = setInterval(tick, 1000);
    try {
      const changes = S.changes;
      S.fitted = await server.ask("gestures.fit", { kept: isKept });
      S.fittedChanges = isKept && !S.fitted.is_current ? -1 : changes;
      S.moved = S.fitted.moved ?? {};
      S.cell = null;
      clearAnswer();
      element("saved").textContent = "";
      render();
      say(`Trained: ${percent(S.fitted.accuracy)} of the held-out frames are right`);
      if (S.tried) await predict(S.tried);
    } finally {
      S.busy = false;
      clearInterval(clock);
      monitor.close();
      if (isNarrow() && !isKept && document.activeElement === element("fit")) element("fit").scrollIntoView(); // the answer below it too
      element("fit").textContent = "Train";
      element("store").disabled = element("thresholds").disabled = false;
    }
  });

  /** Show the model's answer for a frame, and from time to time why; nothing, if a model is fitted or another frame asked meanwhile. */
  async function predict(frame) {
    const turn = ++S.turn; // the server explains the frame that was asked last
    const found = await server.ask("gestures.predict", {}, { frame });
    if (turn !== S.turn) return;
    const [answer, reason] = results.showAnswer(element("bars"), found);
    element("answer").textContent = answer;
    element("reason").textContent = reason;
    const now = performance.now();
    S.times = [...S.times.filter((time) => now - time < 2000), now];
    if (S.times.length > 2) element("rate").textContent = `${((1000 * (S.times.length - 1)) / (now - S.times[0])).toFixed(1)} a second`;
    if (!element("why").checked || now - S.mapped < WHY_PACE) return;
    S.mapped = now;
    const why = await server.ask("gestures.why");
    if (turn === S.turn && element("why").checked) results.showWhy(root, frame, why);
  }

  /** Predict what is watched, ten times a second, as long as this view is shown. */
  async function watch() {
    while (root.isConnected) {
      const began = performance.now();
      if (S.fitted && !S.busy && !S.held && !root.hidden && isPlaying(video)) {
        const turn = S.turn + 1;
        try {
          await predict(grab(video, ...SIDES));
        } catch (error) {
          if (!(error instanceof LostError) && turn === S.turn) {
            problem(error);
            S.fitted = null;
          }
        }
      }
      await new Promise((resolve) => setTimeout(resolve, Math.max(10, PACE - (performance.now() - began))));
    }
    stop(video);
  }

  const endTry = () => (S.tried = null, element("still").hidden = element("because").hidden = true);
  const toggleCamera = attempt(async () => {
    const isOn = Boolean(video.srcObject);
    endTry();
    if (isOn) stop(video);
    else {
      await play(video, null).catch((error) => {
        throw new Error(`no camera (${error.message}); drop pictures or videos on a class instead`);
      });
    }
    element("camera").textContent = isOn ? "Start the camera" : "Stop the camera";
  });

  /** Try a file: a video is watched like a camera, a picture is answered once. */
  const tryFile = attempt(async (file) => {
    element("camera").textContent = "Start the camera";
    endTry();
    if (file.type.startsWith("video/")) return play(video, file);
    stop(video);
    for await (const frame of framesOf(file, ...SIDES)) {
      paintPicture(element("still"), frame);
      element("still").hidden = false;
      S.mapped = 0;
      S.tried = frame;
      await predict(frame);
    }
  });

  const edit = attempt(async (name, becomes) => {
    try {
      const { classes } = await server.ask("gestures.edit", { name, becomes });
      for (const known of [S.latest, S.left]) {
        if (becomes !== null && known.has(name)) known.set(becomes, known.get(name));
        known.delete(name);
      }
      if (name !== null && becomes === null) S.changes += 1;
      if (S.shown?.name === name) S.shown = becomes === null ? null : { ...S.shown, name: becomes };
      take(classes);
      if (name === null) element("name").value = "";
    } catch (error) {
      list(); // the name as it was
      throw error;
    }
  });

  /** Remove the class of a button; if it has frames, the button asks first. */
  function remove(button) {
    const name = classOf(button), { frames } = S.classes.find((one) => one.name === name);
    if (!frames || button.dataset.remove) return edit(name, null);
    button.dataset.remove = "asked";
    button.textContent = "Sure?"; // not wider, so that it stays below the pointer
    button.ariaLabel = `Sure? Remove ${name} with its ${frames} ${frames === 1 ? "frame" : "frames"}?`;
    say(button.ariaLabel);
  }

  const drop = attempt(async (name) => {
    const { stretch } = S.classes.find((one) => one.name === name);
    await takeRemaining(name, await server.ask("gestures.drop", { name, stretch }));
  });

  async function takeRemaining(name, { classes, tensors }) {
    if (tensors.frame) S.latest.set(name, tensors.frame);
    else S.latest.delete(name);
    S.left.delete(name);
    S.changes += 1;
    take(classes);
    await refreshFrames();
  }

  /** Show a page of the frames of a class, 0 the newest. */
  async function showFrames(name, page) {
    S.shown = await server.ask("gestures.frames", { name, page });
    list();
  }
  const refreshFrames = async () => S.shown && !S.held && showFrames(S.shown.name, S.shown.page);

  const removeFrame = attempt(async (name, index) => {
    const { frames } = S.classes.find((one) => one.name === name);
    await takeRemaining(name, await server.ask("gestures.remove", { name, index, count: frames }));
    say(`${name}: ${frames - 1} frames`);
  });
  const turnPage = attempt(showFrames);

  const readCell = attempt(async ([t, p]) => {
    const { fitted } = S;
    const found = await server.ask("gestures.cell", { true: t, predicted: p });
    if (fitted === S.fitted) results.showCell(element("cell"), (S.cell = found), fitted.classes);
  });

  const moveThreshold = attempt(async (slider) => {
    const { threshold } = slider.dataset, value = Number(slider.value);
    S.moved[threshold] = value;
    slider.ariaValueText = $("output", slider.parentElement).textContent = threshold === "unsure" ? percent(value) : num(value);
    await server.ask("gestures.thresholds", { [threshold]: value });
    element("saved").textContent = "";
    if (S.tried) await predict(S.tried);
  });

  const save = attempt(async () => {
    const { fittedChanges } = S;
    const { path } = await server.ask("gestures.save", { name: element("run").value });
    S.savedChanges = fittedChanges;
    element("saved").textContent = `Saved as ${path}, with the frames; delete that folder to remove both. No other run was changed.`;
  });

  function render() {
    list();
    element("save").hidden = !S.fitted;
    if (!S.fitted) return Object.entries({ confusion: "Not trained yet.", thresholds: "", remarks: "" }).forEach(([id, text]) => (element(id).textContent = text));
    results.confusion(element("confusion"), S.fitted);
    if (S.cell) results.showCell(element("cell"), S.cell, S.fitted.classes);
    fill(element("thresholds"), results.thresholds(S.fitted, { ...S.fitted, ...S.moved }));
    results.remarks(element("remarks"), S.fitted);
  }

  const classOf = (target) => target.closest?.("[data-class]")?.dataset.class;
  element("add").addEventListener("submit", (event) => {
    event.preventDefault();
    edit(null, element("name").value.trim());
  });
  element("save").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  element("fit").onclick = () => S.busy || fit(); // not disabled meanwhile, so that it keeps the focus
  element("camera").onclick = toggleCamera;
  element("why").onchange = () => {
    element("because").hidden = true;
    S.mapped = 0;
    if (S.tried) attempt(predict)(S.tried);
  };
  root.addEventListener("change", ({ target }) => {
    if (target === element("continue") && target.value) open(target.value);
    if (target === element("try") && target.files.length) tryFile(target.files[0]);
    if ("files" in target.dataset && target.files.length) collect(classOf(target), inOrder(target.files));
    if ("rename" in target.dataset && target.value.trim() !== classOf(target)) edit(classOf(target), target.value.trim());
    if (target.type === "file") target.value = ""; // so that the same file can be chosen again
  });
  root.addEventListener("input", ({ target }) => target.dataset.threshold && moveThreshold(target));
  root.addEventListener("click", ({ target, detail }) => {
    if ("files" in target.dataset) target.onchange = () => target.isConnected || collect(classOf(target), inOrder(target.files)); // the cards were drawn anew while its dialog was open
    if ("drop" in target.dataset) drop(classOf(target));
    if ("close" in target.dataset && S.left.delete(classOf(target))) list();
    if ("fitted" in target.dataset) $$("[data-threshold]", root).forEach((slider) => (slider.value = S.fitted[slider.dataset.threshold], moveThreshold(slider)));
    if (target.dataset.cell) readCell(target.dataset.cell.split(",").map(Number));
    if (target.dataset.frameIndex) removeFrame(classOf(target), Number(target.dataset.frameIndex));
    if (target.dataset.page) turnPage(classOf(target), Number(target.dataset.page));
    if ("show" in target.dataset) {
      if (S.shown?.name === classOf(target)) {
        S.shown = null;
        list();
      } else turnPage(classOf(target), 0);
    }
    if ("remove" in target.dataset && detail < 2) remove(target); // a double click is one
  });
  root.addEventListener("pointerdown", (event) => {
    if (!("hold" in event.target.dataset) || event.button) return;
    event.target.setPointerCapture(event.pointerId);
    hold(classOf(event.target));
  });
  for (const name of ["pointerup", "pointercancel", "keyup"]) root.addEventListener(name, release);
  root.addEventListener("focusout", ({ target }) => "hold" in target.dataset && classOf(target) === S.held?.name && release());
  const keep = ({ target, key = "Escape" }) => {
    if (!target.dataset.remove || key !== "Escape") return;
    target.dataset.remove = "";
    target.textContent = "Remove";
    target.ariaLabel = `Remove ${classOf(target)}`;
  };
  for (const name of ["focusout", "keydown"]) root.addEventListener(name, keep);
  root.addEventListener("keydown", (event) => {
    if (!("hold" in event.target.dataset) || ![" ", "Enter"].includes(event.key)) return;
    event.preventDefault();
    if (!event.repeat) hold(classOf(event.target));
  });
  root.addEventListener("contextmenu", (event) => "hold" in event.target.dataset && event.preventDefault()); // a long touch
  root.addEventListener("drop", async (event) => {
    const name = classOf(event.target), files = await droppedFiles(event.dataTransfer);
    if (name) collect(name, files);
    else if (files.length) tryFile(files[0]);
  });
  const isUnsaved = () => S.changes !== S.savedChanges && S.classes.some(({ frames }) => frames > 0);
  element("new").onclick = () => {
    if (S.busy || S.held || (isUnsaved() && !confirm("Leave these frames, which are not saved?"))) return;
    S.collection = null;
    open().then(() => element("name").focus());
  };
  addEventListener("beforeunload", (event) => root.isConnected && isUnsaved() && event.preventDefault()); // the browser then asks
  watch();
  return { opened: () => open(), render };
}
