"""What is said of errors and misses beside the numbers of the detector, on random networks."""

import re

import pytest
import torch

from pellucid.image_objects import Objects
from pellucid.ops.boxes import box_iou
from pellucid.tasks.detect.findings import findings
from pellucid.tasks.detect.reasons import assignment, origin, with_reasons
from tests.detectors.drawn import Rectangles
from tests.tasks.detect.test_pipeline import FAMILIES, run

SCORE = 0.3
TRUTH = Rectangles(1, (60, 80)).example(0)[1]
NAMES = Rectangles.classes


@pytest.mark.parametrize("name", FAMILIES)
def test_every_error_and_every_miss_has_its_numbers(name: str) -> None:
    it = run(name)
    report = findings(it.detections, TRUTH, NAMES, SCORE)
    told = with_reasons(report, it, TRUTH, SCORE)
    what = "proposal" if name in ("small_faster", "small_fast") else "anchor"
    boxes, scores = it.walk.candidates.boxes, it.walk.candidates.scores
    objects = TRUTH.boxes / 2  # the network reads the picture at half its size
    matched = assignment(it, Objects(objects, TRUTH.labels)).matched
    kinds = {one.kind for one in report}
    assert kinds & {"background", "both", "place"}
    for one, old in zip(told, report, strict=True):
        if one.kind in ("hit", "ignored"):
            assert one == old
            continue
        assert one.text.startswith(old.text)
        more = one.text.removeprefix(old.text)
        if one.kind != "missed":
            candidate = int(it.decision.chosen[one.detection])
            assert f"It comes from {origin(it, candidate)}. In training this {what}, whose highest IoU" in more
            assert re.search(r"would be (background|positive|ignored)", more)
            continue
        count = int((matched == one.object_index).sum())
        assert f"In training {count or 'no'} {what}{'s' * (count > 1)} would be assigned to it." in more
        overlap = box_iou(boxes, objects[one.object_index, None])[:, 0]
        label = int(TRUTH.labels[one.object_index])
        if float(overlap.max()) < 0.5:
            assert (
                f"No candidate has an IoU of 0.5 with it: the nearest, from {origin(it, int(overlap.argmax()))}" in more
            )
        elif "That detection comes from" not in more:
            best = max((k for k in range(len(boxes)) if overlap[k] >= 0.5), key=lambda k: float(scores[k, label]))
            numbers = f"with score {float(scores[best, label]):.2f}, IoU {float(overlap[best]):.2f}; it "
            assert f"comes from {origin(it, best)}, {numbers}" in more


def test_an_image_without_objects_has_false_alarms_alone() -> None:
    it = run()
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    told = with_reasons(findings(it.detections, nothing, NAMES, SCORE), it, nothing, SCORE)
    assert told
    assert all("whose highest IoU with an object is 0.00, would be background" in one.text for one in told)


def test_what_suppression_removed_is_named() -> None:
    it = run()
    gone = it.removed[0][0]
    candidate = it.walk.candidates.boxes[gone.candidate]
    truth = Objects(candidate[None] * 2, torch.tensor([0]))  # an object exactly where that candidate is
    (first, *_) = [finding for finding in findings(it.detections, truth, NAMES, 0.99) if finding.kind == "missed"]
    better = it.walk.candidates.scores[:, 0].clone()
    better[gone.candidate] = 1.0
    it.walk.candidates.scores[:, 0] = better  # it has the highest score of those near, and yet was removed
    (told,) = with_reasons([first], it, truth, 0.99)
    assert f"it was removed by detection {gone.by + 1} (IoU {gone.iou:.2f})" in told.text
