"""Rules that receive a layer's recorded output: equal results as with a second forward pass, and fewer passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.explain import explain, lrp
from pellucid.layers import Conv2d, Dense, Flatten, Layer, MaxPool2d, Mode, ReLU
from pellucid.layers.base import Params
from pellucid.rules import (
    COMPOSITES,
    Epsilon,
    Gamma,
    OutputRule,
    Outputs,
    at_entrance,
    composite,
    epsilon_everywhere,
    relevance,
)
from pellucid.sweep import backward, forward
from tests.oracle import assert_close, normal, randomized
from tests.rules.test_dense import WEIGHT_RULES

NET = Sequential(
    conv1=Conv2d(4, 3, padding=1), relu1=ReLU(), pool=MaxPool2d(2), conv2=Conv2d(5, 3), relu2=ReLU(), flat=Flatten(),
    dense=Dense(6), relu3=ReLU(), scores=Dense(3),
)  # fmt: skip


def params_and_inputs(seed: int = 0) -> tuple[Params, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return randomized(NET.init((2, 8, 8), rng)[0], rng), normal((2, 2, 8, 8), rng)


@contextmanager
def count_passes() -> Iterator[dict[str, int]]:
    """Count forward and backward passes of convolutions and dense layers inside the context."""
    passes = {"forward": 0, "pull": 0}

    def count_calls(kind: type[Layer], name: str):
        method = getattr(kind, name)

        def run(self, *args):
            passes[name] += 1
            return method(self, *args)

        return patch.object(kind, name, run)

    with (
        count_calls(Conv2d, "forward"),
        count_calls(Conv2d, "pull"),
        count_calls(Dense, "forward"),
        count_calls(Dense, "pull"),
    ):
        yield passes


@pytest.mark.parametrize("rule", [rule for rule, _ in WEIGHT_RULES if isinstance(rule, OutputRule)], ids=str)
@pytest.mark.parametrize("layer", [Dense(4), Dense(4, bias=False), Conv2d(3, 3, padding=1)], ids=str)
def test_the_output_that_is_told_makes_no_difference(rule: OutputRule, layer: Layer) -> None:
    shape = (6,) if isinstance(layer, Dense) else (2, 5, 5)
    rng = torch.Generator().manual_seed(1)
    params, x = randomized(layer.init(shape, rng)[0], rng), normal((3, *shape), rng)
    y, cache = layer.forward(params, x, Mode())
    dy = normal(tuple(y.shape), rng)
    assert_close(rule(layer, params, cache, dy, y)[0], rule(layer, params, cache, dy)[0], 1e-12)


def test_recorded_outputs_do_not_change_the_relevance() -> None:
    params, x = params_and_inputs()
    outputs = Outputs()
    y, cache = forward(NET, params, x, Mode(), outputs)
    table = epsilon_everywhere()(None)  # pyright: ignore[reportArgumentType] - it does not use the entrance
    assert_close(
        backward(NET, params, cache, y, outputs.inform(table))[0], backward(NET, params, cache, y, table)[0], 1e-12
    )


def test_each_use_of_a_layer_has_its_own_output() -> None:
    layer, outputs = Dense(3), Outputs()
    rng = torch.Generator().manual_seed(2)
    params = randomized(layer.init((3,), rng)[0], rng)
    first, second = normal((2, 3), rng), normal((2, 3), rng)
    rules = outputs.inform(composite((Dense, Epsilon())))
    caches = [forward(layer, params, x, Mode(), outputs)[1] for x in (first, second)]
    dy = normal((2, 3), rng)
    for cache in caches:
        assert_close(backward(layer, params, cache, dy, rules)[0], Epsilon()(layer, params, cache, dy)[0], 1e-12)


# (forward, backward) passes of the four layers with weights; rules that modify weights need additional passes.
PASSES = {"epsilon": (4, 4), "epsilon_plus": (7, 5), "excitation_backprop": (9, 5)}


@pytest.mark.parametrize("name", PASSES)
def test_each_composite_runs_layers_the_expected_number_of_times(name: str) -> None:
    params, x = params_and_inputs()
    with count_passes() as passes:
        lrp(NET, params, x, 1, name)
    # The first layer's input has negative values, so z-plus runs it twice.
    assert (passes["forward"], passes["pull"]) == PASSES[name]


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "guided_backprop", "deconvnet", "gradcam"])
def test_gradients_take_one_pass_each_way(method: str) -> None:
    params, x = params_and_inputs()
    with count_passes() as passes:
        explain(NET, params, x, method, 1)
    assert passes["forward"] == 4
    assert passes["pull"] <= 4


def test_gamma_skips_the_sign_of_outputs_without_relevance() -> None:
    params, x = params_and_inputs()
    x = x.abs()
    with count_passes() as passes:
        lrp(NET, params, x, 1, lambda entrance: relevance(Gamma(), Epsilon()))
    # only positive outputs of conv1 and conv2 have relevance, so the negative pass is skipped
    assert (passes["forward"], passes["pull"]) == (4 + 2, 4)


def test_rules_at_the_entrance_receive_recorded_outputs() -> None:
    params, x = params_and_inputs()
    with count_passes() as passes:
        lrp(NET, params, x, 1, lambda entrance: at_entrance(entrance, Epsilon(), relevance(Epsilon(), Epsilon())))
    assert passes["forward"] == 4


def test_every_composite_returns_finite_relevance() -> None:
    params, x = params_and_inputs()
    for name in COMPOSITES:
        options: dict[str, Any] = {"low": -9.0, "high": 9.0} if name == "epsilon_gamma_box" else {}
        assert lrp(NET, params, x, 1, name, **options).isfinite().all()
