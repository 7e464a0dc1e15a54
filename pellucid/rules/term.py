"""Forward passes of a layer with a modified input or modified parameters, from which relevance rules are built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_range
from pellucid.layers import BatchNorm, Conv2d, ConvTranspose2d, Dense, MaxPool2d
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait

# The axis of the output that contains the channels.
CHANNEL_AXIS: dict[type[Layer], int] = {Dense: -1, Conv2d: 1, ConvTranspose2d: 1, BatchNorm: 1}
ParamsPart = Callable[[Params], Params]  # selects a part of the parameters, such as `positive_part`


class WithStabilizer:
    """A rule whose denominators are moved away from 0 by its field `stabilizer`."""

    stabilizer: float

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        check_range(self, stabilizer=self.stabilizer)


@dataclass(frozen=True)
class Term:
    """One forward pass of a layer: its parameters, input, cache and output."""

    layer: Layer
    params: Params
    x: Any
    cache: Cache
    y: Tensor

    def share(self, s: Tensor) -> Any:
        """Return x times its gradient for the output gradient s: c_i = x_i Σ_j w_ij s_j."""
        dx = self.layer.pull(self.params, self.cache, s)
        x: Any = self.x
        if isinstance(x, tuple):
            return tuple(value * gradient for value, gradient in zip(cast("tuple[Tensor, ...]", x), dx, strict=True))
        return x * dx

    def bias_share(self, s: Tensor) -> Params:
        """Return the relevance of the bias for the output gradient s: {"bias": b_j Σ s_j}, or {} without a bias."""
        bias = self.params.get("bias")
        if bias is None:
            return {}
        if type(self.layer) not in CHANNEL_AXIS:
            return {"bias": bias * self.layer.backward(self.params, self.cache, s)[1]["bias"]}
        channel_axis = CHANNEL_AXIS[type(self.layer)] % s.dim()
        axes = [axis for axis in range(s.dim()) if axis != channel_axis]
        return {"bias": bias * (s.sum(axes) if axes else s)}


def run_term(layer: Layer, params: Params, x: Any) -> Term:
    """Run `layer` on `x` in evaluation mode."""
    y, cache = layer.forward(params, x, Mode())
    return Term(layer, params, x, cache, y)


def contributions(
    rule: object, layer: Layer, params: Params, cache: Cache, bias: bool, y: Tensor | None = None
) -> Term:
    """Return the forward pass of the layer with its own input and weights, and with its bias only if `bias` is True.

    y: the output of the forward pass, if it is known, which avoids a second pass; only for layers that `linearize` does
    not change. Raises PellucidError like `layer_inputs`.
    """
    x = layer_inputs(rule, layer, cache)
    if y is not None and (bias or "bias" not in params):
        return Term(layer, params, x, cache, y)
    return run_term(layer, linearize(layer, params, bias), x)


def layer_inputs(rule: object, layer: Layer, cache: Cache) -> Any:
    """Return the input of the layer, a tensor or a tuple of tensors.

    Raises PellucidError for a layer whose output is not a sum of weighted inputs, or whose cache lacks its input.
    """
    field_names = getattr(cache, "_fields", ())
    # These layers may have an `x` in their cache, but their output is not a weighted sum of it.
    nonlinear = layer.traits & (Trait.ACTIVATION | Trait.NORM) or isinstance(layer, MaxPool2d)
    is_sum = type(layer) is BatchNorm or not nonlinear  # the scale of a subclass of BatchNorm is unknown
    if field_names[:1] in (("x",), ("xs",)) and is_sum:
        return cache[0]
    raise PellucidError(
        f"the rule {type(rule).__name__} needs a layer that sums weighted inputs, and {type(layer).__name__} does not; "
        "use the rule Pass or own (the gradient) for it"
    )


def single_input(rule: object, layer: Layer, cache: Cache) -> Tensor:
    """Return the layer's only input; raise PellucidError like `layer_inputs`, and for several inputs."""
    x = layer_inputs(rule, layer, cache)
    if isinstance(x, tuple):
        raise PellucidError(
            f"the rule {type(rule).__name__} needs a layer with one input, not {type(layer).__name__}; use Norm for it"
        )
    return x


