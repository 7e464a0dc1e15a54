"""Gradient penalties compared with autograd's double backward in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pellucid import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    Graph,
    LeakyReLU,
    MaxPool2d,
    Parallel,
    ReLU,
    Sequential,
    Sigmoid,
)
from pellucid.base.errors import PellucidError
from pellucid.combine import walk
from pellucid.generators.penalty import Penalty, gradient_penalty, one_centred_penalty, zero_centred_penalty
from pellucid.layers import Add, Identity, Layer, Mode
from pellucid.layers.base import Params
from pellucid.models.dcgan import dcgan_discriminator
from pellucid.nested import flatten, map_tree

NETS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "dense": (Sequential(Dense(5), ReLU(), Dense(4), LeakyReLU(0.3), Dense(1)), (6,)),
    "dcgan": (dcgan_discriminator(8, 3, norm=False), (2, 8, 8)),
    "blocks": (
        Sequential(
            stem=Conv2d(4, 3, padding=1),
            block=Parallel(
                {"skip": Identity(), "body": Sequential(LeakyReLU(0.2), Conv2d(4, 3, padding=1))}, merge=Add()
            ),
            pool=AvgPool2d(2),
            flat=Flatten(),
            score=Dense(2),  # the sum of both outputs is differentiated
        ),
        (1, 6, 6),
    ),
}  # fmt: skip


def random_inputs(name: str) -> tuple[Layer, Params, Tensor]:
    net, shape = NETS[name]
    rng = torch.Generator().manual_seed(1)
    params = map_tree(Tensor.double, net.init(shape, rng)[0])
    return net, params, torch.randn(4, *shape, generator=rng, dtype=torch.float64)


PENALTIES: dict[str, tuple[Penalty, Callable[[Tensor], Tensor]]] = {
    "one-centred": (one_centred_penalty(10.0), lambda norms: 10 * ((norms - 1) ** 2).mean()),
    "zero-centred": (zero_centred_penalty(3.0), lambda norms: 1.5 * (norms**2).mean()),
}


@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize("name", NETS)
def test_gradients_equal_those_of_autograds_double_backward(name: str, kind: str) -> None:
    net, params, x = random_inputs(name)
    penalty, expected_value = PENALTIES[kind]
    actual = gradient_penalty(net, params, x, penalty, Mode(True))

    learned_params = {path: leaf.clone().requires_grad_() for path, leaf in flatten(params).items()}
    x_copy = x.clone().requires_grad_()
    y, _ = net.forward(nested_params(net, learned_params), x_copy, Mode(True))
    (g,) = torch.autograd.grad(y.sum(), x_copy, create_graph=True)
    norms = g.flatten(1).norm(dim=1)
    value = expected_value(norms)
    expected = torch.autograd.grad(value, list(learned_params.values()), allow_unused=True)

    torch.testing.assert_close(actual.value, value.detach())
    torch.testing.assert_close(actual.norms, norms.detach())
    dparams = flatten(actual.dparams)
    for path, gradient in zip(learned_params, expected, strict=True):
        if path.endswith("bias"):
            assert path not in dparams
            assert gradient is None or not bool(gradient.any())
        else:
            assert gradient is not None
            torch.testing.assert_close(dparams[path], gradient, rtol=1e-10, atol=1e-13)
            assert bool(gradient.any())


def nested_params(net: Layer, flat: dict[str, Tensor]) -> Params:
    """Return parameters by path as the network's tree, with an empty one for each layer without parameters."""
    result: Params = {}
    for path, _ in walk(net):
        subtree = result
        for part in path.split(".") if path else []:
            subtree = subtree.setdefault(part, {})
    for path, leaf in flat.items():
        *parents, name = path.split(".")
        subtree = result
        for part in parents:
            subtree = subtree[part]
        subtree[name] = leaf
    return result


def test_a_gradient_of_zero_has_a_penalty_and_zero_parameter_gradients() -> None:
    net, shape = NETS["dense"]
    params = map_tree(torch.zeros_like, net.init(shape, torch.Generator())[0])
    penalty = gradient_penalty(net, params, torch.ones(3, *shape), one_centred_penalty(10.0), Mode(True))
    assert float(penalty.value) == 10.0
    assert all(bool((leaf == 0).all()) for leaf in flatten(penalty.dparams).values())


@pytest.mark.parametrize(
    ("layer", "name"), [(BatchNorm(), "BatchNorm"), (Sigmoid(), "Sigmoid"), (MaxPool2d(2), "MaxPool2d")]
)
def test_layers_that_are_not_piecewise_linear_are_refused_by_name(layer: Layer, name: str) -> None:
    net = Sequential(conv=Conv2d(2, 3), odd=layer, flat=Flatten(), score=Dense(1))
    params, _ = net.init((1, 6, 6), torch.Generator())
    with pytest.raises(PellucidError, match=f"odd is a {name}"):
        gradient_penalty(net, params, torch.rand(2, 1, 6, 6), zero_centred_penalty(1.0), Mode(True))


def test_a_layer_that_is_used_twice_is_refused() -> None:
    nodes = {"one": (Dense(3), "input"), "two": ("one", "one"), "sum": (Add(), "one", "two")}
    net = Graph(nodes, ("sum",))
    params, _ = net.init((3,), torch.Generator())
    with pytest.raises(PellucidError, match="one is used again"):
        gradient_penalty(net, params, torch.rand(2, 3), zero_centred_penalty(1.0), Mode(True))
