"""The report's style sheet."""

CSS = """
:root { color-scheme: light dark; --ink: #22262c; --soft: #5b626d; --line: #d9dde3; --page: #fcfcfb; --card: #f3f4f5;
  --accent: #0063a0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #a3abb6; --line: #363c45; --page: #15181c; --card: #1f2329; --accent: #6db6ec; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 58rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0; max-width: 46rem; }
.about, .missing, caption, figcaption { color: var(--soft); }
nav { margin: 1rem 0 0; font-size: .9rem; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
a { color: var(--accent); }
dl.big { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.4rem 0 0; }
dl.big div { display: flex; flex-direction: column-reverse; justify-content: flex-end;
  background: var(--card); border-radius: .5rem; padding: .7rem .9rem; }
dl.big dt { color: var(--soft); font-size: .85rem; }
dl.big dd { margin: 0; font-size: 1.65rem; line-height: 1.25; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: .6rem 0 1.2rem; }
figure svg { max-width: 100%; height: auto; display: block; font-family: inherit; }
figure svg image { image-rendering: pixelated; }
figcaption { font-size: .88rem; margin-top: .3rem; max-width: 46rem; }
pre { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem;
  line-height: 1.45; font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: left; padding: .22rem 1.1rem .22rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  font-weight: 400; }
thead th, tfoot th, tfoot td { font-weight: 600; }
thead th { white-space: nowrap; }
.number { text-align: right; }
#manifest td { overflow-wrap: anywhere; }
@media print { nav { display: none; } section { break-inside: avoid; } }
""".strip()
