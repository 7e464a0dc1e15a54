// What the playground consists of, before there is a network.
import { html } from "/core/dom.js";
import { scaleBar } from "/core/paint.js";
import { BREAKS } from "./remarks.js";
import { SURFACE } from "./surface.js";

const SPEEDS = ["slow", "medium", "fast"];
const CLICKS = [["ask", "ask why"], ["1", "add blue"], ["0", "add ochre"]];

export const FRAME = html`<div class="play"><section class="pane playbar" aria-label="Learning">
    <div class="row"><button class="btn primary" id="play-go" type="button" data-k="go">Start</button><button class="btn" id="play-step" type="button">Step</button><button class="btn live" id="play-epoch-go" type="button">Epoch</button><button class="btn" id="play-fresh" type="button">Reset</button>
      <div class="seg live" role="radiogroup" aria-label="Speed">${SPEEDS.map((one) => html`<button type="button" role="radio" data-speed="${one}">${one}</button>`)}</div>
      <button class="btn live" id="play-link" type="button">Copy link</button>
      <p class="numbers-line"><span>epoch <b id="play-epoch"></b></span><span>loss: train <b id="play-train"></b></span><span>test <b id="play-test"></b></span></p></div>
    <p class="notice" id="play-problem" role="alert" hidden></p><p class="ask" id="play-ask" role="status" hidden></p><p class="cap" id="play-copied" hidden>The link is copied. To open it on another day or machine, start <code>pellucid studio</code> there, and append the part from <code>#play</code> to its address.</p></section>
  <div class="panes play-panes">
    <section class="pane" aria-labelledby="play-data-h"><h2 id="play-data-h">Data</h2><div id="play-data" class="live"></div>
      <p class="cap of-points">Blue is positive, ochre negative.<span id="play-rings"> Rings are points for testing: the network does not learn from them.</span></p><p class="cap of-pictures">Handwritten digits of 8 x 8 pixels, those for testing on the right: blue ones are read rightly, ochre ones wrongly.</p><h3 id="play-break-h" class="live">Break it</h3><div class="row tight live" role="group" aria-labelledby="play-break-h">${BREAKS.map((one, k) => html`<button class="btn small" type="button" data-break="${k}">${one.name}</button>`)}</div></section>
    <section class="pane" aria-labelledby="play-net-h"><div class="head"><h2 id="play-net-h">Network</h2><span class="row tight live"><button class="btn small" id="play-less" type="button" aria-label="One hidden layer less">− layer</button><button class="btn small" id="play-more" type="button" aria-label="One hidden layer more">+ layer</button></span></div>
      <div class="columns" id="play-net"><p class="cap">Loading the playground…</p></div>
      <p class="legend"><span>${scaleBar("div", "−", "+")} <span class="of-points">output of a neuron, weight of a link</span><span class="of-pictures">in layer 1 the weights of the 64 pixels; then the picture that excites the neuron most</span></span></p>
      <form class="hood live" id="play-hood" aria-label="Under the hood"></form></section>
    <section class="pane out" aria-labelledby="play-out-h"><h2 id="play-out-h">What it has learned</h2>
      <div class="plane" id="play-plane" tabindex="0" role="img"><canvas></canvas><svg viewBox="0 0 100 100" aria-hidden="true"><g id="play-marks"></g><path id="play-boundary"/><path id="play-cursor" hidden/></svg></div>
      <p class="cap of-pictures" id="play-read" role="status"></p><p class="cap of-pictures" id="play-wrong"></p><div class="row of-points live"><div class="seg" role="radiogroup" aria-label="A click in the plane">${CLICKS.map(([id, text]) => html`<button type="button" role="radio" data-click="${id}">${text}</button>`)}</div><button class="btn" id="play-none" type="button">Remove all points</button></div>
      <div id="play-chart"></div><p class="cap" id="play-gap"></p>
      <details id="play-surface">${SURFACE}</details></section>
    <aside class="pane whypane" aria-label="Why"><div><div id="play-unit"></div><p class="row live" id="play-links"></p><details id="play-code"><summary>As Python</summary><pre class="scroll" tabindex="0"></pre></details></div><div id="play-why"></div></aside></div></div>`;
