"""Attention in parts has the output and the gradients of attention as written."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pellucid.combine import Graph
from pellucid.fuse import fuse
from pellucid.fuse.attention import FusedAttention, PartwiseCache
from pellucid.fuse.inference import inference
from pellucid.layers import Mode
from pellucid.operators import Attention
from pellucid.operators.products import AttentionCache
from tests.oracle import assert_close, forward_backward, leaves

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
def test_attention_in_parts_equals_the_definition_and_its_autograd(layer: Attention, queries: int, keys: int) -> None:
    q, k, v = map(images_by_heads, draw_inputs((2, queries, 3, 4), (2, keys, 3, 4), (2, keys, 3, 4)))
    fused = fuse(layer)
    assert type(fused) is FusedAttention
    assert type(fused.forward({}, (q, k, v), Mode())[1]) is PartwiseCache
    y, dy, dx, _ = forward_backward(fused, {}, (q, k, v), Mode())
    expected_y, expected_dx = autograd(layer, (q, k, v), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dx, expected_dx, 1e-10, "dx")


@pytest.mark.parametrize("layout", ["transposed", "expanded"])
def test_gradients_and_inputs_in_any_memory_layout(layout: str) -> None:
    def rearranged(x: Tensor) -> Tensor:
        return x.mT.contiguous().mT if layout == "transposed" else x[:, :, :1, :1].expand(x.shape)

    xs = tuple(map(rearranged, draw_inputs(*((2, 3, 5, 4),) * 3)))
    dy = rearranged(draw_inputs((2, 3, 5, 4))[0])
    y, _, dx, _ = forward_backward(FusedAttention(Attention()), {}, xs, Mode(), dy)
    expected_y, expected_dx = autograd(Attention(), xs, dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(dx, expected_dx, 1e-10, "dx")


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


def test_a_mask_that_masks_nothing_is_left_out() -> None:
    xs = draw_inputs((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4))
    fused = FusedAttention(Attention())
    y, cache = fused.forward({}, (*xs, torch.ones(2, 1, 5, 6, dtype=torch.bool)), Mode())
    dy = draw_inputs(y.shape)[0]
    (*gradients, mask_gradient), _ = fused.backward({}, cache, dy)
    expected_y, expected_dx = autograd(Attention(), xs, dy)
    assert type(cache) is PartwiseCache
    assert mask_gradient is None
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(tuple(gradients), expected_dx, 1e-10, "dx")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_a_network_with_attention_predicts_and_trains_in_parts(dtype: torch.dtype, tolerance: float) -> None:
    xs: Any = draw_inputs(*((2, 3, 20, 8),) * 3, dtype=dtype)
    params: Any = {"y": {}}
    y, cache = fuse(NET, need_dx=True).forward(params, xs, Mode())
    expected_y, _ = NET.forward(params, xs, Mode())
    assert_close(y, expected_y, tolerance, "training")
    assert_close(inference(NET, params)(xs), expected_y, tolerance, "prediction")
    n_cached = sum(leaf.numel() for leaf in leaves(cache).values())
    assert n_cached < 2 * 3 * 20 * (4 * 8 + 2)  # not one weight for each of 20 x 20 pairs
