"""Average pooling to a given output size.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_positive
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, memory_format, pair
from pellucid.layers.checks import check_image_shape
from pellucid.layers.windows import sum_dtype


class AdaptiveAvgPool2dCache(NamedTuple):
    """Cache of AdaptiveAvgPool2d: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class AdaptiveAvgPool2d(Layer):
    """Average over windows that are chosen such that the output has the given `size` for any input size.

    x is (N, C, H, W), y is (N, C, H', W') with (H', W') = `size`; output row i is the mean of the input rows from
    floor(i H / H') to ceil((i + 1) H / H') - 1, columns likewise. Size 1 is global average pooling (Lin, Chen and Yan
    2013, section 3.2).
    """

    # NEW_OUTPUT: newly allocated, so other layers may overwrite it.
    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.LINEAR | Trait.ADDITIVE | Trait.RESAMPLE | Trait.NEW_OUTPUT

    size: int | tuple[int, int] = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_positive(self, size=self.size)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the pooled shape."""
        return {}, (check_image_shape(self, shape)[0], *pair(self.size))

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, AdaptiveAvgPool2dCache]:
        """Compute y = the mean over each window of x."""
        return F.adaptive_avg_pool2d(x, pair(self.size)), AdaptiveAvgPool2dCache(x)

    def backward(self, params: Params, cache: AdaptiveAvgPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[i] = the sum of dy / (number of values in the window) over the windows that contain pixel i."""
        x = cache.x
        if pair(self.size) == (1, 1):
            return (dy / (x.shape[2] * x.shape[3])).expand(x.shape), {}
        rows, columns = (  # weights of the means, (H', H) and (W', W)
            _mean_weights(size, input_size, dy) for size, input_size in zip(dy.shape[2:], x.shape[2:], strict=True)
        )
        dx = rows.t() @ dy.to(rows.dtype) @ columns  # (N, C, H, W)
        return dx.to(dy.dtype, memory_format=memory_format(dy)), {}


def _mean_weights(size: int, input_size: int, like: Tensor) -> Tensor:
    """Return the matrix (size, input_size) of the means along one axis: 1 / length inside a window, else 0."""
    index = torch.arange(size, device=like.device)[:, None]
    position = torch.arange(input_size, device=like.device)
    first = index * input_size // size
    end = ((index + 1) * input_size + size - 1) // size  # rounded up
    is_inside = (first <= position) & (position < end)
    return is_inside.to(sum_dtype(like.dtype)) / (end - first)
