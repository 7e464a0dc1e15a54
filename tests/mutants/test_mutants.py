"""The mutation check mutates the code that computes gradients, and reports which mutants tests and scorecard catch."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks.mutants import trials
from benchmarks.mutants.checks import Verdict
from benchmarks.mutants.equivalents import Equivalent, load, reason, unused_entries
from benchmarks.mutants.mutant import Mutant, mutants, mutants_of
from benchmarks.mutants.report import Outcome, counts, earlier_trials, outcomes, page, read, write
from benchmarks.mutants.sites import sites
from pellucid.layers import LAYERS
from pellucid.losses import LOSSES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SQUARE = '''
"""A layer that squares."""
from pellucid.layers.helpers import doubled

class Square:
    def forward(self, params, x, mode):
        return x * x, x

    def backward(self, params, cache, dy):
        """Compute 2 x dy."""
        if dy is None:
            raise ValueError("no " + "dy")
        return doubled(cache) * dy, {}
'''
HELPERS = """
def doubled(x):
    return 2 * x

def unused(x):
    return 3 * x
"""
# At x = 1, the mutant 2 of 2 * x has the same value and survives.
SQUARE_TEST = """
from pellucid.layers.square import Square

def test_forward_and_backward_equal_the_reference_and_its_autograd():
    assert Square().backward({}, 1.0, 5.0) == (10.0, {}), "Square"
