"""The pages for visitors: their code runs, their links lead somewhere, and the site lists every page."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pellucid.doctor.checks import CHECKS
from pellucid.layers import Mode
from pellucid.lessons import LESSONS
from pellucid.optim import SCHEDULES
from pellucid.tasks.detect import doctor as detection
from pellucid.tasks.generate.doctor import CHECKS as OF_GENERATORS
from pellucid.tasks.gestures.comparison import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")), *sorted(DOCS.rglob("*.md"))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/start.md", "docs/how-to/estimators.md"])
def test_the_first_example_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[0]
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(code, name, "exec"), names)
    accuracies = [float(result) for result in re.findall(r"(?<![\d.])0\.\d{8,}", capsys.readouterr().out)]
    assert max(accuracies) > 0.9


def test_the_layer_of_the_readme_runs():
    code = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code[1], "README.md", "exec"), names)
    x = torch.tensor([[-1.0, 2.0]])
    y, cache = names["ReLU"]().forward({}, x, Mode())
    assert y.tolist() == [[0.0, 2.0]]
    assert names["ReLU"]().backward({}, cache, torch.ones(1, 2))[0].tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_between_files_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COUNTS = [
    ("docs/features.md", f"{len({*CHECKS, *OF_GENERATORS})} checks of classifiers, regressions and generators"),
    ("docs/features.md", f"generators and {len(detection.CHECKS)} of detectors"),
    ("docs/features.md", f"{NUMBERS[len(SCHEDULES)]} schedules"),
    ("docs/how-to/doctor.md", f"found by {len(CHECKS)} checks"),  # of a classifier
    ("pellucid/tasks/gestures/command/compare.py", f"in {NUMBERS[len(VARIANTS)]} ways, from scratch to fine-tuned"),
    ("pellucid/tasks/gestures/command/compare.py", f"all {NUMBERS[len(VARIANTS)]} recipes"),
]


@pytest.mark.parametrize(("page", "text"), COUNTS, ids=[text for _, text in COUNTS])
def test_counts_in_pages_are_those_of_the_code(page: str, text: str) -> None:
    assert text in " ".join((ROOT / page).read_text(encoding="utf-8").split())


def test_pages_count_checks_only_where_a_test_does() -> None:
    """A number of checks in another page would be typed by hand; records of runs and measurements are none."""
    counted = {page for page, _ in COUNTS}
    names = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
    others = {name for name, text in names.items() if re.search(r"\b\d+ (checks|schedules)\b", text)}
    assert others <= counted


def test_the_site_lists_every_page():
    listed = re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    written = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted([*written, *(f"lessons/{name}.md" for name in LESSONS)])


def test_the_site_needs_no_network():
    """No fonts, scripts or styles from elsewhere: the theme's own are part of the site."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert not re.search(r"https?:", settings)


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_an_issue_form_is_valid(form: str):
    read = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(read)
    ids = [part["id"] for part in read["body"]]
    assert len(ids) == len(set(ids))
    assert all(part["attributes"]["label"] for part in read["body"])
