"""COCO's figures equal those of pycocotools on random sets (more in `conformance.detection`), and those by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from conformance.detection import IOU_TYPES, ImageSet, draw_set, pellucid_figures, pycocotools_figures
from pellucid.base.errors import PellucidError
from pellucid.metrics.coco import FIGURES, IOU_THRESHOLDS, KEYPOINT_FIGURES, RECALL_LEVELS, Coco, match_to_truths
from pellucid.metrics.overlaps import keypoint_similarity
from pellucid.ops.image_objects import Detections, Objects

BOX = torch.tensor([[0.0, 0.0, 40.0, 40.0]])


def objects_at(*boxes: tuple[float, ...], **fields: torch.Tensor) -> Objects:
    box_tensor = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return Objects(box_tensor, torch.zeros(len(boxes), dtype=torch.long), **fields)


def detections_at(*boxes: tuple[float, ...], scores: list[float] | None = None) -> Detections:
    n = len(boxes)
    score_tensor = torch.tensor(scores if scores is not None else [0.9 - 0.1 * k for k in range(n)])
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4), score_tensor, torch.zeros(n, dtype=torch.long)
    )


def evaluate_figures(*images: tuple[Detections, Objects], kind: str = "boxes") -> dict[str, float]:
    evaluation = Coco(kind)
    for detections, objects in images:
        evaluation.add(detections, objects)
    return evaluation.figures()


@pytest.mark.parametrize("kind", IOU_TYPES)
@pytest.mark.parametrize("seed", [6, 9, 18, 20])  # with ties, crowds matched repeatedly, and areas at a limit
def test_figures_are_those_of_pycocotools(kind: str, seed: int) -> None:
    random_set = draw_set(kind, seed)
    actual = [-1.0 if math.isnan(value) else value for value in pellucid_figures(kind, random_set).values()]
    assert actual == pytest.approx(pycocotools_figures(kind, random_set).tolist(), abs=1e-9)


def test_figures_have_the_names_and_the_order_of_pycocotools() -> None:
    assert list(FIGURES)[:3] == ["ap", "ap50", "ap75"]
    assert len(FIGURES) == 12
    assert len(KEYPOINT_FIGURES) == 10
    assert set(evaluate_figures((detections_at(), objects_at()))) == set(FIGURES)


def test_an_object_detected_exactly_has_average_precision_1() -> None:
    """pycocotools treats an object with the id 0 as no match, so its average precision is 0 in this case."""
    perfect = evaluate_figures((detections_at((0, 0, 40, 40)), objects_at((0, 0, 40, 40))))
    assert perfect["ap"] == perfect["ar1"] == perfect["ap_medium"] == 1.0
    assert math.isnan(perfect["ap_small"])


@pytest.mark.parametrize(("n_false_alarms", "recall"), [(99, 1.0), (100, 0.0)])
def test_a_hundred_detections_of_a_class_in_an_image_count(n_false_alarms: int, recall: float) -> None:
    boxes = [(100.0, 100.0, 140.0, 140.0)] * n_false_alarms + [(0.0, 0.0, 40.0, 40.0)]
    detections = detections_at(*boxes, scores=[0.9] * n_false_alarms + [0.1])
    other_detection = Detections(BOX, torch.tensor([0.5]), torch.tensor([1]))  # of another class, in another image
    assert evaluate_figures((detections, objects_at((0, 0, 40, 40))))["ar100"] == recall
    assert (
        evaluate_figures((other_detection, objects_at()), (detections, objects_at((0, 0, 40, 40))))["ar100"] == recall
    )


def test_average_precision_equals_that_by_hand() -> None:
    """True, false, true positive, two objects: 51 recalls up to 0.5 have precision 1, the 50 above 0.5 have 2 / 3."""
    detections = detections_at((0, 0, 40, 40), (200, 0, 240, 40), (100, 0, 140, 40))
    objects = objects_at((0, 0, 40, 40), (100, 0, 140, 40))
    assert evaluate_figures((detections, objects))["ap"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    evaluation = Coco()
    evaluation.add(detections, objects)
    curves = evaluation.curves(0)
    assert curves.precision[0].tolist() == pytest.approx([1.0] * 51 + [2 / 3] * 50)
    assert curves.scores[0, 0].item() == pytest.approx(0.9)
    assert curves.scores[0, 100].item() == pytest.approx(0.7)
    assert curves.recall.tolist() == [1.0] * 10


def test_matching_follows_the_scores_and_prefers_objects_that_are_not_ignored() -> None:
    overlaps = torch.tensor([[0.6, 0.9, 0.6], [0.7, 0.9, 0.0], [0.55, 0.55, 0.55]], dtype=torch.float64)
    ignored = torch.tensor([[False, True, False]])
    matched = match_to_truths(overlaps, torch.tensor([0.5, 0.65]), ignored, torch.tensor([False, False, False]))
    # At 0.5, detection 0 matches object 2, the later of two equal ones, 1 matches object 0, and 2 the ignored object.
    assert matched[0].tolist() == [[2, 0, 1], [1, 0, -1]]
    all_ignored, crowd = torch.tensor([[True, True, True]]), torch.tensor([False, True, False])
    assert match_to_truths(overlaps, torch.tensor([0.5, 0.65]), all_ignored, crowd)[0].tolist() == [
        [1, 1, 2],
        [1, 1, -1],
    ]


def test_weights_of_images_equal_repeated_and_omitted_images() -> None:
    random_set, rng = draw_set("boxes", 9), torch.Generator().manual_seed(0)
    evaluation, repeated = Coco(), Coco()
    repeats = [(2 * k + 1) % 3 for k in range(len(random_set.objects))]
    for detections, objects, areas, count in zip(
        random_set.detections, random_set.objects, random_set.areas, repeats, strict=True
    ):
        untied_detections = replace(
            detections, scores=torch.rand(len(detections), generator=rng)
        )  # the order of ties may differ
        evaluation.add(untied_detections, objects, areas)
        for _ in range(count):
            repeated.add(untied_detections, objects, areas)
    weighted = evaluation.figures(torch.tensor(repeats))
    assert weighted == pytest.approx(repeated.figures(), nan_ok=True)
    assert weighted != pytest.approx(evaluation.figures(), nan_ok=True)


def test_ap_is_the_mean_over_the_classes() -> None:
    random_set = draw_set("boxes", 20)
    evaluation = Coco()
    for image in zip(random_set.detections, random_set.objects, random_set.areas, strict=True):
        evaluation.add(*image)
    by_class = evaluation.by_class("ap")
    assert len(by_class) > 1
    assert evaluation.figures()["ap"] == pytest.approx(sum(by_class.values()) / len(by_class))
    for label, value in by_class.items():
        one_class = ImageSet(
            [truth.take(truth.labels == label) for truth in random_set.objects],
            [areas[truth.labels == label] for areas, truth in zip(random_set.areas, random_set.objects, strict=True)],
            [detection.take(detection.labels == label) for detection in random_set.detections],
        )
        assert value == pytest.approx(pycocotools_figures("boxes", one_class)[0], abs=1e-9)


def test_areas_are_those_of_masks_unless_they_are_given() -> None:
    mask = torch.zeros(1, 60, 60, dtype=torch.bool)
    mask[0, :20, :20] = True  # 400 pixels: small, though the box is medium
    truth = objects_at((0, 0, 40, 40), masks=mask)
    assert not math.isnan(evaluate_figures((detections_at(), truth))["ap_small"])
    assert not math.isnan(evaluate_figures((detections_at(), objects_at((0, 0, 40, 40))))["ap_medium"])
    evaluation = Coco()
    evaluation.add(detections_at(), truth, torch.tensor([1e5]))
    assert not math.isnan(evaluation.figures()["ap_large"])


def test_thresholds_are_those_of_pycocotools() -> None:
    from pycocotools.cocoeval import Params

    kind: Any
    for kind in IOU_TYPES.values():
        assert IOU_THRESHOLDS.tolist() == Params(kind).iouThrs.tolist()
        assert RECALL_LEVELS.tolist() == Params(kind).recThrs.tolist()


def test_key_point_similarity_equals_that_by_hand() -> None:
    """One sigma of 0.05 and an area of 100: a distance of 1 gives exp(-1 / (2 * 100 * 0.01))."""
    points = torch.tensor([[[1.0, 0.0, 2.0], [5.0, 5.0, 0.0]]])
    truth = objects_at((0, 0, 10, 10), keypoints=torch.tensor([[[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]]))
    detection = Detections(BOX, torch.tensor([0.9]), torch.tensor([0]), keypoints=points)
    areas = torch.tensor([100.0])
    assert keypoint_similarity(detection, truth, areas, (0.05, 0.05)).item() == pytest.approx(math.exp(-0.5))
    unlabelled = objects_at((10, 10, 12, 12), keypoints=torch.zeros(1, 2, 3))  # enlarged, the box is from 8 to 14
    expected = (math.exp(-(49 + 64) / 2) + math.exp(-(9 + 9) / 2)) / 2
    assert keypoint_similarity(detection, unlabelled, areas, (0.05, 0.05)).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "detections", "objects", "message"),
    [
        ("masks", detections_at((0, 0, 1, 1)), objects_at((0, 0, 1, 1)), "detections of an image have no masks"),
        ("keypoints", detections_at((0, 0, 1, 1)), objects_at((0, 0, 1, 1)), "detections of an image have none"),
        (
            "masks",
            Detections(BOX, torch.ones(1), torch.zeros(1, dtype=torch.long), torch.ones(1, 3, 4, dtype=torch.bool)),
            objects_at((0, 0, 1, 1), masks=torch.ones(1, 4, 4, dtype=torch.bool)),
            r"detected masks are \(3, 4\) and true ones \(4, 4\)",
        ),
        (
            "keypoints",
            Detections(BOX, torch.ones(1), torch.zeros(1, dtype=torch.long), None, torch.ones(1, 5, 3)),
            objects_at((0, 0, 1, 1), keypoints=torch.ones(1, 5, 3)),
            "have 5 points and there are 17 sigmas",
        ),
    ],
)
def test_missing_and_unfitting_fields_are_refused(
    kind: str, detections: Detections, objects: Objects, message: str
) -> None:
    with pytest.raises(PellucidError, match=message):
        Coco(kind).add(detections, objects)


def test_an_unknown_kind_and_areas_of_another_number_are_refused() -> None:
    with pytest.raises(PellucidError, match="no kind 'box'; did you mean 'boxes'"):
        Coco("box")
    with pytest.raises(PellucidError, match="one per object"):
        Coco().add(detections_at(), objects_at((0, 0, 1, 1)), torch.zeros(2))
