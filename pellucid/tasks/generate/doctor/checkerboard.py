"""Check for checkerboard artifacts in generated images: a pattern with a period of two pixels from upsampling."""

import torch
from torch import Tensor

from pellucid.combine.nets import named_layers
from pellucid.doctor.finding import Check, Finding
from pellucid.layers import ConvTranspose2d
from pellucid.layers.base import Layer, pair
from pellucid.tasks.generate.doctor.case import GeneratorCase

MAX_OFFSET = 2  # largest distance of a nearby frequency, in steps of the discrete Fourier transform
MIN_PEAK = 4.0  # power divided by its median at nearby frequencies, from which a pattern is visible
MIN_OVER_DATA = 3.0  # this ratio for samples, divided by the ratio for training images, which may have a pattern (JPEG)
MIN_SIDE = 8  # pixels


def find(case: GeneratorCase) -> list[Finding]:
    """Compare the power of patterns with a period of two pixels with the power at nearby frequencies."""
    if min(case.samples.shape[2:]) < MIN_SIDE:
        return []
    generated, real = peak_ratio(case.samples), peak_ratio(case.data_images)
    if generated < MIN_PEAK or generated < MIN_OVER_DATA * real:
        return []
    evidence = {"pattern": generated, "pattern_of_training_images": real, "samples": len(case.samples)}
    uneven = next((path for path, layer in named_layers(case.model.objective.nets) if is_uneven(layer)), "")
    if uneven:
        cause = "its kernel is not a multiple of its stride, so some output pixels get more contributions than others"
        fix = "use ConvTranspose2d(kernel=4, stride=2, padding=1), or Upsample before a Conv2d"
    else:
        cause = "the training has not removed the pattern that upsampling layers with initial weights produce"
        fix = "train longer, or use Upsample before a Conv2d"
    return [Finding(NAME, uneven or "generator", evidence, cause, fix)]


def is_uneven(layer: Layer) -> bool:
    """Return whether a layer is a transposed convolution whose kernel size is not a multiple of its stride."""
    return isinstance(layer, ConvTranspose2d) and any(
        kernel % stride for kernel, stride in zip(pair(layer.kernel), pair(layer.stride), strict=True)
    )


def peak_ratio(images: Tensor) -> float:
    """Return the power of images (n, C, H, W) at a period of two pixels, divided by its median at nearby frequencies.

    It is the largest ratio of three patterns: rows, columns and squares. Odd sides are cropped by one pixel. Source:
    Odena, Dumoulin and Olah 2016, "Deconvolution and checkerboard artifacts".
    """
    height, width = (size // 2 * 2 for size in images.shape[2:])
    x = images[..., :height, :width].double()
    power = torch.fft.fft2(x - x.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))  # (H, W)
    ratios: list[float] = []
    for row, column in ((height // 2, 0), (0, width // 2), (height // 2, width // 2)):
        rows = [(row + k) % height for k in range(-MAX_OFFSET, MAX_OFFSET + 1)] if row else [0]
        columns = [(column + k) % width for k in range(-MAX_OFFSET, MAX_OFFSET + 1)] if column else [0]
        nearby_power = [float(power[i, j]) for i in rows for j in columns if (i, j) != (row, column)]
        nearby_median = float(torch.tensor(nearby_power, dtype=torch.float64).median())
        ratios.append(float(power[row, column]) / nearby_median if nearby_median else 0.0)
    return max(ratios)


NAME = "checkerboard"
CHECK = Check(NAME, find, finds_faults=True, trained=True)
