"""Sentences that give the reasons for false alarms and misses: cell, anchor, score, suppression, assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from pellucid.base.text import plural
from pellucid.data.detection import scale_objects
from pellucid.detectors import FATES, Fate, OneStageDetector
from pellucid.detectors.regions import MIN_POSITIVE_IOU
from pellucid.metrics.error_split import ERRORS, MIN_HIT_IOU, MISSED
from pellucid.ops.assign import REASONS, assign_by_iou
from pellucid.ops.boxes import box_iou
from pellucid.tasks.detect.findings import format_below

if TYPE_CHECKING:
    from pellucid.ops.assign import Assignment
    from pellucid.ops.image_objects import Objects
    from pellucid.tasks.detect.findings import DetectionFinding
    from pellucid.tasks.detect.pipeline import DetectorSteps


def with_reasons(
    findings: Sequence[DetectionFinding], steps: DetectorSteps, objects: Objects, score: float
) -> list[DetectionFinding]:
    """Return the findings of an image with additional sentences on the reasons for errors and misses.

    steps: the intermediate results of the detector. findings: for `steps.detections` and `objects`, with the
    minimum score `score`. For an error, the sentences state the anchor or proposal of its box, and the target of this
    anchor or proposal in training. For a miss, they state the best candidate of the object's class with an IoU of at
    least 0.5 and its outcome, and the number of anchors or proposals that are assigned to the object. Sizes in the
    sentences are in pixels of the network's input.
    """
    objects = scale_objects(objects, steps.size, steps.input_size)
    assignment = assign_objects(steps, objects)
    return [
        finding._replace(text=f"{finding.text} {_error_reason(finding, steps, objects, assignment)}")
        if finding.kind in ERRORS
        else finding._replace(text=f"{finding.text} {_miss_reason(finding, steps, objects, assignment, score)}")
        if finding.kind == MISSED
        else finding
        for finding in findings
    ]


def assign_objects(steps: DetectorSteps, objects: Objects) -> Assignment:
    """Return the object that is assigned to each anchor, or to each proposal of a two-stage detector."""
    if isinstance(steps.detector, OneStageDetector) and steps.outputs.anchors is not None:
        return steps.detector.assign(steps.outputs.anchors, objects)
    assert steps.outputs.proposals is not None
    return assign_by_iou(
        steps.outputs.proposals, objects.boxes, MIN_POSITIVE_IOU, MIN_POSITIVE_IOU, crowd=objects.crowd
    )


def origin_text(steps: DetectorSteps, candidate: int) -> str:
    """Return the proposal, or the cell and anchor, from which a candidate was predicted, in words."""
    x0, y0, x1, y1 = _source_box(steps, candidate).tolist()
    size_text = f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels"
    if steps.outputs.proposals is not None:
        return f"proposal {candidate + 1} ({size_text})"
    level, row, column = steps.outputs.cell(int(steps.outputs.candidates.anchors[candidate]))
    return f"row {row}, column {column} of map {level + 1} (anchor {size_text})"


def _source_box(steps: DetectorSteps, candidate: int) -> Tensor:
    """Return the anchor, or the proposal, from which a candidate was predicted: (4,)."""
    if steps.outputs.proposals is not None:
        return steps.outputs.proposals[candidate]
    assert steps.outputs.anchors is not None
    return steps.outputs.anchors.boxes[int(steps.outputs.candidates.anchors[candidate])]


def _error_reason(finding: DetectionFinding, steps: DetectorSteps, objects: Objects, assignment: Assignment) -> str:
    candidate = int(steps.decision.selected_indices[finding.detection])
    source_index = (
        candidate if steps.outputs.proposals is not None else int(steps.outputs.candidates.anchors[candidate])
    )
    reason, object_index = REASONS[int(assignment.reason[source_index])], int(assignment.matched[source_index])
    if object_index >= 0:
        kind, _, reason_text = reason.partition(":")
        reason = f"{kind} for {steps.classes[int(objects.labels[object_index])]} {object_index + 1}:{reason_text}"
    source = _source_box(steps, candidate)
    overlap = float(box_iou(source[None], objects.boxes).max()) if len(objects) else 0.0
    source_kind = "anchor" if steps.outputs.proposals is None else "proposal"
    return (
        f"It comes from {origin_text(steps, candidate)}. In training this {source_kind}, whose highest IoU with an "
        f"object is {overlap:.2f}, would be {reason}."
    )


def _miss_reason(
    finding: DetectionFinding, steps: DetectorSteps, objects: Objects, assignment: Assignment, score: float
) -> str:
    label, scores = int(objects.labels[finding.object_index]), steps.outputs.candidates.scores
    overlap = box_iou(steps.outputs.candidates.boxes, objects.boxes[finding.object_index, None])[:, 0]
    n_assigned = int((assignment.matched == finding.object_index).sum())
    source_kind = "anchor" if steps.outputs.proposals is None else "proposal"
    assigned_text = (
        f"In training {plural(n_assigned, source_kind) if n_assigned else f'no {source_kind}'} would be assigned to it."
    )
    overlapping = (overlap >= MIN_HIT_IOU).nonzero()[:, 0]
    if not len(overlap):
        return f"There are no candidates. {assigned_text}"
    if not len(overlapping):
        nearest = int(overlap.argmax())
        values_text = (
            f"IoU {format_below(float(overlap[nearest]), MIN_HIT_IOU)} and score {float(scores[nearest, label]):.2f}"
        )
        return (
            f"No candidate has an IoU of {MIN_HIT_IOU:g} with it: the nearest, from {origin_text(steps, nearest)}, "
            f"has {values_text} for its class. {assigned_text}"
        )
    candidate = int(overlapping[scores[overlapping, label].argmax()])
    detection_index = steps.detection_of(candidate, label)
    if detection_index >= 0 and detection_index == finding.detection:
        return f"That detection comes from {origin_text(steps, candidate)}. {assigned_text}"
    values_text = f"score {float(scores[candidate, label]):.2f}, IoU {float(overlap[candidate]):.2f}"
    return (
        f"Of the candidates with an IoU of at least {MIN_HIT_IOU:g}, the one with the highest score for its class "
        f"comes from {origin_text(steps, candidate)}, with {values_text}; it "
        f"{_fate_text(steps, candidate, label, score)}. {assigned_text}"
    )


def _fate_text(steps: DetectorSteps, candidate: int, label: int, score: float) -> str:
    """Return the outcome of a candidate in words, including whether it is a detection with a score below `score`."""
    fate = Fate(int(steps.decision.fates[candidate, label]))
    if fate == Fate.DETECTED:
        is_low = float(steps.outputs.candidates.scores[candidate, label]) < score
        low_text = f", below the score {score:g}" if is_low else ""
        return f"is detection {steps.detection_of(candidate, label) + 1}{low_text}"
    if fate == Fate.SUPPRESSED:
        removal = next(removal for removal in steps.suppressed[label] if removal.candidate == candidate)
        return "was removed " + (
            f"by detection {removal.suppressor + 1} (IoU {removal.iou:.2f})"
            if removal.suppressor >= 0
            else "by suppression"
        )
    return f"is no detection, since {FATES[fate]}"
