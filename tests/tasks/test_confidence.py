"""The threshold keeps what it promises on the held-out pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.calibration.confidence import Confidence
from pellucid.data import Dataset
from pellucid.errors import PellucidError
from pellucid.tasks.classify.confidence import MAX_REFUSED, crossed, fit_confidence, selective
from tests.calibration.probabilities import drawn


def test_98_correct_of_98_predictions_are_calibrated_to_99_of_100():
    sure = torch.tensor([[0.999999, 0.000001]]).repeat(98, 1)
    calibrated = fit_confidence(sure, torch.zeros(98, dtype=torch.int64)).calibrate(sure)
    assert calibrated[:, 0].tolist() == pytest.approx([99 / 100] * 98)  # Laplace: 98 of 98 right, so 99 of 100


def ranked(right: list[bool]) -> tuple[Tensor, Tensor]:
    """Pictures of two classes, ever less sure, of which these are right."""
    sure = torch.linspace(0.99, 0.6, len(right), dtype=torch.float64)
    return torch.stack([sure, 1 - sure], 1), torch.tensor([0 if good else 1 for good in right])


@pytest.mark.parametrize(
    ("right", "answered"),
    [
        ([True] * 10, 10),
        ([True] * 8 + [False, True], 8),
        ([True] * 18 + [False, True], 20),  # 1 of 20 wrong
        ([True, False] + [True] * 18, 20),
        ([True, False] + [True] * 17, 1),  # 1 of 19 wrong is too much
        ([False] + [True] * 9, 0),
        ([True] * 300 + [False] * 3, 301),  # 3 of 303 wrong would do, but the third from below is the quantile
        ([True] * 400, 397),  # the fourth from below, floor(0.01 * 401)
    ],
)
def test_the_threshold_is_the_lowest_that_satisfies_both_limits(right: list[bool], answered: int):
    probabilities, targets = ranked(right)
    confidence = fit_confidence(probabilities, targets)
    kept = selective(probabilities, targets, confidence)
    assert kept.answered == answered
    assert kept.coverage == answered / len(right)
    assert kept.accuracy == pytest.approx(sum(right) / len(right))
    expected = sum(right[:answered]) / answered if answered else None
    assert kept.answered_accuracy == (None if expected is None else pytest.approx(expected))


def test_pictures_of_equal_confidence_are_answered_together():
    for alike, answered in ((3, 1), (30, 32)):  # 1 of 4 wrong, or 1 of 31
        sure = torch.tensor([0.9] + [0.8] * alike + [0.7])
        probabilities, targets = torch.stack([sure, 1 - sure], 1), torch.tensor([0, 0, 1] + [0] * (alike - 1))
        assert selective(probabilities, targets, fit_confidence(probabilities, targets)).answered == answered


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(34, 100), st.integers(0, 20).map(bool)), min_size=1, max_size=150),
)
def test_the_error_rate_is_below_the_limit_and_no_lower_threshold_satisfies_it(pictures: list[tuple[int, bool]]):
    sure = torch.tensor([percent / 100 for percent, _ in pictures])
    probabilities = torch.stack([sure, (1 - sure) / 2, (1 - sure) / 2], 1)
    targets = torch.tensor([0 if good else 1 for _, good in pictures])
    confidence = fit_confidence(probabilities, targets)
    values = confidence.calibrate(probabilities)[:, 0].tolist()
    quantile = sorted(values)[max(1, int(MAX_REFUSED * (len(values) + 1))) - 1]
    fit = [
        cut
        for cut in set(values)
        if cut >= quantile
        and sum(v >= cut and t == 1 for v, t in zip(values, targets.tolist(), strict=True))
        <= 0.05 * sum(v >= cut for v in values) + 1e-9
    ]
    answered = sum(v >= confidence.threshold for v in values)
    assert answered == (sum(v >= min(fit) for v in values) if fit else sum(v >= 1 for v in values))


@pytest.mark.slow
def test_few_new_pictures_like_the_held_out_ones_are_below_the_threshold():
    refused, rounds, n = 0, 400, 150
    for seed in range(rounds):
        probabilities, _ = drawn(n + 1, 1.0, seed=seed)
        confidence = fit_confidence(probabilities[:n], probabilities[:n].argmax(1))  # all of them right
        refused += int(confidence.calibrate(probabilities[n:]).max() < confidence.threshold)
    share = MAX_REFUSED + 3 * (MAX_REFUSED * (1 - MAX_REFUSED) / rounds) ** 0.5  # three deviations of a binomial
    assert refused / rounds <= share


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0], "for 2 examples"),
        ([0, 2], "number them 0 to 1"),
        ([0, -1], "number them 0 to 1"),
        ([0.0, 1.0], "one class index per example"),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(targets: list[float], message: str):
    with pytest.raises(PellucidError, match=message):
        fit_confidence(torch.tensor([[0.7, 0.3], [0.4, 0.6]]), torch.tensor(targets))


def test_crossed_fits_on_each_half_and_evaluates_on_the_other():
    probabilities, targets = drawn(200, 1.0, seed=1)
    result = crossed(probabilities, targets, range(200), seed=3)
    halves = Dataset.from_arrays(probabilities.float(), targets, ["a", "b", "c", "d", "e"]).split(0.5, 3)
    held = {tuple(row) for row in halves.test.x.flatten(1).tolist()}
    inside = torch.tensor([tuple(row) in held for row in probabilities.float().tolist()])
    assert 90 <= int(inside.sum()) <= 110
    answered = right = 0
    for here in (inside, ~inside):
        confidence = fit_confidence(probabilities[here], targets[here])
        sure, said = confidence.calibrate(probabilities[~here]).max(1)
        kept = sure >= confidence.threshold
        answered, right = answered + int(kept.sum()), right + int((kept & (said == targets[~here])).sum())
    assert result is not None
    assert (result.n, result.answered) == (200, answered)
    assert result.answered_accuracy == pytest.approx(right / answered)
    assert result.accuracy == pytest.approx(float((probabilities.argmax(1) == targets).double().mean()))


def test_crossed_gives_the_larger_error_of_pictures_not_used_for_fitting():
    """Few pictures and a network that is often wrong: the share of wrong answers is beyond what was promised."""
    inside, outside = [], []
    for seed in range(40):
        probabilities, targets = drawn(60, 2.0, seed=seed)
        same = selective(probabilities, targets, fit_confidence(probabilities, targets))
        apart = crossed(probabilities, targets, range(60))
        assert apart is not None
        inside += [1 - same.answered_accuracy] if same.answered_accuracy is not None else []
        outside += [1 - apart.answered_accuracy] if apart.answered_accuracy is not None else []
    assert max(inside) <= 0.05 + 1e-9
    assert np.mean(outside) > np.mean(inside) + 0.02


def test_crossed_keeps_near_duplicates_together_and_gives_nothing_for_few_pictures():
    probabilities, targets = drawn(38, 1.0)
    assert crossed(probabilities, targets, range(38)) is None, "of 19, one wrong answer is more than promised"
    probabilities, targets = drawn(80, 1.0)
    assert crossed(probabilities, targets, range(80)) is not None
    assert crossed(probabilities, targets, [0] * 80) is None, "one scene has no halves"


def test_fitting_without_held_out_images_is_refused():
    with pytest.raises(PellucidError, match="at least one example"):
        fit_confidence(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def test_selective_compares_in_the_dtype_of_the_threshold():
    probabilities = torch.tensor([[0.5, 0.5]])  # float32, in which 0.5 + 1e-9 is 0.5
    assert selective(probabilities, torch.tensor([0]), Confidence(1.0, 0.5 + 1e-9)).answered == 0
