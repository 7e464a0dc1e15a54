"""Metrics that compare predicted images, or their colours, with target images (N, C, H, W) from 0 to `peak`."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.metrics.base import Metric, check_measured, checked_ratio
from pellucid.ops.colour import delta_e_2000, recolour, rgb_to_lab

BIN_WIDTH = 10  # in units of a and b
BINS_PER_SIDE = 11  # the number of bins on each side of the middle bin, which is around 0


def colourfulness_rgb(rgb: Tensor) -> Tensor:
    """Return the colourfulness M3 (N,) of sRGB images (N, 3, H, W): from 0 (grey) to about 110 (extremely colourful).

    The images have values from 0 to 1. M3 is sigma + 0.3 mu of the opponent colours R - G and (R + G) / 2 - B, computed
    from values from 0 to 255; sigma is the norm of their two standard deviations and mu the norm of their two means.
    Source: Hasler and Suesstrunk 2003, section 6.
    """
    r, g, b = (rgb * 255).unbind(1)
    return _opponent_colourfulness(torch.stack((r - g, (r + g) / 2 - b), 1), 0.3)


def colourfulness_lab(lab: Tensor) -> Tensor:
    """Return the colourfulness M1 (N,) of Lab images (N, 3, H, W): sigma + 0.37 mu of a and b.

    sigma, mu: as in `colourfulness_rgb`. Source: Hasler and Suesstrunk 2003, section 5.
    """
    return _opponent_colourfulness(lab[:, 1:], 0.37)


def _opponent_colourfulness(opponents: Tensor, mean_weight: float) -> Tensor:
    """Return the norm of the standard deviations of two channels plus `mean_weight` times the norm of their means."""
    flat = opponents.flatten(2)  # (N, 2, H W)
    return flat.std(2, correction=0).norm(dim=1) + mean_weight * flat.mean(2).norm(dim=1)


def ab_histogram(lab: Tensor) -> Tensor:
    """Return the number of pixels of Lab images (N, 3, H, W) in each bin of a and b, (23, 23) int64.

    Bins are 10 wide, the middle one is around 0; values beyond the outer bins are counted in them.
    """
    index = (lab[:, 1:] / BIN_WIDTH).round().long().clamp(-BINS_PER_SIDE, BINS_PER_SIDE) + BINS_PER_SIDE  # (N, 2, H, W)
    n_bins = 2 * BINS_PER_SIDE + 1
    return torch.bincount((index[:, 0] * n_bins + index[:, 1]).flatten(), minlength=n_bins**2).reshape(n_bins, n_bins)


def overlap(first: Tensor, second: Tensor) -> float:
    """Return the overlap of two histograms, 0 to 1: the sum over the bins of the smaller of the two fractions."""
    return torch.minimum(first / first.sum(), second / second.sum()).sum().item()


@dataclass
class Colours(Metric):
    """Errors of predicted a and b (N, 2, H, W) at the true L, and of grey images for comparison.

    Results: psnr, in dB, from the squared error of sRGB pooled over all images; ab_overlap, the overlap of the
    predicted and true histograms of a and b (see `ab_histogram`) over all pixels; colourfulness and colourfulness_true,
    M3 of `colourfulness_rgb`, averaged over the predicted and the true images. psnr_grey and ab_overlap_grey: the same
    for a = b = 0.
    """

    sums: ClassVar[tuple[str, ...]] = ("squared_errors", "colourfulness_sums", "histograms", "values", "images")

    squared_errors: Tensor = field(
        default_factory=lambda: torch.zeros(2, dtype=torch.float64), init=False, repr=False, compare=False
    )
    colourfulness_sums: Tensor = field(
        default_factory=lambda: torch.zeros(2, dtype=torch.float64), init=False, repr=False, compare=False
    )
    histograms: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    values: int = field(default=0, init=False)
    images: int = field(default=0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch; the targets are the images (N, 3, H, W), sRGB from 0 to 1, whose a and b are predicted."""
        true = _true_lab(self, outputs, targets)
        predicted, grey = (recolour(true[:, :1], ab) for ab in (outputs, torch.zeros_like(outputs)))
        self.squared_errors += torch.stack([(image - targets).double().square().sum() for image in (predicted, grey)])
        self.colourfulness_sums += torch.stack([colourfulness_rgb(image).sum() for image in (predicted, targets)])
        histograms = torch.stack([ab_histogram(lab) for lab in (rgb_to_lab(predicted), rgb_to_lab(grey), true)])
        self.histograms = histograms if self.histograms is None else self.histograms + histograms
        self.values += targets.numel()
        self.images += len(targets)

    def update_batch(self, outputs: Tensor, batch: Any) -> None:
        """Call `update` with the images of the batch as targets."""
        self.update(outputs, batch.images)

    def compute(self) -> dict[str, Any]:
        """Return the results by name."""
        predicted_error, grey_error = (
            checked_ratio(value, self.values, self) for value in self.squared_errors.tolist()
        )
        predicted_colourfulness, true_colourfulness = (
            value / self.images for value in self.colourfulness_sums.tolist()
        )
        assert self.histograms is not None
        predicted_histogram, grey_histogram, true_histogram = self.histograms.double()
        return {
            "psnr": psnr_of(predicted_error),
            "psnr_grey": psnr_of(grey_error),
            "ab_overlap": overlap(predicted_histogram, true_histogram),
            "ab_overlap_grey": overlap(grey_histogram, true_histogram),
            "colourfulness": predicted_colourfulness,
            "colourfulness_true": true_colourfulness,
        }


@dataclass
class DeltaE(Metric):
    """The mean CIEDE2000 difference between the colours of predicted a and b (N, 2, H, W) and the true colours.

    The mean is over all pixels. Colours outside sRGB are first moved into its gamut, see
    `pellucid.ops.colour.into_gamut`.
    """

    lower_is_better: ClassVar[bool] = True
    sums: ClassVar[tuple[str, ...]] = ("total", "count")

    total: Tensor = field(
        default_factory=lambda: torch.zeros(2, dtype=torch.float64), init=False, repr=False, compare=False
    )
    count: int = field(default=0, init=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch; the targets are the images (N, 3, H, W), sRGB from 0 to 1, whose a and b are predicted."""
        true = _true_lab(self, outputs, targets)
        for k, ab in enumerate((outputs, torch.zeros_like(outputs))):
            self.total[k] += delta_e_2000(rgb_to_lab(recolour(true[:, :1], ab)), true).double().sum()
        self.count += true[:, 0].numel()

    def update_batch(self, outputs: Tensor, batch: Any) -> None:
        """Call `update` with the images of the batch as targets."""
        self.update(outputs, batch.images)

    def compute(self) -> dict[str, Any]:
        """Return "delta_e" and, for images with a = b = 0, "delta_e_grey"."""
        predicted_mean, grey_mean = (checked_ratio(value, self.count, self) for value in self.total.tolist())
        return {"delta_e": predicted_mean, "delta_e_grey": grey_mean}


def _true_lab(metric: Metric, outputs: Tensor, images: Tensor) -> Tensor:
    """Return the images in Lab; raise PellucidError unless the outputs have the shape of the images' a and b."""
    n, _, *size = images.shape
    if images.shape[1] != 3 or outputs.shape != (n, 2, *size):
        raise PellucidError(
            f"{type(metric).__name__}: outputs {tuple(outputs.shape)} are not a and b (N, 2, H, W) of images (N, 3, H, "
            f"W), which have shape {tuple(images.shape)}"
        )
    return rgb_to_lab(images)


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
