"""The doctor's checks of detectors, one per file; causes come before their consequences."""

from collections.abc import Callable
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.data import Source
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.examination import examine
from pellucid.doctor.finding import Check
from pellucid.doctor.rehearsal import reinitialized
from pellucid.tasks.detect.doctor import (
    absent_class,
    unfitting_anchors,
)
from pellucid.tasks.detect.doctor.case import DetectionCase
from pellucid.training.examples import source_of
from pellucid.training.model import BaseModel

CHECKS: tuple[Check[DetectionCase], ...] = (absent_class.CHECK, unfitting_anchors.CHECK)

__all__ = ["CHECKS", "DetectionCase", "detection_case", "diagnose_detector"]


def detection_case(
    model: BaseModel, train: Any, validation: Any = None, history: Any = None, *, batch_size: int = 8, epochs: int = 0,
    augment: Any = None, begin: Callable[[], BaseModel] | None = None, stopped: PellucidError | str = "",
) -> DetectionCase:  # fmt: skip
    """Return the case of a detector with its training data.

    The detector counts as trained if there is a history, or if its weights were read from a file. batch_size, epochs,
    augment: the arguments of `fit`; epochs: by default the number in the history. begin: returns the model before its
    first step. stopped: the error that ended the training; see `pellucid.doctor.case_of` for both. Raises PellucidError
    unless the data are a source of images with objects.
    """
    if not model.built:
        raise PellucidError("the detector has no weights yet; give it input_shape, or fit it first")
    sources: list[Source | None] = [None if data is None else source_of(data) for data in (train, validation)]
    train_source, validation_source = sources
    assert train_source is not None
    model.objective.check((), [train_source.batch([0], None).targets[0]])  # type: ignore[arg-type]
    epochs = epochs or (0 if history is None else len(history))
    return DetectionCase(
        model, train_source, begin or (lambda: reinitialized(model)), validation_source,
        history is not None or model.source is not None,
        batch_size=min(integer(batch_size, "batch_size", 1), len(train_source)), epochs=integer(epochs, "epochs", 0),
        augment=augment, stopped=stopped,
        notes=(f"The training ended early: {stopped}",) if stopped else (),
    )  # fmt: skip


def diagnose_detector(case: DetectionCase) -> Diagnosis:
    """Run every check of detectors, which measure directly."""
    return examine(case, CHECKS)
