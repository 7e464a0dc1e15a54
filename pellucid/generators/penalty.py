"""Penalties on a network's gradient with respect to its input, and their explicit double backward pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import copy_cache, join, uses_flow
from pellucid.fuse import kernel_form
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.objective import without_wrappers

# Maps gradients g (N, ...) to the value of the penalty and its gradient with respect to g.
Penalty = Callable[[Tensor], tuple[Tensor, Tensor]]

# Traits of the linear layers that add no constant other than a bias; padding with a constant is not among them.
HOMOGENEOUS = Trait.WEIGHTED | Trait.RESHAPE | Trait.ADDITIVE | Trait.MULTIPLE_INPUTS


class PenaltyResult(NamedTuple):
    """Value of a penalty (0-d), its parameter gradients, and the norms (N,) of the network's input gradients."""

    value: Tensor
    dparams: Params
    norms: Tensor


def one_centred_penalty(weight: float) -> Penalty:
    """Return the penalty function of WGAN-GP, weight/N Σ (‖g‖ - 1)².

    The gradient of the penalty is u = 2 weight/N (‖g‖ - 1) g / ‖g‖, and 0 for g = 0.
    Source: Gulrajani et al. 2017, equation 3.
    """

    def penalty(g: Tensor) -> tuple[Tensor, Tensor]:
        norms = example_norms(g)
        excess = (norms - 1) * (norms > 0)
        factor = 2 * weight / len(g) * excess / norms.clamp_min(torch.finfo(g.dtype).tiny)
        return weight * ((norms - 1) ** 2).mean(), factor.view(-1, *[1] * (g.dim() - 1)) * g

    return penalty


def zero_centred_penalty(gamma: float) -> Penalty:
    """Return the penalty function of R1, gamma/2N Σ ‖g‖², whose gradient is u = gamma/N g.

    Implementations without the factor 1/2 use half of this gamma.
    Source: Mescheder, Geiger and Nowozin 2018, equation 9.
    """

    def penalty(g: Tensor) -> tuple[Tensor, Tensor]:
        return gamma / 2 * (example_norms(g) ** 2).mean(), gamma / len(g) * g

    return penalty


def gradient_penalty(net: Layer, params: Params, x: Tensor, penalty: Penalty, mode: Mode) -> PenaltyResult:
    """Compute the penalty on g, the gradient of the sum of the network's outputs with respect to x (N, ...).

    The network must be piecewise linear, y = J x + constant with J = W_L M_L-1 ... M_1 W_1. W are its linear layers; M
    are its rectifiers, which multiply by a diagonal matrix of slopes (0 or 1 for ReLU). Three passes compute the
    penalty P and its gradients:

        forward       the masks M
        backward      v = the output gradient of each layer, down to g = v_0
        forward       u_0 = dP/dg, then u = W u or M u: each layer without its bias, with the mask of x; dP/dW = v uᵀ

    The layer's backward pass computes dP/dW for the input u and the output gradient v. The masks M do not contribute,
    since they are constant almost everywhere. Raises PellucidError, naming the layer, for a layer that is neither
    linear nor a rectifier, such as batch normalization, and for a layer that is used twice.
    Source: the chain rule on the backward pass, as in Gulrajani et al. 2017, section 4.
    """
    net = without_wrappers(net)
    y, cache = net.forward(params, x, mode)
    output_gradients: dict[str, Any] = {}  # v by path of the layer
    masks: dict[str, Cache] = {}  # caches of the first pass by path of the layer

    def first_backward(path: str, layer: Layer, params: Params, cache: Cache, v: Any) -> Any:
        if uses_flow(layer):
            return layer.sweep(
                params, cache, v, lambda name, child, p, c, v: (first_backward(join(path, name), child, p, c, v), {})
            )[0]
        check_piecewise_linear(path, layer)
        if path in output_gradients:
            raise PellucidError(f"a gradient penalty takes networks that use each layer once, and {path} is used again")
        output_gradients[path] = v
        masks[path] = cache
        return kernel_form(layer).pull(params, cache, v)

    def second_forward(path: str, layer: Layer, params: Params, u: Any, mode: Mode) -> tuple[Any, Params]:
        """Return W u or M u of one layer and, instead of a cache, the gradients of its parameters."""
        if uses_flow(layer):
            return layer.flow(params, u, mode, lambda name, *child: second_forward(join(path, name), *child))
        if Trait.RECTIFIER in layer.traits:
            # M is diagonal, so M u is the layer's backward pass.
            return kernel_form(layer).pull(params, masks[path], u), {}
        unbiased = {name: weight for name, weight in params.items() if name != "bias"}
        y, cache = layer.forward(unbiased, u, mode)
        dparams = kernel_form(layer).backward(unbiased, cache, output_gradients[path])[1] if unbiased else {}
        return y, {name: dweight for name, dweight in dparams.items() if name != "bias"}

    g = first_backward("", net, params, copy_cache(cache), torch.ones_like(y))
    value, u = penalty(g)
    _, dparams = second_forward("", net, params, u, mode)
    return PenaltyResult(value, dparams, example_norms(g))


def check_piecewise_linear(path: str, layer: Layer) -> None:
    """Raise PellucidError unless a layer is linear or a rectifier."""
    is_linear = Trait.LINEAR in layer.traits and bool(layer.traits & HOMOGENEOUS)
    if not is_linear and Trait.RECTIFIER not in layer.traits:
        raise PellucidError(
            f"a gradient penalty takes piecewise linear networks, and {path or 'the network'} is a "
            f"{type(layer).__name__}; use Conv2d, Dense, ReLU and LeakyReLU, without batch normalization"
        )


def example_norms(g: Tensor) -> Tensor:
    """Return the Euclidean norm of each example of g (N, ...)."""
    return torch.linalg.vector_norm(g.flatten(1), dim=1)
