// The frame of the page: the connection, the views, the theme and the tooltip.
import { $, $$, fill, html, isNarrow, showTips } from "./core/dom.js";
import { forgetColours } from "./core/paint.js";
import { Server } from "./core/server.js";

const root = document.documentElement;
const THEMES = ["auto", "light", "dark"];

/** Show the connection's state; nothing while it is fine. */
function showLink(text) {
  $("#link").hidden = !text;
  $("#link").textContent = text;
  if (!text) $("#lost").hidden = true;
}

if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", `/${location.hash}`);
const server = new Server(showLink);

// The views: the address is #NAME?STATE, where the state belongs to the view.
let views = []; // {name, title}
let first = ""; // name of the view for an address without one
const started = new Map(); // name of a view: {root, hash, actions}
let shown = null;
let turn = 0; // of the newest call of `show`

/** Load a view's style and its module. */
async function load(name) {
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `/${name}/view.css` });
  const styled = new Promise((resolve) => (style.onload = style.onerror = resolve));
  document.head.append(style);
  const [module] = await Promise.all([import(`/${name}/view.js`), styled]);
  return module;
}
const modules = new Map(); // promises, by name
const moduleOf = (name) => modules.get(name) ?? modules.set(name, load(name)).get(name);

/** Start a view with a state of its own, in place of one that has been started. */
function begin({ name, title }, start, state) {
  started.get(name)?.root.remove();
  const root = Object.assign(document.createElement("section"), { className: "view", hidden: true });
  root.setAttribute("aria-label", title);
  $("#main").append(root);
  const view = { root, hash: `#${name}?${state}`, actions: null };
  started.set(name, view);
  view.actions = start(root, server, {
    state,
    /** Put what is shown into the address; null, undefined and "" are left out. */
    remember(values) {
      const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
      view.hash = `#${name}?${new URLSearchParams(given)}`;
      $(`#views a[data-view="${name}"]`).href = view.hash;
      if (shown === view) history.replaceState(null, "", view.hash);
    },
  });
  return view;
}

/** Show the view that the address names. */
async function show() {
  if (!views.length) return; // the connection's first answer shows it
  const { hash } = location;
  const [name, state = ""] = hash.slice(1).split("?");
  const named = views.find((one) => one.name === name) ?? views.find((one) => one.name === first) ?? views[0];
  const mine = ++turn;
  if (shown !== started.get(named.name)) shown = null; // until the module is loaded, the view before writes no address
  const { start } = await moduleOf(named.name);
  if (mine !== turn) return; // the address has changed while the module was loaded
  let view = started.get(named.name);
  const isNew = !view || ((state || view.actions.startsAnew) && hash !== view.hash);
  if (isNew) view = begin(named, start, new URLSearchParams(state));
  for (const one of started.values()) one.root.hidden = one !== view;
  shown = view;
  for (const link of $$("#views a")) link.ariaCurrent = link.dataset.view === named.name ? "page" : null;
  document.title = `${named.title} · Pellucid Studio`;
  if (!isNew && !state) history.replaceState(null, "", view.hash); // so that a reload finds what is shown
  if (isNew) await view.actions.opened(false);
  else view.actions.render();
}
addEventListener("hashchange", show);
$(".skip").onclick = (event) => {
  event.preventDefault(); // its fragment is no view's name
  $("#main").focus();
};

// A file that is dropped beside the view is the view's, too; the browser would open it in place of the page.
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  const { target, dataTransfer } = event;
  if (!shown?.root.contains(/** @type {Node} */ (target))) shown?.root.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
});

server.onopen = async (reconnected) => {
  if (!reconnected || !views.length) {
    ({ views, view: first } = await server.ask("studio.open"));
    fill($("#views"), html`${views.map((one) => html`<a href="#${one.name}" data-view="${one.name}">${one.title}</a>`)}`);
    await show();
  } else for (const { actions } of started.values()) await actions.opened(true);
};

function nameTheme() {
  $("#theme").textContent = `Theme: ${root.dataset.theme}`;
  forgetColours();
  shown?.actions.render();
}
$("#theme").onclick = () => {
  root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // A browser without storage forgets the theme.
  }
  nameTheme();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();

let narrow = isNarrow();
addEventListener("resize", () => {
  if (narrow !== isNarrow()) {
    narrow = isNarrow();
    shown?.actions.render();
  }
});

showTips();

// In a group of radio buttons, arrows choose the neighbour.
addEventListener("keydown", (/** @type {any} */ event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const group = event.target.closest?.("[role=radiogroup]");
  if (!step || event.target.getAttribute("role") !== "radio") return;
  event.preventDefault();
  const all = [...group.querySelectorAll("[role=radio]")];
  const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
  next.focus();
  next.click();
});
