"""The mutation check finds the code that gradients pass through, and tells who notices a mistake in it."""

import json
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
from benchmarks.mutants.equivalents import Equivalent, idle, load, reason
from benchmarks.mutants.mutant import Mutant, mutants
from benchmarks.mutants.report import Outcome, counts, earlier, outcomes, page, write
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
# At x = 1 nobody can tell 2 x from 2.
TEST = """
from pellucid.layers.square import Square

def test_forward_and_backward_equal_the_reference_and_its_autograd():
    assert Square().backward({}, 1.0, 5.0) == (10.0, {}), "Square"
"""


def tree(root: Path) -> Path:
    """Write a package with one layer, and its test."""
    files = {
        "pellucid/__init__.py": "",
        "pellucid/layers/__init__.py": "",
        "pellucid/layers/square.py": SQUARE,
        "pellucid/layers/helpers.py": HELPERS,
        "tests/layers/test_contract.py": TEST.replace(
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


def test_the_places_are_found_by_following_the_calls(tmp_path: Path) -> None:
    found = {(site.file, site.code.name, site.owners) for site in sites(tree(tmp_path) / "pellucid")}  # pyright: ignore
    assert found == {
        ("layers/helpers.py", "doubled", frozenset({"Square"})),
        ("layers/square.py", "backward", frozenset({"Square"})),
    }


def test_the_same_tree_has_the_same_mutants_and_python_can_read_each(tmp_path: Path) -> None:
    package = tree(tmp_path) / "pellucid"
    every = list(mutants(package))
    assert every == list(mutants(package))
    for one in every:
        compile(one.text, one.file, "exec")


def test_every_layer_and_loss_of_ours_has_mutants() -> None:
    every = list(mutants(ROOT / "pellucid"))
    owners = {name for one in every for name in one.owners}
    assert {kind.__name__ for kind in (*LAYERS, *LOSSES.values())} <= owners
    assert len(every) >= 200
    assert len({one.name for one in every}) == len(every)


def test_a_caught_mutant_and_a_survivor_are_distinguished(tmp_path: Path) -> None:
    tree(tmp_path)
    command = [sys.executable, "-m", "benchmarks.mutants", "--root", tmp_path, "--docs", tmp_path, "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "mutants.json").read_text())
    after = {one["mutant"]: (one["after"], one["tests"], one["scorecard"]) for one in report["mutants"]}
    assert after["layers/helpers.py:2 missing factor #1"] == ("return 2", "", None)
    assert after["layers/helpers.py:2 missing factor #2"] == ("return x", "AssertionError", None)
    assert after["layers/square.py:12 wrong sign #1"] == ("return (-(doubled(cache) * dy)), {}", "AssertionError", None)
    survivors = {name for name, (_, tests, _) in after.items() if not tests}
    assert survivors == {"layers/helpers.py:2 missing factor #1"}
    assert report["counts"]["survived"] == 1
    assert "## Survived" in (tmp_path / "mutants.md").read_text()
    assert "  - `return 2 * x`\n  - `return 2`" in done.stdout
    assert (tmp_path / "pellucid/layers/helpers.py").read_text() == HELPERS.lstrip(), "the tree itself was changed"


def test_code_that_fails_its_tests_unbroken_is_refused(tmp_path: Path) -> None:
    path = tree(tmp_path) / "pellucid/layers/helpers.py"
    path.write_text(path.read_text().replace("2 * x", "4 * x"))
    command = [sys.executable, "-m", "benchmarks.mutants", "--root", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert "fails without a mutant (AssertionError)" in done.stderr
    assert "Traceback" not in done.stderr


def ended(check: trials.Check) -> Verdict:
    trials.wait([check.answer], 10)
    return check.result()


def test_a_process_that_dies_or_hangs_has_caught_its_mutant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(trials.start(tmp_path, lambda: os.kill(os.getpid(), signal.SIGKILL))).how == "SIGKILL"
    monkeypatch.setattr(trials, "TIME_LIMIT", 0.1)
    hanging = trials.start(tmp_path, lambda: time.sleep(60))
    assert not hanging.over
    time.sleep(0.2)
    assert hanging.over
    assert hanging.result() == Verdict("time limit", "Hang")


def test_a_fault_of_the_check_itself_catches_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        ended(trials.start(tmp_path, lambda: 1 // 0))


def mutant(number: int, before: str = "a + b", after: str = "a - b") -> Mutant:
    return Mutant(
        f"layers/x.py:{number} wrong sign #1", "layers/x.py", "wrong sign", "f", frozenset("X"), before, after, ""
    )


CAUGHT, SURVIVED, NOTHING = Verdict("a test", "AssertionError"), Verdict(), Verdict(none=True)


def test_an_explained_survivor_is_equivalent_and_an_explanation_without_one_is_idle() -> None:
    known = [
        Equivalent("layers/x.py", "a + b", "b is 0", ("a - b", "b + a")),
        Equivalent("layers/x.py", "a * b", "b is 1"),
    ]
    assert reason(mutant(1), known) == "b is 0"
    assert reason(mutant(1, after="a"), known) == ""
    assert reason(mutant(1, "a * b", "anything"), known) == "b is 1"
    assert idle(known, [mutant(1)]) == known[1:]


def test_the_entries_of_the_file_can_be_read_and_say_why() -> None:
    assert all(len(entry.why) > 20 for entry in load())


def test_outcomes_are_counted_and_a_mutant_that_cannot_be_imported_is_none() -> None:
    tried = [
        trials.Trial(mutant(12), CAUGHT, CAUGHT),
        trials.Trial(mutant(2), CAUGHT, SURVIVED),
        trials.Trial(mutant(3), SURVIVED, CAUGHT),
        trials.Trial(mutant(4), SURVIVED, NOTHING),
        trials.Trial(mutant(5), NOTHING, NOTHING),
        trials.Trial(mutant(6, "a * b"), SURVIVED, SURVIVED),
    ]
    found = outcomes(tried, lambda one: "b is 1" if one.before == "a * b" else "")
    assert [one.trial.mutant.name.split(":")[1].split()[0] for one in found] == ["2", "3", "4", "6", "12"]
    assert counts(found) == {"mutants": 5, "tests": 2, "scorecard": 2, "both": 1, "equivalent": 1, "survived": 1}
    assert [one.survived for one in found] == [False, False, True, False, False]
    text = page([Outcome(one.trial, one.why) for one in found])
    assert "**5 mutants, of which 1 change nothing (below). Of the other 4, 3 (75 %) are caught:**" in text
    assert textwrap.dedent(text).count("layers/x.py:4 wrong sign #1") == 1


def test_a_report_gives_the_trials_of_mutants_that_are_still_the_same(tmp_path: Path) -> None:
    tried = [trials.Trial(mutant(1), CAUGHT, NOTHING), trials.Trial(mutant(2), SURVIVED, SURVIVED)]
    write(outcomes(tried, lambda one: ""), tmp_path)
    again = earlier(tmp_path, [mutant(2), mutant(1)])
    assert [(one.mutant.name, one.caught, one.scorecard.none) for one in again] == [
        ("layers/x.py:2 wrong sign #1", False, False),
        ("layers/x.py:1 wrong sign #1", True, True),
    ]
    with pytest.raises(SystemExit, match=r"is older than layers/x\.py; try these too, with --only"):
        earlier(tmp_path, [mutant(1, before="a + c")])
