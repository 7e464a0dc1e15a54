"""Writing the report and its pictures into a run folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from pellucid.report.figures.confusion import confusion_matrix
from pellucid.report.figures.curves import accuracy_curves, learning_rate, loss_curves
from pellucid.report.figures.layers import gradient_norms, update_ratios
from pellucid.report.figures.masks import worst_masks
from pellucid.report.figures.pictures import first_weights, worst_mistakes
from pellucid.report.figures.style import png
from pellucid.train.files import make_folder, write_atomically
from pellucid.train.report.data import ReportData
from pellucid.train.report.page import page

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


def write_page(path: Path, html: str, figures: Mapping[str, Figure | None]) -> Path:
    """Write a page, and beside it its pictures as figures/*.png; return its path. PellucidError where that fails."""
    folder = make_folder(path.parent / "figures")
    for name, figure in figures.items():
        if figure is not None:
            write_atomically(folder / f"{name}.png", png(figure), durable=False)
    write_atomically(path, html.encode("utf-8"))
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
