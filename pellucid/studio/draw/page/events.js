// What follows when a person clicks, types or chooses in the view Draw.
import { $, $$, num } from "/core/dom.js";
import { element } from "./model.js";
import { why } from "./why.js";

/** Listen to the events of the view; S: its state, actions: what the view does. */
export function listen(root, S, actions) {
  const { clear, erase, open, pick, pickUnit, render, run, sample, stepOnce, toExplain, undo, unstroke } = actions;

  root.addEventListener("click", (event) => {
    const of = (selector) => event.target.closest?.(selector)?.dataset;
    const at = event.target.closest?.("[data-weights]");
    let found;
    if ((found = of("[data-take], [data-nonsense]"))) return sample(found.take ?? found.nonsense);
    if (event.target.id === "clear") return clear();
    if (event.target.id === "eraser") return erase(event.target);
    if (event.target.id === "unstroke") return unstroke();
    if (event.target.id === "to-explain") return toExplain();
    if ((found = of("[data-model]"))) {
      if (found.model !== S.model?.model) open(found.model);
      return;
    }
    if (!S.run) return;
    if ((found = of("[data-label]"))) return name(found.label);
    if ((found = of("[data-pass]"))) {
      S.pass = Number(found.pass);
      return render();
    }
    if ((found = of("[data-factor]"))) {
      S.factor = Number(found.factor);
      return render();
    }
    if ((found = of("[data-what]"))) {
      S.trail.push(S.subject);
      return pick(found.what, true);
    }
    if (event.target.id === "back") return pick(S.trail.pop(), true);
    if ((found = of("[data-scope]"))) {
      Object.assign(S, { scope: found.scope, rate: found.scope === "all" ? 0.01 : 1 });
      return why(S, $("#why"));
    }
    if (event.target.id === "undo") return undo();
    if ((found = of("[data-channel]"))) {
      S.channel = Number(found.channel);
      return render();
    }
    if ((found = of("[data-e]"))) return pick(found.e);
    if ((found = of(".neuron"))) return neuron(found.k);
    if ((found = of("[data-unit]"))) {
      const [path, row] = found.unit.split(":");
      return pickUnit(path, Number(row));
    }
    if (at || of("[data-image]")) {
      const { path, row, from, width } = at ? { ...at.dataset, path: at.dataset.weights } : { path: S.model.weighted[0].layer.path, row: S.hid, from: 0, width: S.model.weighted[0].layer.grid[2] };
      const target = at ?? event.target, box = target.getBoundingClientRect(), height = at ? at.height : Number(width);
      const c = Math.floor(((event.clientX - box.left) / box.width) * width), r = Math.floor(((event.clientY - box.top) / box.height) * height);
      return pick(element(path, [Number(row), Number(from) + r * Number(width) + c]));
    }
    if ((found = of("[data-cells]"))) {
      const box = event.target.getBoundingClientRect();
      return pickUnit(found.cells, Math.min(found.units - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * found.units))));
    }
  });

  /** Name what is drawn. */
  function name(label) {
    S.label = label === "" ? null : Number(label);
    run(true);
  }

  const neuron = (key) => {
    const [first, second] = S.model.weighted;
    return key[0] === "h" ? pickUnit(first.layer.path, Number(key.slice(1))) : pickUnit(second.layer.path, Number(key.slice(1)));
  };

  root.addEventListener("keydown", (event) => {
    const key = event.target.dataset?.k ?? "", cells = event.target.dataset?.cells;
    const way = { ArrowUp: -1, ArrowDown: 1, ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (/^[0-9]$/.test(event.key) && event.target.id === "pad") return sample(event.key);
    if (cells && way) {
      event.preventDefault();
      const row = S.at?.path === cells ? S.at.row + way : 0, units = Number(event.target.dataset.units);
      return pickUnit(cells, (row + units) % units);
    }
    if (!event.target.classList?.contains("neuron")) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      return neuron(key);
    }
    if (way) {
      event.preventDefault();
      const n = Number(key.slice(1)), units = key[0] === "h" ? S.model.weighted[0].layer.weight[0] : S.run.probabilities.length;
      const vertical = event.key === "ArrowUp" || event.key === "ArrowDown";
      const next = vertical ? key[0] + ((n + way + units) % units) : way < 0 ? `h${S.hid}` : `o${S.out}`;
      $(`[data-k="${next}"]`, root)?.focus();
      return neuron(next);
    }
    if (event.key === "[" || event.key === "]") {
      const names = $$(".edge", root).map((one) => one.dataset.e).sort(), at = names.indexOf(S.subject);
      if (names.length) return pick(names.at((at + (event.key === "]" ? 1 : -1)) % names.length));
    }
  });

  root.addEventListener("input", (event) => {
    if (event.target.id === "rate") {
      S.rate = 10 ** Number(event.target.value);
      event.target.previousElementSibling.textContent = num(S.rate, 2);
      event.target.setAttribute("aria-valuetext", num(S.rate, 2));
    }
    if (event.target.id === "label") name(event.target.value);
  });
  root.addEventListener("change", (event) => {
    if (event.target.id === "rate") why(S, $("#why"));
  });
  root.addEventListener("submit", (event) => {
    event.preventDefault();
    stepOnce();
  });
}
