// Why: one derivative as a chain of factors, each a button; the finite difference beside it; and one step.
import { $, count, exact, fill, html, maxAbs, num, signed, tone } from "/core/dom.js";
import { heat } from "/core/paint.js";
import { frac, parse } from "./model.js";
import { inputIndex } from "./unit.js";

const MAX_NAMES = 20; // classes that are offered as buttons
const CAPTIONS = { delta: "gradient", activation: "activation", slope: "slope", weight: "weight", error: "error" };

/** The first link as factors: a gradient that is a single product itself is replaced by its factors. */
export function chain(explained) {
  const [link] = explained.links;
  if (link.count !== 1) return null;
  const withLink = (term) => term.factors.map((one) => ({ ...one, link: one.role === "delta" ? term.next : undefined }));
  let factors = withLink(link.terms[0]);
  for (;;) {
    const next = explained.links[factors[0].link];
    if (!next || next.count !== 1 || next.where === "loss") return mergedSlope(factors);
    factors = [...withLink(next.terms[0]), ...factors.slice(1)];
  }
}

/** The factors with all slopes of one activation as a single factor, such as y (1 − y). */
function mergedSlope(factors) {
  const slopes = factors.filter((one) => one.role === "slope");
  if (slopes.length < 2) return factors;
  const merged = { name: slopes.map((one) => (one.sum_of ? `(${one.name})` : one.name)).join(" · "), role: "slope", value: slopes.reduce((v, one) => v * one.value, 1), of: slopes };
  return factors.flatMap((one) => (one === slopes[0] ? [merged] : one.role === "slope" ? [] : [one]));
}

const sentence = (words) => `${words[0].toUpperCase()}${words.slice(1)}.`;
const gradientOf = (one) => `∂C/∂${one}`;

function terms(S, link) {
  const most = maxAbs(link.terms.map((one) => one.value));
  const names = link.terms[0]?.factors.map((one) => CAPTIONS[one.role] ?? one.role) ?? [];
  return html`<div class="scroll"><table class="terms"><caption class="sr">Products of the sum</caption>
    <thead><tr><th scope="col">of</th>${names.map((one) => html`<th scope="col">${one}</th>`)}<th></th><th scope="col">product</th></tr></thead><tbody>
    ${link.terms.map((term, k) => {
      const target = term.factors[0].name.startsWith("∂C/∂") ? term.factors[0].name.slice(4) : "";
      const share = term.value / (most || 1);
      return html`<tr><th scope="row">${target ? html`<button class="btn quiet" data-what="${target}" data-k="t${k}">${S.model.symbol(target)}</button>` : html`${term.factors[0].name}`}</th>${term.factors.map((one) => html`<td>${signed(one.value, 2)}</td>`)}<td><svg class="bar ${tone(share)}" viewBox="-1 0 2 1" preserveAspectRatio="none" aria-hidden="true"><rect x="${Math.min(0, share)}" width="${Math.abs(share)}" height="1"/></svg></td><td>${signed(term.value)}</td></tr>`;
    })}
    ${link.rest.count > 0 && html`<tr><th scope="row">${count(link.rest.count)} more</th><td colspan="${names.length + 1}"></td><td>${signed(link.rest.sum)}</td></tr>`}
    </tbody></table></div>`;
}

/** What the chosen factor is: its sum, and one sentence. */
function detail(S, factor) {
  const link = S.explained.links[factor.link];
  if (link) {
    const only = link.terms[0];
    const parts = link.count === 1 && only.factors[0].sum_of;
    return html`<p class="math">${link.count === 1 ? html`${only.factors.map((one) => one.name.replace("-", "−")).join(" · ")} = ${parts && html`${parts.map((one, k) => `${k ? (one.value > 0 ? " + " : " − ") : one.value < 0 ? "−" : ""}${num(Math.abs(one.value), 4)}`).join("")} = `}` : html`Σ of ${count(link.count)} products = `}<b class="${tone(link.gradient)}">${signed(link.gradient)}</b></p><p>${sentence(link.words)}</p>${link.count > 1 && terms(S, link)}`;
  }
  const value = html`<b class="${tone(factor.value)}">${signed(factor.value)}</b>`;
  if (factor.role === "activation") {
    const zero = Math.abs(factor.value) < 1e-9;
    return html`<p class="math">${S.model.symbol(factor.name)} = ${value}</p><p>${zero ? "It is 0: this weight took no part here, and cannot be blamed." : "The weight multiplies this value: the larger it is, the more the weight matters."}</p>`;
  }
  if (factor.role === "slope") {
    const parts = factor.of ? html`${factor.of.map((one) => num(one.value)).join(" · ")} = ` : "";
    return html`<p class="math">${factor.name.replace("-", "−")} = ${parts}${value}</p><p>${factor.value === 0 ? "The activation is flat here: no gradient passes." : factor.value === 1 ? "The activation passes the gradient unchanged." : "The slope of the activation: it multiplies all that comes back through this neuron."}</p>`;
  }
  return html`<p class="math">${factor.name} = ${value}</p>`;
}

