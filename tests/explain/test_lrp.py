"""Layer-wise relevance propagation through networks: equal to explicit matrices, and conserved."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
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
from tests.explain.networks import NETWORKS, network_and_batch
from tests.oracle import assert_close, normal, randomized
from tests.references import reference_forward
from tests.rules import dense
from tests.rules.dense import DenseRule as Rule

TARGET = torch.tensor([2, 0])


def matrix_leaf(
    convolution_rule: Rule, dense_rule: Rule, input_rule: Rule | None, net_input: Tensor, epsilon: float
) -> dense.Leaf:
    """Return a function that propagates the relevance of one leaf to its inputs by explicit matrices.

    input_rule: for layers with weights that read `net_input`, which one layer of the U-Net reads pooled.
    """

    def is_input(x: Tensor) -> bool:
        inputs = net_input, torch.nn.functional.max_pool2d(net_input, 2)
        return any(x.shape == tensor.shape and torch.equal(x, tensor) for tensor in inputs)

    def leaf(path: str, layer: Layer, params: Any, x: Any, y: Any, r: Tensor) -> Any:  # noqa: PLR0911 - one for each kind
        match layer:
            case Conv2d() | ConvTranspose2d() | Dense():
                rule = dense_rule if isinstance(layer, Dense) else convolution_rule
                return dense.relevance_by_matrix(
                    input_rule if input_rule is not None and is_input(x) else rule, layer, params, x, r
                )
            case ReLU() | ReLU6() | Tanh() | Sigmoid() | BatchNorm() | Identity():
                return r
            case AvgPool2d() | AdaptiveAvgPool2d():
                return dense.relevance_by_matrix(dense.epsilon_rule(epsilon), layer, params, x, r)
            case Add():
                total = torch.where(y >= 0, y + epsilon, y - epsilon)
                return tuple(tensor / total * r for tensor in x)
            case Multiply():
                return tuple(r / len(x) for _ in x)
            case Concat():
                return r.split([tensor.shape[1] for tensor in x], 1)
            case Flatten():
                return r.view(x.shape)
            case MaxPool2d():
                return max_pool_relevance(layer, x, r)
        raise AssertionError(layer)

    return leaf


def max_pool_relevance(layer: MaxPool2d, x: Tensor, r: Tensor) -> Tensor:
    """Return the relevance of x: each window's relevance goes to its largest value."""
    k, s, p = layer.kernel, layer.step, layer.padding
    assert isinstance(k, int)
    assert isinstance(s, int)
    assert isinstance(p, int)
    out = torch.zeros_like(x)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, r.shape)).tolist():
        rows = range(max(i * s - p, 0), min(i * s - p + k, x.shape[2]))
        columns = range(max(j * s - p, 0), min(j * s - p + k, x.shape[3]))
        winner = max((float(x[n, c, a, b]), -a, -b) for a in rows for b in columns)
        out[n, c, -winner[1], -winner[2]] += r[n, c, i, j]
    return out


