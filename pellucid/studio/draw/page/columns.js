// A network of two dense layers as columns: every neuron drawn, and only the strongest edges of the two selected ones.
import { argmax, fixed, html, isNarrow, largest, maxAbs, num, percent, short, signed, tone } from "/core/dom.js";
import { colour, heat, scaleBar, textOn } from "/core/paint.js";
import { element } from "./model.js";

const EDGES = [14, 12]; // drawn from pixels, from hidden neurons
export const LAST_FORWARD = 3; // of the passes: those after it need a label
export const PASSES = ["Pixels", "Hidden", "Output", "Cost", "Output error", "Hidden error", "Weights"];

/** The sentence of a step through the two passes. */
export function explainPass(S) {
  const { run, model, hid } = S;
  const [first, second] = model.weighted;
  const best = run.read;
  const p = run.probabilities[run.label];
  return [
    `${first.layer.weight[1]} pixel values enter; ${run.tensors.x.data.filter((v) => v > 0.02).length} of them hold ink.`,
    `Each hidden neuron weighs all pixels, adds a bias and passes the sum through ${first.activation?.type ?? "nothing"}: a = f(Wx + b).`,
    `Each output weighs all hidden neurons. Highest: ${model.classes[best]} at ${percent(run.probabilities[best])}.`,
    `The label is ${model.classes[run.label]}, read at ${percent(p)}. ${model.loss.replace(/\(.*/, "")} makes that the cost C = ${num(run.cost)}.`,
    "Backward. How C answers to each score: the probability minus 1 at the label, the probability elsewhere.",
    `Each hidden neuron gathers the errors through its outgoing weights, then multiplies by its own slope. Edges: those of hidden ${hid}.`,
    `Every weight: the error after it × the activation before it. The picture shows this for hidden ${hid}, the edges for output ${model.classes[S.out]} (${second.layer.weight[0]} in all).`,
  ][S.pass - 1];
}

function layout(hidden) {
  if (isNarrow()) {
    const rows = Math.ceil(hidden / 20);
    const below = 204 + rows * 18;
    return { W: 358, H: below + 168, ix: 109, iy: 20, q: 140 / 28, r: 6, R: 12, hid: (j) => [9 + (j % 20) * 17.9, 204 + Math.floor(j / 20) * 18], out: (i, n) => [19 + (i * 355) / n, below + 68], below };
  }
  const rows = Math.ceil(hidden / 4);
  return { W: 592, H: 500, ix: 4, iy: 152, q: 7, r: 6.5, R: 13, hid: (j) => [270 + Math.floor(j / rows) * 22, 28 + (j % rows) * (470 / rows)], out: (i, n) => [436, 42 + (i * 460) / n] };
}