function equation(S, factors) {
  const { explained, model } = S;
  const link = explained.links[0];
  const left = html`<div class="term"><span class="sym">${model.symbol(gradientOf(explained.name))}</span><b class="${tone(link.gradient)}" data-gradient="${link.gradient}">${signed(link.gradient)}</b></div>`;
  if (!factors) {
    return html`<div class="eq" role="group" aria-label="Gradient as a sum of products">${left}<span class="op">=</span><div class="term"><span class="sym big">Σ</span><small>${count(link.count)} products</small></div>${link.terms[0]?.factors.map((one, k) => html`${k > 0 && html`<span class="op">·</span>`}<div class="term"><span class="sym">${one.role === "delta" ? "δ" : one.role === "activation" ? "x" : "w"}</span><small>${CAPTIONS[one.role] ?? one.role}</small></div>`)}</div>`;
  }
  return html`<div class="eq" role="group" aria-label="Gradient as a chain of factors">${left}${factors.map((one, k) => html`<span class="op">${k ? "·" : "="}</span><button class="term fac" data-factor="${k}" data-k="f${k}" aria-pressed="${k === S.factor}"><span class="sym">${one.role === "slope" ? html`<span class="v">${one.name.replace("-", "−")}</span>` : model.symbol(one.name)}</span><b class="${tone(one.value)}">${signed(one.value)}</b><small>${CAPTIONS[one.role] ?? one.role}</small></button>`)}</div>`;
}

/** The three pictures of a kernel weight's sum: gradient, shifted input, and their product. */
function trio(S) {
  const { tensor, index } = parse(S.subject);
  const stage = S.model.stage(tensor.replace(/\.weight$/, ""));
  if (!stage || index.length !== 4 || !S.run) return null;
  const { layer } = stage, [map, channel, u, v] = index;
  const delta = S.run.tensors[`∂${layer.y}`], x = S.run.tensors[layer.x];
  if (!layer.window || !delta || !x) return null;
  const [, height, width] = layer.shape;
  const d = delta.data.slice(map * height * width, (map + 1) * height * width);
  const shifted = Array.from(d, (_, k) => x.data[inputIndex(layer, map, [channel, u, v], [Math.floor(k / width), k % width], x.shape)] ?? 0);
  return { width, d, shifted, product: shifted.map((one, k) => one * d[k]) };
}

