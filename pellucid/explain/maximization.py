"""Activation maximization: gradient ascent to the image with the largest score of a unit, map or class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.checks.curves import blurred
from pellucid.explain.repeated import at_least
from pellucid.explain.sweeps import forward_to
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params, Shape


@dataclass(frozen=True, eq=False)
class Maximum:
    """A picture (1, C, H, W) as the network reads it, and the target's score before, and after each step."""

    x: Tensor
    scores: tuple[float, ...]


@torch.no_grad()
def maximize(
    net: Layer,
    params: Params,
    target: Target,
    shape: Shape,
    steps: int = 40,
    rate: float = 0.1,
    start: float | Tensor = 0.0,
    noise: float = 0.1,
    low: float | Tensor | None = None,
    high: float | Tensor | None = None,
    jitter: int = 0,
    blur: float = 0.0,
    decay: float = 0.0,
    variation: float = 0.0,
    seed: int = 0,
) -> Maximum:
    """Maximize the target's score by gradient ascent from grey noise of `shape` (C, H, W).

    target: see `aim`; a class, "features.conv2[3]" for a map where it is strongest, "features.conv2[3, 4, 4]" for one
    unit of it, "features.conv2[3, :, :]" for all of it. What comes before a rectifier is easier to climb than what
    comes after it. start: grey as the network reads it, to which Gaussian `noise` of this deviation is added. rate: how
    far each step goes on the average (the gradient is scaled so that the root of the mean of its squares is 1). low,
    high: what a picture may hold, as numbers or tensors that broadcast to shape; None for anything.
    Against noise that no picture has: jitter, by how many pixels at most the picture is moved for each step; blur, the
    deviation in pixels of a Gaussian after each step; decay, the part of each step's result that is lost, towards
    `start`; variation, the weight of the sum of squared differences between neighbours, beside the scaled gradient.
    Raises PellucidError for invalid options.
    Source: Erhan et al. 2009, section 3; blur and decay: Yosinski et al. 2015, section 3; variation: Mahendran and
    Vedaldi 2015, equation 4 with beta 2; jitter: Mordvintsev et al. 2015.
    """
    at_least("maximize", 1, steps=steps)
    at_least("maximize", 0, jitter=jitter)
    for name, value in {"rate": rate, "noise": noise, "blur": blur, "decay": decay, "variation": variation}.items():
        if not 0 <= value < float("inf"):
            raise PellucidError(f"maximize: {name} must be a number of at least 0, not {value!r}")
    if len(shape) != 3:
        raise PellucidError(f"maximize: it paints pictures (C, H, W), not inputs of shape {tuple(shape)}")
    if target is None:
        raise PellucidError("maximize: name a class or a unit; a picture that is not there yet has no best class")
    rng = torch.Generator().manual_seed(seed)
    grey = torch.as_tensor(start, dtype=torch.float32).expand(1, *shape)
    x = _within(grey + noise * torch.randn(1, *shape, generator=rng), low, high)
    found: list[float] = []
    for _ in range(steps):
        down, across = torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist()
        run = forward_to(net, params, x.roll((down, across), (2, 3)), target)
        if not jitter:
            found.append(float((run.y * run.mask).sum()))
        else:
            found.append(_score(net, params, x, target))
        dx = run.back().roll((-down, -across), (2, 3))
        size = dx.square().mean().sqrt()
        dx = dx / size if size > 0 else dx
        x = x + rate * (dx - variation * variation_gradient(x))
        x = grey + (1 - decay) * (x - grey)
        x = _within(blurred(x, blur) if blur else x, low, high)
    return Maximum(x, (*found, _score(net, params, x, target)))


def variation_gradient(x: Tensor) -> Tensor:
    """Return the gradient of the sum of squared differences between neighbours in images (N, C, H, W)."""
    dx = torch.zeros_like(x)
    for axis in (2, 3):
        step = 2 * x.diff(dim=axis)
        length = x.shape[axis]
        dx.narrow(axis, 1, length - 1).add_(step)
        dx.narrow(axis, 0, length - 1).sub_(step)
    return dx


def _score(net: Layer, params: Params, x: Tensor, target: Target) -> float:
    run = forward_to(net, params, x, target)
    return float((run.y * run.mask).sum())


def _within(x: Tensor, low: float | Tensor | None, high: float | Tensor | None) -> Tensor:
    x = x if low is None else torch.maximum(x, torch.as_tensor(low, dtype=x.dtype))
    return x if high is None else torch.minimum(x, torch.as_tensor(high, dtype=x.dtype))
