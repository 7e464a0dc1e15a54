"""Samples of PyTorch's padding."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import Trial, View, layer_trial
from pellucid.layers import Pad2d


def pad(
    reference: Callable[[], Tensor], x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Trial:
    """Return the trial of Pad2d on a sample of pad; the last two axes are the image, for any number of axes."""
    if len(pad) > 4:
        raise SkipCase("padding of three axes")
    left, right, top, bottom = (*pad, 0, 0)[:4]
    layer = Pad2d((left, right, top, bottom), mode, value or 0.0)
    leading_axes = x.shape[:-2]
    view = View(
        lambda x: x.reshape(math.prod(leading_axes), 1, *x.shape[-2:]),
        lambda x: x.reshape(*leading_axes, *x.shape[-2:]),
    )
    return layer_trial(layer, {}, x, reference, view=view)


def constant_pad_nd(reference: Callable[[], Tensor], x: Tensor, padding: Sequence[int], value: float = 0.0) -> Trial:
    """Return the trial of Pad2d on a sample of constant_pad_nd."""
    return pad(reference, x, padding, "constant", value)


OPERATORS = (
    Operator("constant_pad_nd", Pad2d, constant_pad_nd),
    *(
        Operator("nn.functional.pad", Pad2d, pad, variant)
        for variant in ("constant", "reflect", "replicate", "replicate_negative", "circular")
    ),
)