def weighted_input(rule: object, layer: Layer, params: Params, cache: Cache) -> Tensor:
    """Return the input of a layer with weights; raise PellucidError for other layers."""
    x = single_input(rule, layer, cache)
    if "weight" not in params:
        raise PellucidError(
            f"the rule {type(rule).__name__} needs a layer with weights, not {type(layer).__name__}; use Norm for it"
        )
    return x


def linearize(layer: Layer, params: Params, bias: bool = True) -> Params:
    """Return params with the same output in evaluation mode, in which "weight" and "bias" define a linear function.

    Only batch normalization changes, to y = (w / σ) x + (b - μ w / σ). Without `bias`, the bias is then set to 0.
    """
    if type(layer) is BatchNorm:
        scale = params["weight"] * torch.rsqrt(params["running_var"] + layer.epsilon)  # (C,)
        shift = params["bias"] - params["running_mean"] * scale  # (C,)
        identity_statistics = {
            "running_mean": torch.zeros_like(scale),
            "running_var": torch.full_like(scale, 1 - layer.epsilon),
        }
        params = {"weight": scale, "bias": shift, **identity_statistics}
    return params if bias else without_bias(params)


def without_bias(params: Params) -> Params:
    """Return params with a bias of 0."""
    return {name: torch.zeros_like(value) if name == "bias" else value for name, value in params.items()}


def clamp_params(params: Params, low: float | None = None, high: float | None = None) -> Params:
    """Return params with weight and bias clamped to [low, high]."""
    return {name: value.clamp(low, high) if name in ("weight", "bias") else value for name, value in params.items()}


def positive_part(params: Params) -> Params:
    """Return params with negative values set to 0."""
    return clamp_params(params, low=0.0)


def negative_part(params: Params) -> Params:
    """Return params with positive values set to 0."""
    return clamp_params(params, high=0.0)


def signed_terms(layer: Layer, params: Params, x: Tensor, upper: ParamsPart, lower: ParamsPart) -> list[Term]:
    """Return passes of max(x, 0) with `upper(params)` and, if x has negative values, min(x, 0) with `lower(params)`.

    The second pass has no bias, so the sum of both outputs contains the bias only once.
    """
    if not x.numel() or bool(x.amin() >= 0):
        return [run_term(layer, upper(params), x)]
    return [
        run_term(layer, upper(params), x.clamp_min(0)),
        run_term(layer, without_bias(lower(params)), x.clamp_max(0)),
    ]


def sum_outputs(terms: list[Term]) -> Tensor:
    """Return the sum of the outputs of these forward passes."""
    return torch.stack([term.y for term in terms]).sum(0) if len(terms) > 1 else terms[0].y


def sum_shares(terms: list[Term], s: Tensor) -> Tensor:
    """Return the sum of `Term.share` of `s` over these forward passes."""
    shares = [term.share(s) for term in terms]
    return torch.stack(shares).sum(0) if len(shares) > 1 else shares[0]


def divide_relevance(terms: list[Term], dy: Tensor, stabilizer: float, factor: float = 1.0) -> tuple[Tensor, Params]:
    """Return the relevance of the input and of the bias, in proportion to the contributions in these forward passes.

    factor: factor of dy, the relevance to divide.
    """
    s = factor * dy / stabilize(sum_outputs(terms), stabilizer)
    return sum_shares(terms, s), terms[0].bias_share(s)


def stabilize(z: Tensor, epsilon: float) -> Tensor:
    """Return z + epsilon where z is at least 0, else z - epsilon."""
    shift = torch.copysign(z.new_tensor(epsilon), z + 0.0)  # -0.0 + 0.0 is 0.0; ten times as fast as torch.where
    return shift.add_(z)
