"""Experiments on boxes in another unit or order, and on sound ones."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pellucid.doctor import Diagnosis
from pellucid.image_objects import Detections, Objects
from pellucid.model import Model
from pellucid.optim import AdamW
from pellucid.tasks.detect.doctor.target_changes import SCALE_FACTORS, named_conversions, scores, target_changes
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.examined import Given

Change = Callable[[Objects], Objects]


def rectangles(first: int, count: int, change: Change = lambda objects: objects) -> Given:
    return Given([(image, change(truth)) for image, truth in (Rectangles().example(first + k) for k in range(count))])


def enlarged(objects: Objects) -> Objects:
    """Boxes of images of twice the size."""
    return replace(objects, boxes=2 * objects.boxes)


def examined(train: Given, validation: Given) -> Diagnosis:
    detector = small_single_stage()
    it = Model(
        detector, optimizer=AdamW(5e-3), input_shape=(3, None, None), clip=5.0, metrics=(), classes=train.classes
    )
    history = it.fit(train, epochs=20, batch_size=4, verbose=False)
    return it.doctor(train, validation=validation, history=history, epochs=20, batch_size=4)


@pytest.mark.slow
def test_boxes_of_images_of_another_size_are_the_cause_and_not_the_anchors() -> None:
    found = examined(rectangles(0, 32, enlarged), rectangles(500, 24, enlarged))
    assert (found.causes[0], found.kind(0)) == ("box-scale", "cause")
    assert found.effects[0].does == "boxes multiplied by 0.5"
    assert found.findings[0].evidence["lowest_gain"] > 0
    anchors = [k for k, finding in enumerate(found.findings) if finding.check in ("unfitting-anchors", "no-positives")]
    assert all(found.follows[k] == "box-scale" for k in anchors)


@pytest.mark.slow
def test_validation_boxes_of_images_of_another_size_are_the_cause() -> None:
    found = examined(rectangles(0, 32), rectangles(500, 48, enlarged))
    assert (found.causes[0], found.kind(0), found.findings[0].path) == ("box-scale", "cause", "validation")


def test_detections_show_exchanged_classes() -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    found = [Detections(one.boxes + 1, torch.linspace(0.9, 0.5, len(one)), 1 - one.labels) for one in targets]
    (change,) = target_changes(images, targets, found)
    assert change.name == "class-order"
    swapped = [change.apply(one, (48, 64)) for one in targets]
    assert torch.equal(swapped[0].labels, 1 - targets[0].labels)
    with_objects = torch.tensor([len(one) > 0 for one in targets])
    assert scores(found, targets).values.max() == 0
    assert scores(found, swapped).values[with_objects].min() > 0.7
    assert target_changes(images, swapped, found) == []


@pytest.mark.parametrize(("right", "down"), [(9.0, 0.0), (-6.0, 7.0)])
def test_detections_show_the_shift_of_boxes(right: float, down: float) -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    move = torch.tensor([right, down, right, down])
    found = [Detections(one.boxes + move, torch.linspace(0.9, 0.5, len(one)), one.labels) for one in targets]
    (change,) = target_changes(images, targets, found)
    assert change.name == "shifted-boxes"
    assert change.does == f"boxes moved by {right:.0f} pixels to the right and {down:.0f} down"


def test_detections_beside_the_boxes_show_overlooked_objects() -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    found = [Detections(one.boxes, torch.full((len(one),), 0.9), one.labels) for one in targets]
    assert target_changes(images, targets, found) == []
    half = [one.take(torch.arange(len(one)) % 2 == 0) for one in targets]
    (change,) = target_changes(images, half, found)
    assert (change.name, change.apply, change.unproven) == ("overlooked-objects", None, True)


@pytest.mark.slow
def test_sound_boxes_have_no_cause() -> None:
    found = examined(rectangles(0, 32), rectangles(500, 48))
    assert "cause" not in {found.kind(k) for k in range(len(found.findings))}
    assert all(effect.verdict != "cause" for effect in found.effects)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_edges_show_the_scale_of_boxes(factor: float) -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    wrong = [replace(objects, boxes=objects.boxes * factor) for objects in targets]
    (found,) = target_changes(images, wrong, None)
    assert found.does == f"boxes multiplied by {1 / factor:.3g}"
    assert target_changes(images, targets, None) == []
    torch.testing.assert_close(found.apply(wrong[0], (48, 64)).boxes, targets[0].boxes)


def test_readings_have_distinct_names() -> None:
    assert len(named_conversions()) == len(SCALE_FACTORS) + 9
