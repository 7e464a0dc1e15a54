"""The page of a comparison: the results, and then each variant with its pictures."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from pellucid.report.figures.compared import COLOURS
from pellucid.report.page import render
from pellucid.run_report.page import class_rows, confusions_text, duration
from pellucid.tasks.gestures.comparison import NUMBERS, Comparison, Row, best_row
from pellucid.tasks.gestures.report.pictures import RANKED
from pellucid.tasks.gestures.report.tables import HEAD, PICTURES, cells, differences, finding, percent, setting

WORDS = (
    ("accuracy", "the share of held-out pictures that were classified correctly"),
    ("macro F1", "the mean over the classes of F1, which is high only where both precision and recall are; rare "
                 "classes count as much as common ones"),
    ("ECE", "expected calibration error: how far, on average, the confidence that a network states is from its "
            "accuracy; 0 is best"),
    ("per image", "the median time of one picture through the network, alone"),
    ("training", "the time of all epochs"),
    ("learns", "how many of the network's parameters training may change"),
)  # fmt: skip


def page(comparison: Comparison, figures: Mapping[str, Figure]) -> str:
    """Return the whole HTML document."""
    rows, best = comparison.rows, best_row(comparison.rows)
    lines = [cells(row) for row in rows]
    return render(
        "gestures",
        comparison=comparison,
        figures=figures,
        setting=setting(comparison),
        results=[
            (f"best accuracy, {best.variant.title}", f"{100 * best.spread(NUMBERS['accuracy']).mean:.2f} %"),
            ("its macro F1", f"{100 * best.spread(NUMBERS['macro_f1']).mean:.2f} %"),
            ("held-out pictures", f"{comparison.n_test:,}"),
            ("training in all", duration(comparison.seconds)),
        ],
        finding=finding(comparison),
        ranked=[
            (key, f"{title}: {', '.join(f'{line[0]} {line[column]}' for line in lines)}")
            for (key, title, _), column in zip(RANKED, (1, 2, 3, 5), strict=True)
        ],
        head=HEAD,
        lines=lines,
        words=WORDS,
        ends=", ".join(f"{row.variant.title} after {duration(row.first.seconds)}" for row in rows),
        variants=[_variant(row, COLOURS[k % len(COLOURS)]) for k, row in enumerate(rows)],
        pictures=dict(PICTURES),
        differences=differences(comparison),
    )


def _variant(row: Row, colour: str) -> dict[str, Any]:
    """Return what the section of a variant shows beside its pictures."""
    first, found, wrong = row.first, row.first.measured, row.first.measured.mistakes
    confusion = found.confusion.numpy()
    start = first.recipe.start.weights or ("whitened filters" if first.recipe.start.whiten else "random weights")
    pairs = () if wrong is None else zip(wrong.true, wrong.predicted, strict=True)
    return {
        "row": row,
        "colour": colour,
        "facts": [
            *((name, percent(row.spread(NUMBERS[key]))) for name, key in
              (("accuracy", "accuracy"), ("macro F1", "macro_f1"), ("ECE", "ece"))),
            ("loss", f"{row.spread(NUMBERS['loss']).mean:.4f}"),
            ("learns", f"{first.learned:,} of {first.parameters:,} parameters"),
            (f"training, {first.epochs:,} epochs", duration(row.spread(NUMBERS["seconds"]).mean)),
            ("starts from", start),
            ("run", str(first.run)),
        ],
        "loss": _last(row, "loss"),
        "accuracy": _last(row, "accuracy"),
        "confused": confusions_text(confusion, found.classes),
        "classes": class_rows(confusion, found.classes),
        "mistaken": ", ".join(f"{true} read as {predicted}" for true, predicted in pairs),
    }  # fmt: skip


def _last(row: Row, what: str) -> str:
    last = row.first.history[-1] if row.first.history else {}
    words = [
        f"{name} {last[key]:.4g}"
        for key, name in ((f"train_{what}", "training"), (f"val_{what}", row.first.held))
        if isinstance(last.get(key), int | float)
    ]
    return ", ".join(words) or "not recorded"
