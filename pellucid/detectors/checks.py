"""Checks of the hyperparameters of detectors, and of their networks' outputs; each raises PellucidError."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_DETECTOR_ANCHORS, MAX_DETECTOR_LENGTH, scaled_limit
from pellucid.base.settings.checks import check_above_zero, check_whole
from pellucid.base.text import plural


class AnchorDetector(Protocol):
    """The part of `OneStageDetector` that determines the number of values that its networks must output."""

    @property
    def outputs_per_anchor(self) -> int:
        """The number of values for each anchor."""
        ...

    def anchors(self, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Return the anchors (A, 4) for maps of these sizes."""
        ...


def check_strides(detector: object, strides: Sequence[int]) -> None:
    """Raise PellucidError unless there are strides, all of them whole numbers from 1 to MAX_DETECTOR_LENGTH."""
    check_above_zero(detector, MAX_DETECTOR_LENGTH, strides=tuple(strides))
    for stride in strides:
        check_whole(detector, strides=stride)


def check_stride(detector: object, stride: int) -> None:
    """Raise PellucidError unless the stride is a whole number from 1 to MAX_DETECTOR_LENGTH."""
    check_above_zero(detector, MAX_DETECTOR_LENGTH, stride=stride)
    check_whole(detector, stride=stride)


def check_maps(detector: AnchorDetector, name: str, maps: Sequence[Any], image_shape: Any) -> None:
    """Raise PellucidError unless maps of these shapes (C, H, W) contain the outputs for all anchors of an image.

    name: the network that outputs them. image_shape: (C, H, W).
    """
    kind = type(detector).__name__
    n_outputs = detector.outputs_per_anchor
    for map_ in maps:
        if len(map_) != 3 or map_[0] % n_outputs:
            raise PellucidError(
                f"{kind}: {name} outputs {tuple(map_)}, but each anchor needs {n_outputs} values; give it maps of "
                f"{n_outputs} channels, or a multiple"
            )
    try:
        n_anchors = len(detector.anchors([(height, width) for _, height, width in maps]))
    except ValueError as error:  # the detector has strides or anchors for another number of maps
        raise PellucidError(
            f"{kind}: {name} outputs {plural(len(maps), 'map')}, but there are anchors for another number; "
            "give strides and anchors for each map"
        ) from error
    if n_anchors > scaled_limit(MAX_DETECTOR_ANCHORS):
        raise PellucidError(
            f"{kind}: an image of {image_shape[1]}x{image_shape[2]} has {n_anchors:,} anchors, above the limit of "
            f"{scaled_limit(MAX_DETECTOR_ANCHORS):,}; {LIMITS_HINT}"
        )
    n_values = sum(math.prod(map_) for map_ in maps)
    if n_anchors * n_outputs != n_values:
        raise PellucidError(
            f"{kind}: {name} outputs {n_values:,} values, but {n_anchors:,} anchors need {n_outputs} each; give it "
            f"{n_outputs} channels for each anchor of a cell"
        )
