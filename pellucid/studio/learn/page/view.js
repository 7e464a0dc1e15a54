// The view Learn: a lesson asks, shows a figure for the values that the reader chooses, and sets exercises.
import { $, $$, attempts, fill, html, num, say } from "/core/dom.js";
import { LostError } from "/core/server.js";
import { glossary, lesson as lessonMarkup, list } from "./frame.js";
import { dragging } from "./handles.js";
import { mark, marks } from "./progress.js";
import { judged, line, linking, numbersTable, read } from "./text.js";

const PAUSE = 30; // milliseconds between two questions for a step that is being computed
const SLOW = 200; // milliseconds after which a figure is dimmed until it is computed
const SETTLED = 500; // milliseconds after which the last figure has its height
const MOST_OUTDATED = 1000; // milliseconds that a step is waited for although its values have changed

/** @type {{moved(): void, released(): void} | null} The lesson that was opened last: those before it listen no longer. */
let reading = null;
addEventListener("scroll", () => reading?.moved(), { passive: true });
for (const type of ["wheel", "touchstart", "pointerdown", "keydown"]) addEventListener(type, () => reading?.released(), { passive: true });

/** Start the view in an element; returns what the frame of the page calls. */
export function start(root, server, { state: address, remember }) {
  fill(root, html`<article class="pane learn"><p class="notice" id="learn-problem" role="alert" hidden></p><div class="learn-column" id="learn-shown"><p class="cap">Reading the lessons …</p></div></article>`);
  const numbers = (values) => values.map(Number);
  const S = {
    name: address.get("lesson"), isFile: address.has("file"), fixed: (address.get("fixed") ?? "").split(","), lesson: null, link: null,
    /** The chosen values, texts by step and slider. */
    values: {},
    /** Where the plots of the shown figures lie, by step. */
    plots: {},
    lowest: (values) => num(Math.min(...numbers(values))),
    highest: (values) => num(Math.max(...numbers(values))),
    start: (step, slider) => S.lesson.steps.find((one) => one.name === step).start[slider],
  };
  const shown = $("#learn-shown", root);
  const stepRoot = (step) => $(`[data-step="${step}"]`, shown);
  const slidersOf = (step) => (S.fixed.includes(step) ? [] : S.lesson.guide.sliders[step] ?? []);
  const handlesOf = (step) => (S.isFile ? undefined : S.lesson.guide.handles[step]);
  const controlsOf = (step) => [...(S.lesson.guide.sliders[step] ?? []), handlesOf(step)].filter(Boolean);

  function problem(error) {
    if (error instanceof LostError) return;
    $("#learn-problem", root).hidden = !error;
    $("#learn-problem", root).textContent = error?.message ?? "";
    if (!error) return;
    say(error.message);
    if (S.name && !S.lesson) fill(shown, html`<p><a href="#learn?list=all">All lessons</a></p>`);
  }
  const attempt = attempts(problem);

  const openLesson = attempt(async () => {
    const answer = await server.ask("learn.lesson", { name: S.name });
    S.lesson = answer;
    for (const { name, start: starts } of answer.steps) {
      S.values[name] = { ...starts };
      for (const { name: control } of S.fixed.includes(name) ? [] : controlsOf(name)) S.values[name][control] = address.get(`${name}.${control}`) ?? starts[control];
    }
    S.link = linking(answer.terms, S.isFile);
    fill(shown, lessonMarkup(S));
    nameMark();
    keep();
    const guesses = marks("guesses"), solved = marks("solved");
    for (const { name } of answer.steps) {
      for (const slider of slidersOf(name)) place(name, slider);
      const guess = guesses[`${S.name}.${name}`];
      if (answer.guide.guesses[name] && guess !== undefined) reveal(name, guess);
    }
    for (const one of $$("[data-exercise]", shown)) if (solved[`${S.name}.${one.dataset.exercise}`]) $("form [role=status]", one).textContent = "Solved.";
    if (!S.isFile) returnToPlace();
    await computeShown();
    setTimeout(() => (held = null), SETTLED);
  });

  let held = null; // the place to return to, until all figures above have their height or the reader moves

  /** Scroll to where the reader of this lesson was, and keep it from now on: the step, and pixels below its top. */
  function returnToPlace() {
    held = marks("places")[S.name] ?? null;
    scrollTo(0, 0);
    holdPlace();
    mark("places", "last", S.name);
    reading = { moved: keepPlace, released: () => (held = null) };
  }

  function holdPlace() {
    const own = held && stepRoot(held.step);
    if (own) scrollTo(0, own.getBoundingClientRect().top + scrollY + held.below);
  }

  function keepPlace() {
    if (root.hidden || held || !root.isConnected) return;
    const above = $$("[data-step]", shown).filter((one) => one.getBoundingClientRect().top < innerHeight / 3).at(-1);
    mark("places", S.name, above ? { step: above.dataset.step, below: Math.round(-above.getBoundingClientRect().top) } : null);
  }

  /** Compute the steps whose figures are shown, one after the other. */
  async function computeShown() {
    for (const { name } of S.lesson.steps) if (root.isConnected && !$(".learn-try", stepRoot(name)).hidden) await compute(name);
  }

  const openList = attempt(async () => {
    const { lessons, terms } = await server.ask("learn.open"), term = address.get("term");
    if (term === null && address.get("list") !== "terms") {
      fill(shown, list(lessons, marks("read"), marks("places").last));
      remember({ list: "all" });
      return;
    }
    fill(shown, glossary(terms, lessons, address.get("from")));
    if (term !== null) document.getElementById(`term-${term}`)?.focus();
  });

  /** Put what is shown into the address: only values that are not those of the start. */
  function keep() {
    const changed = Object.entries(S.values).flatMap(([step, values]) =>
      Object.entries(values).filter(([slider, value]) => value !== S.start(step, slider)).map(([slider, value]) => [`${step}.${slider}`, value]));
    remember({ lesson: S.name, ...Object.fromEntries(changed) });
  }

  /** What is remarked on a slider's value: it is written for the other values of the start. */
  function remarkOn(step, { name, remarks }) {
    const remark = remarks[S.values[step][name]] ?? "";
    const isAsWritten = controlsOf(step).every((one) => one.name === name || S.values[step][one.name] === S.start(step, one.name));
    return remark && !isAsWritten ? `Where the other controls are at their start: ${remark}` : remark;
  }

  function showRemarks(step) {
    for (const slider of slidersOf(step)) {
      const remark = remarkOn(step, slider);
      for (const one of $$(`[data-slider="${slider.name}"] [data-remark]`, stepRoot(step))) if (one.textContent !== remark) one.textContent = remark;
    }
  }

  /** Show a slider's value on its controls. */
  function place(step, { name, values, is_choice: isChoice }) {
    const own = $(`[data-slider="${name}"]`, stepRoot(step)), value = S.values[step][name];
    showRemarks(step);
    for (const one of $$("[data-value]", own)) one.setAttribute("aria-pressed", one.dataset.value === value);
    if (isChoice) {
      $("select", own).value = value;
      return;
    }
    const distances = values.map((one) => Math.abs(Number(one) - Number(value))), range = $("[type=range]", own);
    range.value = distances.indexOf(Math.min(...distances));
    range.setAttribute("aria-valuetext", value);
    const number = $("[data-number]", own);
    number.value = value;
    number.setCustomValidity("");
  }

  function choose(step, slider, value) {
    S.values[step][slider.name] = value;
    place(step, slider);
    keep();
    return compute(step);
  }

  const computing = new Map(); // by step, whether its values have changed since they were sent

  /** Ask for a step's figure and numbers, again and again while it is computed or its values change. */
  async function compute(step) {
    if (computing.has(step)) return computing.set(step, true);
    const own = stepRoot(step), figure = $(".learn-figure", own), refusal = $(".notice", own);
    const slow = setTimeout(() => figure.classList.add("slow"), SLOW);
    try {
      do {
        computing.set(step, false);
        const given = controlsOf(step).map((one) => [one.name, S.values[step][one.name]]);
        const request = { name: S.name, step, values: given.map((pair) => pair.join("=")) }, asked = performance.now();
        try {
          let answer = await server.ask("learn.run", request);
          while (answer.working && !(computing.get(step) && performance.now() - asked > MOST_OUTDATED)) {
            await new Promise((resolve) => setTimeout(resolve, PAUSE));
            answer = await server.ask("learn.run", request);
          }
          const invalid = $("[data-number]:invalid", own);
          refusal.hidden = !invalid;
          if (invalid) refusal.textContent = invalid.validationMessage;
          if (!answer.working) showResult(step, answer, Object.fromEntries(given));
        } catch (error) {
          if (error instanceof LostError) return;
          $(".learn-figure .cap", own).hidden = true;
          refusal.hidden = false;
          refusal.textContent = error.message;
        }
      } while (computing.get(step) && root.isConnected && own.isConnected);
    } finally {
      clearTimeout(slow);
      figure.classList.remove("slow");
      computing.delete(step);
    }
  }

  /** Show an answer; values: those that it was computed for. */
  function showResult(step, { numbers: found, plots, tensors }, values) {
    const own = stepRoot(step), image = $("img", own), label = slidersOf(step).map((one) => `${one.label} ${values[one.name]}`);
    const title = S.lesson.steps.find((one) => one.name === step).title;
    $(".learn-figure .cap", own).hidden = true;
    fill($(".learn-numbers div", own), numbersTable(found));
    if (tensors.png) {
      const old = image.src;
      image.src = URL.createObjectURL(new Blob([tensors.png.data], { type: "image/png" }));
      image.onload = () => {
        if (old) URL.revokeObjectURL(old);
        holdPlace();
      };
      image.alt = `${title}${label.length > 0 ? `, with ${label.join(", ")}` : ""}. Its numbers are in the table below.`;
    }
    image.hidden = !tensors.png;
    $(".learn-figure", own).hidden = !tensors.png;
    S.plots[step] = plots;
    placeHandles(step);
    holdPlace();
    own.dataset.shown = controlsOf(step).map((one) => `${one.name}=${values[one.name]}`).join(" ");
  }

  /** The handles lie in the figure where their numbers are; what is dragged is computed anew. */
  const placeHandles = dragging({
    root, stepRoot, handlesOf, S,
    changed(step, text) {
      S.values[step][handlesOf(step).name] = text;
      showRemarks(step);
      compute(step);
    },
    done: keep,
  });

  /** Show whether a guess was right, why, and what was hidden. */
  function reveal(step, answer) {
    const guess = S.lesson.guide.guesses[step], own = stepRoot(step);
    for (const [k, button] of $$("[data-answer]", own).entries()) {
      button.disabled = true;
      button.setAttribute("aria-pressed", k === answer);
      button.classList.toggle("right", k === guess.right);
    }
    fill($(".learn-why", own), html`<b>${answer === guess.right ? "Right." : "Not quite."}</b> ${line(guess.why)} <button class="btn small" type="button" data-again>Guess again</button>`);
    $(".learn-try", own).hidden = false;
  }

  /** Ask a step's question once more: its answers can be chosen, and what they hide is hidden. */
  function askAgain(step) {
    mark("guesses", `${S.name}.${step}`, null);
    const own = stepRoot(step), answers = $$("[data-answer]", own);
    for (const button of answers) {
      button.disabled = false;
      button.setAttribute("aria-pressed", "false");
      button.classList.remove("right");
    }
    $(".learn-try", own).hidden = true;
    answers[0].focus();
  }

  function nameMark() {
    const button = $("#learn-mark", shown);
    if (!button) return;
    const isRead = Boolean(marks("read")[S.name]);
    button.textContent = isRead ? "Read" : "Mark as read";
    button.setAttribute("aria-pressed", isRead);
  }

  root.addEventListener("click", ({ target }) => {
    const of = (selector) => target.closest?.(selector);
    const step = of("[data-step]")?.dataset.step;
    let found;
    if ((found = of("[data-answer]"))) {
      mark("guesses", `${S.name}.${step}`, Number(found.dataset.answer));
      reveal(step, Number(found.dataset.answer));
      compute(step);
      $(".learn-figure", stepRoot(step)).focus({ preventScroll: true });
    } else if ((found = of("button[data-value]"))) {
      choose(step, slidersOf(step).find((one) => one.name === of("[data-slider]").dataset.slider), found.dataset.value);
    } else if (of("[data-again]")) askAgain(step);
    else if (of("[data-reset]")) {
      for (const slider of slidersOf(step)) choose(step, slider, S.start(step, slider.name));
      const handles = handlesOf(step);
      if (handles) S.values[step][handles.name] = S.start(step, handles.name);
      showRemarks(step);
      keep();
      compute(step);
    } else if ((found = of("a[data-term]"))) {
      // The way back is the address of now, with the values of the sliders.
      found.hash = `#learn?${new URLSearchParams({ term: found.dataset.term, from: location.hash.split("?")[1] })}`;
    } else if (of("#learn-mark")) {
      mark("read", S.name, marks("read")[S.name] ? null : 1);
      nameMark();
    }
  });

  /** The slider of a control, with its step. */
  function sliderAt(control) {
    const step = control.closest("[data-step]")?.dataset.step, name = control.closest("[data-slider]")?.dataset.slider;
    return [step, name && slidersOf(step).find((one) => one.name === name)];
  }

  root.addEventListener("input", ({ target }) => {
    const [step, slider] = sliderAt(target);
    if (slider && target.type === "range") choose(step, slider, slider.values[Number(target.value)]);
  });

  root.addEventListener("change", ({ target }) => {
    const [step, slider] = sliderAt(target);
    if (!slider || target.type === "range") return;
    if (slider.is_choice) return choose(step, slider, target.value);
    const given = read(target.value);
    const refusal = $(".notice", stepRoot(step));
    refusal.hidden = !given.problem;
    refusal.textContent = given.problem ?? "";
    target.setCustomValidity(given.problem ?? ""); // it is still refused when an earlier value has been computed
    if (!given.problem) return choose(step, slider, slider.values.find((one) => Number(one) === given.value) ?? String(given.value));
  });

  /** While a notice is pointed at or has the focus, the plots that it speaks of are framed. */
  function light({ type, target }) {
    const notice = target.closest?.("[data-plots]");
    if (!notice) return;
    const step = notice.closest("[data-step]").dataset.step, layer = $(".learn-lights", stepRoot(step));
    const plots = /over|in$/.test(type) ? notice.dataset.plots.split(" ").map((k) => S.plots[step]?.[k]).filter(Boolean) : [];
    layer.replaceChildren(...plots.map(({ box: [left, top, right, bottom] }) => {
      const frame = document.createElement("div");
      Object.assign(frame.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
      return frame;
    }));
  }
  for (const type of ["pointerover", "pointerout", "focusin", "focusout"]) root.addEventListener(type, light);

  root.addEventListener("submit", (event) => {
    event.preventDefault();
    const own = event.target.closest("[data-exercise]"), exercise = S.lesson.guide.exercises[Number(own.dataset.exercise)];
    const given = read($("input", own).value);
    const answer = given.problem ? { right: false, text: given.problem } : judged(exercise, given.value);
    const place = $("[role=status]", own);
    place.textContent = answer.text;
    place.className = answer.right ? "learn-right" : "";
    if (answer.right) {
      mark("solved", `${S.name}.${own.dataset.exercise}`, 1);
      $("details", own).open = true;
    }
  });

  return {
    startsAnew: true,
    opened() {
      if (S.lesson) return computeShown(); // connected again
      return S.name ? openLesson() : openList();
    },
    render() {},
  };
}
