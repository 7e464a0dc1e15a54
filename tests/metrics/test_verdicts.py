"""The verdict on each detection of an image whose overlaps are computed by hand."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.metrics.error_split import DetectionVerdict, classify_detections
from pellucid.ops.image_objects import Detections, Objects
from tests.metrics.scene import DETECTIONS, OBJECTS


def test_every_kind_of_error_is_recognized() -> None:
    image = classify_detections(DETECTIONS, OBJECTS)
    expected = [
        ("hit", 0, 0.9), ("duplicate", 0, 0.95), ("hit", 1, 0.6), ("class", 2, 1.0), ("place", 3, 1 / 3),
        ("background", 0, 0.0), ("ignored", 5, 1.0), ("both", 4, 1 / 3), ("hit", 7, 1.0), ("duplicate", 0, 1.0),
    ]  # fmt: skip
    assert [verdict.kind for verdict in image.verdicts] == [kind for kind, _, _ in expected]
    for verdict, (kind, object_index, iou) in zip(image.verdicts, expected, strict=True):
        assert verdict.iou == pytest.approx(iou)
        assert verdict.object_index == object_index or kind == "background"
    assert image.object_matches == [0, 2, -1, -1, -1, -1, -1, 8]
    assert image.repairs == [-1, -1, 3, 4, -1, -1, -1, -1]
    assert image.not_found(OBJECTS) == [2, 3, 4, 6]  # without the crowd
    assert image.missed(OBJECTS) == [4, 6]


def test_kinds_of_errors_depend_on_the_thresholds() -> None:
    image = classify_detections(DETECTIONS, OBJECTS, 0.65, 0.4)
    assert [verdict.kind for verdict in image.verdicts] == [
        "hit", "duplicate", "place", "class", "background", "background", "ignored", "background", "hit", "duplicate",
    ]  # fmt: skip


def test_verdicts_do_not_depend_on_the_order_of_detections() -> None:
    backwards = classify_detections(DETECTIONS.take(torch.arange(9, -1, -1)), OBJECTS)
    assert backwards.verdicts[::-1] == classify_detections(DETECTIONS, OBJECTS).verdicts
    assert backwards.object_matches == [9, 7, -1, -1, -1, -1, -1, 1]


def test_without_objects_every_detection_is_background() -> None:
    empty = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    assert set(classify_detections(DETECTIONS, empty).verdicts) == {DetectionVerdict("background", -1, 0.0)}
    no_detections = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert classify_detections(no_detections, OBJECTS).missed(OBJECTS) == [0, 1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("thresholds", [(0.5, 0.5), (0.5, 0.0), (1.2, 0.1)])
def test_impossible_thresholds_are_refused(thresholds: tuple[float, float]) -> None:
    with pytest.raises(PellucidError, match="0 < background < threshold <= 1"):
        classify_detections(DETECTIONS, OBJECTS, *thresholds)
