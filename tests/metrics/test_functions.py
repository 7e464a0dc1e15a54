"""Metric functions equal those of scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics import (
    accuracy,
    calibration_error,
    confusion_matrix,
    f1,
    macro,
    macro_f1,
    precision,
    recall,
    reliability,
    top_k,
)

N_CLASSES = 6
LABELS = list(range(N_CLASSES))


@pytest.fixture(params=range(5))
def samples(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """Targets without class 5, and scores of which class 4 is never the largest."""
    rng = torch.Generator().manual_seed(request.param)
    target = torch.randint(0, 5, (40,), generator=rng)
    scores = torch.randn((40, N_CLASSES), generator=rng, dtype=torch.float64)
    scores[:, 4] -= 100
    return target, scores


def test_accuracy_and_confusion_matrix_equal_scikit_learns(samples: tuple[Tensor, Tensor]) -> None:
    target, predicted = samples[0], samples[1].argmax(1)
    assert accuracy(target, predicted) == pytest.approx(oracle.accuracy_score(target, predicted))
    expected = oracle.confusion_matrix(target, predicted, labels=LABELS)
    assert np.array_equal(confusion_matrix(target, predicted, N_CLASSES).numpy(), expected)


@pytest.mark.parametrize("k", range(1, N_CLASSES))
def test_top_k_equals_scikit_learns(samples: tuple[Tensor, Tensor], k: int) -> None:
    target, scores = samples
    expected = oracle.top_k_accuracy_score(target, scores, k=k, labels=LABELS)
    assert top_k(target, scores, k) == pytest.approx(expected)


def test_top_1_equals_accuracy_for_equal_scores() -> None:
    target, scores = torch.tensor([0, 1, 2, 1]), torch.tensor([[1.0, 1, 0], [1, 1, 0], [3, 3, 3], [0, 2, 2]])
    assert top_k(target, scores, 1) == accuracy(target, scores.argmax(1)) == 0.5
    assert top_k(target, scores, 2) == 0.75
    assert top_k(torch.tensor([0]), torch.tensor([[float("nan"), 0.0, 1.0]]), 2) == 0


def test_top_k_of_all_classes_is_1(samples: tuple[Tensor, Tensor]) -> None:
    assert top_k(*samples, N_CLASSES) == 1


def test_precision_recall_and_f1_equal_scikit_learns(samples: tuple[Tensor, Tensor]) -> None:
    target, predicted = samples[0], samples[1].argmax(1)
    confusion = confusion_matrix(target, predicted, N_CLASSES)
    expected_values = oracle.precision_recall_fscore_support(target, predicted, labels=LABELS, zero_division=0)
    for metric, expected in zip((precision, recall, f1), expected_values[:3], strict=True):
        np.testing.assert_allclose(metric(confusion).numpy(), expected, rtol=1e-12)
        assert macro(metric(confusion)) == pytest.approx(np.mean(expected))
    assert precision(confusion)[4] == recall(confusion)[5] == f1(confusion)[4] == 0  # never predicted, no examples


@pytest.mark.parametrize(
    ("rows", "expected"),  # confusion matrices of five gestures by five heads on VGG-16, and exact macro F1
    [
        ([[26, 0, 4, 3, 17], [0, 48, 0, 2, 0], [0, 0, 50, 0, 0], [0, 0, 0, 50, 0], [0, 0, 0, 0, 50]], 0.8865),
        ([[35, 0, 4, 4, 7], [0, 48, 0, 2, 0], [0, 0, 50, 0, 0], [0, 0, 0, 50, 0], [0, 0, 0, 2, 48]], 0.9210),
        ([[40, 0, 3, 2, 5], [0, 49, 0, 1, 0], [0, 0, 50, 0, 0], [0, 0, 0, 50, 0], [0, 0, 0, 3, 47]], 0.9429),
        ([[38, 0, 2, 4, 6], [0, 47, 0, 3, 0], [0, 0, 50, 0, 0], [0, 0, 0, 50, 0], [0, 0, 0, 1, 49]], 0.9345),
        ([[50, 0, 0, 0, 0], [0, 50, 0, 0, 0], [0, 0, 50, 0, 0], [0, 1, 0, 49, 0], [0, 0, 0, 0, 50]], 0.9960),
    ],
)
def test_macro_f1_equals_published_values(rows: list[list[int]], expected: float) -> None:
    target, predicted = (
        torch.tensor([pair[axis] for i in range(5) for j in range(5) for pair in [(i, j)] * rows[i][j]])
        for axis in (0, 1)
    )
    confusion = confusion_matrix(target, predicted, 5)
    assert confusion.tolist() == rows
    assert round(macro_f1(confusion), 4) == expected


def test_small_integer_types_do_not_overflow() -> None:
    target = torch.tensor([200, 3], dtype=torch.uint8)
    confusion = confusion_matrix(target, target, 201)
    assert confusion[200, 200] == confusion[3, 3] == 1
    assert confusion.sum() == 2


@pytest.mark.parametrize(
    ("target", "predicted"),
    [
        (torch.zeros(3).long(), torch.zeros(4).long()),
        (torch.zeros(3).long(), torch.zeros(3, 1).long()),
        (torch.zeros(0).long(), torch.zeros(0).long()),
    ],
)
def test_targets_and_predictions_of_different_length_are_refused(target: Tensor, predicted: Tensor) -> None:
    with pytest.raises(PellucidError, match="one of each"):
        accuracy(target, predicted)
    with pytest.raises(PellucidError, match="one of each"):
        confusion_matrix(target, predicted, 3)


@pytest.mark.parametrize("k", [0, 4])
def test_a_k_beyond_the_classes_is_refused(k: int) -> None:
    with pytest.raises(PellucidError, match="choose 1 to the number of classes"):
        top_k(torch.zeros(2).long(), torch.zeros(2, 3), k)


@pytest.mark.parametrize("class_index", [-1, 3])
def test_classes_out_of_range_are_refused(class_index: int) -> None:
    with pytest.raises(PellucidError, match="not 0 to 2"):
        confusion_matrix(torch.tensor([0, class_index]), torch.tensor([0, 1]), 3)


def error_by_loops(target: Tensor, probabilities: Tensor, bins: int) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3) by a loop over the examples."""
    binned: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for label, row in zip(target.tolist(), probabilities.double().tolist(), strict=True):
        confidence_of_row = max(row)
        for k in range(bins):
            if k / bins < confidence_of_row <= (k + 1) / bins:
                binned[k].append((confidence_of_row, row.index(confidence_of_row) == label))
    error = 0.0
    for bin_predictions in binned:
        if bin_predictions:
            confidence = sum(confidence_of_row for confidence_of_row, _ in bin_predictions) / len(bin_predictions)
            accuracy_of_bin = sum(is_right for _, is_right in bin_predictions) / len(bin_predictions)
            error += len(bin_predictions) / len(target) * abs(accuracy_of_bin - confidence)
    return error


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_calibration_error(samples: tuple[Tensor, Tensor], bins: int) -> None:
    target, probabilities = samples[0], samples[1].softmax(1)
    assert calibration_error(target, probabilities, bins) == pytest.approx(error_by_loops(target, probabilities, bins))


