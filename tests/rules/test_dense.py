"""Every relevance rule on every linear layer, against explicit matrices and sums over their entries."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from pellucid import rules
from pellucid.base.errors import PellucidError
from pellucid.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Layer,
    LpPool2d,
    MaxPool2d,
    Mode,
    ReLU,
    Upsample,
)
from pellucid.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, WSquare, ZBox, Zero, ZPlus
from tests.oracle import assert_close, normal, randomized
from tests.rules import dense

IMAGE = (2, 4, 3)
LAYERS: list[tuple[Layer, tuple[int, ...]]] = [
    (Dense(4), (5,)),
    (Dense(3, bias=False), (6,)),
    (Conv2d(3, 3, padding=1), IMAGE),
    (Conv2d(3, 2, stride=2, bias=False), IMAGE),
    (Conv2d(4, (2, 3), padding="same", groups=2), IMAGE),
    (Conv2d(2, 2, dilation=2, padding=(1, 2)), IMAGE),
    (ConvTranspose2d(3, 3, stride=2, padding=1, output_padding=1), IMAGE),
    (ConvTranspose2d(4, 2, groups=2), IMAGE),
]
LINEAR: list[tuple[Layer, tuple[int, ...]]] = [
    *LAYERS,
    (BatchNorm(), IMAGE),
    (AvgPool2d(2, 1, 1), IMAGE),
    (AdaptiveAvgPool2d((2, 2)), IMAGE),
    (Upsample(1.5, kind="bilinear"), IMAGE),
]
WEIGHT_RULES = [
    (Zero(), dense.zero_rule()),
    (Epsilon(), dense.epsilon_rule(1e-6)),
    (Epsilon(0.3), dense.epsilon_rule(0.3)),
    (Epsilon(0.3, bias=False), dense.without_bias(dense.epsilon_rule(0.3))),
    (Zero(bias=False), dense.without_bias(dense.zero_rule())),
    (Gamma(0.7), dense.gamma_rule(0.7, 1e-6)),
    (ZPlus(0.01), dense.z_plus_rule(0.01)),
    (ZPlus(0.01, bias=False), dense.without_bias(dense.z_plus_rule(0.01))),
    (AlphaBeta(), dense.alpha_beta_rule(2, 1, 1e-6)),
    (AlphaBeta(1.5, 0.5, 0.01, bias=False), dense.without_bias(dense.alpha_beta_rule(1.5, 0.5, 0.01))),
    (WSquare(), dense.w_square_rule(1e-6)),
    (Flat(), dense.flat_rule(1e-6)),
]
# The classes of rules in pellucid/rules/relevance.py, and Norm, which is for layers without weights.
RULES = [kind for kind in vars(rules).values() if isinstance(kind, type) and kind.__module__.endswith(".relevance")]
RULES_AND_NORM = [*(partial(kind, 0.0, 1.0) if kind is ZBox else kind for kind in RULES), Norm]
STABILIZED = [kind for kind in RULES_AND_NORM if "stabilizer" in {field.name for field in fields(kind())}]


def layer_run(layer: Layer, shape: tuple[int, ...], positive: bool = False) -> tuple[Any, Any, Any, Any]:
    rng = torch.Generator().manual_seed(3)
    params = randomized(layer.init(shape, rng)[0], rng)
    x = normal((2, *shape), rng)
    x = x.abs() if positive else x
    y, cache = layer.forward(params, x, Mode())
    return params, x, cache, normal(y.shape, rng)


def test_every_rule_has_its_formula() -> None:
    with_formula = {type(rule) for rule, _ in WEIGHT_RULES} | {ZBox}  # ZBox: see its own test below
    assert with_formula == {*RULES}, "add (rule, formula) to WEIGHT_RULES of tests/rules/test_dense.py"


@pytest.mark.parametrize(("layer", "shape"), LINEAR, ids=str)
@pytest.mark.parametrize(("rule", "expected"), [pytest.param(*pair, id=str(pair[0])) for pair in WEIGHT_RULES])
@pytest.mark.parametrize("positive", [True, False], ids=["positive", "any"])
def test_a_rule_shares_as_its_formula_says(rule: Any, expected: Any, layer: Layer, shape: Any, positive: bool) -> None:
    params, x, cache, relevance = layer_run(layer, shape, positive)
    is_flat_average = isinstance(rule, Flat) and isinstance(layer, AvgPool2d | AdaptiveAvgPool2d)
    if not params and not is_flat_average and not isinstance(rule, Zero | Epsilon):
        with pytest.raises(PellucidError, match=f"{type(rule).__name__} needs a layer with weights"):
            rule(layer, params, cache, relevance)
        return
    actual, dparams = rule(layer, params, cache, relevance)
    bias_relevance = (
        dense.bias_relevance(expected, layer, params, x, relevance) if getattr(rule, "bias", False) else 0.0
    )
    assert sum(float(part.sum()) for part in dparams.values()) == pytest.approx(bias_relevance, rel=1e-9, abs=1e-12)
    # For an average, the rule adds the stabilizer to weights of 1 / n, the formula to weights of 1.
    assert_close(
        actual, dense.relevance_by_matrix(expected, layer, params, x, relevance), 1e-5 if is_flat_average else 1e-9
    )


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=str)
@pytest.mark.parametrize("bounds", [(-4.0, 5.0), ((-4.0, -5.0), (5.0, 6.0))], ids=str)
def test_z_box_equals_its_formula(bounds: Any, layer: Layer, shape: Any) -> None:
    if isinstance(bounds[0], tuple) and len(shape) == 1:
        bounds = tuple(tuple(bound[i % 2] for i in range(shape[0])) for bound in bounds)
    params, x, cache, relevance = layer_run(layer, shape)
    low, high = (np.broadcast_to(np.reshape(bound, (-1, *(1,) * (len(shape) - 1))), shape).ravel() for bound in bounds)
    expected = dense.relevance_by_matrix(dense.z_box_rule(low, high, 1e-6), layer, params, x, relevance)
    assert_close(ZBox(*bounds)(layer, params, cache, relevance)[0], expected, 1e-9)


@pytest.mark.parametrize(
    ("layer", "shape"), [case for case in LINEAR if not isinstance(case[0], Dense | Conv2d)], ids=str
)
def test_norm_shares_by_contributions(layer: Layer, shape: Any) -> None:
    params, x, cache, relevance = layer_run(layer, shape)
    expected = dense.relevance_by_matrix(dense.epsilon_rule(0.1), layer, params, x, relevance)
    assert_close(Norm(0.1)(layer, params, cache, relevance)[0], expected, 1e-9)


def test_norm_shares_a_p_norm_by_the_powers_of_the_values() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).double()
    layer = LpPool2d(2, p=3)
    _, cache = layer.forward({}, x, Mode())
    actual, _ = Norm(0.0)(layer, {}, cache, torch.ones(1, 1, 1, 1).double())
    assert_close(actual, x**3 / 100, 1e-12)  # 100 = 1 + 8 + 27 + 64


@pytest.mark.parametrize("rule", [kind() for kind in RULES_AND_NORM], ids=str)
@pytest.mark.parametrize("layer", [ReLU(), MaxPool2d(2)], ids=str)
def test_layers_that_do_not_sum_weighted_inputs_are_refused(rule: Any, layer: Layer) -> None:
    x = torch.ones(1, 1, 2, 2)
    y, cache = layer.forward({}, x, Mode())
    with pytest.raises(PellucidError, match=f"{type(rule).__name__} needs a layer that sums"):
        rule(layer, {}, cache, y)


def test_inputs_outside_the_box_are_refused() -> None:
    layer = Dense(1)
    params, _ = layer.init((2,), torch.Generator())
    y, cache = layer.forward(params, torch.tensor([[0.0, 1.5]]), Mode())
    with pytest.raises(PellucidError, match=r"from 0 to 1.5, outside of 0.0 to 1.0"):
        ZBox(0.0, 1.0)(layer, params, cache, y)
    with pytest.raises(PellucidError, match="3 bounds"):
        ZBox((0.0,) * 3, (1.0,) * 3)(layer, params, cache, y)


def test_invalid_weights_of_rules_are_refused() -> None:
    with pytest.raises(PellucidError, match="alpha - beta must be 1"):
        AlphaBeta(2.0, 0.5)
    with pytest.raises(PellucidError, match="at least 0"):
        Gamma(-0.1)


@pytest.mark.parametrize("value", [-1e-6, float("nan"), float("inf"), "x"])
@pytest.mark.parametrize("rule", STABILIZED)
def test_stabilizers_below_0_are_refused(rule: Callable[..., Any], value: Any) -> None:
    with pytest.raises(PellucidError, match="stabilizer must be a number of at least 0"):
        rule(stabilizer=value)


def test_an_epsilon_below_0_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"Epsilon: epsilon must be a number of at least 0, not -0\.1"):
        Epsilon(-0.1)
