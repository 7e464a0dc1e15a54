"""Reasons for false alarms and misses: cell, anchor, score, suppression, and assignment."""

from collections.abc import Sequence

from torch import Tensor

from pellucid.data.detection import scaled
from pellucid.detectors import FATES, Fate, OneStage
from pellucid.detectors.regions import MIN_POSITIVE_IOU
from pellucid.image_objects import Objects
from pellucid.metrics.verdicts import ERRORS, MISSED, THRESHOLD
from pellucid.ops.assign import REASONS, Assignment, assign_by_iou
from pellucid.ops.boxes import box_iou
from pellucid.tasks.detect.findings import DetectionFinding, below
from pellucid.tasks.detect.pipeline import Pipeline
from pellucid.tasks.detect.results import SCORE
from pellucid.text import plural


def with_reasons(
    findings: Sequence[DetectionFinding], pipeline: Pipeline, objects: Objects, score: float = SCORE
) -> list[DetectionFinding]:
    """Return the findings of an image with further sentences for errors and misses; sizes are in pixels of the input.

    pipeline: the intermediate results of the detector. findings: those for `pipeline.detections` and `objects`, at this
    `score`. For an error, the sentences state where its box comes from, and the target of that anchor or proposal
    in training. For a miss, they state the best candidate of the object's class with an IoU of at least 0.5 and its
    outcome, and the number of anchors or proposals that are assigned to the object.
    """
    objects = scaled(objects, pipeline.size, pipeline.input_size)
    assigned = assignment(pipeline, objects)
    return [
        finding._replace(text=f"{finding.text} {_of_error(finding, pipeline, objects, assigned)}")
        if finding.kind in ERRORS
        else finding._replace(text=f"{finding.text} {_of_miss(finding, pipeline, objects, assigned, score)}")
        if finding.kind == MISSED
        else finding
        for finding in findings
    ]


def assignment(pipeline: Pipeline, objects: Objects) -> Assignment:
    """Return the object that each anchor is assigned to; for a two-stage detector, each proposal."""
    if isinstance(pipeline.detector, OneStage) and pipeline.walk.anchors is not None:
        return pipeline.detector.assign(pipeline.walk.anchors, objects)
    assert pipeline.walk.proposals is not None
    return assign_by_iou(
        pipeline.walk.proposals, objects.boxes, MIN_POSITIVE_IOU, MIN_POSITIVE_IOU, crowd=objects.crowd
    )


def origin(pipeline: Pipeline, candidate: int) -> str:
    """Return where a candidate comes from, in words."""
    x0, y0, x1, y1 = _source(pipeline, candidate).tolist()
    size = f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels"
    if pipeline.walk.proposals is not None:
        return f"proposal {candidate + 1} ({size})"
    level, row, column = pipeline.walk.cell(int(pipeline.walk.candidates.anchors[candidate]))
    return f"row {row}, column {column} of map {level + 1} (anchor {size})"


def _source(pipeline: Pipeline, candidate: int) -> Tensor:
    """Return the anchor, or the proposal, that a candidate comes from: (4,)."""
    if pipeline.walk.proposals is not None:
        return pipeline.walk.proposals[candidate]
    assert pipeline.walk.anchors is not None
    return pipeline.walk.anchors.boxes[int(pipeline.walk.candidates.anchors[candidate])]


def _of_error(finding: DetectionFinding, pipeline: Pipeline, objects: Objects, assigned: Assignment) -> str:
    candidate = int(pipeline.decision.chosen[finding.detection])
    index = candidate if pipeline.walk.proposals is not None else int(pipeline.walk.candidates.anchors[candidate])
    reason, matched = REASONS[int(assigned.reason[index])], int(assigned.matched[index])
    if matched >= 0:
        kind, _, reason_text = reason.partition(":")
        reason = f"{kind} for {pipeline.classes[int(objects.labels[matched])]} {matched + 1}:{reason_text}"
    source = _source(pipeline, candidate)
    overlap = float(box_iou(source[None], objects.boxes).max()) if len(objects) else 0.0
    source_kind = "anchor" if pipeline.walk.proposals is None else "proposal"
    return (
        f"It comes from {origin(pipeline, candidate)}. In training this {source_kind}, whose highest IoU with an "
        f"object is {overlap:.2f}, would be {reason}."
    )


def _of_miss(
    finding: DetectionFinding, pipeline: Pipeline, objects: Objects, assigned: Assignment, score: float
) -> str:
    label, scores = int(objects.labels[finding.object_index]), pipeline.walk.candidates.scores
    overlap = box_iou(pipeline.walk.candidates.boxes, objects.boxes[finding.object_index, None])[:, 0]
    count = int((assigned.matched == finding.object_index).sum())
    kind = "anchor" if pipeline.walk.proposals is None else "proposal"
    learned = f"In training {plural(count, kind) if count else f'no {kind}'} would be assigned to it."
    overlapping = (overlap >= THRESHOLD).nonzero()[:, 0]
    if not len(overlap):
        return f"There are no candidates. {learned}"
    if not len(overlapping):
        best = int(overlap.argmax())
        values = f"IoU {below(float(overlap[best]), THRESHOLD)} and score {float(scores[best, label]):.2f}"
        return (
            f"No candidate has an IoU of {THRESHOLD:g} with it: the nearest, from {origin(pipeline, best)}, has "
            f"{values} for its class. {learned}"
        )
    best = int(overlapping[scores[overlapping, label].argmax()])
    detected = pipeline.detection_of(best, label)
    if detected >= 0 and detected == finding.detection:
        return f"That detection comes from {origin(pipeline, best)}. {learned}"
    values = f"score {float(scores[best, label]):.2f}, IoU {float(overlap[best]):.2f}"
    return (
        f"Of the candidates with an IoU of at least {THRESHOLD:g}, the one with the highest score for its class comes "
        f"from {origin(pipeline, best)}, with {values}; it {_fate(pipeline, best, label, score)}. {learned}"
    )


def _fate(pipeline: Pipeline, candidate: int, label: int, score: float) -> str:
    """Return the outcome of a candidate in words; detections with a score below `score` count as not made."""
    fate = Fate(int(pipeline.decision.fates[candidate, label]))
    if fate == Fate.DETECTED:
        low = float(pipeline.walk.candidates.scores[candidate, label]) < score
        return (
            f"is detection {pipeline.detection_of(candidate, label) + 1}{f', below the score {score:g}' if low else ''}"
        )
    if fate == Fate.SUPPRESSED:
        removed = next(removal for removal in pipeline.removed[label] if removal.candidate == candidate)
        return "was removed " + (
            f"by detection {removed.by + 1} (IoU {removed.iou:.2f})" if removed.by >= 0 else "by suppression"
        )
    return f"is no detection, since {FATES[fate]}"
