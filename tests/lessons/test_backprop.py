"""The four equations of backpropagation, compared with PyTorch's autograd."""

import numpy as np
import pytest
import torch

from pellucid.lessons import LessonSettings
from pellucid.lessons.backprop import GUIDE, TARGETS, X, averaged, equations, random_params, three_ways
from pellucid.nested import flatten


def autograd_gradients(seed: int, count: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the gradients of the mean cost of `count` examples, and of the first output for the first example."""
    params = {path: leaf.clone().requires_grad_() for path, leaf in flatten(random_params(seed)).items()}
    x, y = X[:count], TARGETS[:count]
    z1 = x @ params["dense1.weight"].T + params["dense1.bias"]
    a1 = z1.sigmoid()
    z2 = a1 @ params["dense2.weight"].T + params["dense2.bias"]
    leaves = {**params, "dense1": z1, "dense2": z2, "a1": a1}
    cost = (z2.sigmoid() - y).square().sum() / (2 * count)
    gradients = torch.autograd.grad(cost, list(leaves.values()), retain_graph=True)
    output_gradients = torch.autograd.grad(
        z2.sigmoid()[0, 0], list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, gradients, strict=True)), dict(zip(leaves, output_gradients, strict=True))


@pytest.mark.parametrize("seed", [0, 3])
def test_every_equation_gives_the_gradient(seed):
    numbers = equations(LessonSettings(seed)).numbers
    expected, _ = autograd_gradients(seed, 1)
    rows = {name: row for name, row in numbers.items() if name.startswith("BP")}
    assert len(rows) == 6
    for name, row in rows.items():
        gradient = expected[name.split(", ")[1]].flatten().tolist()
        assert np.ravel(row["equation"]) == pytest.approx(gradient, abs=1e-14)
        assert np.ravel(row["difference"]) == pytest.approx(gradient, abs=1e-9)
    assert numbers["largest gap to the library's backward pass"] < 1e-14


def test_derivatives_of_an_output_by_bias_weights_and_activations_are_autograds():
    numbers = three_ways(LessonSettings()).numbers
    _, expected = autograd_gradients(0, 1)
    params = random_params(0)
    assert numbers["bias"] == pytest.approx(float(expected["dense2.bias"][0]))
    assert numbers["weights"] == pytest.approx(expected["dense2.weight"][0].tolist())
    assert numbers["outputs below"] == pytest.approx(expected["a1"][0].tolist())
    assert numbers["outputs below / bias"] == pytest.approx(params["dense2"]["weight"][0].tolist())
    hidden_outputs = (X[:1] @ params["dense1"]["weight"].T + params["dense1"]["bias"]).sigmoid()
    assert numbers["weights / bias"] == pytest.approx(hidden_outputs[0].tolist())


def test_the_gradient_of_a_batch_is_the_mean():
    numbers = averaged(LessonSettings()).numbers
    expected, _ = autograd_gradients(0, len(X))
    gradient = [*expected["dense2.weight"].flatten().tolist(), *expected["dense2.bias"].tolist()]
    for name in ("mean of the gradients", "gradient of the batch"):
        assert numbers[name] == pytest.approx(gradient, abs=1e-14)


@pytest.mark.parametrize(("first_target", "scale"), [(0.6, 3.0), (0.01, 0.0), (0.99, 10.0)])
def test_equations_of_a_chosen_target_and_scale_are_autograds(first_target, scale):
    numbers = equations(LessonSettings(), first_target, scale).numbers
    w1, b1, w2, b2 = (scale * leaf for leaf in flatten(random_params(0)).values())
    z1 = (w1 @ X[0] + b1).requires_grad_()
    y = torch.tensor([first_target, TARGETS[0, 1]])
    with torch.enable_grad():
        cost = ((w2 @ z1.sigmoid() + b2).sigmoid() - y).square().sum() / 2
        (delta,) = torch.autograd.grad(cost, z1)
    assert numbers["BP2, dense1"]["equation"] == pytest.approx(delta.tolist(), abs=1e-14)
    assert numbers["BP2, dense1"]["difference"] == pytest.approx(delta.tolist(), abs=1e-9)


def test_quotients_stay_the_weights_for_another_input():
    weights = flatten(random_params(0))["dense2.weight"][0].tolist()
    numbers = three_ways(LessonSettings(), 1.0).numbers
    assert numbers["outputs below / bias"] == pytest.approx(weights)
    assert numbers["largest gap to differences"] < 1e-9


def test_the_answers_of_the_exercises():
    output_error, hidden_error = GUIDE.exercises
    with torch.enable_grad():
        z = torch.tensor(0.8).logit().requires_grad_()
        (delta,) = torch.autograd.grad(z.sigmoid() ** 2 / 2, z)
        hidden_z = torch.zeros(1).requires_grad_()
        next_z = hidden_z.sigmoid() * torch.tensor([2.0, -1.0])
        (hidden_delta,) = torch.autograd.grad(next_z @ torch.tensor([0.1, 0.3]), hidden_z)
    assert output_error.answer == pytest.approx(float(delta), abs=1e-6)
    assert hidden_error.answer == pytest.approx(float(hidden_delta), abs=1e-6)
