"""After the training of a classifier: fit its familiarity, which detects images unlike the training data."""

import torch
from torch import Tensor

from pellucid.base.text import note
from pellucid.calibration.familiarity import MIN_HELD_OUT, evenly_spaced_indices, fit_familiarity
from pellucid.data import Batch, Source
from pellucid.data.seeds import generator
from pellucid.model import Model
from pellucid.objective import Supervised
from pellucid.training.examples import first_batch


def finish(model: Model, train: Source, validation: Source | None, test: Source) -> bool:
    """Fit the familiarity of a classifier on held-out images; return whether this was done.

    Without validation images it is fitted on every second test image; the other test images can still evaluate it. A
    model that has a familiarity is left unchanged: it is from a run that was finished before.
    """
    targets = first_batch(train).targets
    is_classifier = isinstance(model.objective, Supervised) and isinstance(targets, Tensor) and targets.dim() == 1
    if model.familiarity is not None or not is_classifier:
        return False
    held_out = _even_sample(test, 2) if validation is None else _even_sample(validation)
    images = _even_sample(train)
    model.familiarity = fit_familiarity(model.net, model.params, images, held_out.images, model.stats)
    if model.familiarity is None and not images.targets.is_floating_point():
        note(f"predict cannot report 'unlike anything it was trained on': {_missing_reason(images, held_out)}")
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
