"""Models that are worse on their training examples than a simple method on new examples."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.underfitting import CHECK
from pellucid.doctor.inputs import linear_error
from pellucid.layers import Dense, Flatten, ReLU, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.small_cases import corners


def trained_case(*layers: Layer, epochs: int = 10, n: int = 400, **options: object) -> Case:
    x, y = corners(n)
    model = Model(Sequential(Flatten(), *layers), optimizer=Adam(0.02), input_shape=(1, 4, 4), **options)
    history = model.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(model, x, y, history=history, batch_size=16, epochs=epochs)


def test_regressions_are_compared_with_linear_regression() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=rng)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0, 1.0])[:, None]
    model = Model(Sequential(Dense(1)), "quadratic", Adam(1e-5), metrics=(), input_shape=(6,))
    history = model.fit(x, y, epochs=2, batch_size=16, verbose=False)
    (finding,) = CHECK.find(case_of(model, x, y, history=history))
    error = float((model.predict(x) - y).square().mean())
    assert abs(finding.evidence["train_squared_error"] - error) < 1e-3 * error
    assert finding.evidence["error_of_linear_regression_on_new_examples"] < 0.2 * error


def test_random_labels_have_no_finding() -> None:
    x, _ = corners(400)
    y = torch.randint(4, (400,), generator=torch.Generator().manual_seed(5))
    model = Model(Sequential(Flatten(), Dense(2), ReLU(), Dense(4)), optimizer=Adam(0.02), input_shape=(1, 4, 4))
    model.fit(x, y, epochs=2, batch_size=16, verbose=False)
    assert not CHECK.find(case_of(model, x, y))


def case_of_many_classes(n_classes: int = 100, n_each: int = 30) -> Case:
    """Return a case of overlapping Gaussian classes, with the network of the optimal (Bayes) classifier."""
    rng = torch.Generator().manual_seed(0)
    means = 1.3 * torch.randn(n_classes, 6, generator=rng)
    y = torch.arange(n_classes * n_each) % n_classes
    model = Model(Sequential(scores=Dense(n_classes)), input_shape=(6,))
    model.weights["scores.weight"].copy_(means)
    model.weights["scores.bias"].copy_(-means.square().sum(1) / 2)
    return case_of(model, means[y] + torch.randn(len(y), 6, generator=rng), y)


def test_network_and_simple_classifier_are_compared_on_the_same_classes() -> None:
    case = case_of_many_classes()
    assert case.simple_classifier is not None
    accuracy = case.model.evaluate(case.train.x, case.train.y)["accuracy"]
    assert case.simple_classifier.leave_one_out.accuracy > accuracy + 0.1  # it distinguishes 20 classes
    assert not CHECK.find(case)
    assert "underfitting" not in diagnose(case).names


def test_a_poor_network_for_many_classes_is_found() -> None:
    case = case_of_many_classes()
    case.model.weights["scores.weight"][:, 3:] = 0
    (finding,) = CHECK.find(case)
    assert finding.evidence["examples"] == 20 * 30


def test_a_network_that_learns_has_no_finding() -> None:
    assert not CHECK.find(trained_case(Dense(12), ReLU(), Dense(4)))
    assert not CHECK.find(trained_case(Dense(12), ReLU(), Dense(4), n=10))


def linear_data(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (n, 4) and targets (n, 1), which are a linear function of the inputs."""
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5], [1.5]])


def regression(x: torch.Tensor, y: torch.Tensor, epochs: int) -> Case:
    model = Model(Sequential(Dense(16), Tanh(), Dense(1)), "quadratic", Adam(0.01), metrics=(), input_shape=(4,))
    history = model.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(model, x, y, history=history, batch_size=16, epochs=epochs)


def test_an_error_far_below_the_variance_has_no_finding() -> None:
    case = regression(*linear_data(), epochs=40)
    error, variance = case.train_predictions.loss, float(case.train.y.var())
    assert 100 * linear_error(case.train.x, case.train.y) < error < 0.01 * variance
    assert CHECK.find(case) == []


def test_constant_targets_have_no_finding() -> None:
    x, _ = linear_data()
    assert CHECK.find(regression(x, torch.full((200, 1), 3.0), epochs=1)) == []
