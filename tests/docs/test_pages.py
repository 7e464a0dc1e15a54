"""The documentation: its first examples run, its links lead to existing files, and the site lists every page."""

import re
from pathlib import Path

import pytest
import yaml

from pellucid.doctor.checks import CHECKS
from pellucid.lessons import LESSONS
from pellucid.optim import SCHEDULES
from pellucid.tasks.detect import doctor as detection
from pellucid.tasks.generate.doctor import CHECKS as OF_GENERATORS
from pellucid.tasks.gestures.comparison import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DECIMAL = r"-?\d+\.\d+(?:e-?\d+)?"
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")), *sorted(DOCS.rglob("*.md"))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docs/start.md", "docs/how-to/estimators.md"])
def test_the_first_example_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[0]
    namespace: dict[str, object] = {"__name__": "page"}
    exec(compile(code, name, "exec"), namespace)
    accuracies = [float(result) for result in re.findall(r"(?<![\d.])0\.\d{8,}", capsys.readouterr().out)]
    assert max(accuracies) > 0.9


def blocks_of(text: str, kind: str) -> list[str]:
    """Return the code blocks of a page with this language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def split_numbers(text: str) -> tuple[list[str], list[float]]:
    """Return the words of a text without its decimal numbers, and these numbers."""
    text = text.replace("\N{MINUS SIGN}", "-")
    words = re.sub(DECIMAL, "#", text).split()
    return words, [float(number) for number in re.findall(DECIMAL, text)]


def test_the_readme_shows_what_its_six_lines_print(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = blocks_of(text, "python")
    (output,) = blocks_of(text, "text")
    assert len([line for line in code.splitlines() if line]) == 6
    exec(compile(code, "README.md", "exec"), {"__name__": "page"})
    printed_words, printed_numbers = split_numbers(capsys.readouterr().out)
    shown_words, shown_numbers = split_numbers(output)
    assert printed_words == shown_words
    assert printed_numbers == pytest.approx(shown_numbers, rel=0.02)  # other processors round otherwise


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_between_files_lead_to_existing_files(page: Path):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    lessons = {DOCS / f"lessons/{name}.md" for name in LESSONS}  # pages that the site makes from code
    targets = [page.parent / target for target in local]
    assert [target for target in targets if not target.exists() and target not in lessons] == []


NOT_LISTED = {
    "decisions.md",
    "mutants.md",
    "profile.md",
    "quality.md",
    "reference/studio.md",
    "style.md",
}  # pages for contributors, which the navigation leaves out
NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
COUNTS_IN_PAGES = [
    ("docs/features.md", f"{len({*CHECKS, *OF_GENERATORS})} checks of classifiers, regressions and generators"),
    ("docs/features.md", f"generators and {len(detection.CHECKS)} of detectors"),
    ("docs/features.md", f"{NUMBER_WORDS[len(SCHEDULES)]} schedules"),
    ("docs/how-to/doctor.md", f"The checks, {len(CHECKS)} for a classifier"),  # checks of a classifier
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


def navigation() -> list[str]:
    """Return the pages in the navigation of the site."""
    return re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_site_lists_every_page() -> None:
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - NOT_LISTED
    assert sorted(navigation()) == sorted([*pages, *(f"lessons/{name}.md" for name in LESSONS)])
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert all(f"  {name}\n" in settings.partition("not_in_nav:")[2] for name in NOT_LISTED)


def test_the_navigation_has_at_most_45000_words() -> None:
    """Words of pages in docs/, with their code and tables; pages made from code have their text there.

    A word contains a letter or a digit. Pages of lessons and the API reference are made from code.
    """
    pages = [DOCS / name for name in navigation() if (DOCS / name).exists()]
    words = [word for page in pages for word in page.read_text(encoding="utf-8").split() if re.search(r"\w", word)]
    assert len(words) <= 45_000


def test_the_paths_of_readers_are_short() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    for reader in ("students", "teachers", "practitioners", "researchers"):
        path = text.partition(f"## For {reader}\n")[2].partition("\n## ")[0]
        steps = re.findall(r"^(\d)\. (.*)$", path, re.MULTILINE)
        assert [int(number) for number, _ in steps] == [*range(1, len(steps) + 1)]
        assert 5 <= len(steps) <= 8
        assert len(re.findall(r"\]\(", path)) >= len(steps)


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
