// The theme, set before the page is painted: "auto" is that of the system.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
} catch {
  document.documentElement.dataset.theme = "auto";
}
