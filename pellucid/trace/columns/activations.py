"""Columns of the Jacobians of activations and dropout, whose outputs depend on one input each: its slope."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from pellucid.layers import ELU, GELU, Dropout, LeakyReLU
from pellucid.trace.columns.base import (
    Explainer,
    FactorColumn,
    JacobianColumn,
    computed_factors,
    elements,
    index_tensor,
    slopes,
)
from pellucid.trace.passes import LayerCall

ACTIVE_WORDS = "the unit is active: the output gradient δ passes unchanged"

Slope = tuple[tuple[FactorColumn, ...], str, str]  # factors of the slope, a sentence, and the slope as LaTeX


def elementwise(slope: Callable[[LayerCall, Tensor], Slope]) -> Explainer:
    """Turn a function that computes the slope at an index into an Explainer of an elementwise layer."""

    @wraps(slope)
    def explain(call: LayerCall, argument: str, index: int) -> JacobianColumn:
        factors, words, latex = slope(call, index_tensor(index))
        return JacobianColumn(
            index_tensor(index), factors, words, rf"\frac{{\partial C}}{{\partial x}} = \delta\, {latex}"
        )

    return explain


@elementwise
def own_slope(call: LayerCall, index: Tensor) -> Slope:
    """The slope from the layer's backward pass, for user-defined layers."""
    slope = slopes(call, torch.ones_like(call.y))["x.0"]
    return (
        (computed_factors(elements(slope, index), "∂y/∂x", "slope"),),
        f"the slope of {call.title} here",
        r"\frac{dy}{dx}",
    )


@elementwise
def sigmoid(call: LayerCall, index: Tensor) -> Slope:
    """σ'(x) = y (1 - y): Nielsen 2015, chapter 1."""
    y = elements(call.y, index)
    complement = computed_factors(
        1 - y, "1 - y", "slope", _constant_factors(1.0), computed_factors(-y, "-y", "activation")
    )
    state = "nearly 0 here: the unit is saturated" if float(y * (1 - y)) < 0.01 else "not saturated here"
    return (computed_factors(y, "y", "slope"), complement), f"the sigmoid's slope is y (1 - y), {state}", r"y\,(1 - y)"


@elementwise
def tanh(call: LayerCall, index: Tensor) -> Slope:
    """tanh'(x) = 1 - y²."""
    y = elements(call.y, index)
    slope = computed_factors(
        1 - y * y, "1 - y²", "slope", _constant_factors(1.0), computed_factors(-y * y, "-y²", "activation")
    )
    return (slope,), "the slope of tanh is 1 - y²", r"(1 - y^2)"


@elementwise
def relu(call: LayerCall, index: Tensor) -> Slope:
    """1 where y > 0, else 0."""
    is_active = elements(call.y, index) > 0
    words = ACTIVE_WORDS if bool(is_active) else "the unit is inactive: the gradient is 0"
    return (computed_factors(is_active.double(), "[y > 0]", "slope"),), words, r"[y > 0]"


@elementwise
def relu6(call: LayerCall, index: Tensor) -> Slope:
    """1 where 0 < y < 6, else 0."""
    y = elements(call.y, index)
    is_inside = (y > 0) & (y < 6)
    words = (
        "between 0 and 6 the output gradient δ passes unchanged" if bool(is_inside) else "clipped: the gradient is 0"
    )
    return (computed_factors(is_inside.double(), "[0 < y < 6]", "slope"),), words, r"[0 < y < 6]"


@elementwise
def leaky_relu(call: LayerCall, index: Tensor) -> Slope:
    """1 where y > 0, else the negative slope."""
    assert isinstance(call.layer, LeakyReLU)
    is_active = elements(call.y, index) > 0
    negative_slope = torch.tensor([call.layer.slope], dtype=call.y.dtype).double()  # rounded to the dtype of the pass
    slope = torch.where(is_active, 1.0, negative_slope)
    words = ACTIVE_WORDS if bool(is_active) else "the unit is inactive: the output gradient δ times the negative slope"
    name = "1" if bool(is_active) else "negative slope"
    return (computed_factors(slope, name, "slope"),), words, r"1 \text{ or the negative slope}"


@elementwise
def elu(call: LayerCall, index: Tensor) -> Slope:
    """1 where y > 0, else alpha exp(x) = y + alpha."""
    assert isinstance(call.layer, ELU)
    y = elements(call.y, index)
    if bool(y > 0):
        return (_constant_factors(1.0, "slope"),), ACTIVE_WORDS, "1"
    alpha = torch.full_like(y, call.layer.alpha)
    slope = computed_factors(
        y + alpha,
        "y + alpha",
        "slope",
        computed_factors(y, "y", "activation"),
        computed_factors(alpha, "alpha", "number"),
    )
    return (slope,), "below 0 the slope is alpha exp(x) = y + alpha", r"(y + \alpha)"


@elementwise
def gelu(call: LayerCall, index: Tensor) -> Slope:
    """Φ(x) + x φ(x)."""
    assert isinstance(call.layer, GELU)
    # Not converted to float64: where tanh is flat, 1 - t² must be rounded as in the layer's backward pass.
    x = call.x.flatten()[index]
    phi, density = call.layer.distribution(x)
    product = (x * density).double()
    summands = computed_factors(phi, "Φ(x)", "slope"), computed_factors(product, "x φ(x)", "slope")
    slope = computed_factors(phi.double() + product, "Φ(x) + x φ(x)", "slope", *summands)
    return (slope,), "the slope is Φ(x) + x φ(x), for the standard normal distribution", r"(\Phi(x) + x\,\varphi(x))"


@elementwise
def dropout(call: LayerCall, index: Tensor) -> Slope:
    """The mask times the scale of the values that are kept."""
    assert isinstance(call.layer, Dropout)
    mask = call.cache.mask.expand(call.x.shape)
    mask_value = elements(mask, index)
    scale = call.cache.scale.double().expand(1)
    if float(scale) == 1 and bool(call.cache.mask.all()):
        words = "no value is dropped: the output gradient δ passes unchanged"
    elif bool(mask_value):
        words = f"it was kept and scaled by {float(scale):g}"
    else:
        words = "it was dropped: the gradient is 0"
    return (
        (computed_factors(mask_value, "mask", "slope"), computed_factors(scale, "scale", "slope")),
        words,
        r"m / (1 - \text{rate})",
    )


def _constant_factors(value: float, role: str = "number") -> FactorColumn:
    return computed_factors(torch.tensor([value], dtype=torch.float64), f"{value:g}", role)
