"""Relevance through whole networks: as explicit matrices say, and without loss."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.explain import lrp, scores
from pellucid.layers import (
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    Multiply,
    ReLU,
    ReLU6,
    Sigmoid,
    Tanh,
)
from pellucid.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, ZPlus, composite, fold, relevance
from tests.explain.networks import NETWORKS, made
from tests.oracle import assert_close, normal, randomized
from tests.references import reference_forward
from tests.rules import dense
from tests.rules.dense import Dense as Rule

TARGET = torch.tensor([2, 0])


def slow_leaf(convolution: Rule, connected: Rule, first: Rule | None, start: Tensor, epsilon: float) -> dense.Leaf:
    """Return how a leaf shares relevance, by matrices; `first` is for layers with weights that read the input `start`.

    In the U-Net one of them reads it pooled.
    """

    def is_input(x: Tensor) -> bool:
        forms = start, torch.nn.functional.max_pool2d(start, 2)
        return any(x.shape == form.shape and torch.equal(x, form) for form in forms)

    def leaf(path: str, layer: Layer, params: Any, x: Any, y: Any, r: Tensor) -> Any:  # noqa: PLR0911 - one for each kind
        match layer:
            case Conv2d() | ConvTranspose2d() | Dense():
                usual = connected if isinstance(layer, Dense) else convolution
                return dense.slow(first if first is not None and is_input(x) else usual, layer, params, x, r)
            case ReLU() | ReLU6() | Tanh() | Sigmoid() | BatchNorm() | Identity():
                return r
            case AvgPool2d() | AdaptiveAvgPool2d():
                return dense.slow(dense.epsilon_rule(epsilon), layer, params, x, r)
            case Add():
                total = torch.where(y >= 0, y + epsilon, y - epsilon)
                return tuple(one / total * r for one in x)
            case Multiply():
                return tuple(r / len(x) for _ in x)
            case Concat():
                return r.split([one.shape[1] for one in x], 1)
            case Flatten():
                return r.view(x.shape)
            case MaxPool2d():
                return winners(layer, x, r)
        raise AssertionError(layer)

    return leaf


def winners(layer: MaxPool2d, x: Tensor, r: Tensor) -> Tensor:
    """Give each window's relevance to its largest value, window by window."""
    k, s, p = layer.kernel, layer.step, layer.padding
    assert isinstance(k, int)
    assert isinstance(s, int)
    assert isinstance(p, int)
    out = torch.zeros_like(x)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, r.shape)).tolist():
        rows = range(max(i * s - p, 0), min(i * s - p + k, x.shape[2]))
        columns = range(max(j * s - p, 0), min(j * s - p + k, x.shape[3]))
        best = max((float(x[n, c, a, b]), -a, -b) for a in rows for b in columns)
        out[n, c, -best[1], -best[2]] += r[n, c, i, j]
    return out


