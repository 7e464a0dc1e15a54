// The markup of the view Learn: the list of lessons, and one lesson with its steps and exercises.
import { html, num } from "/core/dom.js";
import { line, prose } from "./text.js";

const address = (name) => html`#learn?lesson=${name}`;
const links = (lessons, isFile) => lessons.map(({ name, title }, k) => html`${k > 0 && ", "}${isFile ? title : html`<a href="${address(name)}">${title}</a>`}`);

/** All lessons; read: marks by name; last: the name of the lesson that was open, or undefined. */
export function list(lessons, read, last) {
  const hours = Math.round(lessons.reduce((sum, one) => sum + one.minutes, 0) / 60);
  const titles = Object.fromEntries(lessons.map((one) => [one.name, one.title]));
  const unread = lessons.filter((one) => !read[one.name]), opened = unread.find((one) => one.name === last);
  const next = opened ?? unread[0];
  const done = lessons.filter((one) => read[one.name]).length;
  const left = lessons.reduce((sum, one) => sum + (read[one.name] ? 0 : one.minutes), 0);
  return html`<h2>Lessons</h2>
    <p>${lessons.length} lessons, about ${hours} hours; you have read ${done}${done > 0 && left > 0 && html`, and ${left < 90 ? `${left} minutes` : `${Math.round(left / 60)} hours`} are left`}. <a href="#learn?list=terms">Glossary</a></p>
    <p class="cap">What you read, guess and solve is kept by this browser for port ${location.port}: with another <code>--port</code> you would start anew.</p>
    <progress max="${lessons.length}" value="${done}" aria-label="Lessons read"></progress>
    <p>${next && html`<a class="btn primary" href="${address(next.name)}">${opened || done ? "Continue" : "Start"}: ${next.title}</a>`} Or <a href="#draw">draw a digit</a> and see a network read it, or watch one learn in the <a href="#play">playground</a>.</p>
    <ol class="learn-list">${lessons.map((one) => html`<li ${one === next && "aria-current=step"}><a href="${address(one.name)}">${one.title}</a>${read[one.name] && html` <span class="learn-read">read</span>`}
      <span class="cap">${one.minutes} minutes · ${one.needs.length > 0 && html`needs: ${one.needs.map((need) => titles[need]).join(", ")} · `}${one.about}</span></li>`)}</ol>`;
}

/** The glossary; from: the state of the lesson from which a term was opened, or null. */
export function glossary(terms, lessons, from) {
  const titles = Object.fromEntries(lessons.map((one) => [one.name, one.title])), origin = titles[new URLSearchParams(from ?? "").get("lesson")];
  return html`<p class="cap">${origin && html`<a href="#learn?${from}">Back to: ${origin}</a> · `}<a href="#learn?list=all">All lessons</a></p><h2>Glossary</h2>
    <dl class="learn-terms">${terms.map((one) => html`<dt id="term-${one.word}" tabindex="-1">${one.word}</dt><dd>${one.meaning} <a href="${address(one.lesson)}">${titles[one.lesson]}</a></dd>`)}</dl>`;
}

/** One lesson; S: the state of the view. */
export function lesson(S) {
  const { number, count, title, text, guide, steps, code, needs } = S.lesson;
  return html`<p class="cap">${!S.isFile && html`<a href="#learn?list=all">All lessons</a> · `}${number} of ${count} · ${guide.minutes} minutes · needs: ${needs.length ? links(needs, S.isFile) : "nothing"}</p>
    <h2>${title}</h2><p class="learn-question">${guide.question}</p>${prose(text, S.link)}
    ${S.isFile && html`<p class="cap">This file needs no server. Its sliders go to the marked values; in <code>pellucid studio</code>, Learn also computes all between them.</p>`}
    ${steps.map((one) => step(S, one))}
    ${code && folded("Code", html`<pre tabindex="0">${code}</pre>`)}
    ${exercises(S)}${closing(S)}`;
}

/** How to drag, by the kind of handles. */
const HINTS = {
  points: (label) => `Drag ${label} in the figure, or choose one with the Tab key and move it with the arrow keys.`,
  boxes: (label) => `Drag ${label} in the figure: the ring moves a box, the square changes its size. With keys: Tab, and then the arrow keys.`,
  cells: (label) => `Drag ${label} in the figure up or down, or choose one with the Tab key and press the arrow keys.`,
};
const folded = (summary, content) => html`<details><summary>${summary}</summary>${content}</details>`;

