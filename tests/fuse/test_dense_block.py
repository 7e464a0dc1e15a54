"""A dense block fused into one tensor: the values of its unfused layers, in memory linear in its depth."""

import copy
from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.fuse import fuse
from pellucid.fuse.dense_block import DenseBlock
from pellucid.layers import (
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    Flatten,
    Identity,
    Layer,
    MaxPool2d,
    Mode,
    ReLU,
    ReLU6,
    Sigmoid,
)
from pellucid.models.densenet import dense_block
from pellucid.sweep import backward
from tests.oracle import (
    Sample,
    assert_close,
    autograd,
    cast,
    cotangent,
    forward_backward,
    learned_params,
    leaves,
    tree_map,
)


def body(growth: int, act: Layer, epsilon: float, momentum: float) -> Sequential:
    return Sequential(
        norm1=BatchNorm(momentum, epsilon),
        act1=act,
        conv1=Conv2d(6, 1, bias=False),
        norm2=BatchNorm(epsilon=epsilon),
        act2=ReLU(),
        conv2=Conv2d(growth, 3, padding=1),
    )


def dense(body: Layer) -> Parallel:
    return Parallel({"before": Identity(), "added": body}, Concat())


# The layers of BLOCK differ in every setting that may differ; SHORT_BODY is the shortest body that is fused.
SHORT_BODY = Sequential(norm=BatchNorm(epsilon=0.3), act=ReLU(), conv=Conv2d(3, 3, padding="same"))
BLOCK = Sequential(
    one=dense(body(2, ReLU(), 0.1, 0.3)), two=dense(body(4, ReLU6(), 0.2, 0.1)), three=dense(SHORT_BODY)
)  # fmt: skip
NETS = {
    "in the middle": Sequential(stem=Conv2d(3, 3), block=BLOCK, norm=BatchNorm(), relu=ReLU(), conv=Conv2d(2, 1)),
    "first": Sequential(block=BLOCK, flatten=Flatten()),
    "last": Sequential(stem=Conv2d(3, 1), block=BLOCK),
    "among others": Sequential(Conv2d(3, 1), *BLOCK.children.values(), MaxPool2d(2), dense(SHORT_BODY), Sigmoid()),
    "before a sum of it": Sequential(Conv2d(2, 1), Parallel((BLOCK, BLOCK), Concat()), BLOCK),
}


def params_and_x(net: Layer) -> tuple[Any, torch.Tensor]:
    params, x = Sample(net, (2, 6, 5)).inputs()
    return params, 3 * x + 1  # far from mean 0 and variance 1, so statistics matter


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NETS)
def test_outputs_and_gradients_equal_those_of_the_unfused_layers(
    name: str, layout: torch.memory_format, train: bool
) -> None:
    net = NETS[name]
    params, x = params_and_x(net)
    y, dy, dx, dparams = forward_backward(fuse(net), params, x.contiguous(memory_format=layout), Mode(train))
    expected_y, expected_dx, expected = autograd(net, params, x, Mode(train), dy)
    assert_close(y, expected_y, 1e-12, "y")
    if name == "first":  # the other networks start with a convolution, which omits dx
        assert_close(dx, expected_dx, 1e-10, "dx")
    assert_close(dparams, expected, 1e-10, "dparams")


@pytest.mark.parametrize("train", [True, False])
def test_running_statistics_equal_those_of_the_unfused_layers(train: bool) -> None:
    params, x = params_and_x(BLOCK)
    fused_params = copy.deepcopy(params)
    BLOCK.forward(params, x, Mode(train))
    fuse(BLOCK).forward(fused_params, x, Mode(train))
    assert_close(fused_params, params, 1e-12, "params")


@pytest.mark.parametrize("own_dy", [True, False])
def test_dy_is_overwritten_only_if_no_other_layer_reads_it(own_dy: bool) -> None:
    params, x = params_and_x(BLOCK)
    (block,) = (layer for layer in fuse(BLOCK).layers.values() if isinstance(layer, DenseBlock))  # pyright: ignore
    block = DenseBlock(block.dense_layers, own_dy)
    y, cache = block.forward(params, x, Mode(True))
    dy = cotangent(y)
    block_dy = dy.clone()
    _, dparams = backward(block, params, cache, block_dy, consume=True)
    assert torch.equal(block_dy, dy) is not own_dy
    assert_close(leaves(dparams), autograd(BLOCK, params, x, Mode(True), dy)[2], 1e-10, "dparams")


