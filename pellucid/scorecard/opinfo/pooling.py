"""Samples of PyTorch's pooling operators."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pellucid.layers import MaxPool2d
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.trial import AS_IS, UNBATCHED, Trial, layer_trial


def max_pool2d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Trial:
    """Put a sample of max_pool2d to MaxPool2d."""
    layer = MaxPool2d(kernel_size, stride, padding, dilation, ceil_mode)
    view = AS_IS if x.dim() == 4 else UNBATCHED
    return layer_trial(layer, {}, x, lambda: theirs()[0] if return_indices else theirs(), view=view)


OPERATORS = (Operator("nn.functional.max_pool2d", MaxPool2d, max_pool2d),)
