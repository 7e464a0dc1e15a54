"""Writing the report and its pictures into a run folder."""

import os
from pathlib import Path

from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.train.figures.confusion import confusion_matrix
from pellucid.train.figures.curves import accuracy_curves, learning_rate, loss_curves
from pellucid.train.figures.layers import gradient_norms, update_ratios
from pellucid.train.figures.pictures import first_weights, worst_mistakes
from pellucid.train.figures.style import png
from pellucid.train.files import write_atomically
from pellucid.train.report.data import ReportData
from pellucid.train.report.page import page


def write_report(run: str | os.PathLike[str], data: ReportData) -> Path:
    """Write report.html, and its pictures as figures/*.png, into the folder `run`; return the report's path.

    Each file appears whole or not at all. Raises PellucidError where they cannot be written.
    """
    folder = Path(run)
    figures = draw(data)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PellucidError(f"{folder / 'figures'} cannot be made ({error.strerror}); check the place") from error
    for name, figure in figures.items():
        if figure is not None:
            write_atomically(folder / "figures" / f"{name}.png", png(figure), durable=False)
    report = folder / "report.html"
    write_atomically(report, page(data, figures).encode("utf-8"))
    return report


def draw(data: ReportData) -> dict[str, Figure | None]:
    """Return the report's pictures by name, None where there is nothing to draw."""
    wrong = data.mistakes
    return {
        "loss": loss_curves(data.history, data.held),
        "accuracy": accuracy_curves(data.history, data.held),
        "confusion": None if data.confusion is None else confusion_matrix(data.confusion, data.classes),
        "mistakes": (
            None if wrong is None else worst_mistakes(wrong.images, wrong.true, wrong.predicted, wrong.probability)
        ),
        "first_weights": None if data.first_weights is None else first_weights(data.first_weights),
        "learning_rate": learning_rate(data.history),
        "gradients": gradient_norms(data.layers),
        "updates": update_ratios(data.layers),
    }
