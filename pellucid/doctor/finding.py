"""Findings, the checks that find them, and suspects that only an experiment can prove.

A case is a model with its data and the settings of its training. An experiment compares trainings or evaluations with a
remedy with the same ones without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pellucid.base.deprecated import renamed_fields
from pellucid.base.text import plural

if TYPE_CHECKING:
    from pellucid.doctor.training_case import ExaminedCase, T

C = TypeVar("C")  # the type of the case: of a network, or of a detector
EvidenceValue = float | int | str
Evidence = dict[str, EvidenceValue]

FAILURE_SIGNS = {"underfitting", "overfitting", "nan-origin"}  # checks whose findings are signs of a failing training
BOTH_PARTS = "both"  # the path of a finding that training and validation data differ, of which either may be wrong
UNREACHABLE = "unreachable-targets"  # the kind of a fault of outputs that exclude some targets, whatever is learned
MIN_GAIN = 0.05  # of the mean held-out score, 1 for perfect outputs; a change with a smaller gain removes no cause


@renamed_fields("0.4", does="description")
@dataclass(frozen=True, eq=False)
class Remedy:
    """A remedy: its description, and a function that returns the case without the fault.

    key: identifies what it changes; remedies with the same key are tried once. By default, the description.
    """

    description: str
    apply: Callable[[Any], Any]
    key: str = ""

    def __post_init__(self) -> None:
        """Set the default of the key."""
        if not self.key:
            object.__setattr__(self, "key", self.description)


@renamed_fields("0.4", direct="is_fault")
@dataclass(frozen=True, eq=False)
class Finding:
    """One fault or symptom.

    check: the name of the check, or of the suspect that an experiment has proven. path: the layer or tensor
    (`features.conv2`, `conv1.weight`), or "train", "validation", BOTH_PARTS or "training" if no layer is meant.
    evidence: the measurements, by name. cause: the cause, "" for symptoms. fix: what the user should do, in the
    imperative, "" for symptoms. remedy: the fix as a change that can be tried. is_fault: whether the measurement is
    itself a fault, and therefore a likely cause; otherwise it is a symptom until an experiment proves it. proven:
    whether an experiment of this examination has proven it as a cause. kind: an identifier of what the finding states,
    for experiments that depend on it, such as the key of an `InputChange`; it is not shown. settings: values of a
    recipe, by dotted key, that make the fix; {} if settings cannot make it.
    """

    check: str
    path: str
    evidence: Mapping[str, EvidenceValue]
    cause: str = ""
    fix: str = ""
    remedy: Remedy | None = field(default=None, repr=False)
    is_fault: bool = False
    proven: bool = False
    kind: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_cause(self) -> bool:
        """Whether it is a cause or a likely cause."""
        return self.is_fault or self.proven

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values."""
        return {
            "check": self.check,
            "path": self.path,
            "evidence": dict(self.evidence),
            "cause": self.cause,
            "fix": self.fix,
            "can_try": None if self.remedy is None else self.remedy.description,
            "settings": dict(self.settings),
            "proven": self.proven,
        }


@renamed_fields("0.4", look="find", direct="finds_faults", own_trial="runs_trial", cannot_ask="skip_reason")
@dataclass(frozen=True, eq=False)
class Check(Generic[C]):
    """One check of a case.

    name: its name in reports, such as `leakage`. find: returns its findings for a case. explains: the names of
    checks whose findings may follow from this check's causes. examples, validation_examples: the minimum numbers of
    training and validation examples. trained: whether it needs a trained model. finds_faults: whether all of its
    findings are faults, see `Finding.is_fault`. runs_trial: without effect, since experiments make all trainings.
    """

    name: str
    find: Callable[[C], Sequence[Finding]]
    explains: tuple[str, ...] = ()
    examples: int = 0
    validation_examples: int = 0
    trained: bool = False
    finds_faults: bool = False
    runs_trial: bool = False

    def skip_reason(self, case: ExaminedCase) -> str:
        """Return why the check cannot be made for a case, such as too few examples; "" if it can."""
        validation = 0 if case.validation is None else len(case.validation)
        if len(case.train) < self.examples:
            return f"needs {plural(self.examples, 'training example')}"
        if validation < self.validation_examples:
            return (
                f"needs {plural(self.validation_examples, 'validation example')}"
                if validation
                else "needs validation data"
            )
        return "needs a trained model" if self.trained and not case.trained else ""


@dataclass(frozen=True, eq=False)
class Suspect:
    """A possible cause of a failing training.

    finding: the finding to report if an experiment proves the cause; its remedy returns the case without the cause.
    general: whether the remedy helps many trainings with different faults (another learning rate, more epochs, a larger
    network); the suspect is then the cause only if no particular suspect is. unusual: whether the setting or
    measurement is outside the usual range; the remedy is then tried even if the training is only slightly worse than
    expected. min_gain: the gain of the mean held-out score below which it is no cause in an experiment. is_likely:
    whether there is other evidence for it: it is unusual, or the training fails; the measured gain may then be less
    certain. max_cost: the loss of accuracy, relative to the gain of mean recall, above which it is no cause; only for
    examples of one label.
    """

    finding: Finding
    general: bool = False
    unusual: bool = False
    min_gain: float = MIN_GAIN
    is_likely: bool = False
    max_cost: float = inf

    @property
    def remedy(self) -> Remedy:
        """The remedy of the finding, which every suspect has."""
        assert self.finding.remedy is not None
        return self.finding.remedy

    def apply(self, case: T) -> T:
        """Return the case without the suspected cause."""
        return self.remedy.apply(case)


def suspect(
    name: str, cause: str, fix: str, description: str, apply: Callable[[Any], Any], path: str = "training",
    unusual: bool = False, min_gain: float = MIN_GAIN, key: str = "", settings: Mapping[str, Any] | None = None,
    is_fault: bool = False, general: bool = False, is_likely: bool = False, max_cost: float = inf,
    **evidence: EvidenceValue,
) -> Suspect:  # fmt: skip
    """Return a suspect with its finding and remedy.

    name, cause, fix, path, settings, is_fault, evidence: see `Finding`. description, apply, key: see `Remedy`; the key
    is by default the name. unusual, min_gain, general, is_likely, max_cost: see `Suspect`.
    """
    remedy = Remedy(description, apply, key or name)
    finding = Finding(name, path, evidence, cause, fix, remedy, is_fault=is_fault, settings=settings or {})
    return Suspect(finding, general, unusual, min_gain, is_likely, max_cost)
