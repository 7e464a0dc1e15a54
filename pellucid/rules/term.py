"""Runs of a layer on another input with other parameters, of which the relevance rules consist."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.maxpool2d import MaxPool2d

Part = Callable[[Params], Params]


def at_least_zero(rule: object, **values: Any) -> None:
    """Raise PellucidError unless these are finite numbers of at least 0."""
    for name, value in values.items():
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise PellucidError(f"{type(rule).__name__}: {name} must be a number of at least 0, not {value!r}")


@dataclass(frozen=True)
class Term:
    """One run of a layer: y from x by these parameters, and the way back to x."""

    layer: Layer
    params: Params
    x: Any
    cache: Cache
    y: Tensor

    def share(self, s: Tensor) -> Any:
        """Return x times the gradient for an output gradient of s: c_i = x_i Σ_j w_ij s_j."""
        back = self.layer.pull(self.params, self.cache, s)
        x: Any = self.x
        if isinstance(x, tuple):
            return tuple(one * part for one, part in zip(cast("tuple[Tensor, ...]", x), back, strict=True))
        return x * back


def term(layer: Layer, params: Params, x: Any) -> Term:
    """Run `layer` on `x` in evaluation mode."""
    y, cache = layer.forward(params, x, Mode())
    return Term(layer, params, x, cache, y)


def contributions(
    rule: object, layer: Layer, params: Params, cache: Cache, bias: bool, y: Tensor | None = None
) -> Term:
    """Return the run of the layer on its own inputs by its own weights, and without `bias` by those alone.

    y: its output in the forward pass, which spares running it again; only for layers that `linear` leaves as they
    are. Raises PellucidError as `inputs` does.
    """
    x = inputs(rule, layer, cache)
    if y is not None and (bias or "bias" not in params):
        return Term(layer, params, x, cache, y)
    return term(layer, linear(layer, params, bias), x)


def inputs(rule: object, layer: Layer, cache: Cache) -> Any:
    """Return the input of the layer, a tensor or a tuple of them.

    Raises PellucidError for a layer whose cache does not hold its input: such layers do not multiply and add.
    """
    names = getattr(cache, "_fields", ())
    bends = layer.traits & (Trait.ACTIVATION | Trait.NORM) or isinstance(layer, MaxPool2d)  # whose cached x is no input
    sums = type(layer) is BatchNorm or not bends  # of a subclass of BatchNorm the scale is not known
    if names[:1] in (("x",), ("xs",)) and sums:
        return cache[0]
    raise PellucidError(
        f"the rule {type(rule).__name__} needs a layer that sums weighted inputs, and {type(layer).__name__} does not; "
        "give it Pass or its own gradient"
    )


def one_input(rule: object, layer: Layer, cache: Cache) -> Tensor:
    """Return the layer's input, a single tensor; raises PellucidError as `inputs` does, and for several."""
    x = inputs(rule, layer, cache)
    if isinstance(x, tuple):
        raise PellucidError(
            f"the rule {type(rule).__name__} takes layers with one input, not {type(layer).__name__}; give it Norm"
        )
    return x


def weighted_input(rule: object, layer: Layer, params: Params, cache: Cache) -> Tensor:
    """Return the input of a layer with weights; raises PellucidError for other layers."""
    x = one_input(rule, layer, cache)
    if "weight" not in params:
        raise PellucidError(
            f"the rule {type(rule).__name__} changes weights, and {type(layer).__name__} has none; give it Norm"
        )
    return x


def linear(layer: Layer, params: Params, bias: bool = True) -> Params:
    """Return params by which the layer computes the same in evaluation, its "weight" and "bias" being all it adds up.

    Batch normalization becomes y = (w / σ) x + (b - μ w / σ). Without `bias`, nothing is added.
    """
    if type(layer) is BatchNorm:
        scale = params["weight"] * torch.rsqrt(params["running_var"] + layer.epsilon)  # (C,)
        shift = params["bias"] - params["running_mean"] * scale  # (C,)
        still = {"running_mean": torch.zeros_like(scale), "running_var": torch.full_like(scale, 1 - layer.epsilon)}
        params = {"weight": scale, "bias": shift, **still}
    return params if bias else without_bias(params)


def without_bias(params: Params) -> Params:
    """Return params with a bias of 0."""
    return {name: torch.zeros_like(value) if name == "bias" else value for name, value in params.items()}


def clamped(params: Params, low: float | None = None, high: float | None = None) -> Params:
    """Return params whose weight and bias are kept between `low` and `high`."""
    return {name: value.clamp(low, high) if name in ("weight", "bias") else value for name, value in params.items()}


def positive(params: Params) -> Params:
    """Return params with negative values set to 0."""
    return clamped(params, low=0.0)


def negative(params: Params) -> Params:
    """Return params with positive values set to 0."""
    return clamped(params, high=0.0)


def halves(layer: Layer, params: Params, x: Tensor, upper: Part, lower: Part) -> list[Term]:
    """Return the run of the positive part of x by the `upper` part of params and, where x has one, of its negative part
    by the `lower` one.

    The second adds no bias, so that it would be of no effect on an x without negative values.
    """
    if not x.numel() or bool(x.amin() >= 0):
        return [term(layer, upper(params), x)]
    return [term(layer, upper(params), x.clamp_min(0)), term(layer, without_bias(lower(params)), x.clamp_max(0))]


def total(runs: list[Term]) -> Tensor:
    """Return the sum of the runs' outputs."""
    return torch.stack([run.y for run in runs]).sum(0) if len(runs) > 1 else runs[0].y


def shares(runs: list[Term], s: Tensor) -> Tensor:
    """Return the sum of the runs' shares of `s`."""
    parts = [run.share(s) for run in runs]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def stabilized(z: Tensor, epsilon: float) -> Tensor:
    """Return z moved away from 0 by `epsilon`: z + epsilon where z is at least 0, else z - epsilon."""
    away = torch.copysign(z.new_tensor(epsilon), z + 0.0)  # -0 + 0 is 0; a tenth of the time of torch.where
    return away.add_(z)