"""


def write_tree(root: Path) -> Path:
    """Write a package with one layer and its test into `root`; return `root`."""
    files = {
        "pellucid/__init__.py": "",
        "pellucid/layers/__init__.py": "",
        "pellucid/layers/square.py": SQUARE,
        "pellucid/layers/helpers.py": HELPERS,
        "tests/layers/test_contract.py": SQUARE_TEST.replace(
            "def test_", "@pytest.mark.parametrize('kind', ['Square'])\ndef test_"
        )
        .replace("():", "(kind):")
        .replace("\nfrom", "\nimport pytest\nfrom", 1),
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\npythonpath = ["."]\n',
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.lstrip(), encoding="utf-8")
    return root


def test_mutation_sites_are_found_by_following_the_calls(tmp_path: Path) -> None:
    site_keys = {(site.file, site.code.name, site.owners) for site in sites(write_tree(tmp_path) / "pellucid")}  # pyright: ignore
    assert site_keys == {
        ("layers/helpers.py", "doubled", frozenset({"Square"})),
        ("layers/square.py", "backward", frozenset({"Square"})),
    }


def test_the_same_tree_has_the_same_mutants_and_python_can_read_each(tmp_path: Path) -> None:
    package = write_tree(tmp_path) / "pellucid"
    all_mutants = list(mutants(package))
    assert all_mutants == list(mutants(package))
    for mutant in all_mutants:
        compile(mutant.text, mutant.file, "exec")


@pytest.mark.heavy
def test_every_layer_and_loss_has_mutants() -> None:
    all_mutants = list(mutants(ROOT / "pellucid"))
    owners = {name for mutant in all_mutants for name in mutant.owners}
    assert {kind.__name__ for kind in (*LAYERS, *LOSSES.values())} <= owners
    assert len(all_mutants) >= 200
    assert len({mutant.name for mutant in all_mutants}) == len(all_mutants)


@pytest.mark.heavy
def test_a_caught_mutant_and_a_survivor_are_distinguished(tmp_path: Path) -> None:
    write_tree(tmp_path)
    command = [sys.executable, "-m", "benchmarks.mutants", "--root", tmp_path, "--docs", tmp_path, "--jobs", "2"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert process.returncode == 1, process.stderr
    report = read(tmp_path)
    after = {entry["mutant"]: (entry["after"], entry["tests"], entry["scorecard"]) for entry in report["mutants"]}
    assert after["layers/helpers.py:2 missing factor #1"] == ("return 2", "", None)
    assert after["layers/helpers.py:2 missing factor #2"] == ("return x", "AssertionError", None)
    assert after["layers/square.py:12 wrong sign #1"] == ("return (-(doubled(cache) * dy)), {}", "AssertionError", None)
    survivors = {name for name, (_, tests, _) in after.items() if not tests}
    assert survivors == {"layers/helpers.py:2 missing factor #1"}
    assert report["counts"]["survived"] == 1
    assert "## Survived" in (tmp_path / "mutants.md").read_text()
    assert "  - `return 2 * x`\n  - `return 2`" in process.stdout
    assert (tmp_path / "pellucid/layers/helpers.py").read_text() == HELPERS.lstrip(), "the tree itself was changed"


@pytest.mark.heavy
def test_code_that_fails_its_tests_without_mutants_is_refused(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "pellucid/layers/helpers.py"
    path.write_text(path.read_text().replace("2 * x", "4 * x"))
    command = [sys.executable, "-m", "benchmarks.mutants", "--root", tmp_path]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert process.returncode == 1
    assert "fails without a mutant (AssertionError)" in process.stderr
    assert "Traceback" not in process.stderr


def verdict_of(check: trials.Check) -> Verdict:
    trials.wait([check.answer], 10)
    return check.result()


def test_a_process_that_dies_or_hangs_has_caught_its_mutant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict_of(trials.start(tmp_path, lambda: os.kill(os.getpid(), signal.SIGKILL))).how == "SIGKILL"
    monkeypatch.setattr(trials, "TIME_LIMIT", 0.1)
    hanging = trials.start(tmp_path, lambda: time.sleep(60))
    assert not hanging.is_over
    time.sleep(0.2)
    assert hanging.is_over
    assert hanging.result() == Verdict("time limit", "Hang")


def test_an_error_of_the_check_itself_is_raised(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        verdict_of(trials.start(tmp_path, lambda: 1 // 0))


def make_mutant(number: int, before: str = "a + b", after: str = "a - b") -> Mutant:
    return Mutant(
        f"layers/x.py:{number} wrong sign #1", "layers/x.py", "wrong sign", "f", frozenset("X"), before, after, ""
    )


CAUGHT, SURVIVED, NOT_RUN = Verdict("a test", "AssertionError"), Verdict(), Verdict(none=True)


def test_survivors_with_an_entry_are_equivalent_and_entries_without_survivors_are_unused() -> None:
    equivalents = [
        Equivalent("layers/x.py", "a + b", "b is 0", ("a - b", "b + a")),
        Equivalent("layers/x.py", "a * b", "b is 1"),
    ]
    assert reason(make_mutant(1), equivalents) == "b is 0"
    assert reason(make_mutant(1, after="a"), equivalents) == ""
    assert reason(make_mutant(1, "a * b", "anything"), equivalents) == "b is 1"
    assert unused_entries(equivalents, [make_mutant(1)]) == equivalents[1:]


def test_every_entry_of_equivalent_mutants_has_a_reason() -> None:
    assert all(len(entry.why) > 20 for entry in load())


def test_every_entry_of_equivalent_mutants_names_an_existing_mutant() -> None:
    package, entries = ROOT / "pellucid", load()
    files = {entry.file for entry in entries}
    existing = [
        mutant
        for site in sites(package)
        if site.file in files
        for mutant in mutants_of(site, (package / site.file).read_text(encoding="utf-8"))
    ]
    assert unused_entries(entries, existing) == []


def test_outcomes_are_counted_without_mutants_that_cannot_be_imported() -> None:
    all_trials = [
        trials.Trial(make_mutant(12), CAUGHT, CAUGHT),
        trials.Trial(make_mutant(2), CAUGHT, SURVIVED),
        trials.Trial(make_mutant(3), SURVIVED, CAUGHT),
        trials.Trial(make_mutant(4), SURVIVED, NOT_RUN),
        trials.Trial(make_mutant(5), NOT_RUN, NOT_RUN),
        trials.Trial(make_mutant(6, "a * b"), SURVIVED, SURVIVED),
    ]
    results = outcomes(all_trials, lambda result: "b is 1" if result.before == "a * b" else "")
    assert [result.trial.mutant.name.split(":")[1].split()[0] for result in results] == ["2", "3", "4", "6", "12"]
    assert counts(results) == {"mutants": 5, "tests": 2, "scorecard": 2, "both": 1, "equivalent": 1, "survived": 1}
    assert [result.survived for result in results] == [False, False, True, False, False]
    text = page([Outcome(result.trial, result.why) for result in results], "2026-01-02")
    assert "**5 mutants, of which 1 change nothing. Of the other 4, 3 (75 %) are caught:**" in text
    assert textwrap.dedent(text).count("layers/x.py:4 wrong sign #1") == 1


def test_trials_of_unchanged_mutants_are_restored_from_a_report(tmp_path: Path) -> None:
    all_trials = [trials.Trial(make_mutant(1), CAUGHT, NOT_RUN), trials.Trial(make_mutant(2), SURVIVED, SURVIVED)]
    write(outcomes(all_trials, lambda one: ""), tmp_path)
    restored = earlier_trials(tmp_path, [make_mutant(2), make_mutant(1)])
    assert [(one.mutant.name, one.caught, one.scorecard.none) for one in restored] == [
        ("layers/x.py:2 wrong sign #1", False, False),
        ("layers/x.py:1 wrong sign #1", True, True),
    ]
    with pytest.raises(SystemExit, match=r"is older than layers/x\.py; try these too, with --only"):
        earlier_trials(tmp_path, [make_mutant(1, before="a + c")])
