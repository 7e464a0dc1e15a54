"""Writing the report and its pictures into a run folder."""

import json
import os
from pathlib import Path

from matplotlib.figure import Figure

from pellucid.files import write_atomically
from pellucid.report.figures.confusion import confusion_matrix
from pellucid.report.figures.curves import accuracy_curves, learning_rate, loss_curves
from pellucid.report.figures.layers import gradient_norms, update_ratios
from pellucid.report.figures.masks import worst_masks
from pellucid.report.figures.pictures import first_weights, worst_mistakes
from pellucid.report.write import write_page
from pellucid.run_report.data import ReportData
from pellucid.run_report.page import page

CONFUSION = "confusion.json"
TOO_WIDE = 100_000  # counts, of pixels, are then written as shares


def write_report(run: str | os.PathLike[str], data: ReportData) -> Path:
    """Write report.html, figures/*.png and confusion.json into the folder `run`; return the path of report.html.

    Each file appears whole or not at all. Raises PellucidError where they cannot be written.
    """
    figures = draw(data)
    path = write_page(Path(run) / "report.html", page(data, figures), figures)
    if data.confusion is not None:
        counts = {"classes": list(data.classes), "counts": data.confusion.tolist()}  # true by predicted
        write_atomically(Path(run) / CONFUSION, (json.dumps(counts) + "\n").encode(), durable=False)
    return path


def draw(data: ReportData) -> dict[str, Figure | None]:
    """Return the report's pictures by name, None where there is nothing to draw."""
    wrong = data.mistakes
    return {
        "loss": loss_curves(data.history, data.held),
        "accuracy": accuracy_curves(data.history, data.held),
        "confusion": None
        if data.confusion is None
        else confusion_matrix(data.confusion, data.classes, bool(data.confusion.max() >= TOO_WIDE)),
        "masks": None
        if data.masks is None
        else worst_masks(data.masks.images, data.masks.true, data.masks.predicted, data.masks.scores, data.classes),
        "mistakes": (
            None if wrong is None else worst_mistakes(wrong.images, wrong.true, wrong.predicted, wrong.probability)
        ),
        "first_weights": None if data.first_weights is None else first_weights(data.first_weights),
        "learning_rate": learning_rate(data.history),
        "gradients": gradient_norms(data.layers),
        "updates": update_ratios(data.layers),
    }
