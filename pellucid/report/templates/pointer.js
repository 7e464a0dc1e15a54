// Tooltips: values from the attribute `data-values` of a figure, shown beside the pointer. The page also works without.
"use strict";
for (const figure of document.querySelectorAll("figure[data-values]")) {
  const values = JSON.parse(figure.dataset.values), svg = figure.querySelector("svg");
  const add = (parent, tag, name, text = "") => {
    const one = parent.appendChild(document.createElement(tag));
    one.className = name;
    one.textContent = text;
    return one;
  };
  const guide = add(figure, "div", "guide"), tip = add(figure, "div", "tip");
  const hide = () => { guide.hidden = tip.hidden = true; };
  const brief = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  const row = (text, colour = "") => {
    const line = add(tip, "div", "");
    if (colour) add(line, "i", "").style.background = colour;
    line.append(text);
  };
  const nearest = (points, x) => points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));

  // lines: name, colour, points [left, top, x, y]; left and top are fractions of the figure's size.
  const lines = (x, y) => {
    const at = nearest(values.lines.flatMap((line) => line.points), x);
    const found = values.lines.map((line) => [line, nearest(line.points, at[0])]);
    found.sort((a, b) => Math.abs(a[1][1] - y) - Math.abs(b[1][1] - y)); // the lines nearest to the pointer first
    const shown = found.slice(0, 12).sort((a, b) => a[1][1] - b[1][1]);
    row(`${values.x} ${brief(at[2])}`);
    for (const [line, point] of shown) {
      const other = point[2] === at[2] ? "" : ` (at ${brief(point[2])})`;
      row(`${line.name} ${brief(point[3])}${values.unit}${other}`, line.colour);
    }
    return at[0];
  };
  // cells: counts[true][predicted] of the classes `names`.
  const cells = (x, y) => {
    const [left, top, right, bottom] = values.box, size = values.names.length;
    const place = (at, from, to) => Math.min(size - 1, Math.floor((size * (at - from)) / (to - from)));
    const truth = place(y, top, bottom), guess = place(x, left, right), counts = values.counts[truth];
    const total = counts.reduce((a, b) => a + b, 0), percent = total ? (100 * counts[guess]) / total : 0;
    row(`true ${values.names[truth]}`);
    row(`predicted ${values.names[guess]}`);
    row(`${counts[guess].toLocaleString("en")} of ${total.toLocaleString("en")}, ${percent.toFixed(1)} %`);
    return null;
  };
  // marks: [left, top, right, bottom, text] of bars and dots; the nearest one within 0.06 of the figure.
  const marks = (x, y) => {
    const beyond = (at, from, to) => Math.max(from - at, at - to, 0);
    const far = ([left, top, right, bottom]) => Math.hypot(beyond(x, left, right), beyond(y, top, bottom));
    const [first] = values.marks.filter((mark) => far(mark) < 0.06).sort((a, b) => far(a) - far(b));
    if (first) row(first[4]);
    return null;
  };

  const move = (event) => {
    const area = svg.getBoundingClientRect(), outer = figure.getBoundingClientRect();
    const x = (event.clientX - area.left) / area.width, y = (event.clientY - area.top) / area.height;
    const [left, top, right, bottom] = values.box;
    if (x < left || x > right || y < top || y > bottom) return hide();
    tip.replaceChildren();
    const at = (values.lines ? lines : values.marks ? marks : cells)(x, y);
    if (!tip.textContent) return hide();
    const begin = area.left - outer.left + figure.scrollLeft, above = area.top - outer.top;
    guide.hidden = at === null;
    tip.hidden = false;
    if (at !== null) {
      guide.style.left = `${begin + at * area.width}px`;
      guide.style.top = `${above + top * area.height}px`;
      guide.style.height = `${(bottom - top) * area.height}px`;
    }
    const room = begin + area.width - tip.offsetWidth, beside = begin + x * area.width + 14;
    tip.style.left = `${beside > room ? Math.max(begin, beside - 28 - tip.offsetWidth) : beside}px`;
    tip.style.top = `${above + Math.max(0, Math.min(y * area.height, area.height - tip.offsetHeight))}px`;
  };
  hide();
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", hide);
}