E = 1e-6
COMPOSITES: dict[str, tuple[Any, Rule, Rule, Rule | None]] = {
    "epsilon": ("epsilon", dense.epsilon_rule(E), dense.epsilon_rule(E), None),
    "epsilon_plus": ("epsilon_plus", dense.z_plus_rule(E), dense.epsilon_rule(E), None),
    "epsilon_plus_flat": ("epsilon_plus_flat", dense.z_plus_rule(E), dense.epsilon_rule(E), dense.flat_rule(E)),
    "epsilon_alpha2_beta1_flat": (
        "epsilon_alpha2_beta1_flat",
        dense.alpha_beta_rule(2, 1, E),
        dense.epsilon_rule(E),
        dense.flat_rule(E),
    ),
    "gamma everywhere": (
        relevance(Gamma(0.5), Gamma(0.5)), dense.gamma_rule(0.5, E), dense.gamma_rule(0.5, E), None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("chosen", "convolution", "connected", "first"), COMPOSITES.values(), ids=COMPOSITES.keys())
def test_relevance_is_that_of_explicit_matrices(
    name: str, chosen: Any, convolution: Rule, connected: Rule, first: Rule | None
) -> None:
    net, params, x = made(name)
    folded, values = fold(net, params)
    y = reference_forward(folded, values, x, Mode())
    above = y * torch.nn.functional.one_hot(TARGET, 3)
    leaf = slow_leaf(convolution, connected, first, x, E)
    expected = dense.relevance_of(folded, values, x, above, leaf)
    assert_close(lrp(net, params, x, TARGET, chosen), expected, 1e-8)


LOSSLESS = (Epsilon(1e-12, bias=False), Gamma(0.25, 1e-12, bias=False), Flat(1e-12))
# These lose what reaches an output to which no input contributes with the right sign.
SIGNED = (ZPlus(1e-12, bias=False), AlphaBeta(2.0, 1.0, 1e-12, bias=False))


@pytest.mark.parametrize("rule", [*LOSSLESS, *SIGNED], ids=str)
def test_relevance_adds_up_where_every_output_has_contributions_of_both_signs(rule: Any) -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(conv=Conv2d(30, 3), relu=ReLU(), conv2=Conv2d(30, 2), relu2=ReLU(), flat=Flatten(), out=Dense(3))
    params = randomized(net.init((4, 6, 6), rng)[0], rng)
    x = normal((2, 4, 6, 6), rng)
    result = lrp(net, params, x, TARGET, relevance(rule, rule))
    assert_close(result.flatten(1).sum(1), scores(net, params, x, TARGET), 1e-9)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", LOSSLESS, ids=str)
def test_relevance_adds_up_to_the_score_where_biases_take_nothing(name: str, rule: Any) -> None:
    net, params, x = made(name, seed=1)
    result = lrp(net, params, x, TARGET, relevance(rule, Epsilon(1e-12, bias=False), 1e-12))
    assert_close(result.flatten(1).sum(1), scores(net, params, x, TARGET), 1e-6)


@pytest.mark.parametrize("name", ["vgg", "resnet", "u-net"])
def test_the_missing_relevance_is_that_of_the_biases(name: str) -> None:
    net, params, x = made(name, seed=2)

    def biasless(tree: Any) -> Any:
        return {
            key: biasless(value) if isinstance(value, dict) else torch.zeros_like(value) if "bias" in key else value
            for key, value in tree.items()
        }

    bare = biasless(params)
    for norm in [part for path, part in _walk(bare) if "running_mean" in part]:
        norm["running_mean"] = torch.zeros_like(norm["running_mean"])
    found = lrp(net, bare, x, TARGET, "epsilon", epsilon=1e-12, stabilizer=1e-12)
    assert_close(found.flatten(1).sum(1), scores(net, bare, x, TARGET), 1e-6)


def _walk(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    return [(path, tree), *(one for key, value in tree.items() if isinstance(value, dict) for one in _walk(value, key))]


def test_relevance_of_an_inner_unit_is_that_of_the_network_up_to_it() -> None:
    net, params, x = made("vgg")
    result = lrp(net, params, x, "conv2[1, 2, 0]", relevance(Epsilon(1e-12, bias=False), Epsilon()))
    assert_close(result.flatten(1).sum(1), scores(net, params, x, "conv2[1, 2, 0]"), 1e-6)
    assert torch.count_nonzero(result[:, :, :, 5:]) == 0  # beyond what the unit sees


def test_a_layer_named_by_path_takes_its_own_rule() -> None:
    net, params, x = made("vgg")
    table = composite(("conv1", ZPlus()), (Conv2d, Epsilon()), (Dense, Epsilon()), (AvgPool2d, Norm()))
    assert not torch.equal(lrp(net, params, x, 0, table), lrp(net, params, x, 0, composite(*table.rows[1:])))
    with pytest.raises(PellucidError, match="'conv3', which matches no layer"):
        lrp(net, params, x, 0, composite(("conv3", ZPlus())))


def mistakes() -> list[tuple[dict[str, Any], str]]:
    return [
        ({"composite": "epsilon_pluss"}, "no composite 'epsilon_pluss'; did you mean 'epsilon_plus'"),
        ({"composite": "epsilon_plus", "gamma": 1.0}, "unexpected keyword argument 'gamma'"),
        ({"composite": "epsilon_gamma_box"}, "missing 2 required positional arguments"),
        ({"composite": "guided_backprop"}, "use the method explain.guided_backprop"),
        ({"composite": "deconvnet"}, "use the method explain.deconvnet"),
        ({"composite": 3}, "composite must be a name, a table of rules or a function, not 3"),
        ({"composite": None}, "composite must be a name"),
        ({"composite": "epsilon", "epsilon": "x"}, "Epsilon: epsilon must be a number of at least 0, not 'x'"),
        ({"composite": "epsilon_plus", "stabilizer": -1.0}, "stabilizer must be a number of at least 0, not -1.0"),
        ({"composite": composite(), "epsilon": 1.0}, "epsilon: options are for composites by name"),
    ]


@pytest.mark.parametrize(("options", "message"), mistakes())
def test_mistakes_are_reported(options: dict[str, Any], message: str) -> None:
    net, params, x = made("vgg")
    with pytest.raises(PellucidError, match=message):
        lrp(net, params, x, 0, **options)


@pytest.mark.parametrize("make", [lambda entrance: relevance(Epsilon(), Epsilon())])
def test_a_user_defined_composite_is_a_function(make: Callable[..., Any]) -> None:
    net, params, x = made("resnet")
    assert torch.equal(lrp(net, params, x, 1, make), lrp(net, params, x, 1, "epsilon"))
