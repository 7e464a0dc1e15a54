"""Libraries in few lines: weights equal to Pellucid's after each step, and gradients equal to autograd's."""

import numpy as np
import pytest
import torch

from pellucid import Dense, Sequential, Sigmoid
from pellucid.lessons import LessonSettings
from pellucid.lessons.library import (
    GUIDE,
    ActivationLayer,
    BookNetwork,
    FCLayer,
    Network,
    PellucidNetwork,
    book,
    mean_squared_error,
    mean_squared_error_derivative,
    sixty_lines,
    what_is_missing,
)

SMALL = LessonSettings(small=True)


@pytest.mark.parametrize("step", [sixty_lines, book])
def test_weights_are_equal_after_every_step(step):
    numbers = step(SMALL).numbers
    assert numbers["steps"] in (144, 400)  # 1,438 digits in mini-batches of 10; 100 epochs of 4 examples
    assert numbers["largest gap"] < 1e-10


@pytest.mark.real
def test_both_implementations_reach_the_expected_accuracy():
    assert sixty_lines(LessonSettings()).numbers["mean squared error"] < 0.0005
    assert book(LessonSettings()).numbers["test accuracy"] > 0.93


def test_a_step_is_that_of_autograd():
    network, layer = Network(), FCLayer(2, 2, np.random.default_rng(0))
    network.add(layer)
    network.add(ActivationLayer(np.tanh, lambda z: 1 - np.tanh(z) ** 2))
    network.set_loss(mean_squared_error, mean_squared_error_derivative)
    weight, bias = (torch.tensor(array, requires_grad=True) for array in (layer.weight, layer.bias))
    x, y = np.array([[0.3, -0.8]]), np.array([[1.0, 0.5]])
    loss = ((torch.from_numpy(x) @ weight + bias).tanh() - torch.from_numpy(y)).square().mean()
    loss.backward()
    assert network.fit(x, y, 1, 0.5) == [pytest.approx(loss.item())]
    for actual, before in ((layer.weight, weight), (layer.bias, bias)):
        assert np.allclose(actual, (before - 0.5 * before.grad).detach().numpy(), atol=1e-15)


def test_the_book_s_gradients_are_those_of_autograd():
    network = BookNetwork((3, 4, 2), np.random.default_rng(1))
    x, y = np.array([0.1, 0.9, -0.4]), np.array([0.0, 1.0])
    leaves = [torch.tensor(array, requires_grad=True) for array in (*network.weights, *network.biases)]
    hidden = (leaves[0] @ torch.from_numpy(x) + leaves[2]).sigmoid()
    cost = ((leaves[1] @ hidden + leaves[3]).sigmoid() - torch.from_numpy(y)).square().sum() / 2
    weights, biases = network.backprop(x, y)
    for actual, expected in zip((*weights, *biases), torch.autograd.grad(cost, leaves), strict=True):
        assert np.allclose(actual, expected.numpy(), atol=1e-15)


def test_another_learning_rate_gives_different_weights():
    weight, bias = np.ones((1, 2)), np.zeros(1)
    network = PellucidNetwork(Sequential(Dense(1), Sigmoid()), [(weight, bias)])
    network.step(np.ones((1, 2)), np.zeros((1, 1)), 0.1, [(weight, bias)])
    a = 1 / (1 + np.exp(-2))
    assert network.gaps == [pytest.approx(0.1 * a * a * (1 - a))]


def test_pellucid_reports_the_errors_that_the_60_lines_do_not():
    numbers = what_is_missing(SMALL).numbers
    losses = [row["loss of the 60 lines"] for row in numbers.values()]
    assert losses[0] == losses[2] == "nan"
    assert np.isfinite(float(losses[1]))
    messages = [row["message of Pellucid"] for row in numbers.values()]
    for part, message in zip(("NaN", "targets of shape (1,)", "lower the learning rate"), messages, strict=True):
        assert part in message


def test_other_rates_and_sizes_train_both_libraries_alike():
    for rate, hidden in ((0.02, 2), (0.1, 8)):
        numbers = sixty_lines(SMALL, rate, hidden).numbers
        assert numbers["largest gap"] < 1e-9
        assert np.isfinite(numbers["mean squared error"])
    values = what_is_missing(SMALL, rate=0.1).numbers["a rate of 0.1"]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    columns = np.column_stack([x, np.ones(20)])
    least = ((columns @ np.linalg.lstsq(columns, y, rcond=None)[0] - y) ** 2).mean()
    assert least < float(values["loss of the 60 lines"]) < 1.5 * least
    assert values["message of Pellucid"] == "none"


def test_the_answers_of_the_exercises():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    a = torch.tensor([0.5, 1.0], requires_grad=True)
    loss = torch.nn.functional.mse_loss(a, torch.tensor([0.0, 1.0]))
    (derivative,) = torch.autograd.grad(loss, a, retain_graph=True)
    (half_derivative,) = torch.autograd.grad(loss / 2, a)
    factor = derivative[0] / half_derivative[0]
    assert [exercise.answer for exercise in GUIDE.exercises] == [n_parameters, float(derivative[0]), float(factor)]


def test_the_function_exercise_is_autograds():
    exercise = GUIDE.functions["weight_gradient"]
    x, z, dy = exercise.arguments(np.random.default_rng(0))
    weight = torch.tensor(np.linalg.pinv(x) @ z, requires_grad=True)
    offset = torch.from_numpy(z) - torch.from_numpy(x) @ weight.detach()
    (torch.from_numpy(x) @ weight + offset).tanh().backward(torch.from_numpy(dy))
    assert np.allclose(exercise.reference(x, z, dy), weight.grad)
