"""The effect of an intervention: whether removing a suspect from a case raises the held-out score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.text import plural

if TYPE_CHECKING:
    from pellucid.doctor.finding import Suspect

MAX_PAIRS = 4
STANDARD_ERRORS = 3.0  # half the width of a gain's interval, in standard errors of the mean over examples
# The standard deviation of a gain over pairs of trainings is pooled with TYPICAL_DEVIATION, which has the weight of
# PRIOR_FREEDOM degrees of freedom (a moderated t-statistic, Smyth 2004). TYPICAL_DEVIATION is above 0.046, the root
# mean square of 50 such deviations in `benchmarks.doctor`. Half the width of the interval is STUDENT_T, by the degrees
# of freedom, times the standard error: Student's t at 95 %, with a Bonferroni correction for four tests, one after each
# of 1 to MAX_PAIRS pairs.
TYPICAL_DEVIATION, PRIOR_FREEDOM = 0.05, 2
STUDENT_T = {2: 8.86, 3: 5.39, 4: 4.31, 5: 3.81, 6: 3.52, 7: 3.34, 8: 3.21, 9: 3.11, 10: 3.04}


@dataclass(frozen=True)
class MeasuredEffect:
    """The mean held-out scores without and with an intervention, for each pair of trainings or evaluations.

    name: of the fault. description, key: of the intervention, see `Remedy`. score: the name of the score, see
    `HeldOutScores`. before, after: the mean scores without and with the intervention. low, high: the interval of the
    mean gain. verdict: "cause" if the interval is above 0 and the mean gain is at least `min_gain`; "no effect" if the
    gain is certainly below `min_gain`; "costly" if it costs more than `max_cost`; otherwise "unclear". examples: the
    number of held-out examples. steps: the number of steps of each training, 0 if the present model is evaluated.
    """

    name: str
    description: str
    score: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    low: float
    high: float
    verdict: str
    examples: int
    steps: int
    key: str = ""

    @property
    def gains(self) -> tuple[float, ...]:
        """The gain of each pair."""
        return tuple(after - before for before, after in zip(self.before, self.after, strict=True))

    def surpasses(self, present_scores: Tensor) -> bool:
        """Return whether the score with the intervention is above that of the present model.

        Short trainings on a part of the data, or on one reading of augmented data, gain from much that costs the whole
        training nothing.
        """
        return fmean(self.after) > float(present_scores.mean())

    def to_json(self) -> dict[str, Any]:
        """Return the effect as JSON values; the key of the description is "does"."""
        return {"does" if name == "description" else name: value for name, value in asdict(self).items()}

    @property
    def outcome(self) -> str:
        """The intervention and the mean scores with and without it, as text."""
        return (
            f"with {self.description}, the {self.score} is {fmean(self.after):.2f} instead of {fmean(self.before):.2f}"
        )

    @property
    def certainty(self) -> str:
        """The interval of the gain and what it was measured on, as text."""
        pairs = f", in {plural(len(self.after), 'pair')} of trainings of {self.steps} steps" if self.steps else ""
        return f"the gain is {self.low:.2f} to {self.high:.2f} on {plural(self.examples, 'held-out example')}{pairs}"

    def __str__(self) -> str:
        """Return the effect in one line."""
        return f"{self.outcome}; {self.certainty}"


def effect_of(
    suspect: Suspect,
    score: str,
    pairs: Sequence[tuple[Tensor, Tensor]],
    steps: int,
    other_effects: Sequence[MeasuredEffect] = (),
) -> MeasuredEffect:
    """Return the effect of an intervention, measured by pairs of held-out scores (n,) without and with it.

    Half the width of the interval is the larger of two margins: one from the standard error over examples, and one from
    the standard error over pairs, whose variance is pooled with that of other effects on the case and with a typical
    variance. That margin is STUDENT_T standard errors, or STANDARD_ERRORS for a part with other evidence against it
    (`Suspect.is_likely`) and at least two pairs. "No effect" needs only one pair if its gain is below a third of
    `min_gain`. suspect: whose remedy is the intervention. score, steps: see `MeasuredEffect`. other_effects: of other
    interventions on the case.
    """
    gains = torch.stack([after - before for before, after in pairs]).double()
    means, count = gains.mean(1).tolist(), gains.shape[1]
    gains_by_effect = [means, *(other.gains for other in other_effects if other.steps == steps)]
    freedom = sum(len(values) - 1 for values in gains_by_effect)
    squares = sum(variance(values) * (len(values) - 1) for values in gains_by_effect if len(values) > 1)
    mean, error_over_pairs = fmean(means), sqrt(squares / freedom / len(means)) if freedom else 0.0
    prior_squares, freedom = PRIOR_FREEDOM * TYPICAL_DEVIATION**2, freedom + PRIOR_FREEDOM
    moderated_error = sqrt((prior_squares + squares) / freedom / len(means)) if steps else 0.0
    error_over_examples = float(gains.mean(0).std(correction=0)) / sqrt(count)
    n_errors = STANDARD_ERRORS if suspect.is_likely and len(means) > 1 else STUDENT_T[min(freedom, max(STUDENT_T))]
    margin = max(STANDARD_ERRORS * error_over_examples, n_errors * moderated_error)
    highest_gain = mean + STANDARD_ERRORS * max(error_over_examples, error_over_pairs)
    verdict = "unclear"
    if mean - margin > 0 and mean >= suspect.min_gain:
        verdict = "cause"
    elif highest_gain < suspect.min_gain and (len(means) > 1 or mean < suspect.min_gain / 3 or not steps):
        verdict = "no effect"
    # a score of mean recall is 0 for a wrong answer
    lost_accuracy = fmean(float((before > 0).double().mean() - (after > 0).double().mean()) for before, after in pairs)
    if verdict != "no effect" and mean > 0 and lost_accuracy > suspect.max_cost * mean:
        verdict = "costly"
    before, after = (tuple(float(pair[k].double().mean()) for pair in pairs) for k in (0, 1))
    name, description, key = suspect.finding.check, suspect.remedy.description, suspect.remedy.key
    interval = mean - margin, max(mean, min(mean + margin, 1 - fmean(before)))  # the highest score is 1
    return MeasuredEffect(name, description, score, before, after, *interval, verdict, count, steps, key)
