"""What a suspect is."""

from collections.abc import Callable
from dataclasses import dataclass

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Number, Remedy


@dataclass(frozen=True, eq=False)
class Suspect:
    """One thing that may be the cause.

    finding: what is said if a trial establishes it; its remedy is the case without it. general: whether it helps many
    trainings, whatever their fault is (another rate, more epochs, a larger network): it is the cause only where nothing
    particular is. longer: how many times the steps the remedy takes, for the same examples or more epochs. odd: whether
    it shows without a trial that this is not as it usually is, so that it is tried where little is missing too.
    """

    finding: Finding
    general: bool = False
    longer: float = 1.0
    odd: bool = False

    @property
    def remedy(self) -> Remedy:
        """The remedy of the finding, which every suspect has."""
        assert self.finding.remedy is not None
        return self.finding.remedy

    def apply(self, case: Case) -> Case:
        """Return the case without the suspect."""
        return self.remedy.apply(case)


def suspect(
    name: str, cause: str, fix: str, does: str, apply: Callable[[Case], Case], longer: float = 1.0,
    path: str = "training", odd: bool = False, **evidence: Number,
) -> Suspect:  # fmt: skip
    """Return a suspect: what is said of it as a cause, and what `apply` does to a case without it."""
    return Suspect(Finding(name, path, evidence, cause, fix, Remedy(does, apply)), longer=longer, odd=odd)
