"""A dense block in one tensor: the numbers of its layers as they are written, in memory that grows with its depth."""

import copy
from typing import Any

import pytest
import torch

from pellucid.combine import Parallel, Sequential
from pellucid.errors import PellucidError
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
from tests.oracle import Sample, assert_close, autograd, cast, cotangent, learned, leaves, ours, tree_map


def body(growth: int, act: Layer, epsilon: float, momentum: float) -> Sequential:
    return Sequential(
        norm1=BatchNorm(momentum, epsilon),
        act1=act,
        conv1=Conv2d(6, 1, bias=False),
        norm2=BatchNorm(epsilon=epsilon),
        act2=ReLU(),
        conv2=Conv2d(growth, 3, padding=1),
    )


def dense(inside: Layer) -> Parallel:
    return Parallel({"before": Identity(), "added": inside}, Concat())


# Layers that differ in all that they may differ in, and one whose body is no longer than it must be.
SHORT = Sequential(norm=BatchNorm(epsilon=0.3), act=ReLU(), conv=Conv2d(3, 3, padding="same"))
BLOCK = Sequential(
    one=dense(body(2, ReLU(), 0.1, 0.3)), two=dense(body(4, ReLU6(), 0.2, 0.1)), three=dense(SHORT)
)  # fmt: skip
NETS = {
    "in the middle": Sequential(stem=Conv2d(3, 3), block=BLOCK, norm=BatchNorm(), relu=ReLU(), conv=Conv2d(2, 1)),
    "first": Sequential(block=BLOCK, flatten=Flatten()),
    "last": Sequential(stem=Conv2d(3, 1), block=BLOCK),
    "among others": Sequential(Conv2d(3, 1), *BLOCK.children.values(), MaxPool2d(2), dense(SHORT), Sigmoid()),
    "before a sum of it": Sequential(Conv2d(2, 1), Parallel((BLOCK, BLOCK), Concat()), BLOCK),
}


def given(net: Layer) -> tuple[Any, torch.Tensor]:
    params, x = Sample(net, (2, 6, 5)).inputs()
    return params, 3 * x + 1  # far from mean 0 and variance 1, so that statistics matter


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NETS)
def test_outputs_and_gradients_equal_those_of_the_unfused_layers(
    name: str, form: torch.memory_format, train: bool
) -> None:
    net = NETS[name]
    params, x = given(net)
    y, dy, dx, dparams = ours(fuse(net), params, x.contiguous(memory_format=form), Mode(train))
    expected_y, expected_dx, expected = autograd(net, params, x, Mode(train), dy)
    assert_close(y, expected_y, 1e-12, "y")
    if name == "first":  # where no layer before the block learns, it still hands back dx
        assert_close(dx, expected_dx, 1e-10, "dx")
    assert_close(dparams, expected, 1e-10, "dparams")


@pytest.mark.parametrize("train", [True, False])
def test_running_statistics_equal_those_of_the_unfused_layers(train: bool) -> None:
    params, x = given(BLOCK)
    fused = copy.deepcopy(params)
    BLOCK.forward(params, x, Mode(train))
    fuse(BLOCK).forward(fused, x, Mode(train))
    assert_close(fused, params, 1e-12, "params")


@pytest.mark.parametrize("own_dy", [True, False])
def test_dy_is_overwritten_only_if_no_other_layer_reads_it(own_dy: bool) -> None:
    params, x = given(BLOCK)
    (block,) = (layer for layer in fuse(BLOCK).layers.values() if isinstance(layer, DenseBlock))  # pyright: ignore
    block = DenseBlock(block.rows, own_dy)
    y, cache = block.forward(params, x, Mode(True))
    dy = cotangent(y)
    arrived = dy.clone()
    _, dparams = backward(block, params, cache, arrived, consume=True)
    assert torch.equal(arrived, dy) is not own_dy
    assert_close(leaves(dparams), autograd(BLOCK, params, x, Mode(True), dy)[2], 1e-10, "dparams")


