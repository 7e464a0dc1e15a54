"""Checkerboards in samples: a pattern of two pixels that upsampling leaves."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import GENERATOR, Check, Finding
from pellucid.layers import ConvTranspose2d
from pellucid.layers.base import Layer, pair
from pellucid.objective import named_layers

NEAR = 2  # frequencies around the pattern's that it is compared with
PEAK = 4.0  # times the power of these, from which a pattern shows
OVER_DATA = 3.0  # times as strong as in the training images, which may have one too: JPEG
MIN_SIDE = 8  # pixels


def look(case: Case) -> list[Finding]:
    """Compare the power of patterns of two pixels with that of nearby frequencies."""
    if min(case.samples.shape[2:]) < MIN_SIDE:
        return []
    made, real = pattern(case.samples), pattern(case.data_images)
    if made < PEAK or made < OVER_DATA * real:
        return []
    evidence = {"pattern": made, "pattern_of_training_images": real, "samples": len(case.samples)}
    uneven = next((path for path, layer in named_layers(case.model.objective.nets) if is_uneven(layer)), "")
    if uneven:
        cause = "its kernel is no multiple of its stride, so that some pixels get more shares than their neighbours"
        fix = "use ConvTranspose2d(kernel=4, stride=2, padding=1), or Upsample before a Conv2d"
    else:
        cause = "the training has not removed the pattern that drawn weights of upsampling layers make"
        fix = "train longer, or use Upsample before a Conv2d"
    return [Finding(NAME, uneven or "generator", evidence, cause, fix)]


def is_uneven(layer: Layer) -> bool:
    """Return whether a layer is a transposed convolution whose kernel is no multiple of its stride."""
    return isinstance(layer, ConvTranspose2d) and any(
        kernel % stride for kernel, stride in zip(pair(layer.kernel), pair(layer.stride), strict=True)
    )


def pattern(images: Tensor) -> float:
    """Return the power of images (n, C, H, W) at a period of two pixels over the median of nearby frequencies.

    The largest of three patterns: rows, columns and squares. Sides of odd length lose their last pixel. Source: Odena,
    Dumoulin and Olah 2016, "Deconvolution and checkerboard artifacts".
    """
    height, width = (size // 2 * 2 for size in images.shape[2:])
    x = images[..., :height, :width].double()
    power = torch.fft.fft2(x - x.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))  # (H, W)
    ratios: list[float] = []
    for row, column in ((height // 2, 0), (0, width // 2), (height // 2, width // 2)):
        rows = [(row + k) % height for k in range(-NEAR, NEAR + 1)] if row else [0]
        columns = [(column + k) % width for k in range(-NEAR, NEAR + 1)] if column else [0]
        near = [float(power[i, j]) for i in rows for j in columns if (i, j) != (row, column)]
        level = float(torch.tensor(near, dtype=torch.float64).median())
        ratios.append(float(power[row, column]) / level if level else 0.0)
    return max(ratios)


NAME = "checkerboard"
CHECK = Check(NAME, look, proven=True, trained=True, of=(GENERATOR,))
