"""Activation maximization: gradient ascent on the input to maximize the score of a unit, map or class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_range, integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.explain.checks import gaussian_blur
from pellucid.explain.sweeps import forward_to, scores
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params, Shape
from pellucid.training.device import device_of


@dataclass(frozen=True, eq=False)
class Maximum:
    """The network input x (1, C, H, W), and the target's scores at the start and after each step."""

    x: Tensor
    scores: tuple[float, ...]
    __repr__ = brief_repr


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

    target: see `aim`; a class, "features.conv2[3]" for the largest value of a map, "features.conv2[3, 4, 4]" for one
    unit, "features.conv2[3, :, :]" for the sum of a map. Prefer the output before a rectifier, because its gradient
    does not vanish. start: the initial value, usually grey, to which Gaussian noise of standard deviation `noise` is
    added. rate: the root mean square change in each step, to which the gradient is scaled. low, high: the range of the
    image, as numbers or tensors that broadcast to shape; None for no limit.
    Options against high-frequency noise: jitter, the largest random shift in pixels in each step; blur, the standard
    deviation in pixels of a Gaussian blur after each step; decay, the fraction by which each step returns to `start`;
    variation, the weight of a penalty on the sum of squared differences between neighbours.
    Raises PellucidError for invalid options.
    Source: Erhan et al. 2009, section 3; blur and decay: Yosinski et al. 2015, section 3; variation: Mahendran and
    Vedaldi 2015, equation 4 with beta 2; jitter: Mordvintsev et al. 2015.
    """
    steps, jitter = integer(steps, "maximize: steps", 1), integer(jitter, "maximize: jitter", 0)
    check_range("maximize", rate=rate, noise=noise, blur=blur, decay=decay, variation=variation)
    if len(shape) != 3:
        raise PellucidError(f"maximize: shape must be an image shape (C, H, W), not {tuple(shape)}")
    if target is None:
        raise PellucidError(
            "maximize: target must be a class or a unit; a noise image has no predicted class to maximize"
        )
    rng = torch.Generator().manual_seed(seed)
    initial = as_tensor(start, "maximize: start").to(torch.float32).expand(1, *shape)
    device = device_of(params)
    x = _clamp(initial + noise * torch.randn(1, *shape, generator=rng), low, high)
    score_history: list[float] = []
    for _ in range(steps):
        shift_y, shift_x = torch.randint(-jitter, jitter + 1, (2,), generator=rng).tolist()
        forward_pass = forward_to(net, params, x.roll((shift_y, shift_x), (2, 3)).to(device), target)
        if not jitter:
            score_history.append(float(forward_pass.score))
        else:
            # the shifted image has another score than the one that is returned
            score_history.append(float(scores(net, params, x.to(device), target)))
        dx = forward_pass.propagate_back().cpu().roll((-shift_y, -shift_x), (2, 3))
        rms = dx.square().mean().sqrt()
        dx = dx / rms if rms > 0 else dx
        x = x + rate * (dx - variation * variation_gradient(x))
        x = initial + (1 - decay) * (x - initial)
        x = _clamp(gaussian_blur(x, blur) if blur else x, low, high)
    return Maximum(x, (*score_history, float(scores(net, params, x.to(device), target))))


def variation_gradient(x: Tensor) -> Tensor:
    """Return the gradient of the sum of squared differences between neighbours in images (N, C, H, W)."""
    dx = torch.zeros_like(x)
    for axis in (2, 3):
        slope = 2 * x.diff(dim=axis)
        length = x.shape[axis]
        dx.narrow(axis, 1, length - 1).add_(slope)
        dx.narrow(axis, 0, length - 1).sub_(slope)
    return dx


def _clamp(x: Tensor, low: float | Tensor | None, high: float | Tensor | None) -> Tensor:
    x = x if low is None else torch.maximum(x, as_tensor(low, "maximize: low").to(x))
    return x if high is None else torch.minimum(x, as_tensor(high, "maximize: high").to(x))
