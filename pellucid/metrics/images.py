"""Metrics that compare predicted images with target images, (N, C, H, W) with values from 0 to `peak`."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.metrics.base import Metric, check_measured, checked_ratio

WINDOW_SIZE, WINDOW_SIGMA = 11, 1.5  # side and standard deviation of the Gaussian window, in pixels
K1, K2 = 0.01, 0.03  # square roots of the stabilizing constants, relative to the peak


def psnr_of(error: float, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB of a mean squared error; infinity for an error of 0."""
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(first: Tensor, second: Tensor, peak: float = 1.0) -> Tensor:
    """Return the structural similarity (N,) of images (N, C, H, W): the mean over channels and windows.

    Windows are Gaussian, 11 x 11 pixels with a standard deviation of 1.5, and are completely inside the image. Raises
    PellucidError for images smaller than a window. Source: Wang, Bovik, Sheikh and Simoncelli 2004, equation 13.
    """
    if first.shape != second.shape or first.dim() != 4 or min(first.shape[2:]) < WINDOW_SIZE:
        raise PellucidError(
            f"ssim: images have shapes {tuple(first.shape)} and {tuple(second.shape)}; give the same (N, C, H, W) "
            f"with sides of at least {WINDOW_SIZE}"
        )
    x, y = first.double(), second.double()
    mean_x, mean_y = _window_means(x), _window_means(y)
    var_x, var_y = _window_means(x * x) - mean_x**2, _window_means(y * y) - mean_y**2
    covariance = _window_means(x * y) - mean_x * mean_y
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (var_x + var_y + c2)).mean((1, 2, 3))


def _window_means(x: Tensor) -> Tensor:
    """Return the Gaussian-weighted mean around each pixel whose window is completely inside the image."""
    offsets = torch.arange(WINDOW_SIZE, dtype=x.dtype, device=x.device) - WINDOW_SIZE // 2
    weights = (offsets**2 / (-2 * WINDOW_SIGMA**2)).exp()
    weights = weights / weights.sum()
    n, c, h, w = x.shape
    rows = F.conv2d(x.reshape(n * c, 1, h, w), weights[None, None, :, None])
    return F.conv2d(rows, weights[None, None, None, :]).reshape(n, c, h - WINDOW_SIZE + 1, w - WINDOW_SIZE + 1)


@dataclass
class PSNR(Metric):
    """The peak signal-to-noise ratio in dB, from the squared error pooled over all values of all images."""

    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    peak: float = 1.0
    total: float = field(default=0.0, init=False)
    count: int = field(default=0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the squared errors of a batch of images of one shape."""
        check_image_pair(self, outputs, targets)
        self.total += (outputs.double() - targets.double()).square().sum().item()
        self.count += outputs.numel()

    def compute(self) -> dict[str, Any]:
        """Return {"psnr": in dB}."""
        return {"psnr": psnr_of(checked_ratio(self.total, self.count, self), self.peak)}


@dataclass
class SSIM(Metric):
    """The mean structural similarity of images, see `ssim`; images smaller than the window are skipped."""

    sums: ClassVar[tuple[str, ...]] = ("total", "count", "images")

    peak: float = 1.0
    total: float = field(default=0.0, init=False)
    count: int = field(default=0, init=False)
    images: int = field(default=0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch of images of one shape."""
        check_image_pair(self, outputs, targets)
        self.images += len(outputs)
        if min(outputs.shape[2:]) >= WINDOW_SIZE:
            self.total += ssim(outputs, targets, self.peak).sum().item()
            self.count += len(outputs)

    def compute(self) -> dict[str, Any]:
        """Return {"ssim": at most 1}, NaN if all images are smaller than the window."""
        check_measured(self.images, self)
        return {"ssim": self.total / self.count if self.count else math.nan}


def check_image_pair(metric: Metric, outputs: Tensor, targets: Tensor) -> None:
    """Raise PellucidError unless outputs and targets are images (N, C, H, W) of one shape."""
    if not isinstance(targets, Tensor) or outputs.dim() != 4 or outputs.shape != targets.shape:
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise PellucidError(
            f"{type(metric).__name__}: outputs {tuple(outputs.shape)} and targets {shape} are not images of one "
            "shape (N, C, H, W)"
        )
