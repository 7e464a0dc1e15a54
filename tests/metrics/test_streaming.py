"""Metrics updated batch by batch equal scikit-learn's functions of all examples."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics import ECE, MAE, METRICS, R2, RMSE, Accuracy, Confusion, Metric, TopK, fresh


def evaluate_in_batches(metric: Metric, outputs: Tensor, targets: Tensor, size: int) -> dict:
    for batch in zip(outputs.split(size), targets.split(size), strict=True):
        metric.update(*batch)
    return metric.compute()


def macro(score, target: Tensor, predicted: Tensor) -> float:
    return score(target, predicted, average="macro", zero_division=0)


def ece(target: Tensor, scores: Tensor, bins: int = 15) -> float:
    confidence, predicted = scores.max(1)
    accuracies, confidences = calibration_curve(
        predicted == target, confidence, n_bins=bins
    )  # of the bins that are not empty
    counts = np.histogram(confidence, np.linspace(0, 1, bins + 1))[0]
    return float((np.abs(accuracies - confidences) * counts[counts > 0]).sum() / len(target))


CLASS_ORACLES = {
    "accuracy": lambda t, s: oracle.accuracy_score(t, s.argmax(1)),
    "precision": lambda t, s: macro(oracle.precision_score, t, s.argmax(1)),
    "recall": lambda t, s: macro(oracle.recall_score, t, s.argmax(1)),
    "macro_f1": lambda t, s: macro(oracle.f1_score, t, s.argmax(1)),
    "confusion": lambda t, s: oracle.confusion_matrix(t, s.argmax(1), labels=range(s.shape[1])).tolist(),
    "top5": lambda t, s: oracle.top_k_accuracy_score(t, s, k=5, labels=range(s.shape[1])),
    "ece": ece,
}
MASK_METRICS = {"miou", "boundary_f1"}  # in test_segmentation
OBJECT_METRICS = {"ap", "mask_ap", "keypoint_ap", "nme"}  # in test_objects
IMAGE_METRICS = {"psnr", "ssim", "colours", "delta_e"}  # in test_images and test_colours
NUMBER_ORACLES = {
    "mae": lambda t, y: oracle.mean_absolute_error(t.flatten(), y.flatten()),
    "rmse": lambda t, y: math.sqrt(oracle.mean_squared_error(t.flatten(), y.flatten())),
    "r2": lambda t, y: oracle.r2_score(t.reshape(len(t), -1), y.reshape(len(y), -1)),
}


def test_every_metric_has_an_oracle():
    assert {"multilabel", *CLASS_ORACLES, *NUMBER_ORACLES, *MASK_METRICS, *OBJECT_METRICS, *IMAGE_METRICS} == set(
        METRICS
    )


@pytest.mark.parametrize("name", [*CLASS_ORACLES, *NUMBER_ORACLES])
@given(seed=st.integers(0, 2**16), n=st.integers(2, 60), size=st.integers(1, 70), width=st.integers(5, 8))
@settings(max_examples=40, deadline=None)
def test_batches_add_up_to_scikit_learn(name: str, seed: int, n: int, size: int, width: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    if name in CLASS_ORACLES:
        targets = torch.randint(0, width - 1, (n,), generator=rng)  # the last class has no examples
        outputs = torch.randn(n, width, generator=rng, dtype=torch.float64).softmax(1)
    else:
        targets = torch.randn(n, width, generator=rng, dtype=torch.float64) * 3 + 100
        outputs = targets + torch.randn(n, width, generator=rng, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's warnings about missing classes
        expected = {**CLASS_ORACLES, **NUMBER_ORACLES}[name](targets, outputs)
    actual = evaluate_in_batches(METRICS[name](), outputs, targets, size)[name]
    assert actual == (expected if name == "confusion" else pytest.approx(expected, rel=1e-9, abs=1e-12))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_k_is_named_by_its_k(k: int) -> None:
    rng = torch.Generator().manual_seed(k)
    targets, outputs = torch.randint(0, 7, (50,), generator=rng), torch.randn(50, 7, generator=rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of k = 7, which is always 1
        expected = oracle.top_k_accuracy_score(targets, outputs, k=k, labels=range(7))
    assert evaluate_in_batches(TopK(k), outputs, targets, 8) == {f"top{k}": pytest.approx(expected)}


@pytest.mark.parametrize("k", [0, 1.5, True, "3"])
def test_a_k_below_1_or_above_the_classes_is_refused(k) -> None:
    with pytest.raises(PellucidError, match="TopK: k must be a whole number of at least 1"):
        TopK(k)


def test_one_output_is_two_classes() -> None:
    outputs, targets = torch.tensor([[0.2], [0.7], [0.9], [0.4]]), torch.tensor([0, 1, 0, 1])
    predicted = (outputs[:, 0] >= 0.5).long()
    assert evaluate_in_batches(Accuracy(), outputs, targets, 3) == {
        "accuracy": oracle.accuracy_score(targets, predicted)
    }
    assert (
        evaluate_in_batches(Confusion(), outputs, targets, 3)["confusion"]
        == oracle.confusion_matrix(targets, predicted).tolist()
    )
    two_outputs = torch.cat([1 - outputs, outputs], 1)
    assert evaluate_in_batches(ECE(4), outputs, targets, 3)["ece"] == pytest.approx(ece(targets, two_outputs, 4))


def test_accuracy_accepts_class_indices_and_one_hot_targets() -> None:
    targets = torch.tensor([0, 2, 1])
    outputs = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    for target_format in (targets, torch.eye(3)[targets], torch.eye(3)[targets].long()):
        assert evaluate_in_batches(Accuracy(), outputs, target_format, 2)["accuracy"] == pytest.approx(2 / 3)


@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 40),
    size=st.integers(1, 50),
    width=st.integers(2, 5),
    rows=st.sampled_from(["any", "one label each", "no label", "all labels"]),
)
@settings(max_examples=100, deadline=None)
def test_accuracy_of_multilabel_targets_is_that_of_the_outputs(
    seed: int, n: int, size: int, width: int, rows: str
) -> None:
    rng = torch.Generator().manual_seed(seed)
    outputs, targets = torch.rand(n, width, generator=rng), torch.randint(0, 2, (n, width), generator=rng)
    if rows == "one label each":
        targets = torch.eye(width)[torch.randint(0, width, (n,), generator=rng)].long()
    elif rows != "any":
        targets[:] = rows == "all labels"
    expected = 1 - oracle.hamming_loss(targets, outputs >= 0.5)
    for target_format in (targets, targets.float(), targets.bool()):
        accuracy = evaluate_in_batches(Accuracy(multilabel=True), outputs, target_format, size)["accuracy"]
        assert accuracy == pytest.approx(expected)


@pytest.mark.parametrize("multilabel", [None, False])
def test_accuracy_of_classes_refuses_multilabel_targets_at_their_first_row(multilabel: bool | None) -> None:
    metric = Accuracy(multilabel)
    metric.update(torch.eye(3), torch.eye(3))
    with pytest.raises(PellucidError, match=r"the targets are multi-label.*give metrics=Accuracy\(multilabel=True\)"):
        metric.update(torch.eye(3), torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]]))


def test_accuracy_of_class_indices_is_never_multilabel() -> None:
    outputs, targets = torch.rand(9, 4), torch.arange(9) % 4
    expected = oracle.accuracy_score(targets, outputs.argmax(1))
    for metric in (Accuracy(), Accuracy(multilabel=True), Accuracy(multilabel=False)):
        assert evaluate_in_batches(metric, outputs, targets, 4)["accuracy"] == pytest.approx(expected)


def test_another_value_of_multilabel_is_refused() -> None:
    with pytest.raises(PellucidError, match="multilabel must be True, False or None, not 'yes'"):
        Accuracy("yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted({*CLASS_ORACLES} - {"accuracy"}))
def test_other_metrics_of_classes_refuse_multilabel_targets(name: str) -> None:
    outputs = torch.full((3, 6), 1 / 6)
    for row in (torch.zeros(6), torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])):
        targets = torch.stack([torch.eye(6)[0], row, torch.eye(6)[1]])
        with pytest.raises(PellucidError, match="the targets are multi-label"):
            METRICS[name]().update(outputs, targets)


def test_soft_targets_that_sum_to_one_are_single_classes() -> None:
    targets = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    outputs = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3]])
    expected = oracle.accuracy_score(targets.argmax(1), outputs.argmax(1))
    assert evaluate_in_batches(Accuracy(), outputs, targets, 2)["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("metric", [MAE, RMSE, R2])
def test_regression_metrics_accept_targets_without_output_axis_and_class_indices(metric) -> None:
    outputs, targets = torch.tensor([[1.0], [2.5], [4.0]]), torch.tensor([1.5, 2.0, 3.0])
    name = metric.__name__.lower()
    expected = NUMBER_ORACLES[name](targets[:, None], outputs)
    assert evaluate_in_batches(metric(), outputs, targets, 2)[name] == pytest.approx(expected)
    scores, classes = torch.tensor([[0.8, 0.1], [0.3, 0.6], [0.9, 0.4]]), torch.tensor([0, 1, 1])
    expected = NUMBER_ORACLES[name](torch.eye(2)[classes], scores)
    assert evaluate_in_batches(metric(), scores, classes, 2)[name] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("outputs", "targets", "expected"),
    [([1.0, 2.0], [3.0, 3.0], 0.0), ([3.0, 3.0], [3.0, 3.0], 1.0), ([5.0, 6.0, 7.0], [1.0, 2.0, 3.0], -23.0)],
)
def test_r2_of_constant_predictions_is_0_and_of_bad_ones_is_negative(outputs, targets, expected) -> None:
    assert oracle.r2_score(targets, outputs) == expected
    assert evaluate_in_batches(R2(), torch.tensor(outputs)[:, None], torch.tensor(targets), 1)["r2"] == pytest.approx(
        expected
    )


def test_r2_of_one_example_is_undefined() -> None:
    assert math.isnan(evaluate_in_batches(R2(), torch.ones(1, 1), torch.ones(1), 1)["r2"])


def test_r2_is_exact_for_targets_far_from_zero() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(5000, 1, generator=rng, dtype=torch.float64) + 1e8
    outputs = targets + torch.randn(5000, 1, generator=rng, dtype=torch.float64) / 10
    expected = oracle.r2_score(targets, outputs)
    assert evaluate_in_batches(R2(), outputs, targets, 64)["r2"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", sorted({*METRICS} - MASK_METRICS - OBJECT_METRICS - IMAGE_METRICS))
def test_a_fresh_copy_is_empty_and_does_not_change_the_original(name: str) -> None:
    metric = METRICS[name]()
    outputs, targets = torch.eye(6), torch.arange(6)
    first = evaluate_in_batches(fresh(metric), outputs, targets, 4)
    evaluate_in_batches(fresh(metric), outputs.flip(1), targets, 4)
    assert evaluate_in_batches(fresh(metric), outputs, targets, 4) == first
    with pytest.raises(PellucidError, match="no examples were measured; call update first"):
        metric.compute()


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "message"),
    [
        (Accuracy(), torch.zeros(2, 3, 4), torch.zeros(2), "metrics of classes are for outputs"),
        (Accuracy(), torch.zeros(2, 3), torch.zeros(2, 4), "targets (2, 4) do not fit outputs (2, 3)"),
        (Accuracy(), torch.zeros(2, 3), torch.tensor([[1.0, -1, 2], [1, 2, 3]]), "span -1 to 3; give one class for"),
        (
            MAE(),
            torch.zeros(2, 3),
            torch.zeros(2, 4),
            "targets (2, 4) of dtype torch.float32 do not fit outputs (2, 3)",
        ),
        (RMSE(), torch.zeros(2, 3), torch.tensor([0, 3]), "or class indices in range"),
        (TopK(4), torch.zeros(2, 3), torch.tensor([0, 1]), "choose 1 to the number of classes"),
        (Confusion(), torch.zeros(2, 3), torch.tensor([0, 3]), "target contains classes 0 to 3, not 0 to 2"),
        (ECE(), torch.full((2, 3), 2.0), torch.tensor([0, 1]), "give probabilities"),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_refused(
    metric: Metric, outputs: Tensor, targets: Tensor, message: str
) -> None:
    with pytest.raises(PellucidError) as caught:
        metric.update(outputs, targets)
    assert message in str(caught.value)
