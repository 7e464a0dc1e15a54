"""Running and counting of cases: one row of the scorecard for each suite and class of ours."""

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from conformance.case import Case, Mismatch, SkipCase


@dataclass
class Row:
    """The results of the cases of one suite that check one class or function of ours.

    `skips` has the number of skipped cases by reason, `failures` a line for each failed case.
    """

    suite: str
    version: str
    file: str
    subject: Any  # our class or function
    cases: int = 0
    passed: int = 0
    worst_error: float | None = None  # None where nothing passed
    skips: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def skipped(self) -> int:
        """The number of skipped cases."""
        return sum(self.skips.values())

    @property
    def failed(self) -> int:
        """The number of cases with a wrong result or an unexpected exception."""
        return len(self.failures)

    def to_json(self) -> dict[str, Any]:
        """Return the names, numbers and reasons of skips as JSON values."""
        return {
            "suite": self.suite,
            "version": self.version,
            "cases": self.cases,
            "passed": self.passed,
            "skipped": self.skipped,
            "failed": self.failed,
            "worst_error": self.worst_error,
            "skips": dict(sorted(self.skips.items())),
            "file": self.file,
        }

    def add(self, case: Case) -> bool:
        """Run one case, count it, and return whether it passed."""
        self.cases += 1
        try:
            with warnings.catch_warnings(), torch.random.fork_rng():
                warnings.simplefilter("ignore")  # the suites try deprecated calls too
                torch.manual_seed(0)
                error = float(case.check())
            if not error <= case.tolerance:
                raise Mismatch(f"error {error:.1e} is more than {case.tolerance:.0e}")
        except SkipCase as skip:
            self.skips[str(skip)] = self.skips.get(str(skip), 0) + 1
            return False
        except Exception as failure:  # any exception of a case is reported as its failure
            self.failures.append(f"{case.name}: {type(failure).__name__}: {' '.join(str(failure).split())}")
            return False
        self.passed += 1
        self.worst_error = max(error, self.worst_error or 0.0)
        return True


def run_cases(cases: Iterable[Case], every: int = 1) -> Iterator[Row]:
    """Run every `every`-th case of each suite, and yield each row when it is complete.

    The cases of one suite and subject must be consecutive.
    """
    row, index = None, 0
    for case in cases:
        if row is None or (row.suite, row.subject) != (case.suite, case.subject):
            if row is not None:
                yield row
            row, index = Row(case.suite, case.version, case.file, case.subject), 0
        if index % every == 0:
            row.add(case)
        index += 1
    if row is not None:
        yield row


def decade(error: float | None) -> str:
    """Return the smallest power of ten above an error as text: 1e-5; "0" for no error and "-" for None."""
    if error is None:
        return "-"
    return "0" if error == 0 else f"1e{math.floor(math.log10(error)) + 1:d}"
