"""The files of the project agree: workflow, Makefile, hooks, change log, CONTRIBUTING.md and pinned versions."""

import re
import tomllib
from pathlib import Path

import yaml

from pellucid import __version__

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
JOBS = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))["jobs"]


def test_the_workflow_runs_targets_documented_in_contributing():
    commands = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    assert commands == [f"make {target}" for target in ("test", "browser", "check", "coverage", "docs", "release")]
    for command in commands:
        assert re.search(rf"^{command.removeprefix('make ')}:", MAKEFILE, re.MULTILINE)
        assert re.search(rf"^{command} +#", CONTRIBUTING, re.MULTILINE)


def test_the_workflow_tests_every_python_from_the_oldest_supported_on():
    versions = JOBS["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["project"]["requires-python"] == f">={versions[0]}"
    assert f"Python {versions[0]} to {versions[-1]}" in CONTRIBUTING


def test_every_target_is_phony_and_contributing_names_no_other():
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    targets = set(re.findall(r"^(\w+):", MAKEFILE, re.MULTILINE)) - {"PYTHON", "VENV", "BIN", "PIP"}
    assert targets == set(phony.split())
    assert {
        word for text in re.findall(r"\bmake ((?:[a-z]+ ?)+)[`#]", CONTRIBUTING) for word in text.split()
    } <= targets


def test_hooks_run_what_make_check_runs_and_download_nothing():
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        command = hook["entry"].removeprefix(".venv/bin/").replace(" --force-exclude", "")
        assert hook["language"] == "system"
        assert f"$(BIN)/{command}" in MAKEFILE


def test_the_changelog_has_the_version_with_its_date_below_unreleased_changes():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(__version__)} - \d{{4}}-\d\d-\d\d", headings[1])


def test_every_tool_is_pinned():
    """Every dependency and extra is in constraints.txt, except those that the Makefile does not install."""
    pins = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    extras = PROJECT["project"]["optional-dependencies"]
    expected = {word for words in (PROJECT["project"]["dependencies"], *extras.values()) for word in words}
    names = {re.split(r"[>=<\[]", word)[0].lower() for word in expected} - {"pellucid"}
    assert names - pins == set(), "give them a line in constraints.txt"


def test_dev_has_the_extras_whose_packages_tests_use():
    extras = PROJECT["project"]["optional-dependencies"]
    (in_dev,) = [re.findall(r"\w+", word.partition("[")[2]) for word in extras["dev"] if word.startswith("pellucid[")]
    # `search` excludes `camera`; the Makefile installs the others where they are used.
    others = {"dev", "search", "open", "release", "quality", "bench"}
    assert extras.keys() - {*in_dev} == others, "name the extra in `dev` of pyproject.toml, whose tests then use it"
