"""The tutorials run, as pages and as the notebooks that the site offers."""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from mkdocs.config import load_config
from mkdocs.structure.files import Files

from pellucid.lessons import LESSONS
from pellucid.lessons.lesson import find_lesson
from pellucid.lessons.page import FENCE, markdown, notebook

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FIRST_TUTORIAL = "first-network"  # by default the only notebook that runs, since starting a kernel takes long
NEEDS_TIMM = "your-model"  # tests/opening/test_stranger.py runs its code and checks its output files
NOTEBOOKS = [
    pytest.param(page, id=page.stem, marks=[] if page.stem == FIRST_TUTORIAL else pytest.mark.lessons)
    for page in PAGES
    if page.stem != NEEDS_TIMM or importlib.util.find_spec("timm") is not None
]


def load_hook():
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOK = load_hook()


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=page.stem) for page in PAGES if page.stem not in (FIRST_TUTORIAL, NEEDS_TIMM)]
)
def test_the_code_of_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, page.name, "exec"), namespace)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_tutorial_runs_as_a_notebook(page: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = HOOK.execute(page.read_text(encoding="utf-8"))
    nbformat.validate(result)
    code = [cell for cell in result.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    page_text = HOOK.page_of(result)
    assert all(f"```python\n{cell.source}\n```" in page_text for cell in code)
    assert sum("```text\n" in HOOK.outputs(cell) for cell in code) >= 3


@pytest.mark.lessons
@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_runs_in_full_as_a_notebook(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = HOOK.execute(markdown(name))
    outputs = [HOOK.outputs(cell) for cell in result.cells if cell.cell_type == "code"]
    assert sum("```text\n" in one for one in outputs) == len(find_lesson(name).STEPS)
    assert any("data:image/png" in one for one in outputs)


def test_a_tutorial_with_a_missing_package_has_a_note_and_is_not_executed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(HOOK, "find_spec", lambda name: None)
    monkeypatch.setattr(HOOK, "execute", lambda text: pytest.fail("a page was executed"))
    built_notebook = HOOK.execute_page("tutorials/your-model.md", "# One\n\n```python\nimport timm\n```\n")
    assert HOOK.page_of(built_notebook).endswith(
        "timm was not installed when this page was written, so it has no outputs."
    )


def test_at_least_four_tutorials_exist():
    assert len(PAGES) >= 4


def test_a_page_becomes_cells_and_their_outputs_its_text():
    result = nbformat.from_dict(notebook("# One\n\n```python\nprint(1)\n```\n\ntwo\n\n```sh\nls\n```\n"))
    assert [(cell.cell_type, cell.source) for cell in result.cells] == [
        ("markdown", "# One"),
        ("code", "print(1)"),
        ("markdown", "two\n\n```sh\nls\n```"),
    ]
    nbformat.validate(result)
    code = result.cells[1]
    code["outputs"] = [
        nbformat.v4.new_output("stream", name="stdout", text="1\n"),
        nbformat.v4.new_output("display_data", data={"image/png": "aGk=\n", "text/plain": "<Figure>"}),
    ]
    assert HOOK.outputs(code) == "```text\n1\n```\n\n![what the code above draws](data:image/png;base64,aGk=)"


def test_the_quick_site_has_every_notebook_and_executes_none(monkeypatch: pytest.MonkeyPatch):
    def refuse(text: str) -> None:
        raise AssertionError("a page was executed")

    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setattr(HOOK, "execute", refuse)
    config = load_config(str(ROOT / "mkdocs.yml"), hooks=[], plugins=["search"])
    monkeypatch.setattr(config.plugins, "_current_plugin", "hook", raising=False)  # as in a build
    files = HOOK.on_files(Files([]), config)
    expected = [f"tutorials/{page.stem}.ipynb" for page in PAGES] + [f"lessons/{name}.ipynb" for name in LESSONS]
    assert sorted(file.src_uri for file in files if file.src_uri.endswith(".ipynb")) == sorted(expected)
