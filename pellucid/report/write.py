"""Writing a page and its pictures."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from pellucid.files import make_folder, write_atomically
from pellucid.report.figures.style import png


def write_page(path: Path, html: str, figures: Mapping[str, Figure | None]) -> Path:
    """Write a page, and beside it its pictures as figures/*.png; return its path. PellucidError where that fails."""
    folder = make_folder(path.parent / "figures")
    for name, figure in figures.items():
        if figure is not None:
            write_atomically(folder / f"{name}.png", png(figure), durable=False)
    write_atomically(path, html.encode("utf-8"))
    return path