def test_reliability_bins_are_those_of_scikit_learn(samples: tuple[Tensor, Tensor]) -> None:
    target, probabilities = samples[0], samples[1].softmax(1)
    confidence, predicted = probabilities.max(1)
    accuracies, confidences = calibration_curve(
        (predicted == target).numpy(), confidence.numpy(), n_bins=15
    )  # omits empty bins
    bins = reliability(target, probabilities)
    is_filled = bins.count > 0
    np.testing.assert_allclose(bins.accuracy[is_filled].numpy(), accuracies, rtol=1e-12)
    np.testing.assert_allclose(bins.confidence[is_filled].numpy(), confidences, rtol=1e-12)
    assert np.array_equal(bins.count.numpy(), np.histogram(confidence.numpy(), 15, (0, 1))[0])
    assert not bins.accuracy[~is_filled].any()


def test_calibration_error_of_certain_predictions_is_0_if_correct_and_1_if_wrong() -> None:
    certain = torch.eye(3)
    assert calibration_error(torch.tensor([0, 1, 2]), certain) == 0
    assert calibration_error(torch.tensor([1, 2, 0]), certain) == 1
    undecided = torch.tensor([[0.5, 0.5]]).repeat(4, 1)
    assert calibration_error(torch.tensor([0, 0, 1, 1]), undecided) == 0


@pytest.mark.parametrize(
    ("scores", "bins", "message"),
    [
        (torch.ones(3), 15, "give \\(n, classes\\)"),
        (torch.ones(3, 1), 15, "at least two classes"),
        (torch.ones(3, 2) / 2, 0, "at least one bin"),
        (torch.tensor([[3.0, 1.0]] * 3), 15, "give probabilities"),
        (torch.full((3, 2), torch.nan), 15, "give probabilities"),
        (torch.ones(2, 2) / 2, 15, "one of each"),
    ],
)
def test_scores_that_are_not_probabilities_are_refused(scores: Tensor, bins: int, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        reliability(torch.zeros(3).long(), scores, bins)