/** The drawing of the network, as SVG; highlighted: the units of the selected factor, see why.js. */
export function columns(S, highlighted) {
  const { model, run, pass, hid, out, weights } = S;
  const [first, second] = model.weighted;
  const narrow = isNarrow();
  const g = layout(first.layer.weight[0]);
  const width = first.layer.grid.at(-1);
  g.q = (28 / width) * g.q;
  const a = run.tensors[first.y].data, dz1 = run.tensors[`∂${first.layer.y}`]?.data ?? [], z1 = run.tensors[first.layer.y].data;
  const dz2 = run.tensors[`∂${second.layer.y}`]?.data ?? [], x = run.tensors.x.data, p = run.probabilities;
  const back = pass >= 5, n = p.length, amax = Math.max(1, maxAbs(a)), hasNegative = a.some((v) => v < 0);
  const into = weights.hid?.weight.data ?? [], outOf = weights.out?.weight.data ?? [], column = weights.col?.weight.data ?? [];
  const picture = Array.from(x, (v) => (dz1[hid] ?? 0) * v);
  const v1 = pass === 7 ? picture : Array.from(into, (w, k) => w * x[k]);
  const v2 = Array.from(outOf, (w, j) => (pass === 7 ? dz2[out] * a[j] : w * a[j]));
  const vb = Array.from(column, (w, i) => w * (dz2[i] ?? 0));
  const px = (k) => [g.ix + ((k % width) + 0.5) * g.q, g.iy + (Math.floor(k / width) + 0.5) * g.q];
  const curve = (s, t) => narrow ? `M${s}C${s[0]},${(s[1] + t[1]) / 2} ${t[0]},${(s[1] + t[1]) / 2} ${t}` : `M${s}C${(s[0] + t[0]) / 2},${s[1]} ${(s[0] + t[0]) / 2},${t[1]} ${t}`;
  const strongest = (values, count, path, row) => {
    const chosen = largest(values, count);
    const own = S.subject && values.length ? [...values.keys()].find((k) => element(path, [row, k]) === S.subject) : undefined;
    return own === undefined || chosen.includes(own) ? chosen : [...chosen, own];
  };
  const edges = [];
  const push = (name, d, value, most) => edges.push({ name, d, value, width: 0.6 + (3.2 * Math.abs(value)) / (most || 1), on: name === S.subject });
  const m1 = maxAbs(v1), m2 = maxAbs(v2), mb = maxAbs(vb);
  if (pass >= 2 && pass !== 5 && pass !== 6)
    for (const k of strongest(v1, EDGES[0], first.layer.path, hid))
      push(element(first.layer.path, [hid, k]), curve(narrow ? [px(k)[0], g.iy + width * g.q] : [g.ix + width * g.q, px(k)[1]], g.hid(hid)), v1[k], m1 * 1.6);
  if (pass === 6) for (const i of vb.keys()) push(element(second.layer.path, [i, hid]), curve(g.hid(hid), g.out(i, n)), vb[i], mb);
  else if (pass >= 3 && pass !== 5)
    for (const j of strongest(v2, EDGES[1], second.layer.path, out)) push(element(second.layer.path, [out, j]), curve(g.hid(j), g.out(out, n)), v2[j], m2);
  edges.sort((s, t) => s.on - t.on);
  const meaning = pass === 7 ? "∂C/∂w" : pass === 6 ? "w·∂C/∂z" : "w·a";
  /** @type {(key: string, unit: string, at: number[], ...rest: any[]) => any} */
  const neuron = (key, unit, [cx, cy], r, fill, on, label, inside = "") => html`<g class="neuron ${on ? "on" : ""} ${highlighted.has(unit) ? "lit" : ""}" role="button" tabindex="${on ? 0 : -1}" data-k="${key}" data-card="${unit}" aria-pressed="${on}" aria-label="${label}"><circle class="ring" cx="${cx}" cy="${cy}" r="${r + 3.5}"/><circle class="body" cx="${cx}" cy="${cy}" r="${r}" fill="${fill}"/>${inside}</g>`;
  const shade = (v, i) => (back ? ["div", dz2[i]] : ["seq", pass < 3 ? 0 : v]); // of an output: a map and a value
  const blank = colour("seq", 0), dmax = maxAbs(dz1) || 1, image = heat(document.createElement("canvas"), pass === 7 ? picture : x, width, pass === 7 ? "div" : "ink", pass === 7 ? m1 || 1 : 1).toDataURL();
  const bar = (i) => {
    const [cx, cy] = g.out(i, n), best = i === argmax(p), want = i === run.label;
    if (narrow) return html`<rect class="track" x="${cx - 5}" y="${cy + 22}" width="10" height="56"/><rect class="fill ${best ? "best" : ""}" x="${cx - 5}" y="${cy + 22 + 56 * (1 - p[i])}" width="10" height="${56 * p[i]}"/>${want && html`<path class="want" d="M${cx - 8},${cy + 22}h16"/>`}`;
    return html`<rect class="track" x="${cx + 24}" y="${cy - 5}" width="84" height="10"/><rect class="fill ${best ? "best" : ""}" x="${cx + 24}" y="${cy - 5}" width="${84 * p[i]}" height="10"/>${want && html`<path class="want" d="M${cx + 108},${cy - 8}v16"/>`}<text class="val ${back ? tone(dz2[i]) : ""}" x="${g.W - 1}" y="${cy + 4}" text-anchor="end">${back ? fixed(dz2[i]) : percent(p[i])}</text>`;
  };
  const pixel = S.selected?.layer === 0 ? px(S.selected.col) : null;
  const caps = narrow ? [[179, 12, `${x.length} pixels`, "middle"], [0, 186, `${a.length} hidden`, "start"], [0, g.below + 34, `${n} outputs`, "start"]]
    : [[g.ix + 98, 144, `${x.length} pixels`, "middle"], [303, 10, `${a.length} hidden`, "middle"], [436, 10, `${n} outputs`, "middle"], [g.W - 1, 10, back ? "error" : "p", "end"]];
  return html`<svg class="netsvg" viewBox="0 0 ${g.W} ${g.H}" role="group" aria-label="Network. Arrow keys move between neurons, brackets between edges.">
    ${caps.map(([tx, ty, text, anchor]) => html`<text x="${tx}" y="${ty}" text-anchor="${anchor}">${text}</text>`)}
    <image href="${image}" x="${g.ix}" y="${g.iy}" width="${width * g.q}" height="${width * g.q}" class="px" data-image="1"/>
    <rect class="frame" x="${g.ix - 0.5}" y="${g.iy - 0.5}" width="${width * g.q + 1}" height="${width * g.q + 1}"/>
    ${edges.map((e) => html`<g class="edge ${e.on ? "on" : ""}" data-e="${e.name}" data-tip="${model.where(e.name)}: ${meaning} ${signed(e.value)}"><path class="hit" d="${e.d}"/>${e.on && html`<path class="halo" d="${e.d}" stroke-width="${e.width + 4}"/>`}<path d="${e.d}" stroke="${colour("div", e.value < 0 ? -0.85 : 0.85)}" stroke-width="${e.width}"/></g>`)}
    ${pixel && html`<rect class="pick ${highlighted.has(`x:${S.selected.col}`) ? "lit" : ""}" x="${pixel[0] - g.q / 2 - 2}" y="${pixel[1] - g.q / 2 - 2}" width="${g.q + 4}" height="${g.q + 4}"/>`}
    ${Array.from(a, (v, j) => neuron(`h${j}`, `${first.layer.path}:${j}`, g.hid(j), g.r, back && pass > 5 ? colour("div", dz1[j] / dmax) : pass < 2 ? blank : colour(hasNegative ? "div" : "seq", v / amax), j === hid, back && pass > 5 ? `Hidden ${j}, error ${signed(dz1[j])}` : `Hidden ${j}: ${first.activation?.type ?? "z"}(${num(z1[j])}) = ${num(v)}`))}
    ${Array.from(p, (v, i) => neuron(`o${i}`, `${second.layer.path}:${i}`, g.out(i, n), g.R, colour(...shade(v, i)), i === out, `Output ${model.classes[i]}, probability ${percent(v)}${back ? `, error ${signed(dz2[i])}` : ""}`, html`<text class="dig ${textOn(...shade(v, i))}" x="${g.out(i, n)[0]}" y="${g.out(i, n)[1] + 5}" text-anchor="middle">${short(model.classes[i], 3)}</text>`))}
    ${pass >= 3 && Array.from(p, (_, i) => bar(i))}</svg>
    <p class="legend"><span>${pass > 4 ? html`${scaleBar("div", "−", "+")} error` : html`${scaleBar(hasNegative ? "div" : "seq", num(hasNegative ? -amax : 0, 2), num(amax, 2))} activation`}</span><span>${scaleBar("div", "−", "+")} ${meaning} on edges</span></p>`;
}
