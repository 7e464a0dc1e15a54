"""What a broken copy is put to: the tests of it, and the cases of the scorecard that are about it.

Runs in a process of its own, forked from one that has imported PyTorch but nothing of Pellucid, in the folder of the
copy. So only Pellucid itself is imported anew for each mutant.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

# Imported once, before any mutant; the second only for the scorecard.
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
# What finds most mistakes of a kind of code at once: a file or folder, and one test of it ("" for all). The first place
# that a mutant's file begins with counts.
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
SCORED_FOLDERS = ("layers/", "losses/")  # places with outside suites
# The parts of the scorecard that go forward and back through layers and losses, and their tables by class of ours.
SCORECARD_PARTS = {"opinfo": "OPERATORS", "moduleinfo": "MODULES", "onnx_nodes": ""}


@dataclass(frozen=True)
class Verdict:
    """What noticed the mutant, and how: "" where nothing did. `none` where there was nothing to run."""

    by: str = ""
    how: str = ""  # the kind of error
    none: bool = False

    @property
    def caught(self) -> bool:
        """Whether anything noticed."""
        return bool(self.by)


def import_from(folder: Path, write: bool = False) -> None:
    """Make `folder` the place that Pellucid and its tests are imported from."""
    os.chdir(folder)
    checkout = Path(__file__).resolve().parents[2]
    sys.path[:] = [
        str(folder),
        *(entry for entry in sys.path if Path(entry or ".").resolve() not in (checkout, folder)),
    ]
    sys.dont_write_bytecode = not write


class FirstFailure:
    """A plugin of pytest that remembers the first failure, and has no time for small examples of it.

    With `only`, no other test than that one is collected: making a list of all of them takes longer than most mutants
    live.
    """

    def __init__(self, only: str = "") -> None:
        self.only = only
        self.verdict = Verdict()

    def pytest_sessionstart(self) -> None:
        """Make hypothesis stop at the first example that fails."""
        from hypothesis import Phase, settings

        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_pycollect_makeitem(self, name: str) -> list[Any] | None:
        """Pass over the tests that are not wanted."""
        return [] if self.only and name != self.only else None

    def pytest_exception_interact(self, node: Any, call: Any) -> None:
        """Remember the first test that fails, or the first file whose tests cannot be collected."""
        if not self.verdict.caught:
            error = call.excinfo.value
            if isinstance(error, BaseExceptionGroup):  # of a test for many cases
                error = error.exceptions[0]
            self.verdict = Verdict(node.nodeid, type(error).__name__)


def run_tests(file: str, owners: frozenset[str]) -> Verdict:
    """Run the tests of the file, those most likely to fail first, and then all others that go through its code.

    Stops at the first that fails. The verdict of a file that cannot be imported is `none`.
    """
    try:
        import_module("pellucid." + file.removesuffix(".py").replace("/", "."))
    except Exception as error:  # whatever it raises, this is no mutant
        return Verdict(how=type(error).__name__, none=True)
    name_filter = ["-k", " or ".join(sorted(owners))] if file.startswith("layers/") else []
    first_tests = next(tests for place, tests in FIRST_TESTS.items() if file.startswith(place))
    for path, test in first_tests:
        if (verdict := pytest_until_failure([path, *name_filter], test)).caught:
            return verdict
    return pytest_until_failure(list(ALL_TESTS))


def pytest_until_failure(args: list[str], only: str = "") -> Verdict:
    """Run pytest in this process, on those of the paths that exist."""
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
    """Run the cases about the owners until one fails that is not among `failing_cases`, which fail without a mutant."""
    verdict = Verdict(none=True)
    for verdict in verdicts(owners):
        if verdict.caught and verdict.by not in failing_cases:
            return verdict
    return Verdict(none=verdict.none)


def verdicts(owners: frozenset[str] | None = None) -> Iterator[Verdict]:
    """Yield the verdict of each case of the scorecard about one of `owners`, or of all cases."""
    for case in cases(owners):
        (row,) = import_module("conformance.tally").run_cases([case])
        if row.failures:
            yield Verdict(f"{case.suite} {case.name}", row.failures[0].removeprefix(f"{case.name}: ").split(":")[0])
        else:
            yield Verdict()


def cases(owners: frozenset[str] | None) -> Iterator[Any]:
    """Yield the cases of the scorecard that are about `owners`."""
    for name, table in SCORECARD_PARTS.items():
        if not any(Path("conformance", path).exists() for path in (f"{name}.py", f"{name}/__init__.py")):
            continue
        part = import_module(f"conformance.{name}")
        if table and owners is not None:  # the entries about other classes would only draw their samples
            setattr(part, table, tuple(entry for entry in getattr(part, table) if entry.subject.__name__ in owners))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the suites try deprecated calls too
            for case in part.cases():
                if owners is None or getattr(case.subject, "__name__", "") in owners:
                    yield case
