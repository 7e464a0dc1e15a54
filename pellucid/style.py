"""The style sheet of what notebooks show, in the page's own colours, light or dark; and a page of it."""

from collections.abc import Collection, Sequence

from pellucid.text import escape

CSS = """
.pellucid { --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 62%, transparent);
  --card: color-mix(in srgb, currentColor 5%, transparent); --up: #c2410c; --down: #2563eb; color: inherit;
  font: 14px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; max-width: 66rem;
  font-variant-numeric: tabular-nums; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { .pellucid { --up: #fb923c; --down: #7cb0ff; } }
[data-jp-theme-light="false"] .pellucid, .vscode-dark .pellucid, .pellucid.dark { --up: #fb923c; --down: #7cb0ff; }
[data-jp-theme-light="true"] .pellucid, .vscode-light .pellucid { --up: #c2410c; --down: #2563eb; }
.pellucid p { margin: .25rem 0; }
.pellucid .big { font-size: 1.35rem; line-height: 1.9; }
.pellucid .soft, .pellucid caption { color: var(--soft); }
.pellucid .frac { display: inline-flex; flex-direction: column; vertical-align: middle; text-align: center;
  line-height: 1.3; font-size: .85em; margin-right: .15em; }
.pellucid .frac > :first-child { border-bottom: 1px solid currentColor; padding: 0 .3em; }
.pellucid ol.chain { list-style: none; counter-reset: link; margin: .6rem 0 0; padding: 0; }
.pellucid ol.chain > li { counter-increment: link; position: relative; margin: 0; padding: 0 0 1rem 2.6rem; }
.pellucid ol.chain > li::before { content: counter(link); position: absolute; left: 0; top: .1rem; width: 1.6rem;
  height: 1.6rem; border-radius: 50%; background: var(--card); border: 1px solid var(--line); text-align: center;
  line-height: 1.6rem; font-size: .8rem; }
.pellucid ol.chain > li:not(:last-child)::after { content: ""; position: absolute; left: .8rem; top: 2rem;
  bottom: .1rem;
  border-left: 1px solid var(--line); }
.pellucid table { border-collapse: collapse; margin: .4rem 0; font-size: .92em; background: transparent;
  color: inherit; }
.pellucid caption { text-align: left; padding-bottom: .2rem; }
.pellucid tr, .pellucid tbody tr:nth-child(odd), .pellucid tbody tr:hover { background: transparent; }
.pellucid th, .pellucid td { text-align: left; padding: .16rem .9rem .16rem 0; border: 0;
  border-bottom: 1px solid var(--line);
  font-weight: 400; vertical-align: middle; white-space: nowrap; }
.pellucid thead th { color: var(--soft); font-size: .88em; }
.pellucid .n { text-align: right; }
.pellucid tbody tr:last-child td { border-bottom: 0; }
.pellucid .sum td { font-weight: 600; }
.pellucid code { font: .92em ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; background: none;
  color: inherit;
  padding: 0; }
.pellucid td.bar { position: relative; width: 7rem; min-width: 7rem; padding: 0; }
.pellucid td.bar + td { padding-left: .9rem; }
.pellucid .bar i { position: absolute; top: 25%; height: 50%; border-radius: 2px; min-width: 1px; }
.pellucid .up { background: var(--up); } .pellucid .down { background: var(--down); }
.pellucid .tag { border: 1px solid var(--line); border-radius: 1rem; padding: .05rem .6rem; font-size: .85em; }
.pellucid img { image-rendering: pixelated; display: block; margin: .15rem 0; }
.pellucid .scroll { overflow-x: auto; }
""".strip()


def table_html(caption: str, rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return a table for notebooks; the first row is the head, columns numbered in `right` are aligned there."""
    head, *body = (
        "".join(_cells(row, right, tag)) for row, tag in zip(rows, ["th", *["td"] * len(rows)], strict=False)
    )
    lines = "".join(f"<tr>{line}</tr>" for line in body)
    return (
        f'<div class="pellucid"><style>{CSS}</style><div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></div>"
    )


def _cells(row: Sequence[str], right: Collection[int], tag: str) -> list[str]:
    return [f"<{tag}{' class=n' if k in right else ''}>{escape(cell)}</{tag}>" for k, cell in enumerate(row)]


def document(body: str, title: str) -> str:
    """Return a page of what notebooks show."""
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{escape(title)}</title>'
    page = "body{font-family:system-ui,sans-serif;margin:1.5rem}"
    return (
        f"<!doctype html>\n<html lang=en>\n<head>{head}<style>{page}</style></head>\n<body>\n{body}\n</body>\n</html>\n"
    )
