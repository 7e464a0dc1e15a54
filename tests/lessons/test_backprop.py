"""The four equations of backpropagation, compared with PyTorch's autograd."""

import numpy as np
import pytest
import torch

from pellucid.lessons import Setting
from pellucid.lessons.backprop import TARGETS, X, averaged, equations, random_params, three_ways
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
    numbers = equations(Setting(seed)).numbers
    expected, _ = autograd_gradients(seed, 1)
    rows = {name: row for name, row in numbers.items() if name.startswith("BP")}
    assert len(rows) == 6
    for name, row in rows.items():
        gradient = expected[name.split(", ")[1]].flatten().tolist()
        assert np.ravel(row["equation"]) == pytest.approx(gradient, abs=1e-14)
        assert np.ravel(row["difference"]) == pytest.approx(gradient, abs=1e-9)
    assert numbers["largest gap to the library's backward pass"] < 1e-14


def test_derivatives_of_an_output_by_bias_weights_and_activations_are_autograds():
    numbers = three_ways(Setting()).numbers
    _, expected = autograd_gradients(0, 1)
    params = random_params(0)
    assert numbers["bias"] == pytest.approx(float(expected["dense2.bias"][0]))
    assert numbers["weights"] == pytest.approx(expected["dense2.weight"][0].tolist())
    assert numbers["outputs below"] == pytest.approx(expected["a1"][0].tolist())
    assert numbers["outputs below / bias"] == pytest.approx(params["dense2"]["weight"][0].tolist())
    hidden_outputs = (X[:1] @ params["dense1"]["weight"].T + params["dense1"]["bias"]).sigmoid()
    assert numbers["weights / bias"] == pytest.approx(hidden_outputs[0].tolist())


def test_the_gradient_of_a_batch_is_the_mean():
    numbers = averaged(Setting()).numbers
    expected, _ = autograd_gradients(0, len(X))
    gradient = [*expected["dense2.weight"].flatten().tolist(), *expected["dense2.bias"].tolist()]
    for name in ("mean of the gradients", "gradient of the batch"):
        assert numbers[name] == pytest.approx(gradient, abs=1e-14)
