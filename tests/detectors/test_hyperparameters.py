"""Invalid hyperparameters of detectors are refused, and networks whose outputs do not fit them."""

from dataclasses import replace

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.detectors import FastRCNN, KeypointRCNN, MaskRCNN
from pellucid.detectors.search import count_windows, windows
from pellucid.layers import Conv2d, Dense, Flatten
from tests.detectors.drawn import small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.two_stages import small_detector_parts, small_faster


def small_fast() -> FastRCNN:
    classes, backbone, neck, _, align, head = small_detector_parts()
    return FastRCNN(classes, backbone, neck, align, head, stride=16)


def small_mask(masks: int = 2) -> MaskRCNN:
    return MaskRCNN(*small_detector_parts(), (4, 8), small_detector_parts()[4], Conv2d(masks, 1))


def small_keypoint() -> KeypointRCNN:
    return KeypointRCNN(*small_detector_parts(), (4, 8), small_detector_parts()[4], Conv2d(5, 1))


SMALL_DETECTORS = {
    "single_stage": small_single_stage, "ssd": small_ssd, "yolo3": small_yolo3, "yolo1": small_yolo1,
    "faster": small_faster, "fast": small_fast, "mask": small_mask, "keypoint": small_keypoint,
}  # fmt: skip
INVALID_FOR_ALL = [
    ("classes", 0), ("classes", 1.5), ("score_threshold", 5), ("score_threshold", -1), ("score_threshold", "0.5"),
    ("nms_threshold", 1.01), ("nms_threshold", float("nan")), ("weights", {"box": float("inf")}),
]  # fmt: skip
INVALID_BY_DETECTOR = {
    "single_stage": [("strides", (4, 0)), ("strides", ()), ("scale", 0.0), ("scale", 1e30)],
    "ssd": [("strides", (4, -8)), ("sides", (10.0, 0.0, 24.0)), ("ratios", ((-2.0,), ()))],
    "yolo3": [("strides", (4, 0)), ("shapes", (((8.0, 0.0),), ((16.0, 16.0),))), ("shapes", ((), ((16.0, 16.0),)))],
    "yolo1": [("stride", 0), ("stride", 2.5), ("stride", 1 << 21), ("boxes", 0)],
    "faster": [("scale", -1.0), ("proposals", 0), ("regions", 0), ("strides", (4, 2.5))],
    "fast": [("by", "magic"), ("stride", 0), ("stride", 2.5), ("stride", 1 << 21), ("regions", -3)],
}


@pytest.mark.parametrize("name", SMALL_DETECTORS)
def test_a_detector_with_valid_hyperparameters_is_built(name):
    params, _ = SMALL_DETECTORS[name]().init((3, 48, 64), torch.Generator())
    assert params


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        (name, *setting)
        for name in SMALL_DETECTORS
        for setting in [*INVALID_FOR_ALL, *INVALID_BY_DETECTOR.get(name, [])]
    ],
)
def test_an_impossible_hyperparameter_is_refused_in_one_line(name, field, value):
    detector = SMALL_DETECTORS[name]()
    with pytest.raises(PellucidError, match=rf"^{type(detector).__name__}: {field}\b") as info:
        replace(detector, **{field: value})
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("name", "field", "value", "counts"),
    [("ssd", "sides", (10.0, 16.0), "2 strides, 2 ratios and 2 sides"), ("yolo3", "strides", (4,), "1 stride and 2 ")],
)
def test_hyperparameters_of_different_lengths_are_refused_with_their_lengths(name, field, value, counts):
    with pytest.raises(PellucidError, match=f": there are {counts}"):
        replace(SMALL_DETECTORS[name](), **{field: value})


CHANGED_HEADS = {
    "single_stage": {"classes": 7}, "ssd": {"classes": 3}, "yolo3": {"classes": 3}, "yolo1": {"boxes": 1},
    "faster": {"classes": 3}, "fast": {"classes": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGED_HEADS)
def test_a_head_with_another_number_of_outputs_is_refused(name):
    with pytest.raises(PellucidError, match="head"):
        replace(SMALL_DETECTORS[name](), **CHANGED_HEADS[name]).init((3, 48, 64), torch.Generator())


def test_a_number_of_anchors_that_does_not_fit_the_head_is_refused():
    with pytest.raises(PellucidError, match="anchors"):
        replace(small_ssd(), ratios=((2.0,), (2.0,))).init((3, 48, 64), torch.Generator())


def test_a_number_of_masks_or_points_that_does_not_fit_the_head_is_refused():
    with pytest.raises(PellucidError, match="mask_head"):
        small_mask(3).init((3, 48, 64), torch.Generator())
    flat_detector = replace(small_keypoint(), point_head=Sequential(Flatten(), Dense(5)))
    with pytest.raises(PellucidError, match="point_head"):
        flat_detector.init((3, 48, 64), torch.Generator())


def test_a_scale_that_does_not_fit_the_finest_map_is_refused():
    faster = small_faster()
    for scale in (2.0, 1e6):
        with pytest.raises(PellucidError, match=r"align: scale .* does not fit maps of 12x16 for images of 48x64"):
            replace(faster, align=replace(faster.align, scale=scale)).init((3, 48, 64), torch.Generator())


def test_more_windows_than_the_limit_are_refused():
    with pytest.raises(PellucidError, match=r"windows.*above the limit.*larger stride"):
        windows((4000, 4000), 1)
    assert len(windows((640, 640))) <= count_windows((640, 640), 16) == 40 * 40 * 5 * 3
