"""Average precision of boxes, beside scikit-learn, loops written after the definition, and a published example."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from pellucid.errors import PellucidError
from pellucid.metrics import Box, average_precision, iou_of_areas, mean_average_precision

# The toy set of ../shared/facts/detect.md: its 24 detections at IoU 0.3 in the order of their scores, 15 true boxes.
TOY = [k in (0, 2, 9, 11, 12, 13, 22) for k in range(24)]


def by_definition(hits: list[bool], truths: int) -> tuple[float, float]:
    """Return the area and the mean at 11 recalls of the highest precision at each recall or above, in exact steps."""
    points: list[tuple[int, float]] = []  # hits so far, precision
    for n, hit in enumerate(hits, 1):
        points.append(((points[-1][0] if points else 0) + hit, 0.0))
        points[-1] = points[-1][0], points[-1][0] / n
    highest = [max((p for found, p in points if found >= k), default=0.0) for k in range(truths + 1)]
    eleven = [max((p for found, p in points if 10 * found >= level * truths), default=0.0) for level in range(11)]
    return sum(highest[1:]) / truths, sum(eleven) / 11


def test_the_published_example():
    area, eleven = average_precision(torch.tensor(TOY), 15)
    assert area == pytest.approx(0.2456866804, abs=1e-10)
    assert eleven == pytest.approx(0.2683982683, abs=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_both_averages_follow_the_definition(seed: int):
    rng = np.random.default_rng(seed)
    hits = (rng.random(rng.integers(0, 30)) < rng.random()).tolist()
    truths = max(1, sum(hits) + int(rng.integers(0, 8)))
    assert average_precision(torch.tensor(hits, dtype=torch.bool), truths) == pytest.approx(by_definition(hits, truths))


def test_precision_that_only_falls_is_scikit_learns_average_precision():
    """scikit-learn sums without the envelope: both agree where precision falls from hit to hit, and all are found."""
    hits = [True, True, False, True, False, False, True]
    expected = average_precision_score(hits, np.arange(len(hits))[::-1])
    assert average_precision(torch.tensor(hits), sum(hits))[0] == pytest.approx(expected, rel=1e-12)


TRUE = [
    Box("a", "cat", (0, 0, 10, 10)), Box("a", "cat", (20, 0, 30, 10)), Box("b", "cat", (0, 0, 10, 10)),
    Box("b", "dog", (5, 5, 15, 15)),
]  # fmt: skip


def test_detections_are_matched_in_the_order_of_their_scores():
    predicted = [
        Box("a", "cat", (0, 0, 10, 8), 0.6),  # IoU 0.8, but the box below comes first
        Box("a", "cat", (1, 0, 11, 10), 0.9),  # IoU 9 / 11: a hit
        Box("b", "cat", (0, 0, 10, 10), 0.7),  # a hit
        Box("c", "cat", (0, 0, 10, 10), 0.8),  # of another image
        Box("b", "dog", (0, 0, 10, 10), 0.5),  # IoU 25 / 175
        Box("b", "owl", (0, 0, 1, 1), 0.5),  # a class without true boxes
    ]
    found = mean_average_precision(predicted, TRUE)
    area, eleven = by_definition([True, False, True, False], 3)
    assert found.classes["cat"] == (3, 4, 2, pytest.approx(area), pytest.approx(eleven))
    assert found.classes["dog"] == (1, 1, 0, 0, 0)
    assert found.classes["owl"] == (0, 1, 0, None, None)
    assert (found.area, found.eleven) == (pytest.approx(area / 2), pytest.approx(eleven / 2))
    assert mean_average_precision(predicted, TRUE, 1 / 7).classes["dog"].hits == 1
    assert mean_average_precision(predicted, TRUE, 0.82).classes["cat"].hits == 1


def test_perfect_detections_score_1_and_none_score_0():
    perfect = mean_average_precision([box._replace(score=0.5) for box in TRUE], TRUE)
    assert (perfect.area, perfect.eleven) == (1.0, 1.0)
    assert mean_average_precision([], TRUE).area == 0.0


@pytest.mark.parametrize(
    ("predicted", "true", "threshold", "why"),
    [
        ([], [], 0.5, "no true boxes"),
        ([], TRUE, 0.0, "threshold"),
        ([TRUE[0]], TRUE, 0.5, "no score"),
        ([Box("a", "cat", (5, 0, 0, 1), 0.5)], TRUE, 0.5, "x0 <= x1"),
    ],
)
def test_impossible_boxes_are_refused(predicted: list[Box], true: list[Box], threshold: float, why: str):
    with pytest.raises(PellucidError, match=why):
        mean_average_precision(predicted, true, threshold)


def test_iou_of_areas():
    """The numbers of ../shared/facts/learn.md, which are often called mAP."""
    found = iou_of_areas((189, 31), (201, 50), (185, 23))
    assert found.tolist() == pytest.approx([0.902, 0.397], abs=5e-4)
    assert round(found.mean().item(), 2) == 0.65
    assert iou_of_areas(0, 0, 0).isnan()
    for areas in ((1, 2, 3), (2, 2, -1)):
        with pytest.raises(PellucidError, match="common area"):
            iou_of_areas(*areas)
