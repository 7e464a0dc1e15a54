"""The documentation: its first examples run, its links lead to existing files, and the site lists every page."""

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
    namespace: dict[str, object] = {"__name__": "page"}
    exec(compile(code, name, "exec"), namespace)
    accuracies = [float(result) for result in re.findall(r"(?<![\d.])0\.\d{8,}", capsys.readouterr().out)]
    assert max(accuracies) > 0.9


def test_the_layer_of_the_readme_runs():
    code = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(code[1], "README.md", "exec"), namespace)
    x = torch.tensor([[-1.0, 2.0]])
    layer = namespace["SquaredReLU"]()
    y, cache = layer.forward({}, x, Mode())
    assert y.tolist() == [[0.0, 4.0]]  # max(x, 0) squared
    assert layer.backward({}, cache, torch.ones(1, 2))[0].tolist() == [[0.0, 4.0]]  # its derivative, 2 max(x, 0)


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_between_files_lead_to_existing_files(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COUNTS_IN_PAGES = [
    ("docs/features.md", f"{len({*CHECKS, *OF_GENERATORS})} checks of classifiers, regressions and generators"),
    ("docs/features.md", f"generators and {len(detection.CHECKS)} of detectors"),
    ("docs/features.md", f"{NUMBER_WORDS[len(SCHEDULES)]} schedules"),
    ("docs/how-to/doctor.md", f"found by {len(CHECKS)} checks"),  # checks of a classifier
    (
        "pellucid/tasks/gestures/command/compare.py",
        f"in {NUMBER_WORDS[len(VARIANTS)]} ways, from scratch to fine-tuned",
    ),
    ("pellucid/tasks/gestures/command/compare.py", f"all {NUMBER_WORDS[len(VARIANTS)]} recipes"),
]


@pytest.mark.parametrize(("page", "text"), COUNTS_IN_PAGES, ids=[text for _, text in COUNTS_IN_PAGES])
def test_counts_in_pages_are_those_of_the_code(page: str, text: str) -> None:
    assert text in " ".join((ROOT / page).read_text(encoding="utf-8").split())


def test_only_pages_with_tested_counts_state_numbers_of_checks() -> None:
    """Only pages of COUNTS_IN_PAGES may state a number of checks or schedules, since others would become outdated."""
    checked_pages = {page for page, _ in COUNTS_IN_PAGES}
    text_by_page = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
    pages_with_counts = {name for name, text in text_by_page.items() if re.search(r"\b\d+ (checks|schedules)\b", text)}
    assert pages_with_counts <= checked_pages


def test_the_site_lists_every_page():
    listed_pages = re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert sorted(listed_pages) == sorted([*pages, *(f"lessons/{name}.md" for name in LESSONS)])


def test_the_site_needs_no_network():
    """Fonts, scripts and styles are part of the site; none is loaded from another server."""
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert not re.search(r"https?:", settings)


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_an_issue_form_is_valid(form: str):
    content = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    ids = [part["id"] for part in content["body"]]
    assert len(ids) == len(set(ids))
    assert all(part["attributes"]["label"] for part in content["body"])