@pytest.mark.parametrize("train", [True, False])
def test_a_block_in_bfloat16_agrees_with_float64(train: bool) -> None:
    rng = torch.Generator().manual_seed(3)
    net = Sequential(stem=Conv2d(4, 1), block=BLOCK)
    params, _ = params_and_x(net)
    convolutions = {path for path, leaf in leaves(params).items() if "conv" in path or "stem" in path}
    params16 = to_bfloat16(params, convolutions)
    x = (3 * torch.randn(6, 2, 6, 6, generator=rng)).bfloat16().contiguous(memory_format=torch.channels_last)
    params64 = cast(params16, torch.float64)
    mean_errors = []
    for network in (net, fuse(net)):
        y, cache = network.forward(tree_map(torch.clone, params16), x, Mode(train))
        assert y.dtype is torch.bfloat16
        dy = cotangent(y)
        expected_y, _, expected = autograd(net, params64, x.double(), Mode(train), dy.double())
        assert_close(y, expected_y, 0.02, "y")
        _, dparams = backward(network, params16, cache, dy, consume=True)
        leaves_by_path = leaves(dparams)
        assert {path: leaf.dtype for path, leaf in leaves_by_path.items()} == {
            path: leaves(params16)[path].dtype for path in leaves_by_path
        }
        errors = [(leaves_by_path[path].double() - leaf).norm() / (leaf.norm() + 1) for path, leaf in expected.items()]
        mean_errors.append(torch.stack(errors).square().mean())
    # In half precision, sums that mostly cancel are inaccurate, both fused and unfused.
    assert mean_errors[1] < 1.5 * mean_errors[0]


def to_bfloat16(params: Any, paths: set[str], path: str = "") -> Any:
    if isinstance(params, dict):
        return {name: to_bfloat16(part, paths, f"{path}.{name}".lstrip(".")) for name, part in params.items()}
    return params.bfloat16() if path in paths else params.float()


@pytest.mark.parametrize("batch", [0, 1])
def test_training_on_one_value_per_channel_is_refused(batch: int) -> None:
    net = NETS["last"]
    params, _ = Sample(net, (2, 1, 1)).inputs()
    with pytest.raises(PellucidError, match="has no variance to train on"):
        fuse(net).forward(params, torch.ones(batch, 2, 1, 1, dtype=torch.float64), Mode(True))


def test_an_empty_batch_has_no_gradients() -> None:
    net = NETS["last"]
    params, x = params_and_x(net)
    before = copy.deepcopy(params)
    fused = fuse(net)
    y, cache = fused.forward(params, x[:0], Mode())
    _, dparams = backward(fused, params, cache, y, consume=True)
    assert y.shape == (0, 12, 6, 5)
    assert leaves(dparams).keys() == learned_params(net, params).keys()
    assert all(leaf.eq(0).all() for leaf in leaves(dparams).values())
    assert_close(params, before, 0.0, "params")


@pytest.mark.parametrize(
    "layer",
    [
        Parallel({"before": Identity(), "added": body(2, ReLU(), 0.1, 0.1)}, Concat(2)),
        Parallel({"added": body(2, ReLU(), 0.1, 0.1), "before": Identity()}, Concat()),
        Parallel({"before": Identity(), "added": SHORT_BODY, "more": SHORT_BODY}, Concat()),
        dense(Sequential(*SHORT_BODY.children.values(), AvgPool2d(1))),
        dense(Sequential(ReLU(), *SHORT_BODY.children.values())),
        dense(Sequential(BatchNorm(), Sigmoid(), Conv2d(3, 1))),
        dense(Sequential(Conv2d(3, 1))),
    ],
    ids=["rows", "order", "branches", "end", "start", "activation", "short"],
)
def test_similar_blocks_are_not_fused_as_dense_blocks(layer: Layer) -> None:
    shape = (2, 6, 2) if isinstance(layer, Parallel) and layer.merge == Concat(2) else (2, 6, 5)
    fused = fuse(Sequential(layer))
    assert not any(isinstance(child, DenseBlock) for child in fused.layers.values())  # pyright: ignore
    params, x = Sample(Sequential(layer), shape).inputs()
    y, dy, _, dparams = forward_backward(fused, params, x, Mode(True))
    expected_y, _, expected = autograd(Sequential(layer), params, x, Mode(True), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dparams, expected, 1e-10, "dparams")


def cached_count(depth: int, fused: bool) -> int:
    """Return the number of values that a block of `depth` layers caches for the backward pass."""
    net = dense_block(depth, 4)
    params, _ = net.init((4, 8, 8), torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    _, cache = (fuse(net) if fused else net).forward(params, x, Mode(True))
    bytes_by_storage = {
        part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in leaves(cache).values()
    }
    return sum(bytes_by_storage.values()) // 4


def test_the_fused_cache_grows_linearly_with_the_depth_and_the_unfused_quadratically() -> None:
    increases = {
        fused: [cached_count(depth + 4, fused) - cached_count(depth, fused) for depth in (4, 8, 12)]
        for fused in (True, False)
    }
    assert max(increases[True]) < 1.02 * min(increases[True])
    assert increases[False][2] > 1.5 * increases[False][0]
    pixels = 2 * 8 * 8
    assert increases[True][0] < 1.1 * 4 * (4 + 16) * pixels  # a layer's 4 maps and the 16 of its bottleneck
