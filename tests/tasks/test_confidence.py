"""Fitted thresholds satisfy the limits of wrong and of refused predictions on the held-out pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.data import Dataset
from pellucid.tasks.classify.confidence import MAX_REFUSED, cross_validate, fit_confidence, measure_selective
from tests.calibration.probabilities import draw_predictions


def test_98_correct_of_98_predictions_are_calibrated_to_99_of_100():
    probabilities = torch.tensor([[0.999999, 0.000001]]).repeat(98, 1)
    calibrated = fit_confidence(probabilities, torch.zeros(98, dtype=torch.int64)).calibrate(probabilities)
    assert calibrated[:, 0].tolist() == pytest.approx([99 / 100] * 98)  # Laplace: 98 of 98 right, so 99 of 100


def ranked_predictions(is_right: list[bool]) -> tuple[Tensor, Tensor]:
    """Return probabilities of two classes with decreasing confidence, and targets that make `is_right` true."""
    confidences = torch.linspace(0.99, 0.6, len(is_right), dtype=torch.float64)
    return torch.stack([confidences, 1 - confidences], 1), torch.tensor([0 if correct else 1 for correct in is_right])


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
    probabilities, targets = ranked_predictions(right)
    confidence = fit_confidence(probabilities, targets)
    result = measure_selective(probabilities, targets, confidence)
    assert result.n_answered == answered
    assert result.coverage == answered / len(right)
    assert result.accuracy == pytest.approx(sum(right) / len(right))
    expected = sum(right[:answered]) / answered if answered else None
    assert result.answered_accuracy == (None if expected is None else pytest.approx(expected))


def test_pictures_of_equal_confidence_are_answered_together():
    for n_equal, n_answered in ((3, 1), (30, 32)):  # 1 of 4 wrong, or 1 of 31
        confidences = torch.tensor([0.9] + [0.8] * n_equal + [0.7])
        probabilities, targets = (
            torch.stack([confidences, 1 - confidences], 1),
            torch.tensor([0, 0, 1] + [0] * (n_equal - 1)),
        )
        assert (
            measure_selective(probabilities, targets, fit_confidence(probabilities, targets)).n_answered == n_answered
        )


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(34, 100), st.integers(0, 20).map(bool)), min_size=1, max_size=150),
)
def test_the_error_rate_is_below_the_limit_and_no_lower_threshold_satisfies_it(pictures: list[tuple[int, bool]]):
    confidences = torch.tensor([percent / 100 for percent, _ in pictures])
    probabilities = torch.stack([confidences, (1 - confidences) / 2, (1 - confidences) / 2], 1)
    targets = torch.tensor([0 if correct else 1 for _, correct in pictures])
    confidence = fit_confidence(probabilities, targets)
    values = confidence.calibrate(probabilities)[:, 0].tolist()
    quantile = sorted(values)[max(1, int(MAX_REFUSED * (len(values) + 1))) - 1]
    valid_cuts = [
        cut
        for cut in set(values)
        if cut >= quantile
        and sum(v >= cut and t == 1 for v, t in zip(values, targets.tolist(), strict=True))
        <= 0.05 * sum(v >= cut for v in values) + 1e-9
    ]
    n_answered = sum(v >= confidence.threshold for v in values)
    assert n_answered == (sum(v >= min(valid_cuts) for v in values) if valid_cuts else sum(v >= 1 for v in values))


@pytest.mark.slow
def test_few_new_pictures_like_the_held_out_ones_are_below_the_threshold():
    n_refused, n_rounds, n = 0, 400, 150
    for seed in range(n_rounds):
        probabilities, _ = draw_predictions(n + 1, 1.0, seed=seed)
        confidence = fit_confidence(probabilities[:n], probabilities[:n].argmax(1))  # all right
        n_refused += int(confidence.calibrate(probabilities[n:]).max() < confidence.threshold)
    limit = MAX_REFUSED + 3 * (MAX_REFUSED * (1 - MAX_REFUSED) / n_rounds) ** 0.5  # three deviations of a binomial
    assert n_refused / n_rounds <= limit


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


def test_cross_validation_fits_on_each_half_and_evaluates_on_the_other():
    probabilities, targets = draw_predictions(200, 1.0, seed=1)
    result = cross_validate(probabilities, targets, range(200), seed=3)
    halves = Dataset.from_arrays(probabilities.float(), targets, ["a", "b", "c", "d", "e"]).split(0.5, 3)
    held_out_rows = {tuple(row) for row in halves.test.x.flatten(1).tolist()}
    in_test_half = torch.tensor([tuple(row) in held_out_rows for row in probabilities.float().tolist()])
    assert 90 <= int(in_test_half.sum()) <= 110
    n_answered = n_right = 0
    for in_fitted_half in (in_test_half, ~in_test_half):
        confidence = fit_confidence(probabilities[in_fitted_half], targets[in_fitted_half])
        confidences, predicted = confidence.calibrate(probabilities[~in_fitted_half]).max(1)
        is_answered = confidences >= confidence.threshold
        n_answered, n_right = (
            n_answered + int(is_answered.sum()),
            n_right + int((is_answered & (predicted == targets[~in_fitted_half])).sum()),
        )
    assert result is not None
    assert (result.n_pictures, result.n_answered) == (200, n_answered)
    assert result.answered_accuracy == pytest.approx(n_right / n_answered)
    assert result.accuracy == pytest.approx(float((probabilities.argmax(1) == targets).double().mean()))


def test_cross_validation_reports_a_larger_error_than_evaluation_on_fitted_pictures():
    """With few pictures and many wrong predictions, other pictures have a larger error rate than the fitted ones."""
    in_sample_errors, cross_validated_errors = [], []
    for seed in range(40):
        probabilities, targets = draw_predictions(60, 2.0, seed=seed)
        in_sample = measure_selective(probabilities, targets, fit_confidence(probabilities, targets))
        cross_validated = cross_validate(probabilities, targets, range(60))
        assert cross_validated is not None
        in_sample_errors += [1 - in_sample.answered_accuracy] if in_sample.answered_accuracy is not None else []
        cross_validated_errors += (
            [1 - cross_validated.answered_accuracy] if cross_validated.answered_accuracy is not None else []
        )
    assert max(in_sample_errors) <= 0.05 + 1e-9
    assert np.mean(cross_validated_errors) > np.mean(in_sample_errors) + 0.02


def test_cross_validation_keeps_near_duplicates_together_and_returns_none_for_few_pictures():
    probabilities, targets = draw_predictions(38, 1.0)
    assert cross_validate(probabilities, targets, range(38)) is None, "of 19, one wrong answer is more than promised"
    probabilities, targets = draw_predictions(80, 1.0)
    assert cross_validate(probabilities, targets, range(80)) is not None
    assert cross_validate(probabilities, targets, [0] * 80) is None, "one scene has no halves"


def test_fitting_without_held_out_images_is_refused():
    with pytest.raises(PellucidError, match="at least one example"):
        fit_confidence(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def test_confidences_are_compared_in_the_dtype_of_the_threshold():
    probabilities = torch.tensor([[0.5, 0.5]])  # float32, in which 0.5 + 1e-9 is 0.5
    assert measure_selective(probabilities, torch.tensor([0]), Confidence(1.0, 0.5 + 1e-9)).n_answered == 0
