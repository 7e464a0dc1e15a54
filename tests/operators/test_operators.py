"""Layers of pellucid.operators against the same functions of PyTorch and their automatic differentiation."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from pellucid import operators
from pellucid.base.errors import PellucidError
from pellucid.layers import Mode
from pellucid.operators import (
    OPERATORS,
    Attention,
    Einsum,
    Fixed,
    Learned,
    MatMul,
    MaxPositions,
    Permute,
    ShiftMask,
    StepFunction,
)
from tests.operators.cases import CASES, TIED_MAXIMA, Case, draw_inputs

ATTENTIONS = [case for case in CASES if isinstance(case.layer, Attention)]


def test_every_operator_with_an_input_has_a_case() -> None:
    elsewhere = {MaxPositions, operators.Positions, operators.OneHot, operators.UnscaledBatchNorm}
    tested = {type(case.layer) for case in CASES}
    assert tested == set(OPERATORS) - elsewhere - {Learned, Fixed, ShiftMask}, (
        "add a Case of each to tests/operators/cases.py"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.layer).replace(" ", ""))
def test_operator_equals_the_function_and_its_derivative(case: Case) -> None:
    xs = draw_inputs(case)
    y, cache = case.layer.forward({}, xs[0] if len(xs) == 1 else xs, Mode())
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(4), dtype=y.dtype)
    dx, dparams = case.layer.backward({}, cache, dy)
    differentiated = [index for index, x in enumerate(xs) if x.dtype is torch.float64]
    leaves = [x.clone().requires_grad_(index in differentiated) for index, x in enumerate(xs)]
    expected = case.function(*leaves)
    gradients = torch.autograd.grad(expected, [leaves[index] for index in differentiated], dy)
    assert dparams == {}
    torch.testing.assert_close(y, expected.detach(), rtol=1e-12, atol=1e-12)
    dxs = dx if isinstance(dx, tuple) else (dx,)
    assert len(dxs) == len(xs)
    for index, gradient in zip(differentiated, gradients, strict=True):
        torch.testing.assert_close(dxs[index], gradient, rtol=1e-10, atol=1e-12)
    assert all(dxs[index] is None for index in range(len(xs)) if index not in differentiated)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.layer).replace(" ", ""))
def test_operator_keeps_float32(case: Case) -> None:
    xs = tuple(x.float() if x.is_floating_point() else x for x in draw_inputs(case))
    y, cache = case.layer.forward({}, xs[0] if len(xs) == 1 else xs, Mode())
    dx, _ = case.layer.backward({}, cache, torch.ones_like(y))
    assert y.dtype is torch.float32
    for x, part in zip(xs, dx if isinstance(dx, tuple) else (dx,), strict=True):
        assert part is None or (part.dtype is torch.float32 and part.shape == x.shape)


@pytest.mark.parametrize("rate", [0.1, 0.6])
@pytest.mark.parametrize("case", ATTENTIONS, ids=lambda case: str(case.layer).replace(" ", ""))
def test_dropout_of_attention_weights_has_the_derivative_for_its_mask(case: Case, rate: float) -> None:
    xs: Any = draw_inputs(case)
    assert isinstance(case.layer, Attention)
    layer = replace(case.layer, rate=rate)
    y, cache = layer.forward({}, xs, Mode(train=True, rng=torch.Generator().manual_seed(3)))
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(4), dtype=y.dtype)
    dx, _ = layer.backward({}, cache, dy)
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in xs]
    q, k, v, *masks = leaves
    identity = torch.eye(k.shape[-2], dtype=v.dtype).expand(*v.shape[:-1], -1)
    weights = case.function(q, k, identity, *masks)
    kept = torch.rand(weights.shape, generator=torch.Generator().manual_seed(3)) >= rate  # as Dropout draws
    expected = (weights * kept / (1 - rate)) @ v
    gradients = torch.autograd.grad(expected, [x for x in leaves if x.requires_grad], dy)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-12, atol=1e-12)
    for gradient, reference in zip((part for part in dx if part is not None), gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-10, atol=1e-12)
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(layer.forward({}, xs, Mode())[0], case.layer.forward({}, xs, Mode())[0])


def test_attention_without_dropout_draws_nothing() -> None:
    xs: Any = draw_inputs(ATTENTIONS[0])
    y, cache = Attention().forward({}, xs, Mode(train=True))
    expected, expected_cache = Attention().forward({}, xs, Mode())
    assert torch.equal(y, expected)
    gradients = (Attention().backward({}, one, expected)[0] for one in (cache, expected_cache))
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    with pytest.raises(PellucidError, match="rng=generator"):
        Attention(rate=0.1).forward({}, xs, Mode(train=True))
    with pytest.raises(PellucidError, match="rate=1 drops every value"):
        Attention(rate=1.0)


@pytest.mark.parametrize("name", ["eq", "gt", "ge", "lt", "le"])
def test_comparisons_with_numbers_and_tensors_have_no_gradient(name: str) -> None:
    x, other = TIED_MAXIMA, TIED_MAXIMA.flip(0)
    y, cache = StepFunction(name, 1.0).forward({}, x, Mode())
    assert torch.equal(y, getattr(torch, name)(x, 1.0))
    assert torch.equal(StepFunction(name).forward({}, (x, other), Mode())[0], getattr(torch, name)(x, other))
    assert not StepFunction(name, 1.0).backward({}, cache, None)[0].any()
    numbers, cache = StepFunction("float64").forward({}, y, Mode())
    assert torch.equal(numbers, y.double())
    assert StepFunction("float64").backward({}, cache, numbers) == (None, {})
    with pytest.raises(PellucidError, match="StepFunction: function 'equal'"):
        StepFunction("equal")


def test_max_positions_are_those_of_max_pooling() -> None:
    x = torch.rand(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))
    _, positions = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    y, cache = MaxPositions((3, 3), (2, 2), (1, 1)).forward({}, x, Mode())
    assert torch.equal(y, positions)
    assert MaxPositions((3, 3), (2, 2)).backward({}, cache, None) == (None, {})


def test_parameter_returns_itself_and_its_gradient() -> None:
    layer, value, dy = Learned((2, 3)), torch.rand(2, 3), torch.rand(2, 3)
    params, shape = layer.init((), torch.Generator())
    assert params[""].shape == (2, 3)
    assert shape == (3,)
    y, cache = layer.forward({"": value}, (), Mode())
    assert y is value
    assert layer.backward({"": value}, cache, dy) == ((), {"": dy})


def test_constant_is_a_buffer_without_a_gradient() -> None:
    layer = Fixed((4,), "int64")
    params, _ = layer.init((), torch.Generator())
    y, cache = layer.forward(params, (), Mode())
    assert (y.dtype, layer.buffers) == (torch.int64, ("",))
    assert layer.backward(params, cache, None) == ((), {})
    with pytest.raises(PellucidError, match="'complex64' must be one of"):
        Fixed((4,), "complex64")


def test_shift_mask_separates_tokens_that_were_not_neighbours_before_the_shift() -> None:
    layer = ShiftMask(side=4, window=2, shift=1)
    params, shape = layer.init((), torch.Generator())
    mask, cache = layer.forward(params, (), Mode())
    assert (shape, mask.shape) == ((4, 1, 4, 4), (1, 4, 1, 4, 4))
    row, column = (torch.tensor([[a, b] for a in range(4) for b in range(4)]).view(4, 4, 2) + 1).remainder(4).unbind(2)
    for window in range(4):
        top, left = divmod(window, 2)
        positions = [(2 * top + a, 2 * left + b) for a in range(2) for b in range(2)]
        for one, first in enumerate(positions):
            for other, second in enumerate(positions):
                were_neighbours = abs(row[first] - row[second]) <= 1 and abs(column[first] - column[second]) <= 1
                assert bool(mask[0, window, 0, one, other]) == bool(were_neighbours)
    assert layer.backward(params, cache, None) == ((), {})
    with pytest.raises(PellucidError, match=r"ShiftMask: window must be a divisor of side=5, not 2"):
        ShiftMask(5, 2, 1)
    with pytest.raises(PellucidError, match=r"ShiftMask: shift must be less than window=2, not 2"):
        ShiftMask(4, 2, 2)


def test_inferred_shape_is_that_of_a_forward_pass() -> None:
    rng = torch.Generator()
    assert Permute((0, 2, 1)).init((3, 4), rng) == ({}, (4, 3))
    assert MatMul().init(((3, 4), (4, 5)), rng) == ({}, (3, 5))


def test_init_of_an_operator_that_changes_the_batch_axis_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"Permute changes the batch axis of inputs \(3, 4\)"):
        Permute((1, 0, 2)).init((3, 4), torch.Generator())
    with pytest.raises(PellucidError, match="MatMul: "):
        MatMul().init(((3, 4), (5, 5)), torch.Generator())


@pytest.mark.parametrize("equation", ["ij,jk", "ii->i", "...i,ij->...j", "i1->i"])
def test_einsum_equations_with_repeated_indices_or_other_characters_are_refused(equation: str) -> None:
    with pytest.raises(PellucidError, match=r"Einsum: .* must be letters, each once in an input"):
        Einsum(equation)
