"""The gain of repairing each kind of error equals pycocotools' figure after a repair by hand."""

from dataclasses import replace

import pytest
import torch

from conformance.detection import ImageSet, draw_set, pycocotools_figures
from pellucid.metrics.coco import Coco
from pellucid.metrics.error_split import CROWDING, confusion, error_split, recall_by_group
from pellucid.ops.image_objects import Detections, Objects
from tests.metrics.scene import DETECTIONS, OBJECTS


def pycocotools_ap50(actual: Detections, truth: Objects = OBJECTS) -> float:
    """Return pycocotools' AP50 of the detections in one image."""
    areas = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(1)
    return float(pycocotools_figures("boxes", ImageSet([truth], [areas], [actual]))[1])


def mask_without(*indices: int) -> torch.Tensor:
    return torch.tensor([index not in indices for index in range(len(DETECTIONS))])


def repaired_sets() -> dict[str, tuple[Detections, Objects]]:
    labels, boxes = DETECTIONS.labels.clone(), DETECTIONS.boxes.clone()
    labels[3] = 1
    boxes[4] = OBJECTS.boxes[3]
    return {
        "class": (replace(DETECTIONS, labels=labels), OBJECTS),
        "place": (replace(DETECTIONS, boxes=boxes), OBJECTS),
        "both": (DETECTIONS.take(mask_without(7)), OBJECTS),
        "duplicate": (DETECTIONS.take(mask_without(1, 9)), OBJECTS),
        "background": (DETECTIONS.take(mask_without(5)), OBJECTS),
        "missed": (DETECTIONS, OBJECTS.take(torch.tensor([index not in (4, 6) for index in range(len(OBJECTS))]))),
    }


def test_gains_are_those_of_pycocotools_after_the_repair() -> None:
    base, gains_by_kind = error_split([DETECTIONS], [OBJECTS])
    assert base == pytest.approx(pycocotools_ap50(DETECTIONS))
    assert {kind: kind_gain.errors for kind, kind_gain in gains_by_kind.items()} == {
        "class": 1, "place": 1, "both": 1, "duplicate": 2, "background": 1, "missed": 2,
    }  # fmt: skip
    expected_gains = {
        kind: pycocotools_ap50(*repaired) - pycocotools_ap50(DETECTIONS) for kind, repaired in repaired_sets().items()
    }
    assert sum(gain > 0.01 for gain in expected_gains.values()) == 5  # errors with scores below all hits have no gain
    assert {kind: kind_gain.gain for kind, kind_gain in gains_by_kind.items()} == pytest.approx(expected_gains)


def test_of_several_detections_of_a_missed_object_the_best_is_repaired() -> None:
    """The second detection is removed: if both became hits, the object would be found twice."""
    truth = OBJECTS.take(torch.tensor([0]))
    boxes = torch.tensor([[20.0, 0.0, 60.0, 40.0], [-20.0, 0.0, 20.0, 40.0]])
    detections = Detections(boxes, torch.tensor([0.5, 0.9]), torch.tensor([0, 0]))
    base, gains_by_kind = error_split([detections], [truth])
    assert base == 0.0
    assert gains_by_kind["place"] == (2, 1.0)


@pytest.mark.parametrize("seed", [1, 4, 7])
def test_average_precision_is_that_of_all_images(seed: int) -> None:
    random_set = draw_set("boxes", seed)
    assert error_split(random_set.detections, random_set.objects)[0] == pytest.approx(
        pycocotools_figures("boxes", random_set)[1], abs=1e-9
    )


def test_confusion_counts_the_background_as_a_class() -> None:
    """Cells: 2 found, 1 missed; plates: 1 found, 1 detected as cell, 2 missed; background: 4 cells and 1 plate."""
    counts = confusion([DETECTIONS], [OBJECTS], 2)
    assert counts.tolist() == [[2, 0, 1], [1, 1, 2], [3, 1, 0]]
    assert confusion([DETECTIONS], [OBJECTS], 2, score=0.0)[2].tolist() == [4, 1, 0]
    assert confusion([DETECTIONS], [OBJECTS], 2, score=0.9).tolist() == [[1, 0, 2], [0, 0, 4], [1, 0, 0]]


def test_recall_by_size_and_crowding_equals_that_by_hand() -> None:
    groups = recall_by_group([DETECTIONS], [OBJECTS])
    assert groups["size"] == {"small": (1, 0), "medium": (6, 3), "large": (0, 0)}
    assert groups["crowding"]["apart"] == (7, 3)
    boxes = torch.tensor([[0.0, 0, 40, 40], [32, 0, 72, 40], [0, 60, 40, 100], [10, 60, 50, 100], [0, 200, 100, 300]])
    truth = Objects(boxes, torch.zeros(5, dtype=torch.long))  # covered fractions 1/5, 1/5, 3/4, 3/4, 0
    detections = Detections(boxes[[0, 2, 4]], torch.tensor([0.9, 0.8, 0.4]), torch.zeros(3, dtype=torch.long))
    groups = recall_by_group([detections], [truth])
    assert groups["crowding"] == {"apart": (1, 0), "touching": (2, 1), "crowded": (2, 1)}
    assert list(groups["crowding"]) == list(CROWDING)
    assert groups["size"]["large"] == (1, 0)


def test_bootstrap_interval_equals_the_binomial_one() -> None:
    """Objects of 20 in 40 images are found, so the recall of a resampled set has the deviation sqrt(1/4 / 40)."""
    box, label = torch.tensor([[0.0, 0.0, 40.0, 40.0]]), torch.tensor([0])
    truth, hit = Objects(box, label), Detections(box, torch.ones(1), label)
    evaluation = Coco()
    for index in range(40):
        evaluation.add(hit if index % 2 else hit.take(torch.tensor([False])), truth)
    low, high = evaluation.intervals(["ar100"], resamples=400)["ar100"]
    deviation = (0.25 / 40) ** 0.5
    assert [low, high] == pytest.approx([0.5 - 1.96 * deviation, 0.5 + 1.96 * deviation], abs=0.04)
    interval = evaluation.intervals(["ar100", "ap"], resamples=50)
    assert interval == evaluation.intervals(["ar100", "ap"], resamples=50)
    assert interval != evaluation.intervals(["ar100", "ap"], resamples=50, seed=1)