EPSILON = 1e-6
COMPOSITES: dict[str, tuple[Any, Rule, Rule, Rule | None]] = {
    "epsilon": ("epsilon", dense.epsilon_rule(EPSILON), dense.epsilon_rule(EPSILON), None),
    "epsilon_plus": ("epsilon_plus", dense.z_plus_rule(EPSILON), dense.epsilon_rule(EPSILON), None),
    "epsilon_plus_flat": (
        "epsilon_plus_flat", dense.z_plus_rule(EPSILON), dense.epsilon_rule(EPSILON), dense.flat_rule(EPSILON),
    ),
    "epsilon_alpha2_beta1_flat": (
        "epsilon_alpha2_beta1_flat",
        dense.alpha_beta_rule(2, 1, EPSILON),
        dense.epsilon_rule(EPSILON),
        dense.flat_rule(EPSILON),
    ),
    "gamma everywhere": (
        relevance(Gamma(0.5), Gamma(0.5)), dense.gamma_rule(0.5, EPSILON), dense.gamma_rule(0.5, EPSILON), None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("lrp_composite", "convolution_rule", "dense_rule", "input_rule"), COMPOSITES.values(), ids=COMPOSITES.keys()
)
def test_relevance_is_that_of_explicit_matrices(
    name: str, lrp_composite: Any, convolution_rule: Rule, dense_rule: Rule, input_rule: Rule | None
) -> None:
    net, params, x = network_and_batch(name)
    folded, values = fold(net, params)
    y = reference_forward(folded, values, x, Mode())
    output_relevance = y * torch.nn.functional.one_hot(TARGET, 3)
    leaf = matrix_leaf(convolution_rule, dense_rule, input_rule, x, EPSILON)
    expected = dense.relevance_of(folded, values, x, output_relevance, leaf)
    assert_close(lrp(net, params, x, TARGET, lrp_composite), expected, 1e-8)


LOSSLESS = (Epsilon(1e-12, bias=False), Gamma(0.25, 1e-12, bias=False), Flat(1e-12))
# These rules lose the relevance of an output to which no input contributes with the required sign.
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
def test_relevance_adds_up_to_the_score_for_rules_without_bias(name: str, rule: Any) -> None:
    net, params, x = network_and_batch(name, seed=1)
    result = lrp(net, params, x, TARGET, relevance(rule, Epsilon(1e-12, bias=False), 1e-12))
    assert_close(result.flatten(1).sum(1), scores(net, params, x, TARGET), 1e-6)


@pytest.mark.parametrize("name", ["vgg", "resnet", "u-net"])
def test_without_biases_relevance_adds_up_to_the_score(name: str) -> None:
    net, params, x = network_and_batch(name, seed=2)

    def zero_biases(tree: Any) -> Any:
        return {
            key: zero_biases(value) if isinstance(value, dict) else torch.zeros_like(value) if "bias" in key else value
            for key, value in tree.items()
        }

    without_biases = zero_biases(params)
    for norm in [part for path, part in _walk(without_biases) if "running_mean" in part]:
        norm["running_mean"] = torch.zeros_like(norm["running_mean"])
    relevances = lrp(net, without_biases, x, TARGET, "epsilon", epsilon=1e-12, stabilizer=1e-12)
    assert_close(relevances.flatten(1).sum(1), scores(net, without_biases, x, TARGET), 1e-6)


def _walk(tree: Any, path: str = "") -> list[tuple[str, Any]]:
    return [
        (path, tree),
        *(item for key, value in tree.items() if isinstance(value, dict) for item in _walk(value, key)),
    ]


def test_relevance_of_an_inner_unit_adds_up_to_its_activation() -> None:
    net, params, x = network_and_batch("vgg")
    result = lrp(net, params, x, "conv2[1, 2, 0]", relevance(Epsilon(1e-12, bias=False), Epsilon()))
    assert_close(result.flatten(1).sum(1), scores(net, params, x, "conv2[1, 2, 0]"), 1e-6)
    assert torch.count_nonzero(result[:, :, :, 5:]) == 0  # outside of the unit's receptive field


def test_a_rule_for_a_path_precedes_the_rule_for_its_type() -> None:
    net, params, x = network_and_batch("vgg")
    table = composite(("conv1", ZPlus()), (Conv2d, Epsilon()), (Dense, Epsilon()), (AvgPool2d, Norm()))
    assert not torch.equal(lrp(net, params, x, 0, table), lrp(net, params, x, 0, composite(*table.rows[1:])))
    with pytest.raises(PellucidError, match="'conv3', which matches no layer"):
        lrp(net, params, x, 0, composite(("conv3", ZPlus())))


def invalid_arguments() -> list[tuple[dict[str, Any], str]]:
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


@pytest.mark.parametrize(("options", "message"), invalid_arguments())
def test_invalid_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match=message):
        lrp(net, params, x, 0, **options)


@pytest.mark.parametrize("make", [lambda entrance: relevance(Epsilon(), Epsilon())])
def test_a_user_defined_composite_is_a_function(make: Callable[..., Any]) -> None:
    net, params, x = network_and_batch("resnet")
    assert torch.equal(lrp(net, params, x, 1, make), lrp(net, params, x, 1, "epsilon"))
