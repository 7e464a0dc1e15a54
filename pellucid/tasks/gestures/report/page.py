"""The page of a comparison: what came out, and then each variant with its pictures."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pellucid.tasks.gestures.comparison import NUMBERS, Comparison, best_row
from pellucid.tasks.gestures.report.pictures import RANKED
from pellucid.tasks.gestures.report.style import CSS
from pellucid.tasks.gestures.report.tables import HEAD, cells, differences, finding, setting
from pellucid.tasks.gestures.report.variant import variant_section
from pellucid.text import escape
from pellucid.train.figures.race import COLOURS
from pellucid.train.figures.style import svg
from pellucid.train.report import style
from pellucid.train.report.html import element, figure, missing, section, table
from pellucid.train.report.page import duration

WORDS = (
    ("accuracy", "the share of held-out pictures that were read rightly"),
    ("macro F1", "the mean over the classes of F1, which is high only where the class is both found and not "
                 "claimed wrongly; rare classes count as much as common ones"),
    ("ECE", "expected calibration error: how far, on average, the sureness that a network states is from how often "
            "it is right; 0 is best"),
    ("per image", "the median time of one picture through the network, alone"),
    ("training", "the time of all epochs"),
    ("learns", "how many of the network's numbers training may change"),
)  # fmt: skip


def page(comparison: Comparison, figures: Mapping[str, Figure]) -> str:
    """Return the whole HTML document."""
    title = f"Ways to train, compared: {comparison.data}"
    names = [("result", "Result"), ("time", "Accuracy by time")]
    names += [(row.variant.name, row.variant.title) for row in comparison.rows]
    names += [("differences", "What differs"), ("again", "Reproduce")]
    links = "".join(f'<a href="#{escape(name)}">{escape(text)}</a>' for name, text in names)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
            f"{element('title', f'{title} · Pellucid')}<style>{style.CSS}\n{CSS}</style></head>",
            "<body>",
            f"<header>{element('h1', title)}",
            element("p", setting(comparison), class_="about"),
            _unfinished(comparison),
            _headline(comparison),
            f'<nav aria-label="Sections">{links}</nav></header>',
            "<main>",
            _result(comparison, figures),
            _time(comparison, figures),
            *(variant_section(row, COLOURS[k % len(COLOURS)], figures) for k, row in enumerate(comparison.rows)),
            _differences(comparison),
            _again(comparison),
            "</main>",
            "</body></html>",
            "",
        ]
    )


def _unfinished(comparison: Comparison) -> str:
    missed = comparison.planned - len(comparison.rows)
    words = f"{missed} of {comparison.planned} variants are not trained yet; the command at the end goes on."
    return missing(words) if missed else ""


def _headline(comparison: Comparison) -> str:
    best = best_row(comparison.rows)
    tiles = [
        (f"best accuracy, {best.variant.title}", f"{100 * best.spread(NUMBERS['accuracy']).mean:.2f} %"),
        ("its macro F1", f"{100 * best.spread(NUMBERS['macro_f1']).mean:.2f} %"),
        ("held-out pictures", f"{comparison.n_test:,}"),
        ("training in all", duration(comparison.seconds)),
    ]
    pairs = (element("dt", name) + element("dd", value) for name, value in tiles)
    return f'<dl class="big">{"".join(f"<div>{pair}</div>" for pair in pairs)}</dl>'


def _result(comparison: Comparison, figures: Mapping[str, Figure]) -> str:
    lines = {row.variant.title: cells(row) for row in comparison.rows}
    drawn = [
        figure(svg(figures[key], key), f"{title}: {_listed(lines, column)}")
        for (key, title, _), column in zip(RANKED, (1, 2, 3, 5), strict=True)
        if key in figures
    ]
    threads = comparison.rows[0].first.measured.latency.threads
    caption = (
        f"On {comparison.n_test:,} held-out pictures; times per image on {threads} "
        f"{'thread' if threads == 1 else 'threads'} of the CPU."
    )
    words = "".join(f"<div>{element('dt', name)}{element('dd', text)}</div>" for name, text in WORDS)
    rows = [cells(row) for row in comparison.rows]
    return section(
        "result",
        "Result",
        element("p", finding(comparison), class_="finding"),
        f'<div class="side">{"".join(drawn)}</div>',
        table(caption, HEAD, rows, numbers=range(1, len(HEAD))),
        f'<details><summary>What the columns mean</summary><dl class="words">{words}</dl></details>',
    )


def _listed(lines: Mapping[str, tuple[str, ...]], column: int) -> str:
    return ", ".join(f"{title} {line[column]}" for title, line in lines.items())


def _time(comparison: Comparison, figures: Mapping[str, Figure]) -> str:
    held = comparison.rows[0].first.held
    words = (
        f"How well each way reads the {held} pictures after how many seconds of training; every dot is an epoch. "
        "Further left is faster, higher is better. The time axis grows tenfold from mark to mark."
    )
    if "time" not in figures:
        return section("time", "Accuracy by time", missing("No accuracy was recorded while it trained."))
    ends = ", ".join(f"{row.variant.title} after {duration(row.first.seconds)}" for row in comparison.rows)
    drawn = figure(svg(figures["time"], "time"), f"Accuracy by seconds of training, on a logarithmic axis: {ends}")
    return section("time", "Accuracy by time", element("p", words), f'<div class="wide">{drawn}</div>')


def _differences(comparison: Comparison) -> str:
    rows = differences(comparison)
    if not rows:
        return section("differences", "What differs", missing("The recipes do not differ."))
    head = ("key", *(row.variant.title for row in comparison.rows))
    words = "Everything in which the recipes differ; a dash stands where a key means nothing."
    return section("differences", "What differs", element("p", words), table("Settings of each variant", head, rows))


def _again(comparison: Comparison) -> str:
    words = (
        "The same command on the same kind of machine gives the same weights, bit by bit; only times vary. What is "
        "finished is not trained again."
    )
    return section("again", "Reproduce", element("p", words), f"<pre>{element('code', comparison.command)}</pre>")