@pytest.mark.parametrize("train", [True, False])
def test_a_block_in_bfloat16_agrees_with_float64(train: bool) -> None:
    rng = torch.Generator().manual_seed(3)
    net = Sequential(stem=Conv2d(4, 1), block=BLOCK)
    params, _ = given(net)
    convolutions = {path for path, leaf in leaves(params).items() if "conv" in path or "stem" in path}
    half = halved(params, convolutions)
    x = (3 * torch.randn(6, 2, 6, 6, generator=rng)).bfloat16().contiguous(memory_format=torch.channels_last)
    wide = cast(half, torch.float64)
    far = []
    for one in (net, fuse(net)):
        y, cache = one.forward(tree_map(torch.clone, half), x, Mode(train))
        assert y.dtype is torch.bfloat16
        dy = cotangent(y)
        expected_y, _, expected = autograd(net, wide, x.double(), Mode(train), dy.double())
        assert_close(y, expected_y, 0.02, "y")
        _, dparams = backward(one, half, cache, dy, consume=True)
        leaves_by_path = leaves(dparams)
        assert {path: leaf.dtype for path, leaf in leaves_by_path.items()} == {
            path: leaves(half)[path].dtype for path in leaves_by_path
        }
        off = [(leaves_by_path[path].double() - leaf).norm() / (leaf.norm() + 1) for path, leaf in expected.items()]
        far.append(torch.stack(off).square().mean())
    # Sums of products that mostly cancel are far off in half precision, as they are written and fused.
    assert far[1] < 1.5 * far[0]


def halved(params: Any, which: set[str], path: str = "") -> Any:
    if isinstance(params, dict):
        return {name: halved(part, which, f"{path}.{name}".lstrip(".")) for name, part in params.items()}
    return params.bfloat16() if path in which else params.float()


@pytest.mark.parametrize("batch", [0, 1])
def test_training_on_one_value_per_channel_is_refused(batch: int) -> None:
    net = NETS["last"]
    params, _ = Sample(net, (2, 1, 1)).inputs()
    with pytest.raises(PellucidError, match="has no variance to train on"):
        fuse(net).forward(params, torch.ones(batch, 2, 1, 1, dtype=torch.float64), Mode(True))


def test_an_empty_batch_has_no_gradients() -> None:
    net = NETS["last"]
    params, x = given(net)
    before = copy.deepcopy(params)
    fused = fuse(net)
    y, cache = fused.forward(params, x[:0], Mode())
    _, dparams = backward(fused, params, cache, y, consume=True)
    assert y.shape == (0, 12, 6, 5)
    assert leaves(dparams).keys() == learned(net, params).keys()
    assert all(leaf.eq(0).all() for leaf in leaves(dparams).values())
    assert_close(params, before, 0.0, "params")


@pytest.mark.parametrize(
    "layer",
    [
        Parallel({"before": Identity(), "added": body(2, ReLU(), 0.1, 0.1)}, Concat(2)),
        Parallel({"added": body(2, ReLU(), 0.1, 0.1), "before": Identity()}, Concat()),
        Parallel({"before": Identity(), "added": SHORT, "more": SHORT}, Concat()),
        dense(Sequential(*SHORT.children.values(), AvgPool2d(1))),
        dense(Sequential(ReLU(), *SHORT.children.values())),
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
    y, dy, _, dparams = ours(fused, params, x, Mode(True))
    expected_y, _, expected = autograd(Sequential(layer), params, x, Mode(True), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dparams, expected, 1e-10, "dparams")


def kept(depth: int, fused: bool) -> int:
    """Return how many numbers a block of `depth` layers keeps for the way back."""
    net = dense_block(depth, 4)
    params, _ = net.init((4, 8, 8), torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    _, cache = (fuse(net) if fused else net).forward(params, x, Mode(True))
    held = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in leaves(cache).values()}
    return sum(held.values()) // 4


def test_the_cache_grows_linearly_with_the_depth_and_unfused_quadratically() -> None:
    added = {fused: [kept(depth + 4, fused) - kept(depth, fused) for depth in (4, 8, 12)] for fused in (True, False)}
    assert max(added[True]) < 1.02 * min(added[True])
    assert added[False][2] > 1.5 * added[False][0]
    pixels = 2 * 8 * 8
    assert added[True][0] < 1.1 * 4 * (4 + 16) * pixels  # each layer's own 4 maps, and the 16 of its bottleneck