function step(S, { name, title, text, before, code }) {
  const { guide } = S.lesson, guess = guide.guesses[name], notices = guide.notices[name] ?? [];
  return html`<section data-step="${name}" aria-labelledby="learn-${name}"><h3 id="learn-${name}">${title}</h3>${guess && question(name, guess)}
    <div class="learn-try" ${guess && "hidden"}><p class="learn-why" role="status"></p>
      <div class="learn-figure" tabindex="0" role="group" aria-label="Figure: ${title}"><p class="cap" role="status">Computing …</p><div class="learn-picture"><img alt="" hidden><div class="learn-lights"></div><div class="learn-handles"></div></div></div>
      <p class="notice" role="alert" hidden></p>${sliders(S, name)}
      ${notices.length > 0 && html`<h4>Notice</h4><ul>${notices.map((one, k) => notice(line(one, S.link), guide.notice_plots[name]?.[k] ?? []))}</ul>`}
      ${prose(text, S.link)}
      <details class="learn-numbers" open><summary>Numbers</summary><div class="scroll" tabindex="0" role="group" aria-label="Numbers: ${title}"></div></details>
      ${folded("Code", html`<pre tabindex="0">${before && html`${before}\n\n\n`}${code}</pre>`)}</div></section>`;
}

const notice = (text, plots) => (plots.length ? html`<li data-plots="${plots.join(" ")}" tabindex="0">${text}</li>` : html`<li>${text}</li>`);

const question = (name, { asks, answers }) => html`<fieldset class="learn-guess" data-guess="${name}"><legend>Guess first. ${line(asks)}</legend>
  ${answers.map((one, k) => html`<button class="btn" type="button" data-answer="${k}" aria-pressed="false">${line(one)}</button>`)}</fieldset>`;

function sliders(S, step) {
  const all = S.lesson.guide.sliders[step] ?? [];
  const handles = S.lesson.guide.handles[step];
  const drag = handles && html`<p class="cap">${S.isFile ? `In the studio, ${handles.label} can be dragged in this figure; what is said here about dragging is for there.` : HINTS[handles.kind](handles.label)}</p>`;
  if (!all.length && (!drag || S.isFile)) return drag;
  if (S.fixed.includes(step)) return html`${drag}<p class="cap">In this file the figure stays at the start values: ${all.map((one) => `${one.label} ${S.start(step, one.name)}`).join(", ")}.</p>`;
  return html`${drag}<div class="learn-sliders">${all.map((one) => slider(S, step, one))}<button class="btn small" type="button" data-reset="${step}">Reset</button></div>`;
}

function slider(S, step, { name, label, values, is_choice: isChoice, remarks }) {
  const id = `learn-${step}-${name}`;
  const special = values.filter((one) => remarks[one]);
  const control = isChoice
    ? html`<select id="${id}" data-choice>${values.map((one) => html`<option>${one}</option>`)}</select>`
    : html`<div class="learn-range"><input id="${id}" type="range" min="0" max="${values.length - 1}" step="1"><input type="text" inputmode="decimal" size="7" data-number aria-label="${label}: ${S.isFile ? "its value" : html`a number from ${S.lowest(values)} to ${S.highest(values)}`}" ${S.isFile && "readonly"}></div>`;
  return html`<div class="learn-slider" data-slider="${name}"><label class="field" for="${id}">${label}</label>${control}
    ${special.length > 0 && html`<div class="row tight">${special.map((one) => html`<button class="btn small" type="button" data-value="${one}">${one}</button>`)}</div><p class="cap" data-remark role="status"></p>`}</div>`;
}

function exercises({ isFile, lesson: { guide, checks } }) {
  const known = guide.exercises.map((one, k) => html`<li data-exercise="${k}"><p id="learn-asks-${k}">${line(one.asks)}</p>
    <form class="row"><input type="text" inputmode="decimal" size="10" aria-labelledby="learn-asks-${k}"><button class="btn" type="submit">Check</button><span role="status"></span></form>
    ${folded("Solution", html`<p>${num(one.answer, 6)}. ${line(one.solution)}</p>`)}</li>`);
  const functions = guide.functions.map((one, k) => html`<li><p>${line(one.asks)}</p><p>Write it in a notebook or in Python${isFile && html` (it needs <code>pip install pellucid</code>)`}, and check it there:</p>
    <pre tabindex="0">from pellucid.lessons import check\n${checks[k]}</pre>${folded("Solution", html`<pre tabindex="0">${one.solution}</pre>`)}</li>`);
  return html`<section aria-labelledby="learn-exercises"><h3 id="learn-exercises">Exercises</h3><ol class="learn-exercises">${known}${functions}</ol></section>`;
}

function closing({ isFile, name, lesson: { guide, next } }) {
  return html`<section aria-labelledby="learn-next"><h3 id="learn-next">And then</h3><p>${line(guide.later)}</p>
    ${guide.studio && (isFile ? html`<p>The same in the studio: run <code>pellucid studio</code>, and open ${guide.studio}</p>` : html`<p><a href="${guide.studio}">The same in the studio</a></p>`)}
    ${!isFile && html`<div class="row"><button class="btn" type="button" id="learn-mark"></button>${next.map((one) => html`<a class="btn" href="${address(one.name)}">Next: ${one.title}</a>`)}</div>
    <p class="cap">To take it along: <code>pellucid lesson ${name} --notebook ${name}.ipynb</code>; to hand it out as one file: <code>pellucid lesson ${name} --html ${name}.html</code></p>`}</section>`;
}
