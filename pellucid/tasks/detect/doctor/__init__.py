"""The doctor's checks of detectors, one per file; causes come before their consequences."""

from typing import Any

from pellucid.data import Source
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.examination import examine
from pellucid.doctor.finding import Check
from pellucid.errors import PellucidError
from pellucid.tasks.detect.doctor import (
    absent_class,
    box_format,
    flipped_points,
    no_positives,
    score_collapse,
    shifted_masks,
    unfitting_anchors,
)
from pellucid.tasks.detect.doctor.case import DetectionCase
from pellucid.training.examples import source_of
from pellucid.training.model import BaseModel

CHECKS: tuple[Check[DetectionCase], ...] = tuple(
    module.CHECK
    for module in (
        box_format, shifted_masks, flipped_points, absent_class, unfitting_anchors, no_positives, score_collapse,
    )
)  # fmt: skip

__all__ = ["CHECKS", "DetectionCase", "detection_case", "diagnose_detector"]


def detection_case(model: BaseModel, train: Any, validation: Any = None, history: Any = None) -> DetectionCase:
    """Return the case of a detector with its training data.

    The detector counts as trained if there is a history, or if its weights were read from a file. Raises PellucidError
    for data that are no source of images with objects.
    """
    if not model.built:
        raise PellucidError("the detector has no weights yet; give it input_shape, or fit it first")
    sources: list[Source | None] = [None if data is None else source_of(data) for data in (train, validation)]
    first, second = sources
    assert first is not None
    model.objective.check((), [first.batch([0], None).targets[0]])  # type: ignore[arg-type]
    return DetectionCase(model, first, second, history is not None or model.source is not None)


def diagnose_detector(case: DetectionCase) -> Diagnosis:
    """Make every check of a detector, without trials, so that causes are only established by direct measurement."""
    return examine(case, CHECKS)