export function why(S, root) {
  const { explained, checked, model } = S;
  if (!S.run || !explained) {
    const names = S.run && model.classes.length <= MAX_NAMES ? model.classes : [];
    fill(root, html`<h2 id="why-h">Why</h2>${S.run
      ? html`<p class="lede">What is it?</p><p>The cost compares the answer with what you say it is, and each weight is asked how it changes that cost.</p><div class="row tight" role="group" aria-label="What is it?">${names.map((name, k) => html`<button class="btn small" data-label="${k}" data-k="l${k}">${name}</button>`)}</div>`
      : html`<p class="cap">Draw, or take a sample. Then click a neuron, an edge or a weight.</p>`}`);
    return;
  }
  const factors = chain(explained), link = explained.links[0], g = link.gradient, isWeight = /\.(weight|bias)\[/.test(explained.name);
  const three = factors ? null : trio(S);
  const ok = checked && Math.abs(checked.numeric - g) < 1e-7 + 1e-3 * Math.abs(g);
  const lede = g === 0 ? "This does not move the cost of this input." : `${g < 0 ? "Raise" : "Lower"} this ${isWeight ? "weight" : "value"} and the cost falls, ${num(Math.abs(g))} per unit.`;
  fill(root, html`<div class="head"><h2 id="why-h">Why</h2><p class="read">${model.symbol(explained.name)} = <b>${signed(explained.value)}</b></p></div>
    <p class="path" id="subject">${model.where(explained.name)}${S.trail.length > 0 && html` <button class="btn quiet" id="back" data-k="back">Back</button>`}</p><p class="lede">${lede}</p>${explained.note ? html`<p class="cap">${explained.note}</p>` : ""}
    ${equation(S, factors)}
    ${three && html`<div class="trio">${[["d", "gradient δ"], ["x", "input, shifted"], ["p", "product"]].map(([id, text]) => html`<figure><canvas class="px" data-trio="${id}" role="img" aria-label="${text}"></canvas><figcaption class="cap">${text}</figcaption></figure>`)}</div>`}
    <div class="link" data-detail="1">${factors ? detail(S, factors[S.factor] ?? factors[0]) : html`<p>${sentence(link.words)}</p>${link.count > 0 && terms(S, link)}`}</div>
    <p class="check" data-numeric="${checked?.numeric ?? ""}">${checked ? html`${ok ? "✓" : "✕"} Nudging it by ±${num(checked.eps)} gives ${signed(checked.numeric, 6)}; the chain gives ${signed(g, 6)}.${!ok && " The cost bends within the nudge."}` : "…"}</p>
    ${isWeight && !S.recorded && apply(S, g)}${explained.strongest?.length > 0 && !S.recorded && strongest(S)}`);
  if (three) {
    const most = maxAbs(three.d) || 1;
    heat($("[data-trio=d]", root), three.d, three.width, "div", most);
    heat($("[data-trio=x]", root), three.shifted, three.width, "seq", maxAbs(three.shifted) || 1);
    heat($("[data-trio=p]", root), three.product, three.width, "div", maxAbs(three.product) || 1);
  }
}

/** The weights of the whole network with the largest derivatives. */
function strongest({ model, explained }) {
  return html`<section aria-labelledby="strongest-h"><h3 id="strongest-h">Strongest weights, by |∂C/∂w|</h3><ol class="strongest">${explained.strongest.map(({ name, gradient }, k) => html`<li><button class="btn quiet" type="button" data-what="${name}" data-k="s${k}">${model.where(name)}</button> <b class="${tone(gradient)}">${signed(gradient)}</b></li>`)}</ol></section>`;
}

/** A number before and after a change, with as many digits as show the change. */
function change(before, after) {
  const ratio = Math.abs(before) / Math.abs(after - before), digits = Number.isFinite(ratio) ? Math.ceil(Math.log10(ratio || 1)) + 3 : 4;
  return [before, after].map((one) => exact(one, Math.min(15, Math.max(4, digits))));
}

function apply(S, g) {
  const { explained, stepped: H, rate } = S;
  const one = S.scope === "one", w = explained.value, [now, next] = change(w, w - rate * g);
  const costs = H ? [["Cost before", num(H.before, 4)], ["after", num(H.after, 4)], ["the slope said", signed(H.predicted)], ["it got", signed(H.after - H.before)]] : [["Cost now", num(S.run.cost, 4)], ...(one ? [["Next step, by the slope", signed(-rate * g * g)]] : [])];
  return html`<form class="apply" aria-label="Apply one step"><h3>Apply one step</h3>
    ${one ? html`<p class="math">${S.model.symbol(explained.name)} ← ${now} − ${num(rate, 2)} · (${num(g)}) = <b>${next}</b></p>` : html`<p class="math">every weight ← weight − ${num(rate, 2)} · its own derivative</p>`}
    <label class="field" for="rate">Step size η <output>${num(rate, 2)}</output><input type="range" id="rate" data-k="rate" min="-3" max="2" step="0.1" value="${Math.log10(rate).toFixed(1)}" aria-valuetext="${num(rate, 2)}"></label>
    <div class="seg" role="radiogroup" aria-label="Which weights">${[["one", "This weight"], ["all", `All ${count(S.model.parameters)}`]].map(([id, text]) => html`<button type="button" role="radio" data-scope="${id}" data-k="c${id}" aria-checked="${S.scope === id}" tabindex="${S.scope === id ? 0 : -1}">${text}</button>`)}</div>
    <div class="row"><button class="btn primary" data-k="go">Apply step</button><button class="btn" type="button" id="undo" data-k="undo" ${S.run.steps ? "" : "disabled"}>Undo${S.run.steps ? ` (${S.run.steps})` : ""}</button></div>
    <dl class="costs">${costs.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>
    ${H && html`<p class="math" id="changed">${S.model.symbol(explained.name)} ${change(H.was, H.now).join(" → ")}</p>`}
    ${H && Math.abs(H.predicted) > 0 && (H.after - H.before) / H.predicted < 0.5 && html`<p class="cap">The step went past where the slope holds. Undo, and try a smaller η.</p>`}</form>`;
}

/** The units that the selected factor belongs to, as "path:index", and inputs, "x:index"; of a sum, those of its products. */
export function highlighted(S) {
  const result = new Set();
  if (!S.explained) return result;
  const factors = chain(S.explained), factor = factors && (factors[S.factor] ?? factors[0]);
  const { terms } = factor ? S.explained.links[factor.link] ?? { terms: [] } : S.explained.links[0];
  const inProducts = terms.flatMap((term) => (factor ? term.factors.filter((one) => one.role === "delta") : term.factors));
  const own = S.model.unit(S.explained.name), [, height, width] = S.run.tensors.x.shape;
  if (factor?.role === "slope" && own) result.add(own); // of the activation after this unit
  for (const { name } of factor ? [factor, ...inProducts] : inProducts) {
    const unit = S.model.unit(name), { tensor, index } = parse(name);
    if (unit) result.add(unit);
    else if (tensor === S.model.weighted[0]?.layer.x) result.add(`x:${S.model.columns || index.length > 2 ? index[1] : Math.floor(index[1] / (height * width))}`);
  }
  return result;
}
