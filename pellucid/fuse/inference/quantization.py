"""Affine quantization: values as uint8 codes, and weights as int8 codes.

Tests: tests/fuse/test_int8.py.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_CODE = 255  # of uint8
MAX_WEIGHT_CODE = 127  # of int8, so that the codes of weights are symmetric
MIN_SCALE = torch.finfo(torch.float32).tiny  # of values that are all 0


@dataclass(frozen=True)
class Quantization:
    """Quantization of all values of a tensor with one scale: value = scale (code - zero_point).

    Source: Jacob et al. 2018, equation 1.
    """

    scale: float
    zero_point: int

    def quantize(self, x: Tensor) -> Tensor:
        """Return the nearest codes, uint8; values outside the range get the first or the last code."""
        codes = torch.add(torch.tensor(float(self.zero_point)), x, alpha=1 / self.scale)
        return codes.round_().clamp_(0, MAX_CODE).to(torch.uint8)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Return the values of codes, float32."""
        return codes.to(torch.float32).sub_(self.zero_point).mul_(self.scale)


class Range:
    """The smallest and the largest value of tensors, in a range that contains 0."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0

    def update(self, x: Tensor) -> None:
        """Extend the range to the values of x; it becomes NaN if x contains NaN."""
        low, high = (value.item() for value in torch.aminmax(x))
        self.low = low if math.isnan(low) else min(self.low, low)
        self.high = high if math.isnan(high) else max(self.high, high)

    @property
    def is_finite(self) -> bool:
        """Whether all values were finite."""
        return math.isfinite(self.high - self.low)

    def quantization(self) -> Quantization:
        """Return the quantization with 256 codes from the smallest to the largest value, one of them exactly 0."""
        scale = max((self.high - self.low) / MAX_CODE, MIN_SCALE)
        return Quantization(scale, round(-self.low / scale))


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the int8 codes of a weight (outputs, ...), and the scale of each output, (outputs,).

    The largest absolute weight of each output has the code 127 or -127. Source: Krishnamoorthi 2018, section 3.1.1.
    """
    largest = weight.abs().flatten(1).amax(1)
    scale = torch.where(largest > 0, largest, MAX_WEIGHT_CODE) / MAX_WEIGHT_CODE
    codes = weight / scale.view(-1, *(1,) * (weight.dim() - 1))
    return codes.round_().clamp_(-MAX_WEIGHT_CODE, MAX_WEIGHT_CODE).to(torch.int8), scale
