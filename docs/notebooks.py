"""Hook of MkDocs that executes tutorials and lessons and adds their notebooks to the site.

A tutorial is a page of docs/tutorials, a lesson a module of pellucid.lessons; both are Markdown whose Python blocks run
in order (see pellucid.lessons.page). During `mkdocs build`, the hook executes each of them, shows the printed and drawn
outputs below each block, and links the notebook in the page. tests/docs executes them too. Outputs are not committed,
so they are never out of date. With QUICK=1 in the environment (`make docs QUICK=1`) no code is executed, and pages and
notebooks have no outputs. Pages whose package in PACKAGES is not installed have no outputs either, but a note.
"""

import json
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbformat import NotebookNode

from pellucid.lessons.lesson import LESSONS, LessonSettings
from pellucid.lessons.page import markdown, notebook

TUTORIALS = Path(__file__).parent / "tutorials"
BLOCK_SECONDS = 300  # time limit for one block
PACKAGES = {"tutorials/your-model.md": "timm"}  # packages that a page needs and the extra docs does not install


def to_notebook(text: str) -> NotebookNode:
    """Return a page as a notebook without outputs."""
    return nbformat.reads(json.dumps(notebook(text)), as_version=4)


def execute(text: str) -> NotebookNode:
    """Return a page as a notebook with its outputs, run in a temporary folder. Raises CellExecutionError."""
    unexecuted = to_notebook(text)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            unexecuted, timeout=BLOCK_SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        return client.execute()


def execute_page(name: str, text: str) -> NotebookNode:
    """Return a page as a notebook with its outputs, or without them and with a note if its package is not installed."""
    package = PACKAGES.get(name)
    if package is None or find_spec(package) is not None:
        return execute(text)
    return to_notebook(f"{text}\n\n{package} was not installed when this page was written, so it has no outputs.\n")


def outputs(cell: NotebookNode) -> str:
    """Return the outputs of a cell as Markdown: text as a block, a figure as an image embedded in the page."""
    parts: list[str] = []
    for output in cell.outputs:
        data = output.get("data", {})
        text = output.text if output.output_type == "stream" else data.get("text/plain", "")
        if "image/png" in data:
            image = data["image/png"].replace("\n", "")
            parts.append(f"![what the code above draws](data:image/png;base64,{image})")
        elif text.strip():
            parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def page_of(executed: NotebookNode) -> str:
    """Return an executed notebook as the Markdown of its page."""
    parts: list[str] = []
    for cell in executed.cells:
        if cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```\n\n{outputs(cell)}")
        else:
            parts.append(cell.source)
    return "\n\n".join(parts)


NOTEBOOKS: dict[str, NotebookNode] = {}  # by the path of the page in docs/


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Execute all tutorials and the small form of all lessons, and add their notebooks and the lessons' pages."""
    is_quick = bool(os.environ.get("QUICK"))
    pages = {f"tutorials/{page.name}": page.read_text(encoding="utf-8") for page in sorted(TUTORIALS.glob("*.md"))}
    for name in LESSONS:
        text = pages[f"lessons/{name}.md"] = markdown(name, LessonSettings(small=True))
        files.append(File.generated(config, f"lessons/{name}.md", content=text))
    for name, text in pages.items():
        result = NOTEBOOKS[name] = to_notebook(text) if is_quick else execute_page(name, text)
        files.append(File.generated(config, f"{name.removesuffix('.md')}.ipynb", content=nbformat.writes(result)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Show the outputs in a tutorial, and link its notebook."""
    executed = NOTEBOOKS.get(page.file.src_uri)
    if executed is None:
        return markdown
    name = Path(page.file.src_uri).stem
    return f"{page_of(executed)}\n\n---\n\n[This page as a notebook]({name}.ipynb)\n"
