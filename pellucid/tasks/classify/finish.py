"""After the training of a classifier: fit its confidence, and its familiarity, which detects unfamiliar images."""

import torch
from torch import Tensor

from pellucid.base.text import note
from pellucid.calibration.familiarity import (
    MIN_HELD_OUT,
    evenly_spaced_indices,
    fit_familiarity,
    with_lower_resolutions,
)
from pellucid.data import Batch, Source
from pellucid.data.seeds import generator
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.recipe.checked.collection import CheckedPart
from pellucid.tasks.classify.confidence import fit_confidence
from pellucid.tasks.pictures import are_probabilities
from pellucid.training.examples import first_batch


def finish(model: Model, train: Source, validation: Source | None, test: Source) -> bool:
    """Fit the confidence and the familiarity of a classifier on held-out images; return whether this was done.

    The confidence is fitted for data that were checked. Without validation images, the familiarity is fitted on every
    second test image; the other test images can still evaluate it. What a model has is left unchanged: it is from a run
    that was finished before.
    """
    targets = first_batch(train).targets
    is_classifier = isinstance(model.objective, Supervised) and isinstance(targets, Tensor) and targets.dim() == 1
    needs_confidence = is_classifier and isinstance(test, CheckedPart) and model.confidence is None
    if needs_confidence:
        held_out_part = test if validation is None else validation
        assert isinstance(held_out_part, CheckedPart)
        outputs = model.predict(held_out_part)
        model.confidence = fit_confidence(outputs, held_out_part.y) if are_probabilities(model, outputs) else None
    if model.familiarity is not None or not is_classifier:
        return needs_confidence and model.confidence is not None
    held_out_batch = _even_sample(test, 2) if validation is None else _even_sample(validation)
    train_batch = _even_sample(train)
    examples = (with_lower_resolutions(train_batch.images), train_batch.targets)
    model.familiarity = fit_familiarity(model.net, model.params, examples, held_out_batch.images, model.stats)
    if model.familiarity is None and not train_batch.targets.is_floating_point():
        note(
            f"predict cannot report 'unlike anything it was trained on': {_missing_reason(train_batch, held_out_batch)}"
        )
    return True


def _missing_reason(train: Batch, held_out: Batch) -> str:
    """Return why a classifier has no familiarity threshold, and what to do."""
    if min(len(train.images), len(held_out.images)) < MIN_HELD_OUT:
        return (
            f"it needs {MIN_HELD_OUT} training and {MIN_HELD_OUT} held-out images, not {len(train.images)} "
            f"and {len(held_out.images)}; add images"
        )
    return "no layer of the network has suitable features"


def _even_sample(source: Source, step: int = 1) -> Batch:
    """Return evenly spaced examples of a source, chosen among every `step`-th example."""
    indices = torch.arange(0, len(source), step)
    return source.batch(indices[evenly_spaced_indices(len(indices))].tolist(), generator(0))
