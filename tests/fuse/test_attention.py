"""Attention block by block has the output and the gradients of attention as written."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid.combine import Graph
from pellucid.fuse import fuse
from pellucid.fuse.attention import FlashCache, FusedAttention
from pellucid.fuse.inference import inference
from pellucid.fuse.inference.runs import AsWritten
from pellucid.layers import Mode
from pellucid.operators import Attention
from pellucid.operators.products import AttentionCache
from tests.fuse.test_inference import all_parts
from tests.oracle import assert_close, forward_backward, leaves, replace_rng

NET = Graph({"y": (Attention(), "q", "k", "v")}, ("y",), ("q", "k", "v"))


def draw_inputs(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(3)
    return tuple(torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes)


def autograd(layer: Attention, xs: tuple[Tensor, ...], dy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Return y, and the gradients of q, k and v by autograd, from PyTorch's own definition of attention."""
    q, k, v = (x.clone().requires_grad_() for x in xs)
    with sdpa_kernel(SDPBackend.MATH):
        y = F.scaled_dot_product_attention(q, k, v, is_causal=layer.causal, scale=layer.scale)
    return y.detach(), leaves(torch.autograd.grad(y, (q, k, v), dy))


def images_by_heads(x: Tensor) -> Tensor:
    """Return x (N, T, heads, d) as (N, heads, T, d) in the same memory, as vision transformers do."""
    return x.transpose(1, 2)


@pytest.mark.parametrize("layer", [Attention(), Attention(causal=True), Attention(scale=0.3)], ids=str)
@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (7, 5), (1, 1), (70, 600)])
def test_fused_attention_equals_the_definition_and_its_autograd(layer: Attention, queries: int, keys: int) -> None:
    q, k, v = map(images_by_heads, draw_inputs((2, queries, 3, 4), (2, keys, 3, 4), (2, keys, 3, 4)))
    fused = fuse(layer)
    assert type(fused) is FusedAttention
    assert type(fused.forward({}, (q, k, v), Mode())[1]) is FlashCache
    y, dy, dx, _ = forward_backward(fused, {}, (q, k, v), Mode())
    expected_y, expected_dx = autograd(layer, (q, k, v), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dx, expected_dx, 1e-10, "dx")


