"""The page of a comparison of detectors: the table, average precision by size, and times."""

from matplotlib.figure import Figure

from pellucid.report.figures.grids import bars
from pellucid.report.page import render
from pellucid.tasks.detect.compare import FIGURES, DetectorComparison
from pellucid.tasks.detect.stages import Stages

TITLES = {"ap": "AP", "ap50": "AP50", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}


def comparison_page(found: DetectorComparison, command: str) -> tuple[str, dict[str, Figure | None]]:
    """Return the HTML document, and its figures by name."""
    # A metric is NaN if there are no objects of its size.
    measured = [name for name in FIGURES if all(row.figures[name] >= 0 for row in found.rows)]
    sizes = {row.title: [100 * row.figures[name] for name in measured] for row in found.rows}
    times = {row.title: [1000 * value for value in row.stages] for row in found.rows}
    figures: dict[str, Figure | None] = {
        "sizes": bars(sizes, [TITLES[name] for name in measured], [1] * len(measured)),
        "times": bars(times, [f"{name}, ms" for name in Stages._fields], [1] * len(Stages._fields)),
    }
    title = f"Detectors on {found.data}"
    html = render(
        "detectors", title=title, notes=found.notes(), rows=found.table(), figures=figures, command=command
    )  # fmt: skip
    return html, figures
