"""One variant on the page of a comparison."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from pellucid.tasks.gestures.comparison import NUMBERS, Row
from pellucid.tasks.gestures.report.tables import PICTURES, percent
from pellucid.text import escape
from pellucid.train.figures.style import svg
from pellucid.train.report.html import element, figure, missing, table
from pellucid.train.report.page import duration
from pellucid.train.report.scores import class_rows, common_confusions

Figures = Mapping[str, Figure]


def variant_section(row: Row, colour: str, figures: Figures) -> str:
    """Return the section: what the variant does, its numbers, and all its pictures."""
    name, found = row.variant.name, row.first.measured
    dot = f'<span class="dot" style="background:{colour}"></span>'
    head = ("class", "precision", "recall", "F1", "n")
    seeds = len(row.trials)
    note = f" Pictures and classes are those of seed {row.first.seed}, one of {seeds}." if seeds > 1 else ""
    parts = [
        element("p", row.variant.about + note),
        _facts(row),
        "<h3>Learning</h3>",
        '<div class="wide">',
        _drawn(figures, row, "loss", f"Loss by epoch, in the end {_last(row, 'loss')}"),
        _drawn(figures, row, "accuracy", f"Accuracy by epoch, in the end {_last(row, 'accuracy')}"),
        "</div>",
        "<h3>Which class is taken for which</h3>",
        element("p", _confused(row)),
        _side(
            _drawn(figures, row, "confusion", f"Confusion matrix in counts. {_confused(row)}", "Counts."),
            _drawn(
                figures, row, "normalised", "Confusion matrix in per cent of each true class",
                "Per cent of each true class: every row adds up to 100.",
            ),
        ),
        "<h3>Class by class</h3>",
        _side(
            _drawn(figures, row, "classes", "Precision and recall of each class, as in the table"),
            table(
                "Precision: of those called so, how many are. Recall: of those that are, how many were called so.",
                head, class_rows(found.confusion.numpy(), found.classes), numbers=range(1, 5), foot=True,
            ),
        ),
        "<h3>Does it know how sure it may be?</h3>",
        _side(
            _drawn(
                figures, row, "reliability",
                f"Reliability diagram: the expected calibration error is {100 * found.ece:.1f} per cent",
                "The dark marks say how often it was right when it was that sure; on the dashed line it would be "
                "exactly as sure as it may be. Orange: it was too sure. Green: not sure enough. Below: how often it "
                "was how sure.",
            )
        ),
        "<h3>Misread pictures</h3>",
        _mistakes(row, figures),
    ]  # fmt: skip
    body = "\n".join(parts)
    return f'<section id="{escape(name)}">\n<h2>{dot}{escape(row.variant.title)}</h2>\n{body}\n</section>'


def _facts(row: Row) -> str:
    first = row.first
    facts = [
        ("accuracy", percent(row.spread(NUMBERS["accuracy"]))),
        ("macro F1", percent(row.spread(NUMBERS["macro_f1"]))),
        ("ECE", percent(row.spread(NUMBERS["ece"]))),
        ("loss", f"{row.spread(NUMBERS['loss']).mean:.4f}"),
        ("learns", f"{first.learned:,} of {first.parameters:,} weights"),
        (f"training, {first.epochs:,} epochs", duration(row.spread(NUMBERS["seconds"]).mean)),
        (
            "begins with",
            first.recipe.start.weights or ("whitened filters" if first.recipe.start.whiten else "random weights"),
        ),
        ("run", str(first.run)),
    ]
    return (
        '<ul class="facts">'
        + "".join(f"<li><span>{escape(name)}</span> <b>{escape(text)}</b></li>" for name, text in facts)
        + "</ul>"
    )


def _side(*parts: str) -> str:
    return f'<div class="side">{"".join(parts)}</div>'


def _drawn(figures: Figures, row: Row, name: str, alt: str, caption: str = "") -> str:
    key = f"{row.variant.name}-{name}"
    if key not in figures:
        return missing(f"There is no picture “{dict(PICTURES)[name]}”: nothing was recorded for it.")
    return figure(svg(figures[key], key), alt, caption)


def _last(row: Row, what: str) -> str:
    last = row.first.history[-1] if row.first.history else {}
    words = [
        f"{name} {last[key]:.4g}"
        for key, name in ((f"train_{what}", "training"), (f"val_{what}", row.first.held))
        if isinstance(last.get(key), int | float)
    ]
    return ", ".join(words) or "not recorded"


def _confused(row: Row) -> str:
    found = row.first.measured
    often = common_confusions(found.confusion.numpy(), found.classes)
    return f"Most often: {', '.join(often)}." if often else "Nothing was taken for anything else."


def _mistakes(row: Row, figures: Figures) -> str:
    wrong = row.first.measured.mistakes
    if wrong is None:
        return missing("These data are no pictures that can be shown.")
    if wrong.total == 0:
        return missing("None: every held-out picture was read rightly.")
    shown = len(wrong.true)
    many = f"All {wrong.total:,}" if shown == wrong.total else f"{shown} of {wrong.total:,}"
    listed = ", ".join(f"{a} read as {b}" for a, b in zip(wrong.true, wrong.predicted, strict=True))
    caption = (
        f"{many}, those that it was surest of first: true → predicted class, and the probability that it gave the "
        "predicted one."
    )
    drawn = _drawn(figures, row, "mistakes", f"Misread pictures: {listed}", caption)
    return f'<div class="wide">{drawn}</div>'
