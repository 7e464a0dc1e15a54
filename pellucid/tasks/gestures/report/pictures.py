"""The pictures of a comparison."""

from matplotlib.figure import Figure

from pellucid.report.figures.classes import confusion_matrix, precision_and_recall, reliability_diagram
from pellucid.report.figures.compared import COLOURS, Dot, accuracy_by_time, ranking
from pellucid.report.figures.curves import accuracy_curves, loss_curves
from pellucid.report.figures.pictures import worst_mistakes
from pellucid.run_report.page import duration
from pellucid.tasks.gestures.comparison import NUMBERS, Comparison, Row
from pellucid.tasks.gestures.report.tables import percent

Figures = dict[str, Figure | None]
# What is ranked: the number, the heading, and whether it is a share.
RANKED = (
    ("accuracy", "Accuracy, higher is better", True),
    ("macro_f1", "Macro F1, higher is better", True),
    ("ece", "Calibration error (ECE), lower is better", True),
    ("seconds", "Training time, in seconds", False),
)


def draw(comparison: Comparison) -> Figures:
    """Return all pictures by name, None where there is nothing to draw."""
    figures: Figures = {key: _ranked(comparison, key, title, share) for key, title, share in RANKED}
    rows = comparison.rows
    figures["time"] = accuracy_by_time(
        [row.variant.title for row in rows], [row.first.history for row in rows], rows[0].first.held
    )
    for row in rows:
        figures |= {f"{row.variant.name}-{name}": figure for name, figure in _variant(row).items()}
    return figures


def _ranked(comparison: Comparison, key: str, title: str, share: bool) -> Figure | None:
    scale = 100 if share else 1
    dots: list[Dot] = []
    for row in comparison.rows:
        spread = row.spread(NUMBERS[key])
        text = percent(spread).split("(")[0].strip() if share else duration(spread.mean)
        dots.append(Dot(row.variant.title, scale * spread.mean, scale * spread.low, scale * spread.high, text))
    return ranking(title, dots, COLOURS, logarithmic=not share)


def _variant(row: Row) -> Figures:
    first = row.first
    found, bins, wrong = first.measured, first.measured.reliability, first.measured.mistakes
    return {
        "loss": loss_curves(first.history, first.held),
        "accuracy": accuracy_curves(first.history, first.held),
        "confusion": confusion_matrix(found.confusion, found.classes),
        "normalised": confusion_matrix(found.confusion, found.classes, normalised=True),
        "classes": precision_and_recall(found.classes, found.precision, found.recall),
        "reliability": reliability_diagram(bins.count, bins.confidence, bins.accuracy, found.ece),
        "mistakes": (
            None if wrong is None else worst_mistakes(wrong.images, wrong.true, wrong.predicted, wrong.probability)
        ),
    }
