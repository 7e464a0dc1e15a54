"""What a check of the doctor finds, and the check itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.doctor.case import Case

Number = float | int | str


class UnansweredError(PellucidError):
    """What a check asks of a case has no answer: why. The check is then left out of the diagnosis."""


@dataclass(frozen=True, eq=False)
class Remedy:
    """What would mend a fault: in words, and as a function from a case to the case with the fault mended."""

    does: str
    apply: "Callable[[Case], Case]"


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong.

    check: the name of the check, or of the suspect that a trial has established. path: the layer or tensor
    (`features.conv2`, `conv1.weight`), or "train", "validation" or "training" where no layer is meant. evidence: what
    was measured, by name, so that a reader can judge it. cause: what it comes from, fix: what to do, in the imperative;
    "" for symptoms. remedy: the fix as something that can be tried. proven: whether what was measured is itself the
    fault, so that no trial is needed to call it a cause; else it is a symptom until a trial establishes it.
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


@dataclass(frozen=True, eq=False)
class Check:
    """One question to a case.

    name: as in reports, `dead-units`. about: one sentence, what is wrong where it finds something. explains: the names
    of checks whose findings follow from this one's where these are proven. examples,
    unseen: how many training and validation examples it needs at least. trained: whether it asks trained models only.
    proven: whether all of its findings are, see there. own_trial: whether they rest on a trial of their own.
    """

    name: str
    about: str
    look: "Callable[[Case], Sequence[Finding]]"
    explains: tuple[str, ...] = ()
    examples: int = 0
    unseen: int = 0
    trained: bool = False
    proven: bool = False
    own_trial: bool = False

    def cannot_ask(self, case: "Case") -> str:
        """Say why the question has no answer for a case, whatever its numbers; "" where it may have one."""
        held = 0 if case.validation is None else len(case.validation)
        if len(case.train) < self.examples:
            return f"needs {self.examples} training examples"
        if held < self.unseen:
            return f"needs {self.unseen} validation examples" if held else "needs validation data"
        return "needs a trained model" if self.trained and not case.trained else ""
