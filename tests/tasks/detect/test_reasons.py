"""Explanations of errors and misses, compared with the numbers of detectors with random weights."""

import re

import pytest
import torch

from pellucid.ops.boxes import box_iou
from pellucid.ops.image_objects import Objects
from pellucid.tasks.detect.findings import findings
from pellucid.tasks.detect.reasons import assign_objects, origin_text, with_reasons
from tests.detectors.drawn import Rectangles
from tests.tasks.detect.test_pipeline import MAKERS, detector_steps_of

SCORE = 0.3
OBJECTS = Rectangles(1, (60, 80)).example(0)[1]
CLASSES = Rectangles.classes


@pytest.mark.parametrize("name", MAKERS)
def test_each_error_and_each_miss_has_the_numbers_of_the_detector(name: str) -> None:
    steps = detector_steps_of(name)
    plain_findings = findings(steps.detections, OBJECTS, CLASSES, SCORE)
    explained = with_reasons(plain_findings, steps, OBJECTS, SCORE)
    source_kind = "proposal" if name in ("small_faster", "small_fast") else "anchor"
    boxes, scores = steps.outputs.candidates.boxes, steps.outputs.candidates.scores
    input_boxes = OBJECTS.boxes / 2  # the network receives the picture at half its size
    matched_objects = assign_objects(steps, Objects(input_boxes, OBJECTS.labels)).matched
    kinds = {finding.kind for finding in plain_findings}
    assert kinds & {"background", "both", "place"}
    for finding, plain in zip(explained, plain_findings, strict=True):
        if finding.kind in ("hit", "ignored"):
            assert finding == plain
            continue
        assert finding.text.startswith(plain.text)
        added_text = finding.text.removeprefix(plain.text)
        if finding.kind != "missed":
            origin = origin_text(steps, int(steps.decision.selected_indices[finding.detection]))
            assert f"It comes from {origin}. In training this {source_kind}, whose highest IoU" in added_text
            assert re.search(r"would be (background|positive|ignored)", added_text)
            continue
        count = int((matched_objects == finding.object_index).sum())
        assert f"In training {count or 'no'} {source_kind}{'s' * (count > 1)} would be assigned to it." in added_text
        overlap = box_iou(boxes, input_boxes[finding.object_index, None])[:, 0]
        label = int(OBJECTS.labels[finding.object_index])
        if float(overlap.max()) < 0.5:
            origin = origin_text(steps, int(overlap.argmax()))
            assert f"No candidate has an IoU of 0.5 with it: the nearest, from {origin}" in added_text
        elif "That detection comes from" not in added_text:
            best_candidate = max(
                (k for k in range(len(boxes)) if overlap[k] >= 0.5), key=lambda k: float(scores[k, label])
            )
            numbers = (
                f"with score {float(scores[best_candidate, label]):.2f}, IoU {float(overlap[best_candidate]):.2f}; it "
            )
            assert f"comes from {origin_text(steps, best_candidate)}, {numbers}" in added_text


def test_findings_of_an_image_without_objects_are_false_alarms() -> None:
    steps = detector_steps_of()
    no_objects = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    explained = with_reasons(findings(steps.detections, no_objects, CLASSES, SCORE), steps, no_objects, SCORE)
    assert explained
    assert all("whose highest IoU with an object is 0.00, would be background" in finding.text for finding in explained)


def test_miss_by_suppression_names_the_detection_that_removed_the_candidate() -> None:
    steps = detector_steps_of()
    removal = steps.suppressed[0][0]
    candidate = steps.outputs.candidates.boxes[removal.candidate]
    objects = Objects(candidate[None] * 2, torch.tensor([0]))  # an object with the candidate's box
    (miss, *_) = [finding for finding in findings(steps.detections, objects, CLASSES, 0.99) if finding.kind == "missed"]
    raised_scores = steps.outputs.candidates.scores[:, 0].clone()
    raised_scores[removal.candidate] = 1.0
    steps.outputs.candidates.scores[:, 0] = raised_scores  # the highest score, although it was suppressed
    (explained,) = with_reasons([miss], steps, objects, 0.99)
    assert f"it was removed by detection {removal.suppressor + 1} (IoU {removal.iou:.2f})" in explained.text
