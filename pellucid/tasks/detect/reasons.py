"""What a detector computed where a false alarm or a miss is: cell, anchor, score, suppression, and assignment."""

from collections.abc import Sequence

from torch import Tensor

from pellucid.data.detection import scaled
from pellucid.detectors import FATES, Fate, OneStage
from pellucid.detectors.regions import POSITIVE
from pellucid.metrics.verdicts import ERRORS, MISSED, THRESHOLD
from pellucid.objects import Objects
from pellucid.ops.assign import REASONS, Assignment, assign_by_iou
from pellucid.ops.boxes import box_iou
from pellucid.tasks.detect.findings import Finding, below
from pellucid.tasks.detect.pipeline import Pipeline
from pellucid.tasks.detect.results import SCORE
from pellucid.text import plural


def with_reasons(found: Sequence[Finding], it: Pipeline, truth: Objects, score: float = SCORE) -> list[Finding]:
    """Return the findings of a picture with further sentences for errors and misses; sizes are those of the input.

    found: of `it.detections` and the objects of the picture, at this `score`. Of an error: where its box comes from,
    and what that anchor, or the proposal, learns in training. Of a miss: the best candidate of the object's class with
    an IoU of at least 0.5, and what became of it; and how many anchors, or proposals, learn the object.
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
    """Return which object each anchor learns, of a detector of two stages each proposal."""
    if isinstance(it.detector, OneStage) and it.walk.anchors is not None:
        return it.detector.assign(it.walk.anchors, objects)
    assert it.walk.proposals is not None
    return assign_by_iou(it.walk.proposals, objects.boxes, POSITIVE, POSITIVE, crowd=objects.crowd)


def place(it: Pipeline, candidate: int) -> str:
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


def _of_error(one: Finding, it: Pipeline, objects: Objects, assigned: Assignment) -> str:
    candidate = int(it.decision.chosen[one.detection])
    at = candidate if it.walk.proposals is not None else int(it.walk.candidates.anchors[candidate])
    reason, matched = REASONS[int(assigned.reason[at])], int(assigned.matched[at])
    if matched >= 0:
        kind, _, why = reason.partition(":")
        reason = f"{kind} for {it.classes[int(objects.labels[matched])]} {matched + 1}:{why}"
    source = _source(it, candidate)
    overlap = float(box_iou(source[None], objects.boxes).max()) if len(objects) else 0.0
    what = "anchor" if it.walk.proposals is None else "proposal"
    return (
        f"It comes from {place(it, candidate)}. In training this {what}, whose highest IoU with an object is "
        f"{overlap:.2f}, would be {reason}."
    )


def _of_miss(one: Finding, it: Pipeline, objects: Objects, assigned: Assignment, score: float) -> str:
    label, scores = int(objects.labels[one.truth]), it.walk.candidates.scores
    overlap = box_iou(it.walk.candidates.boxes, objects.boxes[one.truth, None])[:, 0]
    count = int((assigned.matched == one.truth).sum())
    what = "anchor" if it.walk.proposals is None else "proposal"
    learned = f"In training {plural(count, what) if count else f'no {what}'} would learn it."
    near = (overlap >= THRESHOLD).nonzero()[:, 0]
    if not len(overlap):
        return f"There are no candidates. {learned}"
    if not len(near):
        best = int(overlap.argmax())
        numbers = f"IoU {below(float(overlap[best]), THRESHOLD)} and score {float(scores[best, label]):.2f}"
        return (
            f"No candidate has an IoU of {THRESHOLD:g} with it: the nearest, from {place(it, best)}, has {numbers} for "
            f"its class. {learned}"
        )
    best = int(near[scores[near, label].argmax()])
    detected = it.found(best, label)
    if detected >= 0 and detected == one.detection:
        return f"That detection comes from {place(it, best)}. {learned}"
    numbers = f"score {float(scores[best, label]):.2f}, IoU {float(overlap[best]):.2f}"
    return (
        f"Of the candidates with an IoU of at least {THRESHOLD:g}, the one with the highest score for its class comes "
        f"from {place(it, best)}, with {numbers}; it {_fate(it, best, label, score)}. {learned}"
    )


def _fate(it: Pipeline, candidate: int, label: int, score: float) -> str:
    """Return what became of a candidate; detections of at least `score` are made."""
    fate = Fate(int(it.decision.fates[candidate, label]))
    if fate == Fate.DETECTED:
        low = float(it.walk.candidates.scores[candidate, label]) < score
        return f"is detection {it.found(candidate, label) + 1}{f', below the score {score:g}' if low else ''}"
    if fate == Fate.SUPPRESSED:
        gone = next(one for one in it.removed[label] if one.candidate == candidate)
        return "was removed " + (
            f"by detection {gone.by + 1} (IoU {gone.iou:.2f})" if gone.by >= 0 else "by suppression"
        )
    return f"is no detection, since {FATES[fate]}"
