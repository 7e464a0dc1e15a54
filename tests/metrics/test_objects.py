"""Metrics of objects, updated batch by batch, equal those of pycocotools and of loops."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from conformance.detection import draw_set, pycocotools_figures
from pellucid.base.errors import PellucidError
from pellucid.metrics import METRICS, NME, AveragePrecision, Metric, fresh
from pellucid.metrics.objects import normalizing_points
from pellucid.ops.image_objects import Detections, Objects


def evaluate_in_batches(metric: Metric, outputs: list | Tensor, targets: list, size: int) -> dict:
    running_metric = fresh(metric)
    for start in range(0, len(targets), size):
        running_metric.update(outputs[start : start + size], targets[start : start + size])
    return running_metric.compute()


@pytest.mark.parametrize(("name", "kind"), [("ap", "boxes"), ("mask_ap", "masks"), ("keypoint_ap", "keypoints")])
@pytest.mark.parametrize("size", [1, 4])
def test_average_precision_is_that_of_pycocotools(name: str, kind: str, size: int) -> None:
    random_set = draw_set(kind, 4)  # with an even seed, areas are those of the boxes
    metric = METRICS[name]() if name in METRICS else AveragePrecision(kind)
    random_set.areas[:] = [
        areas if truth.masks is None else truth.masks.sum((1, 2)).double()
        for truth, areas in zip(random_set.objects, random_set.areas, strict=True)
    ]
    actual = evaluate_in_batches(metric, random_set.detections, random_set.objects, size)
    ap, ap50, *_ = pycocotools_figures(kind, random_set)
    assert actual[name] == pytest.approx(ap, abs=1e-9)
    assert actual[f"{name}50"] == pytest.approx(ap50, abs=1e-9)
    by_class = [value for value in actual[name.replace("ap", "class_ap")] if value is not None]
    assert sum(by_class) / len(by_class) == pytest.approx(ap, abs=1e-9)


def test_classes_without_objects_have_no_average_precision() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    detections = Detections(box.repeat(2, 1), torch.tensor([0.9, 0.8]), torch.tensor([2, 0]))
    result = evaluate_in_batches(AveragePrecision(), [detections], [Objects(box, torch.tensor([2]))], 1)
    assert result == {"ap": 1.0, "ap50": 1.0, "class_ap": [None, None, 1.0]}
    empty = evaluate_in_batches(
        AveragePrecision(), [detections], [Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))], 1
    )
    assert math.isnan(empty["ap"])
    assert empty["class_ap"] == []


def random_faces(n: int, seed: int = 0) -> tuple[Tensor, list[Any]]:
    """Return outputs (n, 68, 2) and `Objects`; a tenth of the points is not labelled, but both eyes' corners are."""
    rng = torch.Generator().manual_seed(seed)
    points = torch.rand(n, 68, 2, generator=rng) * 200
    visible = torch.where(torch.rand(n, 68, generator=rng) < 0.1, 0.0, 2.0)
    visible[:, [36, 45]] = 1.0
    truth = torch.cat([points, visible[:, :, None]], 2)
    outputs = points + 5 * torch.randn(n, 68, 2, generator=rng)
    boxes = torch.tensor([[0.0, 0.0, 200.0, 200.0]])
    return outputs, [Objects(boxes, torch.tensor([0]), keypoints=face[None]) for face in truth]


def normalised_error(points: Tensor, truth: Tensor, first: int = 36, second: int = 45) -> float:
    unit = math.dist(truth[first, :2].tolist(), truth[second, :2].tolist())
    distances = [math.dist(p.tolist(), t[:2].tolist()) for p, t in zip(points, truth, strict=True) if t[2] > 0]
    return sum(distances) / len(distances) / unit


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_normalised_error_is_a_loop(size: int) -> None:
    outputs, objects = random_faces(5)
    expected_nme = sum(normalised_error(p, truth.keypoints[0]) for p, truth in zip(outputs, objects, strict=True)) / 5
    expected = {"nme": expected_nme, "nme_missed": 0.0, "nme_left_out": 0}
    assert evaluate_in_batches(NME(), outputs, objects, size) == pytest.approx(expected)
    points = torch.cat([truth.keypoints for truth in objects])
    assert evaluate_in_batches(NME(), outputs, points, size) == pytest.approx(expected)
    scored_points = torch.cat([outputs, torch.rand(5, 68, 1)], 2)
    pairs = zip(objects, scored_points, strict=True)
    actual = [Detections(truth.boxes + 3, torch.ones(1), truth.labels, None, points[None]) for truth, points in pairs]
    assert evaluate_in_batches(NME(), actual, objects, size)["nme"] == pytest.approx(expected_nme)


def test_unit_points_are_those_of_the_models_nme() -> None:
    assert normalizing_points(["accuracy", NME((3, 4))]) == (3, 4)
    assert normalizing_points(["nme"]) is None
    assert normalizing_points(["accuracy", AveragePrecision()]) is None


def test_other_points_may_define_the_unit_length() -> None:
    outputs, objects = random_faces(1)
    objects[0].keypoints[0, [0, 16], 2] = 2.0
    expected_nme = normalised_error(outputs[0], objects[0].keypoints[0], 0, 16)
    assert evaluate_in_batches(NME((0, 16)), outputs, objects, 1)["nme"] == pytest.approx(expected_nme)


