"""The verdict on an intervention, from scores written by hand."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch
from scipy.stats import t

from pellucid.doctor.finding import suspect
from pellucid.doctor.intervention import MAX_PAIRS, STUDENT_T, effect_of

CHANGE = suspect("fault", "targets are halved", "double them", "targets doubled", lambda case: case, path="train")


def alternating_scores(mean: float, count: int = 100) -> torch.Tensor:
    """Return `count` scores that are alternately 0.1 above and below `mean`."""
    return mean + 0.1 * (1 - 2 * (torch.arange(count) % 2)).double()


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([(0.2, 0.6)], "unclear"),
        ([(0.2, 0.7)], "cause"),  # a gain that the typical deviation over pairs does not explain
        ([(0.2, 0.7), (0.21, 0.73), (0.2, 0.71)], "cause"),
        ([(0.2, 0.7), (0.6, 0.5), (0.2, 0.7)], "unclear"),
        ([(0.5, 0.5)], "no effect"),
        ([(0.5, 0.51), (0.5, 0.5)], "no effect"),
        ([(0.5, 0.52), (0.5, 0.52), (0.5, 0.52)], "no effect"),  # certain, but too small to be a cause
    ],
)
def test_a_cause_needs_a_large_gain_or_several_pairs(means: list[tuple[float, float]], verdict: str) -> None:
    pairs = [(alternating_scores(before), alternating_scores(after)) for before, after in means]
    assert effect_of(CHANGE, "recall", pairs, 100).verdict == verdict


def test_one_evaluation_of_the_same_model_is_enough() -> None:
    assert effect_of(CHANGE, "recall", [(alternating_scores(0.2), alternating_scores(0.7))], 0).verdict == "cause"


def test_an_evaluation_of_few_examples_is_unclear() -> None:
    before, after = torch.tensor([1.0, 0, 0, 0]), torch.tensor([1.0, 1, 0, 0])
    assert effect_of(CHANGE, "recall", [(before, after)], 0).verdict == "unclear"


def moderated_std(*gains_by_effect: list[float]) -> float:
    """Return the standard deviation pooled over groups of gains and a prior of 0.05 with 2 degrees of freedom."""
    squares = sum(np.var(gains, ddof=1) * (len(gains) - 1) for gains in gains_by_effect)
    return sqrt((2 * 0.05**2 + squares) / (2 + sum(len(gains) - 1 for gains in gains_by_effect)))


def test_the_interval_is_students_over_pairs() -> None:
    gains = [0.5, 0.56, 0.44]
    effect = effect_of(
        CHANGE, "recall", [(alternating_scores(0.1), alternating_scores(0.1 + gain)) for gain in gains], 100
    )
    assert (effect.high - effect.low) / 2 == pytest.approx(4.31 * moderated_std(gains) / sqrt(3), rel=1e-6)
    assert (effect.high + effect.low) / 2 == pytest.approx(0.5)
    assert pytest.approx({freedom: t.ppf(1 - 0.025 / MAX_PAIRS, freedom) for freedom in STUDENT_T}, rel=1e-2) == (
        STUDENT_T
    )


def test_with_other_evidence_the_interval_is_three_standard_errors() -> None:
    gains = [0.12, 0.09]
    pairs = [(alternating_scores(0.1), alternating_scores(0.1 + gain)) for gain in gains]
    effect = effect_of(replace(CHANGE, is_likely=True), "recall", pairs, 100)
    assert (effect.high - effect.low) / 2 == pytest.approx(3 * moderated_std(gains) / sqrt(2), rel=1e-6)
    assert (effect.verdict, effect_of(CHANGE, "recall", pairs, 100).verdict) == ("cause", "unclear")
    assert effect_of(replace(CHANGE, is_likely=True), "recall", pairs[:1], 100).verdict == "unclear"


def test_the_variance_over_pairs_is_that_of_all_effects_on_a_case() -> None:
    other_gains, gains = [0.2, 0.3], [0.5, 0.52]
    other_effect = effect_of(
        CHANGE, "recall", [(alternating_scores(0.1), alternating_scores(0.1 + gain)) for gain in other_gains], 100
    )
    pairs = [(alternating_scores(0.1), alternating_scores(0.1 + gain)) for gain in gains]
    alone, pooled = effect_of(CHANGE, "recall", pairs, 100), effect_of(CHANGE, "recall", pairs, 100, [other_effect])
    assert (alone.high - alone.low) / 2 == pytest.approx(5.39 * moderated_std(gains) / sqrt(2), rel=1e-6)
    assert (pooled.high - pooled.low) / 2 == pytest.approx(4.31 * moderated_std(gains, other_gains) / sqrt(2), rel=1e-6)
    longer = effect_of(CHANGE, "recall", pairs, 200, [other_effect])
    assert longer.low == pytest.approx(alone.low), "trainings of other lengths vary otherwise"


def test_an_effect_is_one_line() -> None:
    effect = effect_of(CHANGE, "mean recall", [(alternating_scores(0.2), alternating_scores(0.7))] * 3, 100)
    assert str(effect) == (
        "with targets doubled, the mean recall is 0.70 instead of 0.20; the gain is 0.41 to 0.59 on 100 held-out "
        "examples, in 3 pairs of trainings of 100 steps"
    )
