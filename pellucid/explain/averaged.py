"""Maps averaged over variants of each input: with noise (SmoothGrad), and on a path (integrated gradients)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_range, integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.explain.sweeps import check_not_empty, fix_target, forward_to
from pellucid.explain.target import Target, repeated_target
from pellucid.layers.base import Layer, Params
from pellucid.objective import seeded_generator


def repeat_examples(x: Tensor, count: int) -> Tensor:
    """Return each example `count` times in a row: (N, ...) becomes (N count, ...)."""
    return x.repeat_interleave(count, 0)


def gradient(net: Layer, params: Params, x: Tensor, target: Target = None) -> Tensor:
    """Return ∂ score / ∂ x in x's shape: the method that SmoothGrad and integrated gradients average."""
    return forward_to(net, params, x, target).propagate_back()


def variants_at_once(method: str, batch: int, x: Tensor) -> int:
    """Return the number of variants of each example per forward pass: about `batch` in total, at least 1 each."""
    check_not_empty(method, x)
    return max(1, batch // len(x))


Method = Callable[..., Tensor]  # (net, params, x, target) -> the maps of a batch
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
    of: Method = gradient,
) -> Tensor:
    """Return the mean of ∂ score / ∂ x over `samples` copies of x with Gaussian noise, in x's shape.

    of: another method, whose maps are averaged instead of gradients: its function, or for `explain` its name. noise:
    standard deviation of the noise, as a fraction of each image's range of values. kind: "square" for the mean of the
    squares (Hooker et al. 2019), "variance" for the gradients' variance (Adebayo et al. 2018, VarGrad). batch: the
    number of images per forward pass. target: see `aim`; None is the class of x with the largest score.
    Raises PellucidError for invalid options. Source: Smilkov et al. 2017, section 3.
    """
    check_choice("smoothgrad", SMOOTHGRAD_KINDS, kind=kind)
    samples, batch = integer(samples, "smoothgrad: samples", 1), integer(batch, "smoothgrad: batch", 1)
    check_range("smoothgrad", noise=noise)
    max_variants = variants_at_once("smoothgrad", batch, x)
    rng = seeded_generator(x.device, seed)
    target = fix_target(net, params, x, target)
    flat = x.flatten(1)
    deviation = (noise * (flat.amax(1) - flat.amin(1))).view(-1, *(1,) * (x.dim() - 1))  # (N, 1, ...)
    mean: Any = 0.0
    square: Any = 0.0
    remaining = samples
    while remaining:
        n_variants = min(remaining, max_variants)
        shape = (len(x) * n_variants, *x.shape[1:])
        normal = torch.randn(shape, generator=rng, device=rng.device).to(x)  # drawn in float32 for every dtype
        noisy = repeat_examples(x, n_variants) + normal * repeat_examples(deviation, n_variants)
        maps = of(net, params, noisy, repeated_target(target, n_variants)).unflatten(0, (len(x), n_variants))
        mean = mean + maps.sum(1) / samples
        square = square + (maps * maps).sum(1) / samples
        remaining -= n_variants
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
    of: Method = gradient,
) -> Tensor:
    """Return (x - baseline) times the mean of ∂ score / ∂ x on the path from the baseline to x, in x's shape.

    With enough `steps` the result adds up to the score of x minus the score of the baseline. baseline: a number, or a
    tensor that broadcasts to x. quadrature: the integration rule, one of QUADRATURES. batch: the number of images per
    forward pass. of: another method, as for `smoothgrad`; the result is then the mean of its maps on the path, without
    the factor x - baseline. target: see `aim`; None is the class of x with the largest score.
    Raises PellucidError for invalid options. Source: Sundararajan, Taly and Yan 2017, equations 1 and 3.
    """
    check_choice("integrated_gradients", QUADRATURES, quadrature=quadrature)
    steps = integer(steps, "integrated_gradients: steps", 2 if quadrature == "trapezoid" else 1)
    batch = integer(batch, "integrated_gradients: batch", 1)
    max_variants = variants_at_once("integrated_gradients", batch, x)
    baseline_x = baseline_like("integrated_gradients", baseline, x)
    positions, weights = (torch.from_numpy(values).to(x) for values in QUADRATURES[quadrature](steps))
    target = fix_target(net, params, x, target)
    mean: Any = 0.0
    for position, weight in zip(positions.split(max_variants), weights.split(max_variants), strict=True):
        fractions = position.repeat(len(x)).view(-1, *(1,) * (x.dim() - 1))  # (N variants, 1, ...)
        path_points = torch.lerp(
            repeat_examples(baseline_x, len(position)), repeat_examples(x, len(position)), fractions
        )
        maps = of(net, params, path_points, repeated_target(target, len(position)))
        mean = mean + torch.einsum("nk...,k->n...", maps.unflatten(0, (len(x), len(position))), weight)
    return mean * (x - baseline_x) if of is gradient else mean


def baseline_like(method: str, baseline: float | Tensor, x: Tensor) -> Tensor:
    """Return the baseline in x's shape and dtype; raises PellucidError for one that does not fit or is not finite."""
    try:
        values = as_tensor(baseline, "baseline")
        baseline_x = values.to(x).expand(x.shape)
    except (RuntimeError, PellucidError) as error:
        description = f"a tensor {tuple(baseline.shape)}" if isinstance(baseline, Tensor) else repr(baseline)
        raise PellucidError(
            f"{method}: baseline must be a number or broadcast to {tuple(x.shape)}, not {description}"
        ) from error
    if not bool(values.isfinite().all()):
        raise PellucidError(f"{method}: baseline must be finite; it contains NaN or infinity")
    return baseline_x