def test_each_object_gets_the_detection_that_covers_it_best() -> None:
    outputs, objects = random_faces(2)
    boxes = torch.tensor(
        [[0.0, 0.0, 90.0, 90.0], [100.0, 0.0, 190.0, 90.0], [300.0, 0.0, 390.0, 90.0], [0, 0, 400, 400]]
    )
    keypoints = torch.cat([object_.keypoints for object_ in objects]).repeat(2, 1, 1)
    crowd = torch.tensor([False, False, False, True])
    truth = Objects(boxes, torch.zeros(4, dtype=torch.long), None, keypoints, crowd)
    detections = Detections(
        boxes[[1, 0]] + 2, torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.long), None,
        torch.cat([outputs, torch.ones(2, 68, 1)], 2)[[1, 0]],
    )  # fmt: skip
    expected_nme = sum(normalised_error(p, face.keypoints[0]) for p, face in zip(outputs, objects, strict=True)) / 2
    assert evaluate_in_batches(NME(), [detections], [truth], 1) == pytest.approx(
        {"nme": expected_nme, "nme_missed": 1 / 3, "nme_left_out": 0}
    )
    no_detections = detections.take(torch.zeros(2, dtype=torch.bool))
    results = evaluate_in_batches(NME(), [no_detections], [truth], 1)
    assert math.isnan(results["nme"])
    assert results["nme_missed"] == 1.0


BOX = Objects(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0]))


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "message"),
    [
        (AveragePrecision(), [], [torch.zeros(1)], "targets must be a list of Objects"),
        (AveragePrecision(), torch.zeros(1, 3), [BOX], "outputs must be a list of Detections, one per image, for 1"),
        (AveragePrecision(), [], [BOX], "for 1 image"),
        (NME(), torch.zeros(1, 68), [BOX], r"key-points \(N, K, 2\)"),
        (NME(), torch.zeros(1, 68, 2), [BOX], "objects of an image have no key-points"),
        (NME(), torch.zeros(1, 9, 2), random_faces(1)[1], "outputs have 9 key-points and objects 68"),
        (NME((1, 80)), torch.zeros(1, 68, 2), random_faces(1)[1], "points 1 and 80"),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_refused(
    metric: Metric, outputs: list | Tensor, targets: list, message: str
) -> None:
    with pytest.raises(PellucidError, match=message):
        metric.update(outputs, targets)


@pytest.mark.parametrize("name", ["ap", "mask_ap", "nme"])
def test_a_fresh_copy_is_empty(name: str) -> None:
    random_set, metric = draw_set("masks", 4), METRICS[name]()
    outputs, objects = random_faces(3)
    data = (outputs, objects) if name == "nme" else (random_set.detections, random_set.objects)
    assert evaluate_in_batches(metric, *data, 2) == evaluate_in_batches(metric, *data, 3)
    with pytest.raises(PellucidError, match="no examples were measured; call update first"):
        metric.compute()


def test_errors_of_points_other_than_a_faces_are_relative_to_their_bounding_box() -> None:
    truth = torch.tensor([[[0.0, 0.0, 2.0], [30.0, 0.0, 2.0], [30.0, 40.0, 2.0], [500.0, 500.0, 0.0]]])
    metric = fresh(NME())
    metric.update(truth + torch.tensor([0.0, 5.0, 0.0]), truth)
    assert metric.compute()["nme"] == pytest.approx(5 / 50)  # diagonal of 30 x 40; unlabelled points are ignored


def objects_with_one_point_and_with_equal_points() -> Tensor:
    """Return three objects (3, 4, 3): one with a box of 30 x 40, one with a single labelled point, one at one point."""
    complete = torch.tensor([[0.0, 0.0, 2.0], [30.0, 0.0, 2.0], [30.0, 40.0, 1.0], [500.0, 500.0, 0.0]])
    one_point = complete * torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    equal = torch.tensor([[7.0, 7.0, 2.0], [7.0, 7.0, 1.0], [0.0, 0.0, 0.0], [7.0, 7.0, 2.0]])
    return torch.stack([complete, one_point, equal])


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("as_objects", [False, True])
def test_objects_without_two_labelled_points_at_different_positions_are_left_out_and_counted(
    size: int, as_objects: bool
) -> None:
    truth = objects_with_one_point_and_with_equal_points()
    outputs = truth[:, :, :2] + torch.tensor([0.0, 5.0])
    boxes = torch.tensor([[0.0, 0.0, 30.0, 40.0]])
    targets: Any = [Objects(boxes, torch.tensor([0]), keypoints=points[None]) for points in truth]
    results = evaluate_in_batches(NME(), outputs, targets if as_objects else truth, size)
    assert results == pytest.approx({"nme": 5 / 50, "nme_missed": 0.0, "nme_left_out": 2})


def test_objects_that_cannot_be_measured_are_not_missed() -> None:
    truth = objects_with_one_point_and_with_equal_points()
    boxes = torch.tensor([[0.0, 0.0, 30.0, 40.0]]).repeat(3, 1)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    objects = Objects(boxes, torch.zeros(3, dtype=torch.int64), keypoints=truth)
    results = evaluate_in_batches(NME(), [nothing], [objects], 1)
    assert (results["nme_missed"], results["nme_left_out"]) == (1.0, 2)


@pytest.mark.parametrize(
    ("normalise", "message"),
    [
        (None, "none of the 2 has two labelled key-points at different positions"),
        ((1, 3), "none of the 2 has labelled key-points 1 and 3 at different positions"),
    ],
)
def test_only_objects_that_cannot_be_measured_are_an_error(normalise: tuple[int, int] | None, message: str) -> None:
    truth = objects_with_one_point_and_with_equal_points()[1:].clone()
    truth[:, 3, 2] = 0.0
    with pytest.raises(PellucidError, match=message):
        evaluate_in_batches(NME(normalise), truth[:, :, :2], truth, 1)
