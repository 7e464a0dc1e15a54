"""Experiments on boxes in a wrong unit or order, and on correct ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.doctor import Diagnosis
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects
from pellucid.optim import AdamW
from pellucid.tasks.detect.doctor.target_changes import named_conversions, scores, target_changes
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.small_cases import ListSource

Change = Callable[[Objects], Objects]


def rectangles(first: int, count: int, change: Change = lambda objects: objects) -> ListSource:
    return ListSource(
        [(image, change(truth)) for image, truth in (Rectangles().example(first + k) for k in range(count))]
    )


def enlarged(objects: Objects) -> Objects:
    """Return objects with the boxes of an image of twice the size."""
    return replace(objects, boxes=2 * objects.boxes)


def diagnosis_after_training(
    train: ListSource, validation: ListSource, budget: float | None = None, **options: Any
) -> Diagnosis:
    """Return the diagnosis of a training. budget: of the doctor; options: of the detector."""
    detector = replace(small_single_stage(), **options)
    model = Model(
        detector, optimizer=AdamW(5e-3), input_shape=(3, None, None), clip=5.0, metrics=(), classes=train.classes
    )
    history = model.fit(train, epochs=20, batch_size=4, verbose=False)
    return model.doctor(train, validation=validation, history=history, epochs=20, batch_size=4, budget=budget)


@pytest.mark.heavy
@pytest.mark.slow
def test_boxes_of_images_of_another_size_are_the_cause_and_not_the_anchors() -> None:
    diagnosis = diagnosis_after_training(rectangles(0, 32, enlarged), rectangles(500, 24, enlarged))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("box-scale", "cause")
    assert diagnosis.intervention_effects[0].description == "boxes multiplied by 0.5"
    assert diagnosis.findings[0].evidence["lowest_gain"] > 0
    anchors = [
        k for k, finding in enumerate(diagnosis.findings) if finding.check in ("unfitting-anchors", "no-positives")
    ]
    assert all(diagnosis.cause_by_consequence[k] == "box-scale" for k in anchors)


@pytest.mark.heavy
@pytest.mark.slow
def test_validation_boxes_of_images_of_another_size_are_the_cause() -> None:
    diagnosis = diagnosis_after_training(rectangles(0, 32), rectangles(500, 48, enlarged))
    assert (diagnosis.causes[0], diagnosis.kind(0), diagnosis.findings[0].path) == ("box-scale", "cause", "validation")


@pytest.mark.heavy
@pytest.mark.slow
def test_two_mistakes_are_found_one_without_the_other() -> None:
    def moved(objects: Objects) -> Objects:
        sizes = objects.boxes[:, 2:] - objects.boxes[:, :2]
        return replace(objects, boxes=(objects.boxes - sizes.repeat(1, 2) / 2).clamp(min=0))

    diagnosis = diagnosis_after_training(rectangles(0, 32, moved), rectangles(500, 48), budget=18, scale=30.0)
    assert diagnosis.causes == ("unfitting-anchors", "box-format")
    assert [diagnosis.kind(k) for k in (0, 1)] == ["cause", "cause"]
    assert diagnosis.intervention_effects[0].description == "anchors of 0.07 times their size"


def test_detections_show_exchanged_classes() -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    detections = [
        Detections(target.boxes + 1, torch.linspace(0.9, 0.5, len(target)), 1 - target.labels) for target in targets
    ]
    (change,) = target_changes(images, targets, detections)
    assert change.name == "class-order"
    swapped = [change.apply(target, (48, 64)) for target in targets]
    assert torch.equal(swapped[0].labels, 1 - targets[0].labels)
    has_objects = torch.tensor([len(target) > 0 for target in targets])
    assert torch.equal(scores(detections, targets).values.isnan(), ~has_objects)
    assert scores(detections, targets).values[has_objects].max() == 0
    assert scores(detections, swapped).values[has_objects].min() > 0.7
    assert target_changes(images, swapped, detections) == []


@pytest.mark.parametrize(("right", "down"), [(9.0, 0.0), (-6.0, 7.0)])
def test_detections_show_the_shift_of_boxes(right: float, down: float) -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    move = torch.tensor([right, down, right, down])
    detections = [
        Detections(target.boxes + move, torch.linspace(0.9, 0.5, len(target)), target.labels) for target in targets
    ]
    (change,) = target_changes(images, targets, detections)
    assert change.name == "shifted-boxes"
    assert change.description == f"boxes moved by {right:.0f} pixels to the right and {down:.0f} down"


def test_detections_without_a_box_show_overlooked_objects() -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    detections = [Detections(target.boxes, torch.full((len(target),), 0.9), target.labels) for target in targets]
    assert target_changes(images, targets, detections) == []
    half_of_targets = [target.take(torch.arange(len(target)) % 2 == 0) for target in targets]
    (change,) = target_changes(images, half_of_targets, detections)
    assert (change.name, change.apply, change.unproven) == ("overlooked-objects", None, True)


@pytest.mark.heavy
@pytest.mark.slow
def test_correct_boxes_have_no_cause() -> None:
    diagnosis = diagnosis_after_training(rectangles(0, 32), rectangles(500, 48))
    assert "cause" not in {diagnosis.kind(k) for k in range(len(diagnosis.findings))}
    assert all(effect.verdict != "cause" for effect in diagnosis.intervention_effects)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_edges_show_the_scale_of_boxes(factor: float) -> None:
    images, targets = zip(*(Rectangles().example(k) for k in range(12)), strict=True)
    scaled_targets = [replace(objects, boxes=objects.boxes * factor) for objects in targets]
    (change,) = target_changes(images, scaled_targets, None)
    assert change.description == f"boxes multiplied by {1 / factor:.3g}"
    assert target_changes(images, targets, None) == []
    torch.testing.assert_close(change.apply(scaled_targets[0], (48, 64)).boxes, targets[0].boxes)


def test_readings_have_distinct_names() -> None:
    conversions = named_conversions()
    assert {fault for fault, _ in conversions.values()} == {"box-scale", "box-format", "mirrored-boxes"}
    assert len(
        {str(convert(torch.tensor([[3.0, 5.0, 11.0, 23.0]]), (64, 96))) for _, convert in conversions.values()}
    ) == len(conversions)
