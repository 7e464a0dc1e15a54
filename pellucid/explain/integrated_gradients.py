"""Integrated gradients: the gradient along the straight way from a baseline to the input."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError, nearest
from pellucid.explain.repeated import at_least, at_once, batch_gradients, repeated
from pellucid.explain.sweeps import fixed
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params

Quadrature = tuple["np.ndarray", "np.ndarray"]  # places in [0, 1], and how each of them weighs; weights sum to 1


def _gauss_legendre(steps: int) -> Quadrature:
    places, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    return (1 + places) / 2, weights / 2


def _trapezoid(steps: int) -> Quadrature:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _riemann(shift: float) -> Callable[[int], Quadrature]:
    return lambda steps: ((np.arange(steps) + shift) / steps, np.full(steps, 1 / steps))


QUADRATURES: dict[str, Callable[[int], Quadrature]] = {
    "gauss_legendre": _gauss_legendre,
    "left": _riemann(0.0),
    "middle": _riemann(0.5),
    "right": _riemann(1.0),
    "trapezoid": _trapezoid,
}


def integrated_gradients(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    baseline: float | Tensor = 0.0,
    steps: int = 50,
    quadrature: str = "gauss_legendre",
    batch: int = 32,
) -> Tensor:
    """Return (x - baseline) times the mean of ∂ score / ∂ x on the way from the baseline to x, in x's shape.

    With enough `steps` it adds up to the score of x less that of the baseline. baseline: a number, or a tensor that
    broadcasts to x. quadrature: how the integral is taken, one of QUADRATURES. batch: how many images run at once.
    target: see `aim`; None is the best class of x itself.
    Raises PellucidError for invalid options. Source: Sundararajan, Taly and Yan 2017, equations 1 and 3.
    """
    if quadrature not in QUADRATURES:
        known = ", ".join(QUADRATURES)
        raise PellucidError(
            f"integrated_gradients: quadrature must be one of {known}, not {quadrature!r}"
            f"{nearest(quadrature, QUADRATURES)}"
        )
    at_least("integrated_gradients", 2 if quadrature == "trapezoid" else 1, steps=steps)
    at_least("integrated_gradients", 1, batch=batch)
    count = at_once("integrated_gradients", batch, x)
    start = _start(baseline, x)
    places, weights = (torch.from_numpy(part).to(x) for part in QUADRATURES[quadrature](steps))
    target = fixed(net, params, x, target)
    mean = torch.zeros_like(x)
    for place, weight in zip(places.split(count), weights.split(count), strict=True):
        along = [part.repeat(len(x)).view(-1, *(1,) * (x.dim() - 1)) for part in (place, weight)]  # (N count, 1, ...)
        between = torch.lerp(repeated(start, len(place)), repeated(x, len(place)), along[0])
        found = batch_gradients(net, params, between, target, len(place)) * along[1]
        mean += found.unflatten(0, (len(x), len(place))).sum(1)
    return mean * (x - start)


def _start(baseline: float | Tensor, x: Tensor) -> Tensor:
    """Return the baseline in the shape of x."""
    try:
        start = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand(x.shape)
    except (RuntimeError, TypeError, ValueError) as error:
        found = f"one of shape {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else repr(baseline)
        raise PellucidError(
            f"integrated_gradients: baseline must be a number or broadcast to {tuple(x.shape)}, not {found}"
        ) from error
    if not bool(start.isfinite().all()):
        raise PellucidError("integrated_gradients: baseline must be of finite numbers; it holds NaN or infinity")
    return start
