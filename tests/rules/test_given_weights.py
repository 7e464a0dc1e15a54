"""Rules for layers whose weights, scales or slopes are inputs: these are constants and receive no relevance."""

from typing import Any

import pytest
import torch

from pellucid.layers import Conv2d, Dense, Mode
from pellucid.operators import (
    Convolve,
    LinearMap,
    NormalizeGroups,
    NormalizeLast,
    Over,
    ParametricReLU,
)
from pellucid.rules import AsWeighted, Epsilon, First
from tests.oracle import assert_close, normal, randomized
from tests.rules.test_dense import WEIGHT_RULES


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize(
    ("layer", "other_shapes"),
    [
        (Over(), ((2, 3),)),
        (ParametricReLU(), ((1,),)),
        (NormalizeLast((3,)), ((3,), (3,))),
        (NormalizeLast((3,)), ()),
        (NormalizeGroups(3), ((3,),)),
    ],
    ids=str,
)
def test_the_first_input_takes_all_relevance(layer: Any, other_shapes: tuple[tuple[int, ...], ...]) -> None:
    xs = (normal((2, 3), rng()), *(torch.ones(shape).double() for shape in other_shapes))
    _, cache = layer.forward({}, xs if other_shapes else xs[0], Mode())
    r = normal((2, 3), rng())
    actual, dparams = First()(layer, {}, cache, r)
    assert dparams == {}
    first, *other_relevances = actual if other_shapes else (actual,)
    assert torch.equal(first, r)
    assert other_relevances == [None] * len(other_shapes)


def test_the_first_input_receives_the_sum_over_broadcast_axes() -> None:
    _, cache = Over().forward({}, (torch.ones(2, 1), torch.ones(2, 3)), Mode())
    actual, _ = First()(Over(), {}, cache, torch.ones(2, 3))
    assert actual[0].tolist() == [[3.0], [3.0]]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("rule", [rule for rule, _ in WEIGHT_RULES], ids=str)
def test_a_convolution_with_given_weights_shares_as_one_with_its_own(rule: Any, has_bias: bool) -> None:
    layer = Conv2d(6, 3, stride=2, padding=1, groups=2, bias=has_bias)
    params = randomized(layer.init((4, 7, 5), rng())[0], rng())
    x = normal((2, 4, 7, 5), rng())
    y, cache = layer.forward(params, x, Mode())
    expected, dparams = rule(layer, params, cache, y)
    operator = Convolve((2, 2), (1, 1), (1, 1), 2)
    _, cache = operator.forward({}, (x, *params.values()), Mode())
    actual, operator_dparams = AsWeighted(rule)(operator, {}, cache, y)
    assert_close(actual[0], expected, 1e-12)
    assert actual[1] is None
    assert operator_dparams == {}
    if has_bias and "bias" in dparams:
        assert_close(actual[2], dparams["bias"], 1e-12)
    else:
        assert list(actual[2:]) == [None] * has_bias


def test_relevance_of_a_1d_convolution_equals_that_of_its_matrix() -> None:
    x, weight, bias = normal((1, 1, 4), rng()), torch.tensor([[[2.0, -1.0]]]).double(), torch.ones(1).double()
    layer = Convolve((1,), (0,), (1,))
    y, cache = layer.forward({}, (x, weight, bias), Mode())
    matrix = torch.tensor([[2.0, -1, 0, 0], [0, 2, -1, 0], [0, 0, 2, -1]]).double()
    actual, _ = AsWeighted(Epsilon(1e-3))(layer, {}, cache, torch.ones_like(y))
    z = y.flatten() + 1e-3 * y.flatten().sign()
    assert_close(actual[0].flatten(), x.flatten() * (matrix.T @ (1 / z)), 1e-12)
    assert_close(actual[2], (1 / z).sum()[None], 1e-12)


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_linear_map_shares_as_a_dense_layer(has_bias: bool) -> None:
    layer = Dense(3, bias=has_bias)
    params = randomized(layer.init((4,), rng())[0], rng())
    x = normal((2, 4), rng())
    y, cache = layer.forward(params, x, Mode())
    expected, dparams = Epsilon()(layer, params, cache, y)
    _, cache = LinearMap().forward({}, (x, *params.values()), Mode())
    actual, operator_dparams = AsWeighted(Epsilon())(LinearMap(), {}, cache, y)
    assert_close(actual[0], expected, 1e-12)
    assert actual[1] is None
    assert operator_dparams == {}
    if has_bias:
        assert_close(actual[2], dparams["bias"], 1e-12)
