"""The sentences about detections and misses in an image whose overlaps are computed by hand."""

import torch

from pellucid.ops.image_objects import Detections, Objects
from pellucid.tasks.detect.findings import findings, format_below
from tests.metrics.scene import CLASSES, DETECTIONS, OBJECTS

EXPECTED = [
    ("hit", 0, 0, "Detection 1 (cell, score 0.95) is right: IoU 0.90 with cell 1."),
    (
        "duplicate", 1, 0,
        "Detection 2 (cell, score 0.90) is a duplicate: IoU 0.95 with cell 1, but detection 1 found it with score 0.95 "
        "and IoU 0.90.",
    ),
    ("hit", 2, 1, "Detection 3 (cell, score 0.85) is right: IoU 0.60 with cell 2."),
    ("class", 3, 2, "Detection 4 (cell, score 0.80) has the wrong class: IoU 1.00 with plate 3."),
    ("place", 4, 3, "Detection 5 (cell, score 0.75) is placed imprecisely: IoU 0.33 with cell 4, below 0.5."),
    ("background", 5, None, "Detection 6 (plate, score 0.70) is a false alarm: its largest IoU is 0.00, below 0.1."),
    (
        "ignored", 6, 5,
        "Detection 7 (cell, score 0.65) does not count: it matches cell 6, which is labelled as a crowd or as "
        "difficult.",
    ),
    (
        "both", 7, 4,
        "Detection 8 (cell, score 0.60) has the wrong class and is placed imprecisely: IoU 0.33 with plate 5, "
        "below 0.5.",
    ),
    ("hit", 8, 7, "Detection 9 (plate, score 0.55) is right: IoU 1.00 with plate 8."),
    (
        "missed", 3, 2,
        "plate 3 (40 x 40 pixels) was missed. Detection 4 (cell, score 0.80) has IoU 1.00 with it and the wrong class.",
    ),
    (
        "missed", 4, 3,
        "cell 4 (40 x 40 pixels) was missed. Detection 5 (cell, score 0.75) has IoU 0.33 with it, below 0.5.",
    ),
    (
        "missed", 7, 4,
        "plate 5 (40 x 40 pixels) was missed. Detection 8 (cell, score 0.60) has IoU 0.33 with it, below 0.5.",
    ),
    (
        "missed", -1, 6,
        "plate 7 (20 x 20 pixels) was missed. No detection with a score of at least 0.5 has an IoU of 0.1 or more with "
        "it.",
    ),
]  # fmt: skip


def test_each_detection_and_each_miss_has_its_sentence() -> None:
    actual = findings(DETECTIONS, OBJECTS, CLASSES)
    assert [finding.text for finding in actual] == [text for *_, text in EXPECTED]
    assert [finding.kind for finding in actual] == [kind for kind, *_ in EXPECTED]
    assert [finding.detection for finding in actual] == [detection for _, detection, _, _ in EXPECTED]
    assert all(
        object_index is None or finding.object_index == object_index
        for finding, (_, _, object_index, _) in zip(actual, EXPECTED, strict=True)
    )


def test_a_detection_below_the_score_explains_a_miss() -> None:
    missed = findings(DETECTIONS, OBJECTS, CLASSES, score=0.9)[2:]
    assert [finding.object_index for finding in missed] == [1, 2, 3, 4, 6, 7]
    assert missed[0].text == (
        "cell 2 (40 x 40 pixels) was missed. Its detection (cell, score 0.85, IoU 0.60) is below the score 0.9."
    )
    assert missed[0].detection == 2
    assert missed[1].text.endswith(
        "was missed. No detection with a score of at least 0.9 has an IoU of 0.1 or more with it."
    )


def test_detection_of_an_overlapping_object_explains_a_miss() -> None:
    """Two cells have an IoU of 30 / 50, and the only detection is the box of the first."""
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [10.0, 0.0, 50.0, 40.0]])
    detections = Detections(boxes[:1], torch.tensor([0.8]), torch.tensor([0]))
    *_, missed = findings(detections, Objects(boxes, torch.tensor([0, 0])), CLASSES)
    assert missed.text == (
        "cell 2 (40 x 40 pixels) was missed. Detection 1 (cell, score 0.80) has IoU 0.60 with it, but matches cell 1 "
        "with IoU 1.00."
    )


def test_findings_without_objects_or_without_detections() -> None:
    no_objects = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    false_alarms = findings(DETECTIONS.take(torch.tensor([0])), no_objects, CLASSES)
    assert [finding.text for finding in false_alarms] == [
        "Detection 1 (cell, score 0.95) is a false alarm: the image has no object to find."
    ]
    no_detections = DETECTIONS.take(torch.zeros(10, dtype=torch.bool))
    assert [finding.kind for finding in findings(no_detections, OBJECTS, CLASSES)] == ["missed"] * 7
    assert findings(no_detections, no_objects, CLASSES) == []


def test_value_below_a_limit_is_not_rounded_to_the_limit() -> None:
    assert [format_below(value, 0.5) for value in (0.25, 0.494, 0.4962, 0.49996)] == [
        "0.25",
        "0.49",
        "0.496",
        "0.49996",
    ]
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 49.7, 100.0]])
    detections = Detections(boxes[1:], torch.tensor([0.8]), torch.tensor([0]))
    finding, _ = findings(detections, Objects(boxes[:1], torch.tensor([0])), CLASSES)
    assert finding.text == "Detection 1 (cell, score 0.80) is placed imprecisely: IoU 0.497 with cell 1, below 0.5."
