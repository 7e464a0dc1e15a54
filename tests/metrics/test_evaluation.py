"""Metrics in Model.evaluate and Model.fit: examples that the loss ignores, and multilabel targets."""

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.layers import Dense, Flatten, LogSoftmax
from pellucid.losses import NegativeLogLikelihood, SoftmaxCrossEntropy
from pellucid.model import Model

METRIC_NAMES = ("accuracy", "precision", "recall", "macro_f1", "ece", "mae")
N_CLASSES = 4


def n_rows(outputs: torch.Tensor, targets: torch.Tensor) -> int:
    """Return the number of examples that a metric function receives."""
    return len(targets)


@pytest.mark.parametrize("ignore", [-100, 2])
@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy, NegativeLogLikelihood])
def test_examples_that_the_loss_ignores_are_measured_by_no_metric(loss, ignore: int) -> None:
    rng = torch.Generator().manual_seed(1)
    x, y = torch.rand(50, 1, 2, 2, generator=rng), torch.randint(0, N_CLASSES, (50,), generator=rng)
    y[:23] = ignore  # more than two batches of 10
    head = {"log": LogSoftmax()} if loss is NegativeLogLikelihood else {}
    model = Model(
        Sequential(flat=Flatten(), scores=Dense(N_CLASSES), **head),
        loss(ignore=ignore),
        metrics=(*METRIC_NAMES, n_rows),
        input_shape=(1, 2, 2),
    )
    evaluation = model.evaluate(x, y, batch_size=10)
    is_scored = y != ignore
    scores, target = model(x)[is_scored].double().softmax(1), y[is_scored]  # also correct for log-probabilities
    predicted = scores.argmax(1)
    assert evaluation["accuracy"] == pytest.approx(oracle.accuracy_score(target, predicted))
    for name, score in (
        ("precision", oracle.precision_score),
        ("recall", oracle.recall_score),
        ("macro_f1", oracle.f1_score),
    ):
        assert evaluation[name] == pytest.approx(score(target, predicted, average="macro", zero_division=0)), name
    accuracies, confidences = calibration_curve(predicted == target, scores.max(1).values, n_bins=15)
    counts = np.histogram(scores.max(1).values, np.linspace(0, 1, 16))[0]
    assert evaluation["ece"] == pytest.approx((abs(accuracies - confidences) * counts[counts > 0]).sum() / len(target))
    assert evaluation["mae"] == pytest.approx(oracle.mean_absolute_error(np.eye(N_CLASSES)[target], scores))
    assert evaluation["n_rows"] == int(is_scored.sum())
    assert evaluation["loss"] == pytest.approx(oracle.log_loss(target, scores, labels=range(N_CLASSES)), rel=1e-5)


def test_data_with_only_ignored_examples_are_refused() -> None:
    net = Sequential(flat=Flatten(), scores=Dense(N_CLASSES))
    model = Model(net, SoftmaxCrossEntropy(ignore=-1), metrics=("accuracy", n_rows), input_shape=(1, 2, 2))
    with pytest.raises(PellucidError, match="the loss ignores all 3 examples"):
        model.evaluate(torch.rand(3, 1, 2, 2), torch.full((3,), -1))


def test_multilabel_training_reports_the_fraction_of_correct_outputs() -> None:
    rng = torch.Generator().manual_seed(2)
    x, y = torch.rand(60, 1, 2, 2, generator=rng), torch.randint(0, 2, (60, N_CLASSES), generator=rng).float()
    model = Model(Sequential(flat=Flatten(), scores=Dense(N_CLASSES)), "binary_cross_entropy")
    history = model.fit(x, y, epochs=2, batch_size=20, validation=(x[:30], y[:30]), verbose=False)
    expected = 1 - oracle.hamming_loss(y[:30].numpy(), (model.predict(x[:30]) >= 0.5).numpy())
    assert history.last["val_accuracy"] == pytest.approx(expected)
    weight, bias = model.weights["scores.weight"], model.weights["scores.bias"]
    weight.zero_()
    bias.fill_(9.0)  # every output is positive, and every target 0
    assert model.evaluate(x, torch.zeros(60, N_CLASSES))["accuracy"] == 0.0
