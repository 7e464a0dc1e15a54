"""Gradients averaged over variants of each input: SmoothGrad and integrated gradients."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_range, integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.explain.sweeps import fix_target, forward_to
from pellucid.explain.target import Target, repeated_target
from pellucid.layers.base import Layer, Params
from pellucid.objective import seeded


def repeat_examples(x: Tensor, count: int) -> Tensor:
    """Return each example `count` times in a row: (N, ...) becomes (N count, ...)."""
    return x.repeat_interleave(count, 0)


def batch_gradients(net: Layer, params: Params, variants: Tensor, target: Target, count: int) -> Tensor:
    """Return ∂ score / ∂ x for variants (N count, ...); `count` consecutive variants have the target of one example."""
    return forward_to(net, params, variants, repeated_target(target, count)).propagate_back()


def variants_at_once(method: str, batch: int, x: Tensor) -> int:
    """Return the number of variants of each example per forward pass: about `batch` in total, at least 1 each."""
    if not len(x):
        raise PellucidError(f"{method}: the batch is empty; give at least one example")
    return max(1, batch // len(x))


SMOOTHGRAD_KINDS = ("mean", "square", "variance")


def smoothgrad(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    samples: int = 50,
    noise: float = 0.15,
    kind: str = "mean",
    seed: int = 0,
    batch: int = 32,
) -> Tensor:
    """Return the mean of ∂ score / ∂ x over `samples` copies of x with Gaussian noise, in x's shape.

    noise: standard deviation of the noise, as a fraction of each image's range of values. kind: "square" for the mean
    of the squares (Hooker et al. 2019), "variance" for the gradients' variance (Adebayo et al. 2018, VarGrad). batch:
    the number of images per forward pass. target: see `aim`; None is the class of x with the largest score.
    Raises PellucidError for invalid options. Source: Smilkov et al. 2017, section 3.
    """
    check_choice("smoothgrad", SMOOTHGRAD_KINDS, kind=kind)
    samples, batch = integer(samples, "smoothgrad: samples", 1), integer(batch, "smoothgrad: batch", 1)
    check_range("smoothgrad", noise=noise)
    at_once = variants_at_once("smoothgrad", batch, x)
    rng = seeded(x.device, seed)
    target = fix_target(net, params, x, target)
    flat = x.flatten(1)
    deviation = (noise * (flat.amax(1) - flat.amin(1))).view(-1, *(1,) * (x.dim() - 1))  # (N, 1, ...)
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    remaining = samples
    while remaining:
        count = min(remaining, at_once)
        shape = (len(x) * count, *x.shape[1:])
        normal = torch.randn(shape, generator=rng, device=rng.device).to(x)  # drawn in float32 for every dtype
        noisy = repeat_examples(x, count) + normal * repeat_examples(deviation, count)
        gradients = batch_gradients(net, params, noisy, target, count).unflatten(0, (len(x), count))
        mean += gradients.sum(1) / samples
        square += (gradients * gradients).sum(1) / samples
        remaining -= count
    return {"mean": mean, "square": square, "variance": square - mean * mean}[kind]


Quadrature = tuple["np.ndarray", "np.ndarray"]  # positions in [0, 1] and their weights, which sum to 1


def _gauss_legendre(steps: int) -> Quadrature:
    positions, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    return (1 + positions) / 2, weights / 2


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
    """Return (x - baseline) times the mean of ∂ score / ∂ x on the path from the baseline to x, in x's shape.

    With enough `steps` the result adds up to the score of x minus the score of the baseline. baseline: a number, or a
    tensor that broadcasts to x. quadrature: the integration rule, one of QUADRATURES. batch: the number of images per
    forward pass. target: see `aim`; None is the class of x with the largest score.
    Raises PellucidError for invalid options. Source: Sundararajan, Taly and Yan 2017, equations 1 and 3.
    """
    check_choice("integrated_gradients", QUADRATURES, quadrature=quadrature)
    steps = integer(steps, "integrated_gradients: steps", 2 if quadrature == "trapezoid" else 1)
    batch = integer(batch, "integrated_gradients: batch", 1)
    count = variants_at_once("integrated_gradients", batch, x)
    baseline_x = _baseline_like(baseline, x)
    positions, weights = (torch.from_numpy(values).to(x) for values in QUADRATURES[quadrature](steps))
    target = fix_target(net, params, x, target)
    mean = torch.zeros_like(x)
    for position, weight in zip(positions.split(count), weights.split(count), strict=True):
        # (N count, 1, ...) each
        factors = [values.repeat(len(x)).view(-1, *(1,) * (x.dim() - 1)) for values in (position, weight)]
        path_points = torch.lerp(
            repeat_examples(baseline_x, len(position)), repeat_examples(x, len(position)), factors[0]
        )
        gradients = batch_gradients(net, params, path_points, target, len(position)) * factors[1]
        mean += gradients.unflatten(0, (len(x), len(position))).sum(1)
    return mean * (x - baseline_x)


def _baseline_like(baseline: float | Tensor, x: Tensor) -> Tensor:
    try:
        values = as_tensor(baseline, "baseline")
        baseline_x = values.to(x).expand(x.shape)
    except (RuntimeError, PellucidError) as error:
        description = f"a tensor {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else repr(baseline)
        raise PellucidError(
            f"integrated_gradients: baseline must be a number or broadcast to {tuple(x.shape)}, not {description}"
        ) from error
    if not bool(values.isfinite().all()):
        raise PellucidError("integrated_gradients: baseline must be finite; it contains NaN or infinity")
    return baseline_x
