// Texts, numbers and answers of lessons as markup.
import { html, num } from "/core/dom.js";

const MOST = 24; // numbers of a list that are shown

/** A line with `code` in it; link: what is done with the text between. */
export const line = (text, link = (part) => part) => text.split("`").map((part, k) => (k % 2 ? html`<code>${part}</code>` : link(part)));

/**
 * A function of a text that links the first use of each term of the glossary; terms: meanings by word. A file has no
 * glossary, but shows the meanings, also by touch and by keys.
 */
export function linking(terms, isFile) {
  const words = Object.keys(terms).sort((a, b) => b.length - a.length), byLower = Object.fromEntries(words.map((one) => [one.toLowerCase(), one]));
  if (!words.length) return (text) => text;
  const pattern = new RegExp(`\\b(${words.join("|")})(?=s?\\b)`, "i"), linked = new Set();
  return (text) => text.split(pattern).map((part, k) => {
    const word = k % 2 ? byLower[part.toLowerCase()] : null;
    if (!word || linked.has(word)) return part;
    linked.add(word);
    if (isFile) return html`<button type="button" class="learn-term" data-tip="${terms[word]}" aria-description="${terms[word]}">${part}</button>`;
    return html`<a class="learn-term" href="#learn?term=${encodeURIComponent(word)}" data-term="${word}" data-tip="${terms[word]}">${part}</a>`;
  });
}

/** The text of a docstring: paragraphs, lists, and what is indented as it stands; link: see `linking`. */
export function prose(text, link) {
  return text.split(/\n{2,}/).filter((block) => block.trim()).map((block) => {
    if (/^ {2,}/.test(block)) return html`<pre tabindex="0">${block}</pre>`;
    const [first, ...items] = block.split(/^- /m);
    const paragraph = first.trim() && html`<p>${line(first, link)}</p>`;
    return items.length ? html`${paragraph}<ul>${items.map((one) => html`<li>${line(one, link)}</li>`)}</ul>` : paragraph;
  });
}

const cell = (value) => {
  if (typeof value === "number") return html`<b data-value="${value}">${num(value, 6)}</b>`;
  return value === null ? "not a number" : String(value);
};

/** A value of a step: a number, a text, a list, or a list of rows. */
function shown(value) {
  if (!Array.isArray(value)) return cell(value);
  if (value.length && value.every(Array.isArray)) return html`<table class="matrix"><tbody>${value.map((row) => html`<tr>${row.map((one) => html`<td>${shown(one)}</td>`)}</tr>`)}</tbody></table>`;
  const rest = value.length > MOST && html` … (${value.length} values)`;
  return html`${value.slice(0, MOST).map((one, k) => html`${k > 0 && ", "}${shown(one)}`)}${rest}`;
}

/** The rows of a table of numbers; `depth`: how far their names are indented. */
const rows = (pairs, depth) => pairs.map(([name, value]) => {
  const head = html`<th scope="row" class="depth${Math.min(depth, 3)}">${name}</th>`;
  return value?.rows ? html`<tr>${head}<td></td></tr>${rows(value.rows, depth + 1)}` : html`<tr>${head}<td>${shown(value)}</td></tr>`;
});

export const numbersTable = (numbers) => html`<table><tbody>${rows(numbers.rows, 0)}</tbody></table>`;

const THOUSANDS = /^[-+]?[1-9]\d{0,2}(,\d{3})+$/; // which may also be a number with a decimal comma

/** The number that a person wrote: 0.4, 0,4, −3, 1e-3 or 2/5; or {problem}, why it is none. */
export function read(text) {
  const written = text.trim().replace(/[−–]/g, "-");
  if (THOUSANDS.test(written)) return { problem: `Write ${written.replaceAll(",", "")}, or with a point for decimals.` };
  const given = written.replace(/^([^,.]*),([^,.]*)$/, "$1.$2");
  const [above, below = "1", more] = given.split("/");
  const value = above.trim() && below.trim() && more === undefined ? Number(above) / Number(below) : NaN;
  return Number.isFinite(value) ? { value } : { problem: "Write a number, such as 0.4, −3 or 2/5." };
}

/** What an answer to an exercise is: {right, text}. */
export function judged(exercise, value) {
  const isNear = (number, tolerance) => Math.abs(value - number) <= tolerance * (1 + 1e-9);
  if (isNear(exercise.answer, exercise.tolerance)) return { right: true, text: "Right." };
  const mistake = exercise.mistakes.find(([number]) => isNear(number, Math.max(exercise.tolerance, Math.abs(number) / 100)));
  return { right: false, text: mistake ? `Not yet. ${mistake[1]}` : "Not yet. Try again, or open the solution." };
}