def exchanged_axes(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT


def one_value_per_head(x: Tensor) -> Tensor:
    return x[:, :, :1, :1].expand(x.shape)


def one_row_per_head(x: Tensor) -> Tensor:
    return x[:, :, :1].expand(x.shape)


def slice_of_a_larger_tensor(x: Tensor) -> Tensor:
    return torch.cat([x, x, x], 3)[..., x.shape[3] : 2 * x.shape[3]]


@pytest.mark.parametrize("arrange", [exchanged_axes, one_value_per_head, one_row_per_head, slice_of_a_larger_tensor])
def test_inputs_and_gradients_have_any_memory_layout(arrange: Callable[[Tensor], Tensor]) -> None:
    xs = tuple(map(arrange, draw_inputs(*((2, 3, 5, 4),) * 3)))
    dy = arrange(draw_inputs((2, 3, 5, 4))[0])
    y, _, dx, _ = forward_backward(FusedAttention(Attention()), {}, xs, Mode(), dy)
    expected_y, expected_dx = autograd(Attention(), xs, dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dx, expected_dx, 1e-10, "dx")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("keys", [1, 5, 16, 20])
@pytest.mark.parametrize("index", [0, 1, 2], ids=["q", "k", "v"])
def test_nan_is_not_lost(index: int, keys: int, dtype: torch.dtype) -> None:
    """For few keys, PyTorch's kernel returns 0 for a query with NaN."""
    xs = draw_inputs((1, 1, 3, 4), (1, 1, keys, 4), (1, 1, keys, 4), dtype=dtype)
    xs[index][0, 0, 0, 0] = torch.nan
    y, _ = FusedAttention(Attention()).forward({}, xs, Mode())
    expected, _ = Attention().forward({}, xs, Mode())
    assert torch.equal(y.isnan(), expected.isnan())


def test_scores_that_overflow_give_nan_as_in_the_definition() -> None:
    q, k = torch.full((1, 1, 3, 4), 1e20), torch.full((1, 1, 5, 4), -1e20)
    y, _ = FusedAttention(Attention()).forward({}, (q, k, torch.ones_like(k)), Mode())
    assert bool(y.isnan().all())


@pytest.mark.parametrize(
    "xs",
    [
        pytest.param(draw_inputs((2, 5, 4), (2, 6, 4), (2, 6, 4)), id="one head"),
        pytest.param(draw_inputs((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 7)), id="values of another size"),
        pytest.param(draw_inputs((2, 3, 5, 4), (2, 1, 6, 4), (2, 1, 6, 4)), id="heads share keys"),
        pytest.param(draw_inputs((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), (5, 6)), id="a mask"),
        pytest.param(
            (*draw_inputs((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4)), torch.arange(6) != 2), id="a mask of booleans"
        ),
        pytest.param(
            (*draw_inputs(*((1, 3, 5, 4),) * 3), torch.ones(2, 1, 5, 5, dtype=torch.bool)),
            id="a mask of more examples",
        ),
        pytest.param(draw_inputs((0, 3, 5, 4), (0, 3, 6, 4), (0, 3, 6, 4)), id="no examples"),
    ],
)
def test_other_inputs_are_computed_as_written(xs: tuple[Tensor, ...]) -> None:
    y, dy, dx, _ = forward_backward(FusedAttention(Attention()), {}, xs, Mode())
    expected_y, expected_cache = Attention().forward({}, xs, Mode())
    assert type(FusedAttention(Attention()).forward({}, xs, Mode())[1]) is AttentionCache
    assert torch.equal(y, expected_y)
    expected_dx, _ = Attention().backward({}, expected_cache, dy)
    assert_close(dx, leaves(expected_dx), 0, "dx")


def test_dropout_in_training_is_computed_as_written() -> None:
    xs, layer = draw_inputs(*((2, 3, 5, 4),) * 3), Attention(rate=0.4)
    fused = fuse(layer)
    mode = Mode(train=True)
    y, dy, dx, _ = forward_backward(fused, {}, xs, mode)
    expected_y, expected_cache = layer.forward({}, xs, replace_rng(mode))
    assert torch.equal(y, expected_y)
    assert_close(dx, leaves(layer.backward({}, expected_cache, dy)[0]), 0, "dx")
    assert type(fused.forward({}, xs, Mode())[1]) is FlashCache
    assert not torch.equal(y, fused.forward({}, xs, Mode())[0])


def test_a_mask_that_masks_nothing_is_left_out() -> None:
    xs = draw_inputs((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4))
    fused = FusedAttention(Attention())
    y, cache = fused.forward({}, (*xs, torch.ones(2, 1, 5, 6, dtype=torch.bool)), Mode())
    dy = draw_inputs(y.shape)[0]
    (*gradients, mask_gradient), _ = fused.backward({}, cache, dy)
    expected_y, expected_dx = autograd(Attention(), xs, dy)
    assert type(cache) is FlashCache
    assert mask_gradient is None
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(tuple(gradients), expected_dx, 1e-10, "dx")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 3e-2)]
)
def test_a_network_with_attention_predicts_and_trains_by_the_fused_form(dtype: torch.dtype, tolerance: float) -> None:
    xs: Any = draw_inputs(*((2, 3, 20, 8),) * 3, dtype=dtype)
    params: Any = {"y": {}}
    fused, predict = fuse(NET, need_dx=True), inference(NET, params)
    y, cache = fused.forward(params, xs, Mode())
    dy = draw_inputs(y.shape, dtype=dtype)[0]
    dx, _ = fused.backward(params, cache, dy)
    expected_y, expected_dx = autograd(Attention(), tuple(x.double() for x in xs), dy.double())
    assert_close(y, expected_y, tolerance, "y in training")
    assert_close(predict(xs), expected_y, tolerance, "y in prediction")
    assert_close(dx, expected_dx, tolerance, "dx")
    assert any(isinstance(part, AsWritten) and type(part.layer) is FusedAttention for part in all_parts(predict))


def test_a_cache_has_no_weight_for_each_query_and_key() -> None:
    xs: Any = draw_inputs(*((2, 3, 20, 8),) * 3)
    _, cache = FusedAttention(Attention()).forward({}, xs, Mode())
    assert sum(leaf.numel() for leaf in leaves(cache).values()) == 2 * 3 * 20 * (4 * 8 + 1)
