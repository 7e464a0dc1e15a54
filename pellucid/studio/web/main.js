// The frame of the page: the connection, the theme, the tooltip; and the one view that there is.
import { $, isNarrow } from "./core/dom.js";
import { forgetColours } from "./core/paint.js";
import { Server } from "./core/server.js";
import { start } from "./draw/view.js";

const root = document.documentElement;
const THEMES = ["auto", "light", "dark"];

/** Show the connection's state; nothing while it is fine. */
function showLink(text) {
  $("#link").hidden = !text;
  $("#link").textContent = text;
}

if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", `/${location.hash}`);
const server = new Server(showLink);
const view = start($("#draw"), server);

function nameTheme() {
  $("#theme").textContent = `Theme: ${root.dataset.theme}`;
  forgetColours();
  view.render();
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
    view.render();
  }
});

// The tooltip repeats what is also elsewhere on the page.
const tip = $("#tip");
function showTip(event) {
  const target = event.target.closest?.("[data-tip]");
  tip.hidden = !target;
  if (!target) return;
  tip.textContent = target.dataset.tip;
  const box = target.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${box.top > 40 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
}
addEventListener("pointerover", showTip);
addEventListener("focusin", showTip);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
});

// In a group of radio buttons, arrows choose the neighbour.
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const group = event.target.closest?.("[role=radiogroup]");
  if (!step || event.target.getAttribute("role") !== "radio") return;
  event.preventDefault();
  const all = [...group.querySelectorAll("[role=radio]")];
  const next = all[(all.indexOf(event.target) + step + all.length) % all.length];
  next.focus();
  next.click();
});
