"""Cases run and counted: one row for each operator of a suite."""

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from conformance.case import Case, Mismatch, SkipCase


@dataclass
class Row:
    """What became of the cases of one suite that check one class or function of ours.

    `failures` says of each failed case what went wrong.
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
        """How many cases ask for what we do not have."""
        return sum(self.skips.values())

    @property
    def failed(self) -> int:
        """How many cases got a wrong answer or none."""
        return len(self.failures)

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
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
        except Exception as failure:  # whatever a case raises is the case's failure, and is reported as such
            self.failures.append(f"{case.name}: {type(failure).__name__}: {' '.join(str(failure).split())}")
            return False
        self.passed += 1
        self.worst_error = max(error, self.worst_error or 0.0)
        return True


def run_cases(cases: Iterable[Case], every: int = 1) -> Iterator[Row]:
    """Run the cases and yield their rows, each when its suite is done; of each suite only every `every`-th case.

    The cases of one suite follow one another.
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
    """Return the power of ten that an error stays below, as people read it."""
    if error is None:
        return "-"
    return "0" if error == 0 else f"1e{math.floor(math.log10(error)) + 1:d}"
