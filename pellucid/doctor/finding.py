"""Findings, the checks that find them, and suspects that only a trial can establish."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pellucid.doctor.case import Case

C = TypeVar("C")  # what is examined: a case of a network, or of a detector
Number = float | int | str
Evidence = dict[str, Number]


@dataclass(frozen=True, eq=False)
class Remedy:
    """A remedy: its description, and a function that returns the case without the fault."""

    does: str
    apply: Callable[[Case], Case]


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong.

    check: the name of the check, or of the suspect that a trial has established. path: the layer or tensor
    (`features.conv2`, `conv1.weight`), or "train", "validation" or "training" where no layer is meant. evidence: the
    measurements, by name, so that a reader can judge them. cause: its cause, fix: what to do, in the
    imperative; "" for symptoms. remedy: the fix as something that can be tried. proven: whether the measurement is
    itself the fault, so that no trial is needed to call it a cause; else it is a symptom until a trial establishes it.
    """

    check: str
    path: str
    evidence: Mapping[str, Number]
    cause: str = ""
    fix: str = ""
    remedy: Remedy | None = field(default=None, repr=False)
    proven: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the finding as values of JSON."""
        return {
            "check": self.check,
            "path": self.path,
            "evidence": dict(self.evidence),
            "cause": self.cause,
            "fix": self.fix,
            "can_try": None if self.remedy is None else self.remedy.does,
        }


SUPERVISED, GENERATOR = "a network with a loss", "a generator"  # kinds of models
ANY = (SUPERVISED, GENERATOR)


@dataclass(frozen=True, eq=False)
class Check(Generic[C]):
    """One question to a case.

    name: as in reports, `dead-units`. look: returns what it finds. explains: the names of checks whose findings follow
    from this one's where these are proven. examples, unseen: the training and validation examples it needs at least.
    trained: whether it needs a trained model. proven: whether all of its findings are, see there. own_trial: whether
    they rest on a trial of their own. of: the kinds of models that it examines; it is not made of others.
    """

    name: str
    look: Callable[[C], Sequence[Finding]]
    explains: tuple[str, ...] = ()
    examples: int = 0
    unseen: int = 0
    trained: bool = False
    proven: bool = False
    own_trial: bool = False
    of: tuple[str, ...] = (SUPERVISED,)

    def cannot_ask(self, case: Any) -> str:
        """Return why the question has no answer for a case, whatever its numbers; "" where it may have one."""
        validation = 0 if case.validation is None else len(case.validation)
        if len(case.train) < self.examples:
            return f"needs {self.examples} training examples"
        if validation < self.unseen:
            return f"needs {self.unseen} validation examples" if validation else "needs validation data"
        return "needs a trained model" if self.trained and not case.trained else ""


@dataclass(frozen=True, eq=False)
class Suspect:
    """One thing that may be the cause of a failing training.

    finding: what is reported if a trial establishes it; its remedy is the case without it. general: whether it helps
    many trainings, whatever their fault is (another rate, more epochs, a larger network): it is the cause only where
    nothing particular is. longer: how many times the steps the remedy takes, for the same examples or more epochs. odd:
    whether it is unusual at sight, without a trial, so that it is tried where little is missing too.
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
    """Return a suspect: its finding, and `apply`, which returns a case without it."""
    return Suspect(Finding(name, path, evidence, cause, fix, Remedy(does, apply)), longer=longer, odd=odd)
