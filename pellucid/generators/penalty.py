"""Penalties on a network's gradient with respect to its input, their double backward pass written out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.combine.base import copy_cache, is_wiring, join
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.objective import unwatched

# The value of a penalty on gradients g (N, ...), and its gradient with respect to them.
Penalty = Callable[[Tensor], tuple[Tensor, Tensor]]

# Linear layers that add no constant beside a bias, unlike padding.
HOMOGENEOUS = Trait.WEIGHTED | Trait.RESHAPE | Trait.SUM | Trait.MERGE


class Penalized(NamedTuple):
    """value: of the penalty, 0-d. dparams: its gradients. norms: (N,), of the network's input gradients."""

    value: Tensor
    dparams: Params
    norms: Tensor


def one_centred(weight: float) -> Penalty:
    """Return WGAN-GP's penalty: weight/N Σ (‖g‖ - 1)², u = 2 weight/N (‖g‖ - 1) g / ‖g‖, which is 0 for g = 0.

    Source: Gulrajani et al. 2017, equation 3.
    """

    def penalty(g: Tensor) -> tuple[Tensor, Tensor]:
        norms = lengths(g)
        excess = (norms - 1) * (norms > 0)
        share = 2 * weight / len(g) * excess / norms.clamp_min(torch.finfo(g.dtype).tiny)
        return weight * ((norms - 1) ** 2).mean(), share.view(-1, *[1] * (g.dim() - 1)) * g

    return penalty


def zero_centred(gamma: float) -> Penalty:
    """Return R1's penalty: gamma/2N Σ ‖g‖², u = gamma/N g; other code leaves the 1/2 out, so that its gamma is half.

    Source: Mescheder, Geiger and Nowozin 2018, equation 9.
    """

    def penalty(g: Tensor) -> tuple[Tensor, Tensor]:
        return gamma / 2 * (lengths(g) ** 2).mean(), gamma / len(g) * g

    return penalty


def gradient_penalty(net: Layer, params: Params, x: Tensor, penalty: Penalty, mode: Mode) -> Penalized:
    """Penalize g, the gradient of the sum of the network's outputs with respect to x (N, ...).

    The network is piecewise linear, y = J x + constants with J = W_L M_L-1 ... M_1 W_1: linear layers W, and
    activations that multiply by M, 0 or a slope. Three passes give the penalty P and its gradients:

        forward       the masks M
        backward      v = the output gradient of each layer, down to g = v_0
        forward       u_0 = dP/dg, then u = W u or M u, the layer without its bias and with the mask of x; dP/dW = v uᵀ

    The last is what the layer's own `backward` returns for the input u and the output gradient v. Nothing else depends
    on the weights, since the masks are constant almost everywhere. Raises PellucidError, naming the layer, for one that
    is neither linear nor a rectifier, such as batch normalization.
    Source: the chain rule on the backward pass, as in Gulrajani et al. 2017, section 4.
    """
    net = unwatched(net)
    y, cache = net.forward(params, x, mode)
    above: dict[str, Any] = {}  # v by path
    masks: dict[str, Cache] = {}  # caches by path

    def back(path: str, layer: Layer, params: Params, cache: Cache, v: Any) -> Any:
        if is_wiring(layer):
            return layer.sweep(
                params, cache, v, lambda name, one, p, c, v: (back(join(path, name), one, p, c, v), {})
            )[0]  # fmt: skip
        check_piecewise_linear(path, layer)
        if path in above:
            raise PellucidError(f"a gradient penalty takes networks that use each layer once, and {path} is used again")
        above[path], masks[path] = v, cache
        return layer.pull(params, cache, v)

    def onward(path: str, layer: Layer, params: Params, u: Any, mode: Mode) -> tuple[Any, Params]:
        """Return J u of one layer, and as its "cache" the gradients of its parameters."""
        if is_wiring(layer):
            return layer.flow(params, u, mode, lambda name, *one: onward(join(path, name), *one))
        if Trait.RECTIFIER in layer.traits:
            return layer.pull(params, masks[path], u), {}  # M is diagonal: M u is its backward pass too
        unbiased = {name: weight for name, weight in params.items() if name != "bias"}
        y, cache = layer.forward(unbiased, u, mode)
        found = layer.backward(unbiased, cache, above[path])[1] if unbiased else {}
        return y, {name: dweight for name, dweight in found.items() if name != "bias"}

    g = back("", net, params, copy_cache(cache), torch.ones_like(y))
    value, u = penalty(g)
    _, dparams = onward("", net, params, u, mode)
    return Penalized(value, dparams, lengths(g))


def check_piecewise_linear(path: str, layer: Layer) -> None:
    """Raise PellucidError for a layer whose second derivative is not 0, or that is unknown."""
    linear = Trait.LINEAR in layer.traits and bool(layer.traits & HOMOGENEOUS)
    if not linear and Trait.RECTIFIER not in layer.traits:
        raise PellucidError(
            f"a gradient penalty takes piecewise linear networks, and {path or 'the network'} is a "
            f"{type(layer).__name__}; use Conv2d, Dense, ReLU and LeakyReLU, without batch normalization"
        )


def lengths(g: Tensor) -> Tensor:
    """Return the Euclidean norm of each example of g (N, ...)."""
    return torch.linalg.vector_norm(g.flatten(1), dim=1)
