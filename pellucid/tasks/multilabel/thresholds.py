"""The probability of each class from which a picture has its label, chosen on validation images."""

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.data import Source
from pellucid.metrics import MultiLabel
from pellucid.model import Model
from pellucid.tasks.pictures import predict_source

DEFAULT_THRESHOLD = 0.5


def thresholds_of(model: Model) -> Tensor:
    """Return the thresholds (K,) of a model, by default 0.5; raises PellucidError for another number of them."""
    count = int(model.output_shape[0])
    thresholds = model.preprocess.get("thresholds") or [DEFAULT_THRESHOLD]
    if len(thresholds) == 1:  # one for all classes, such as --score
        thresholds = [*thresholds] * count
    if len(thresholds) != count:
        raise PellucidError(f"preprocess: {len(thresholds)} thresholds for {count} classes; train the model again")
    return torch.tensor(thresholds)


def choose_thresholds(model: Model, validation: Source | None) -> bool:
    """Store the thresholds with the best F1 on validation images in a model; return whether it changed.

    A model that has thresholds is from a finished run, and keeps them.
    """
    if "thresholds" in model.preprocess:
        return False
    if validation is None:
        note(f"no validation images: labels are predicted from a probability of {DEFAULT_THRESHOLD:g} on")
        return False
    probabilities, targets = predict_source(model, validation)
    thresholds = [best_threshold(scores, true > 0.5) for scores, true in zip(probabilities.T, targets.T, strict=True)]
    model.preprocess["thresholds"] = thresholds
    chosen = MultiLabel(tuple(thresholds))
    model.metrics = tuple(
        chosen if metric == "multilabel" or isinstance(metric, MultiLabel) else metric for metric in model.metrics
    )
    return True


def best_threshold(scores: Tensor, true: Tensor) -> float:
    """Return the threshold with the best F1 of one class, halfway between two scores; of equal ones, nearest to 0.5.

    scores, true: (N,). Returns 0.5 if all or none of the images have the label.
    """
    n_true = int(true.sum())
    if n_true in (0, len(true)):
        return DEFAULT_THRESHOLD
    order = scores.argsort(descending=True, stable=True)
    ranked, hits = scores[order].double(), true[order].cumsum(0).double()
    f1 = 2 * hits / (torch.arange(1, len(ranked) + 1) + n_true)
    next_scores = torch.cat([ranked[1:], -ranked[-1:] - 1])  # below the lowest score, all images have the label
    is_cut = next_scores < ranked  # images with equal scores are on one side of a threshold
    middles = ((ranked + next_scores) / 2).clamp_min(0)
    best = f1[is_cut] >= f1[is_cut].max() - 1e-12
    candidates = middles[is_cut][best]
    return round(float(candidates[(candidates - DEFAULT_THRESHOLD).abs().argmin()]), 6)
