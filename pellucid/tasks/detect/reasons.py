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
    found: Sequence[DetectionFinding], it: Pipeline, truth: Objects, score: float = SCORE
) -> list[DetectionFinding]:
    """Return the findings of an image with further sentences for errors and misses; sizes are in pixels of the input.

    it: the intermediate results of the detector. found: the findings for `it.detections` and the objects `truth`, at
    this `score`. For an error, the sentences state where its box comes from, and the target of that anchor or proposal
    in training. For a miss, they state the best candidate of the object's class with an IoU of at least 0.5 and its
    outcome, and the number of anchors or proposals that are assigned to the object.
    """
    objects = scaled(truth, it.size, it.input_size)
    assigned = assignment(it, objects)
    return [
        one._replace(text=f"{one.text} {_of_error(one, it, objects, assigned)}")
        if one.kind in ERRORS
        else one._replace(text=f"{one.text} {_of_miss(one, it, objects, assigned, score)}")
        if one.kind == MISSED
        else one
        for one in found
    ]


def assignment(it: Pipeline, objects: Objects) -> Assignment:
    """Return the object that each anchor is assigned to; for a two-stage detector, each proposal."""
    if isinstance(it.detector, OneStage) and it.walk.anchors is not None:
        return it.detector.assign(it.walk.anchors, objects)
    assert it.walk.proposals is not None
    return assign_by_iou(it.walk.proposals, objects.boxes, MIN_POSITIVE_IOU, MIN_POSITIVE_IOU, crowd=objects.crowd)


def origin(it: Pipeline, candidate: int) -> str:
    """Return where a candidate comes from, in words."""
    x0, y0, x1, y1 = _source(it, candidate).tolist()
    size = f"{x1 - x0:.0f} x {y1 - y0:.0f} pixels"
    if it.walk.proposals is not None:
        return f"proposal {candidate + 1} ({size})"
    level, row, column = it.walk.cell(int(it.walk.candidates.anchors[candidate]))
    return f"row {row}, column {column} of map {level + 1} (anchor {size})"


def _source(it: Pipeline, candidate: int) -> Tensor:
    """Return the anchor, or the proposal, that a candidate comes from: (4,)."""
    if it.walk.proposals is not None:
        return it.walk.proposals[candidate]
    assert it.walk.anchors is not None
    return it.walk.anchors.boxes[int(it.walk.candidates.anchors[candidate])]


def _of_error(one: DetectionFinding, it: Pipeline, objects: Objects, assigned: Assignment) -> str:
    candidate = int(it.decision.chosen[one.detection])
    index = candidate if it.walk.proposals is not None else int(it.walk.candidates.anchors[candidate])
    reason, matched = REASONS[int(assigned.reason[index])], int(assigned.matched[index])
    if matched >= 0:
        kind, _, why = reason.partition(":")
        reason = f"{kind} for {it.classes[int(objects.labels[matched])]} {matched + 1}:{why}"
    source = _source(it, candidate)
    overlap = float(box_iou(source[None], objects.boxes).max()) if len(objects) else 0.0
    source_kind = "anchor" if it.walk.proposals is None else "proposal"
    return (
        f"It comes from {origin(it, candidate)}. In training this {source_kind}, whose highest IoU with an object is "
        f"{overlap:.2f}, would be {reason}."
    )


def _of_miss(one: DetectionFinding, it: Pipeline, objects: Objects, assigned: Assignment, score: float) -> str:
    label, scores = int(objects.labels[one.object_index]), it.walk.candidates.scores
    overlap = box_iou(it.walk.candidates.boxes, objects.boxes[one.object_index, None])[:, 0]
    count = int((assigned.matched == one.object_index).sum())
    kind = "anchor" if it.walk.proposals is None else "proposal"
    learned = f"In training {plural(count, kind) if count else f'no {kind}'} would be assigned to it."
    overlapping = (overlap >= THRESHOLD).nonzero()[:, 0]
    if not len(overlap):
        return f"There are no candidates. {learned}"
    if not len(overlapping):
        best = int(overlap.argmax())
        values = f"IoU {below(float(overlap[best]), THRESHOLD)} and score {float(scores[best, label]):.2f}"
        return (
            f"No candidate has an IoU of {THRESHOLD:g} with it: the nearest, from {origin(it, best)}, has {values} for "
            f"its class. {learned}"
        )
    best = int(overlapping[scores[overlapping, label].argmax()])
    detected = it.found(best, label)
    if detected >= 0 and detected == one.detection:
        return f"That detection comes from {origin(it, best)}. {learned}"
    values = f"score {float(scores[best, label]):.2f}, IoU {float(overlap[best]):.2f}"
    return (
        f"Of the candidates with an IoU of at least {THRESHOLD:g}, the one with the highest score for its class comes "
        f"from {origin(it, best)}, with {values}; it {_fate(it, best, label, score)}. {learned}"
    )


def _fate(it: Pipeline, candidate: int, label: int, score: float) -> str:
    """Return the outcome of a candidate in words; detections with a score below `score` count as not made."""
    fate = Fate(int(it.decision.fates[candidate, label]))
    if fate == Fate.DETECTED:
        low = float(it.walk.candidates.scores[candidate, label]) < score
        return f"is detection {it.found(candidate, label) + 1}{f', below the score {score:g}' if low else ''}"
    if fate == Fate.SUPPRESSED:
        removed = next(one for one in it.removed[label] if one.candidate == candidate)
        return "was removed " + (
            f"by detection {removed.by + 1} (IoU {removed.iou:.2f})" if removed.by >= 0 else "by suppression"
        )
    return f"is no detection, since {FATES[fate]}"
