"""The forward and backward recursion over layers: observers, custom rules, replaced outputs and freed caches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.layers import Add, Conv2d, Dense, Flatten, Identity, Layer, MaxPool2d, Mode, ReLU
from pellucid.sweep import Rule, backward, forward, gradient, own_rule, run
from tests.oracle import assert_close, autograd, cotangent, leaves, normal, randomized

NET = Sequential(
    stem=Conv2d(3, 3, padding=1),
    block=Parallel({"skip": Identity(), "body": Sequential(act=ReLU(), conv=Conv2d(3, 3, padding=1))}, Add()),
    pool=MaxPool2d(2),
    flat=Flatten(),
    out=Dense(2),
)


@pytest.fixture
def forward_pass() -> tuple[Any, Any, Any, Any, Any]:
    rng = torch.Generator().manual_seed(0)
    params = randomized(NET.init((2, 4, 4), rng)[0], rng)
    x = normal((3, 2, 4, 4), rng)
    y, cache = forward(NET, params, x, Mode())
    return params, x, y, cache, cotangent(y)


def test_the_forward_watch_is_called_after_each_layer(forward_pass: Any) -> None:
    params, x, y, cache, _ = forward_pass
    events: list[tuple[str, Layer, Any, Any, Any]] = []
    watched_y, _ = forward(NET, params, x, Mode(), watch=lambda *event: events.append(event))
    assert torch.equal(watched_y, y)
    assert [event[0] for event in events] == [
        "stem",
        "block.skip",
        "block.body.act",
        "block.body.conv",
        "block.body",
        "block.merge",
        "block",
        "pool",
        "flat",
        "out",
        "",
    ]
    by_path = {event[0]: event for event in events}
    assert torch.equal(by_path["block.skip"][2], by_path["stem"][3])
    assert torch.equal(by_path["pool"][2], by_path["block"][3])
    assert by_path["stem"][1] == Conv2d(3, 3, padding=1)
    assert torch.equal(by_path["stem"][2], x)
    assert_close(by_path["pool"][4], cache["pool"], 0.0)


def test_a_leaf_function_runs_every_layer(forward_pass: Any) -> None:
    params, x, y, _, _ = forward_pass
    paths: list[str] = []

    def leaf(path: str, layer: Layer, params: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        paths.append(path)
        y, cache = layer.forward(params, x, mode)
        return (y * 0 if path == "block.body.conv" else y), cache

    assert not torch.equal(run(NET, params, x, Mode(), leaf)[0], y)
    assert paths == ["stem", "block.skip", "block.body.act", "block.body.conv", "block.merge", "pool", "flat", "out"]


def test_a_replaced_output_is_the_input_of_the_next_layers(forward_pass: Any) -> None:
    params, x, _, _, _ = forward_pass
    paths: list[str] = []

    def after(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> Any:
        paths.append(path)
        return torch.ones_like(y) if path == "block" else y

    pooled = torch.ones(3, 12, dtype=torch.float64)  # max pooling of ones
    expected = pooled @ params["out"]["weight"].T + params["out"]["bias"]
    assert_close(run(NET, params, x, Mode(), after=after)[0], expected, 1e-12)
    assert paths[-6:] == ["block.merge", "block", "pool", "flat", "out", ""]


def test_the_backward_watch_sees_each_layer_when_it_is_done(forward_pass: Any) -> None:
    params, x, _, cache, dy = forward_pass
    events: list[tuple[str, Layer, Any, Any, Any]] = []
    result = backward(NET, params, cache, dy, watch=lambda *event: events.append(event))
    assert_close(result, backward(NET, params, cache, dy), 0.0)
    assert [event[0] for event in events] == [
        "out",
        "flat",
        "pool",
        "block.merge",
        "block.body.conv",
        "block.body.act",
        "block.body",
        "block.skip",
        "block",
        "stem",
        "",
    ]
    by_path = {event[0]: event for event in events}
    assert by_path["out"][2] is dy
    assert torch.equal(by_path["stem"][2], by_path["block"][3])
    assert torch.equal(by_path["block"][3], by_path["block.body"][3] + by_path["block.skip"][3])
    _, dx, dparams = autograd(NET, params, x, Mode(), dy)
    assert_close(by_path["stem"][3], dx[""], 1e-12)
    assert_close(by_path["block.body.conv"][4]["weight"], dparams["block.body.conv.weight"], 1e-12)
    assert_close(by_path[""][4], result[1], 0.0)


def test_a_rule_replaces_the_backward_of_the_layers_it_names(forward_pass: Any) -> None:
    """In guided backpropagation (Springenberg et al. 2015), a ReLU passes only positive output gradients."""
    params, x, _, cache, dy = forward_pass
    paths_of_rules: list[str] = []

    def guided(layer: Layer, params: Any, cache: Any, dy: Tensor) -> Any:
        return layer.backward(params, cache, dy.clamp_min(0))

    def rules(path: str, layer: Layer) -> Rule:
        paths_of_rules.append(path)
        table = ((ReLU, guided), (Layer, own_rule))
        return next(rule for kind, rule in table if isinstance(layer, kind))

    dx, _ = backward(NET, params, cache, dy, rules)
    assert paths_of_rules == [
        "out",
        "flat",
        "pool",
        "block.merge",
        "block.body.conv",
        "block.body.act",
        "block.skip",
        "stem",
    ]

    class GuidedReLU(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.clamp_min(0)

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:
            return dy.clamp_min(0) * (ctx.saved_tensors[0] > 0)

    def convolve(name: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, name["weight"], name["bias"], padding=1)

    leaf = x.clone().requires_grad_()
    stem = convolve(params["stem"], leaf)
    body = convolve(params["block"]["body"]["conv"], GuidedReLU.apply(stem))
    pooled = torch.nn.functional.max_pool2d(stem + body, 2).flatten(1)
    y = torch.nn.functional.linear(pooled, params["out"]["weight"], params["out"]["bias"])
    (expected,) = torch.autograd.grad(y, leaf, dy)
    assert_close(dx, expected, 1e-12)
    assert (dx - backward(NET, params, cache, dy)[0]).abs().max() > 1e-3


def test_the_gradient_rules_are_each_layers_own(forward_pass: Any) -> None:
    params, _, _, cache, dy = forward_pass
    assert gradient("anywhere", ReLU()) is own_rule
    result = backward(NET, params, cache, dy, rules=lambda path, layer: own_rule)
    assert_close(result, backward(NET, params, cache, dy), 0.0)


@pytest.mark.parametrize("watch", [None, lambda *event: None])
def test_a_consuming_sweep_empties_the_cache_and_gives_equal_gradients(forward_pass: Any, watch: Any) -> None:
    params, _, _, cache, dy = forward_pass
    expected = backward(NET, params, cache, dy)
    assert leaves(cache)
    inner = cache["block"]["body"]
    assert_close(backward(NET, params, cache, dy, watch=watch, consume=True), expected, 0.0)
    assert cache == {}
    assert inner == {}


def test_a_consuming_sweep_frees_caches_during_the_pass(forward_pass: Any) -> None:
    params, _, _, cache, dy = forward_pass
    remaining_caches: dict[str, list[str]] = {}
    backward(
        NET, params, cache, dy, watch=lambda path, *rest: remaining_caches.update({path: list(cache)}), consume=True
    )
    assert remaining_caches["flat"] == ["stem", "block", "pool"]
    assert remaining_caches["stem"] == []


def test_the_input_is_checked_once_at_the_start() -> None:
    params, _ = NET.init((2, 4, 4), torch.Generator())
    with pytest.raises(PellucidError, match="uint8 on cpu"):
        forward(NET, params, torch.zeros(1, 2, 4, 4, dtype=torch.uint8), Mode())
    with pytest.raises(PellucidError, match="takes a tensor, not list"):
        forward(NET, params, [1.0, 2.0], Mode())
