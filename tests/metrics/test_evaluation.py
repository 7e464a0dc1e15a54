"""Metrics in Model.evaluate and Model.fit: examples that the loss ignores, and multilabel targets."""

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle
from sklearn.calibration import calibration_curve

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten, LogSoftmax
from pellucid.losses import BinaryCrossEntropy, Loss, NegativeLogLikelihood, QualityFocal, SoftmaxCrossEntropy
from pellucid.metrics import Accuracy
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


SINGLE = torch.eye(N_CLASSES)[torch.arange(60) % N_CLASSES]  # each row has one label
SEVERAL = torch.randint(0, 2, (60, N_CLASSES), generator=torch.Generator().manual_seed(2)).float()
IMAGES = torch.rand(60, 1, 2, 2, generator=torch.Generator().manual_seed(3))


class OwnLoss(Loss):
    """A user's loss of independent outputs."""

    multilabel = True

    def compute(self, y, target):
        return BinaryCrossEntropy().compute(y, target)

    def predict(self, y):
        return y.sigmoid()


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), QualityFocal(), OwnLoss()])
@pytest.mark.parametrize("targets", [SINGLE, SEVERAL, torch.cat([SINGLE[:20], SEVERAL[:40]])])
def test_the_accuracy_of_a_loss_of_independent_outputs_is_that_of_the_outputs_for_any_data(loss, targets) -> None:
    model = Model(Sequential(flat=Flatten(), scores=Dense(N_CLASSES)), loss, metrics="accuracy")
    history = model.fit(IMAGES, targets, epochs=1, batch_size=20, validation=(IMAGES, targets), verbose=False)
    expected = float(((model.predict(IMAGES) >= 0.5) == (targets >= 0.5)).double().mean())
    assert history.last["val_accuracy"] == pytest.approx(expected)
    assert history.last["train_accuracy"] == pytest.approx(expected)
    parts = [model.evaluate(IMAGES[k : k + 20], targets[k : k + 20])["accuracy"] for k in (0, 20, 40)]
    assert np.mean(parts) == pytest.approx(expected)
    assert model.evaluate(IMAGES, targets, batch_size=7)["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "quadratic", "l1", "huber"])
def test_the_accuracy_of_other_losses_compares_classes(loss) -> None:
    model = Model(Sequential(flat=Flatten(), scores=Dense(N_CLASSES)), loss, metrics="accuracy")
    history = model.fit(IMAGES, SINGLE, epochs=1, batch_size=20, validation=(IMAGES, SINGLE), verbose=False)
    expected = oracle.accuracy_score(SINGLE.argmax(1), model.predict(IMAGES).argmax(1))
    assert history.last["val_accuracy"] == pytest.approx(expected)
    assert model.evaluate(IMAGES, SINGLE.argmax(1))["accuracy"] == pytest.approx(expected)
    if loss != "softmax_cross_entropy":  # which refuses such targets itself
        with pytest.raises(PellucidError, match="the targets are multi-label"):
            model.evaluate(IMAGES, SEVERAL)
        model.metrics = (Accuracy(multilabel=True),)
        assert 0 <= model.evaluate(IMAGES, SEVERAL)["accuracy"] <= 1


def test_class_indices_with_a_loss_of_independent_outputs_are_classes() -> None:
    model = Model(Sequential(flat=Flatten(), scores=Dense(N_CLASSES)), "binary_cross_entropy", input_shape=(1, 2, 2))
    targets = SINGLE.argmax(1)
    expected = oracle.accuracy_score(targets, model.predict(IMAGES).argmax(1))
    assert model.evaluate(IMAGES, targets)["accuracy"] == pytest.approx(expected)


def test_the_choice_is_saved_with_the_model(tmp_path) -> None:
    net = Sequential(flat=Flatten(), scores=Dense(N_CLASSES))
    model = Model(net, "quadratic", metrics=Accuracy(multilabel=True), input_shape=(1, 2, 2))
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.evaluate(IMAGES, SEVERAL) == model.evaluate(IMAGES, SEVERAL)
