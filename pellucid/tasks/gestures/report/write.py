"""Writing a comparison: one page, its pictures, and its table as JSON and Markdown."""

import json
import os
from pathlib import Path

from pellucid.files import make_folder, write_atomically
from pellucid.report.write import write_page
from pellucid.tasks.gestures.comparison import Comparison
from pellucid.tasks.gestures.report.page import page
from pellucid.tasks.gestures.report.pictures import draw
from pellucid.tasks.gestures.report.tables import markdown, to_json

PAGE, TABLE, VALUES = "comparison.html", "comparison.md", "comparison.json"


def write_comparison(out: str | os.PathLike[str], comparison: Comparison) -> Path:
    """Write comparison.html, comparison.md, comparison.json and figures/*.png into a folder; return the page's path.

    Each file appears whole or not at all. Raises PellucidError where they cannot be written.
    """
    folder = Path(out)
    make_folder(folder)
    figures = {name: figure for name, figure in draw(comparison).items() if figure is not None}

    def link(name: str, alt: str) -> str:
        return f"![{alt}](figures/{name}.png)" if name in figures else ""

    write_atomically(folder / VALUES, (json.dumps(to_json(comparison), indent=2) + "\n").encode())
    write_atomically(folder / TABLE, markdown(comparison, link).encode("utf-8"))
    return write_page(folder / PAGE, page(comparison, figures), figures)
