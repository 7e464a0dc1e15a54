"""The checks of a mutant: the tests of its file, and the cases of the scorecard for its classes.

They run in the folder of the mutated copy, in a process forked from one that has imported PyTorch but not Pellucid.
Only Pellucid is therefore imported for each mutant.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

# Imported once, before any mutant; SCORECARD_MODULES only if there is a scorecard.
PRELOADED = ("torch", "numpy", "pytest", "hypothesis")
SCORECARD_MODULES = (
    "torch.testing._internal.common_methods_invocations",
    "torch.testing._internal.common_modules",
    "onnx",
)
ALL_TESTS = (
    "tests/layers",
    "tests/losses",
    "tests/combine",
    "tests/fuse",
    "tests/test_sweep.py",
    "tests/training/test_freeze.py",
    "tests/verify/test_forms.py",
)
# The tests that find most mistakes in a folder first: a file or folder, and one test of it ("" for all). The first key
# that is a prefix of a mutant's file is used.
FIRST_TESTS = {
    "layers": (
        ("tests/layers/test_contract.py", "test_forward_and_backward_equal_the_reference_and_its_autograd"),
        ("tests/layers", ""),
    ),
    "losses": (
        ("tests/losses/test_losses.py", "test_value_and_gradient_are_those_of_pytorch_in_float64"),
        ("tests/losses", ""),
    ),
    "combine": (
        ("tests/combine/test_contract.py", "test_forward_and_backward_equal_the_reference_and_its_autograd"),
        ("tests/combine", ""),
    ),
    "fuse/inference": (("tests/fuse/test_inference.py", ""),),
    "fuse": (("tests/fuse/test_forms.py", ""), ("tests/fuse", "")),
    "sweep.py": (("tests/test_sweep.py", ""),),
}
SCORED_FOLDERS = ("layers/", "losses/")  # folders for which the scorecard has cases
# The parts of the scorecard with cases for layers and losses, and the names of their tables of classes.
SCORECARD_PARTS = {"opinfo": "OPERATORS", "moduleinfo": "MODULES", "onnx_nodes": ""}


@dataclass(frozen=True)
class Verdict:
    """The test or case that detected a mutant; "" if nothing did. none: whether there was nothing to run."""

    by: str = ""
    how: str = ""  # name of the error's class
    none: bool = False

    @property
    def caught(self) -> bool:
        """Whether the mutant was detected."""
        return bool(self.by)


def import_from(folder: Path, write: bool = False) -> None:
    """Import Pellucid and its tests from `folder`. write: whether bytecode is written."""
    os.chdir(folder)
    checkout = Path(__file__).resolve().parents[2]
    sys.path[:] = [
        str(folder),
        *(entry for entry in sys.path if Path(entry or ".").resolve() not in (checkout, folder)),
    ]
    sys.dont_write_bytecode = not write


class FirstFailure:
    """A pytest plugin that records the first failure, without shrinking of its example by hypothesis.

    only: the name of the one test to collect, because collecting all tests takes longer than most mutants survive; ""
    for all tests.
    """

    def __init__(self, only: str = "") -> None:
        self.only = only
        self.verdict = Verdict()

    def pytest_sessionstart(self) -> None:
        """Let hypothesis stop at the first example that fails."""
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_pycollect_makeitem(self, name: str) -> list[Any] | None:
        """Skip all tests but `only`."""
        return [] if self.only and name != self.only else None

    def pytest_exception_interact(self, node: Any, call: Any) -> None:
        """Record the first test that fails, or the first file whose tests cannot be collected."""
        if not self.verdict.caught:
            error = call.excinfo.value
            if isinstance(error, BaseExceptionGroup):  # raised by a test of many cases
                error = error.exceptions[0]
            self.verdict = Verdict(node.nodeid, type(error).__name__)


def run_tests(file: str, owners: frozenset[str]) -> Verdict:
    """Run the tests of a file, those most likely to fail first, and then ALL_TESTS, until one fails.

    owners: the classes whose tests are run first. The verdict is `none` for a file that cannot be imported.
    """
    try:
        import_module("pellucid." + file.removesuffix(".py").replace("/", "."))
    except Exception as error:  # any error: a file that cannot be imported is not a mutant
        return Verdict(how=type(error).__name__, none=True)
    name_filter = ["-k", " or ".join(sorted(owners))] if file.startswith("layers/") else []
    first_tests = next(tests for place, tests in FIRST_TESTS.items() if file.startswith(place))
    for path, test in first_tests:
        if (verdict := pytest_until_failure([path, *name_filter], test)).caught:
            return verdict
    return pytest_until_failure(list(ALL_TESTS))


def pytest_until_failure(args: list[str], only: str = "") -> Verdict:
    """Run pytest in this process until a test fails. args: options, and paths, of which missing ones are skipped."""
    import pytest

    plugin = FirstFailure(only)
    existing = [arg for arg in args if not arg.startswith("tests/") or Path(arg).exists()]
    # pytest and hypothesis were imported before this call, too early for pytest to rewrite their assertions.
    options = ["-x", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*options, *existing], plugins=[plugin])
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) or plugin.verdict.caught:
        return plugin.verdict
    return Verdict("pytest itself", str(code))


def run_scorecard(owners: frozenset[str], failing_cases: frozenset[str]) -> Verdict:
    """Run the cases for `owners` until one fails that is not in `failing_cases`, which fail without a mutant."""
    verdict = Verdict(none=True)
    for verdict in verdicts(owners):
        if verdict.caught and verdict.by not in failing_cases:
            return verdict
    return Verdict(none=verdict.none)


def verdicts(owners: frozenset[str] | None = None) -> Iterator[Verdict]:
    """Yield the verdict of each case of the scorecard for one of `owners`; None for all cases."""
    for case in cases(owners):
        (row,) = import_module("conformance.tally").run_cases([case])
        if row.failures:
            yield Verdict(f"{case.suite} {case.name}", row.failures[0].removeprefix(f"{case.name}: ").split(":")[0])
        else:
            yield Verdict()


def cases(owners: frozenset[str] | None) -> Iterator[Any]:
    """Yield the cases of the scorecard for `owners`; None for all cases."""
    for name, table in SCORECARD_PARTS.items():
        if not any(Path("conformance", path).exists() for path in (f"{name}.py", f"{name}/__init__.py")):
            continue
        part = import_module(f"conformance.{name}")
        if table and owners is not None:  # the samples of other classes need not be drawn
            setattr(part, table, tuple(entry for entry in getattr(part, table) if entry.subject.__name__ in owners))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the suites also use deprecated functions
            for case in part.cases():
                if owners is None or getattr(case.subject, "__name__", "") in owners:
                    yield case
