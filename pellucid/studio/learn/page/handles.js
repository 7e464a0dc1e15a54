// What is dragged in a figure: points, boxes and the cells of a matrix, which lie over the picture where their numbers are.
import { $, $$, fill, html, num, say } from "/core/dom.js";

const CELL_TRAVEL = 12; // pixels of the pointer for one step of a cell's number

/** The numbers of a text such as "0,1;2.5,3": rows of numbers. */
const rowsOf = (text) => text.split(";").map((row) => row.split(",").map(Number));
const textOf = (rows) => rows.map((row) => row.join(",")).join(";");

/** The grips of each kind: `at`, where each lies in the plot; `moved`, its row after a move. */
const GRIPS = {
  points: (rows) => rows.map((point, k) => ({ row: k, name: `point ${k + 1}`, at: point, moved: (dx, dy) => [point[0] + dx, point[1] + dy] })),
  boxes: (rows) =>
    rows.flatMap(([left, top, right, bottom], k) => [
      { row: k, name: `box ${k + 1}`, at: [(left + right) / 2, (top + bottom) / 2], moved: (dx, dy) => [left + dx, top + dy, right + dx, bottom + dy] },
      { row: k, name: `corner of box ${k + 1}`, corner: true, at: [right, bottom], moved: (dx, dy, step) => [left, top, Math.max(right + dx, left + step), Math.max(bottom + dy, top + step)] },
    ]),
  cells: (rows) =>
    rows.flatMap((row, k) => row.map((_, column) => ({ row: k, column, name: `row ${k + 1}, column ${column + 1}`, at: [column, k] }))),
};

/**
 * Make the handles of lessons work below `root`; returns the function that places those of a step.
 * changed(step, text): called with each new value. done: called when the reader lets go.
 */
export function dragging({ root, stepRoot, handlesOf, S, changed, done }) {
  let held = null; // {step, k, x, y, rows, grip}: what is dragged, since where

  const gripsOf = (step) => {
    const handles = handlesOf(step), rows = rowsOf(S.values[step][handles.name]);
    return { handles, rows, grips: GRIPS[handles.kind](rows), plot: S.plots[step][handles.plot] };
  };

  /** Place the handles of a step where their numbers are. */
  function place(step) {
    if (!handlesOf(step) || !S.plots[step]?.length) return;
    const { handles, rows, grips, plot } = gripsOf(step), layer = $(".learn-handles", stepRoot(step));
    const [left, top, right, bottom] = plot.box, across = (plot.x[1] - plot.x[0]) / (right - left), down = (plot.y[0] - plot.y[1]) / (bottom - top);
    if (layer.childElementCount !== grips.length) {
      const kind = ({ corner }) => (handles.kind === "cells" ? "cell" : corner ? "corner" : "");
      fill(layer, html`${grips.map((one, k) => html`<button type="button" class="learn-handle ${kind(one)}" data-grip="${k}"></button>`)}`);
    }
    for (const [k, button] of $$("button", layer).entries()) {
      const { at, row, column, name } = grips[k];
      button.style.left = `${100 * (left + (at[0] - plot.x[0]) / across)}%`;
      button.style.top = `${100 * (top + (plot.y[1] - at[1]) / -down)}%`;
      if (column !== undefined) {
        button.style.width = `${100 / Math.abs(across)}%`;
        button.style.height = `${100 / Math.abs(down)}%`;
      }
      const numbers = column === undefined ? rows[row] : [rows[row][column]];
      button.setAttribute("aria-label", `${name}: ${numbers.map((one) => num(one)).join(", ")}`);
    }
  }

  /** Change the row of a grip by a move from where it was, in units of the plot; up: steps of a cell's number. */
  function move(step, { handles, rows, grips, plot }, k, [dx, dy], up) {
    const { row, column, corner, moved } = grips[k], { low, high, step: size } = handles;
    const rounded = (value) => Number((Math.round(value / size) * size).toFixed(6));
    const within = (value, from, to) => Math.min(Math.max(value, from), to);
    const limits = [plot.x, plot.y].map((pair) => [Math.max(low, Math.min(...pair)), Math.min(high, Math.max(...pair))]);
    let next;
    if (column !== undefined) next = rows[row].map((value, j) => (j === column ? within(rounded(value + up * size), low, high) : value));
    else {
      // A box keeps its size at the border: the way is shortened, not the numbers.
      const way = [dx, dy].map((one, axis) => {
        const own = rows[row].filter((_, j) => j % 2 === axis && !(corner && j < 2));
        return rounded(within(one, limits[axis][0] - Math.min(...own), limits[axis][1] - Math.max(...own)));
      });
      next = moved(...way, size).map((value) => Number(value.toFixed(6)));
    }
    const text = textOf(rows.map((one, j) => (j === row ? next : one)));
    if (text === S.values[step][handles.name]) return;
    changed(step, text);
    place(step);
  }

  root.addEventListener("pointerdown", (event) => {
    const button = event.target.closest?.("[data-grip]");
    if (!button || event.button !== 0) return;
    const step = button.closest("[data-step]").dataset.step;
    button.setPointerCapture(event.pointerId);
    held = { step, k: Number(button.dataset.grip), x: event.clientX, y: event.clientY, start: gripsOf(step) };
  });

  root.addEventListener("pointermove", (event) => {
    if (!held) return;
    const { step, k, x, y, start } = held, image = $("img", stepRoot(step)).getBoundingClientRect(), { box, x: xs, y: ys } = start.plot;
    const dx = ((event.clientX - x) / image.width / (box[2] - box[0])) * (xs[1] - xs[0]), dy = ((event.clientY - y) / image.height / (box[3] - box[1])) * (ys[0] - ys[1]);
    move(step, start, k, [dx, dy], Math.round((y - event.clientY) / CELL_TRAVEL));
  });

  const release = () => {
    if (held) done();
    held = null;
  };
  root.addEventListener("pointerup", release);
  root.addEventListener("pointercancel", release);
  // A browser would drag the picture, which lies under the grip that has left, and cancel the pointer.
  root.addEventListener("dragstart", (event) => held && event.preventDefault());

  root.addEventListener("keydown", (event) => {
    const button = event.target.closest?.("[data-grip]"), way = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!button || !way) return;
    event.preventDefault();
    const step = button.closest("[data-step]").dataset.step, now = gripsOf(step), { x, y } = now.plot, size = now.handles.step;
    const up = y[1] > y[0] ? 1 : -1; // pictures have their row 0 at the top
    move(step, now, Number(button.dataset.grip), [way[0] * size * Math.sign(x[1] - x[0]), way[1] * size * up], way[0] + way[1]);
    say(button.getAttribute("aria-label"));
    done();
  });

  return place;
}
