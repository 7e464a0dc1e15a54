"""What the page of a comparison adds to the report's style sheet."""

CSS = """
body { max-width: 74rem; }
h2 .dot { display: inline-block; width: .72rem; height: .72rem; border-radius: 50%; margin-right: .55rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .2rem; }
.finding { font-size: 1.12rem; }
.side { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; align-items: flex-start; }
.side > * { max-width: 100%; }
.side figure { margin: .5rem 0; }
ul.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.6rem; list-style: none; padding: 0; margin: .7rem 0;
  font-variant-numeric: tabular-nums; }
ul.facts b { font-weight: 600; }
ul.facts span { color: var(--soft); }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--accent); }
dl.words { margin: .5rem 0; max-width: 46rem; }
dl.words div { display: grid; grid-template-columns: 6.5rem 1fr; gap: 0 1rem; padding: .15rem 0; }
dl.words dt { font-weight: 600; }
dl.words dd { margin: 0; }
.number, #result tbody th { white-space: nowrap; }
#differences tbody th { white-space: nowrap; }
#differences td { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .78rem;
  overflow-wrap: anywhere; min-width: 7rem; }
@media (max-width: 44rem) {
  figure { overflow-x: auto; }
  figure svg { max-width: max(100%, 25rem); }
  .wide figure svg { max-width: max(100%, 38rem); }
  dl.words div { grid-template-columns: 1fr; }
}
""".strip()
