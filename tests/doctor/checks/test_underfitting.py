"""Models that do worse on what they learned from than a simple method on new examples."""

from dataclasses import replace

import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.underfitting import CHECK
from pellucid.doctor.inputs import linear_error
from pellucid.layers import Dense, Flatten, ReLU, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.examined import corners


def taught(*layers: Layer, epochs: int = 10, n: int = 400, **options: object) -> Case:
    x, y = corners(n)
    it = Model(Sequential(Flatten(), *layers), optimizer=Adam(0.02), input_shape=(1, 4, 4), **options)
    history = it.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(it, x, y, history=history, batch_size=16, epochs=epochs)


def test_a_bottleneck_is_found() -> None:
    it = taught(Dense(1), ReLU(), Dense(4), epochs=4)
    (found,) = CHECK.look(it)
    assert (found.check, found.path) == ("underfitting", "train")
    assert found.evidence["units_of_the_narrowest_layer"] == 1
    right = it.model.evaluate(it.train.x, it.train.y)["accuracy"]
    assert abs(found.evidence["train_accuracy"] - right) < 1e-6
    assert found.evidence["accuracy_of_a_simple_classifier_on_new_examples"] > 0.99


def test_numbers_are_compared_with_linear_regression() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=rng)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])[:, None]
    it = Model(Sequential(Dense(1)), "quadratic", Adam(1e-5), metrics=(), input_shape=(6,))
    history = it.fit(x, y, epochs=2, batch_size=16, verbose=False)
    (found,) = CHECK.look(case_of(it, x, y, history=history))
    error = float((it.predict(x) - y).square().mean())
    assert abs(found.evidence["train_squared_error"] - error) < 1e-3 * error
    assert found.evidence["error_of_linear_regression_on_new_examples"] < 0.2 * error


def test_labels_without_sense_are_no_matter_of_capacity() -> None:
    x, _ = corners(400)
    y = torch.randint(4, (400,), generator=torch.Generator().manual_seed(5))
    it = Model(Sequential(Flatten(), Dense(2), ReLU(), Dense(4)), optimizer=Adam(0.02), input_shape=(1, 4, 4))
    it.fit(x, y, epochs=2, batch_size=16, verbose=False)
    assert not CHECK.look(case_of(it, x, y))


def crowded(classes: int = 100, each: int = 30) -> Case:
    """Overlapping clouds, with the network that Bayes' rule gives: it cannot be beaten."""
    rng = torch.Generator().manual_seed(0)
    means = 1.3 * torch.randn(classes, 6, generator=rng)
    y = torch.arange(classes * each) % classes
    it = Model(Sequential(scores=Dense(classes)), input_shape=(6,))
    it.weights["scores.weight"].copy_(means)
    it.weights["scores.bias"].copy_(-means.square().sum(1) / 2)
    return case_of(it, means[y] + torch.randn(len(y), 6, generator=rng), y)


def test_of_many_classes_both_are_asked_the_same() -> None:
    it = crowded()
    assert it.simple is not None
    right = it.model.evaluate(it.train.x, it.train.y)["accuracy"]
    assert it.simple.leave_one_out.accuracy > right + 0.1  # it distinguishes 20 classes, not 100
    assert not CHECK.look(it)
    assert "underfitting" not in diagnose(it).names


def test_of_many_classes_a_poor_network_is_still_found() -> None:
    it = crowded()
    it.model.weights["scores.weight"][:, 3:] = 0
    (found,) = CHECK.look(it)
    assert found.evidence["examples"] == 20 * 30


def test_what_learns_is_quiet() -> None:
    assert not CHECK.look(taught(Dense(12), ReLU(), Dense(4)))
    assert not CHECK.look(taught(Dense(12), ReLU(), Dense(4), n=10))


def straight(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers that linear regression gets nearly right: (n, 4), (n, 1)."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5], [1.5]])


def regression(x: torch.Tensor, y: torch.Tensor, epochs: int) -> Case:
    it = Model(Sequential(Dense(16), Tanh(), Dense(1)), "quadratic", Adam(0.01), metrics=(), input_shape=(4,))
    history = it.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(it, x, y, history=history, batch_size=16, epochs=epochs)


def test_a_small_part_of_the_variance_is_no_underfitting_whatever_linear_regression_leaves() -> None:
    it = regression(*straight(), epochs=40)
    error, variance = it.train_predictions.loss, float(it.train.y.var())
    assert 100 * linear_error(it.train.x, it.train.y) < error < 0.01 * variance
    assert CHECK.look(it) == []


def test_of_numbers_the_output_is_not_the_narrowest_layer() -> None:
    (found,) = CHECK.look(regression(*straight(), epochs=1))
    assert found.evidence["units_of_the_narrowest_layer"] == 16


def test_targets_that_are_all_the_same_are_no_matter_of_capacity() -> None:
    x, _ = straight()
    assert CHECK.look(regression(x, torch.full((200, 1), 3.0), epochs=1)) == []


def test_a_training_cut_short_is_to_be_gone_on_with() -> None:
    it = regression(*straight(), epochs=1)
    it = replace(it, history=None, epochs=3, steps=7, resume_command="pellucid train --resume runs/a-1")
    (found,) = CHECK.look(it)
    assert found.direct
    assert "interrupted" in found.cause
    assert found.fix == "resume with `pellucid train --resume runs/a-1`"
    assert (found.evidence["epochs"], found.evidence["steps"], found.evidence["steps_of_the_training"]) == (0, 7, 39)
