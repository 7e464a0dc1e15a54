"""Inputs that are preprocessed differently from the inputs that the model was trained on."""

from collections.abc import Callable, Mapping
from math import sqrt

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.checks.unnormalised_inputs import MAX_RMS, MIN_RMS
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import (
    SCALE_CHANGES,
    STANDARDISED_OTHERWISE,
    InputChange,
    subsample,
    traits,
    undoing_changes,
)
from pellucid.doctor.passes import activity, normalized_moments
from pellucid.doctor.predictions import significantly_better
from pellucid.doctor.simple_classifier import count_correct
from pellucid.layers import BatchNorm

# Distance of the means of training and validation inputs, in standard deviations; 0.8 is called large (Cohen 1988).
MAX_DISTANCE = 1.0
MIN_DEVIATIONS = 4.0  # standard errors by which the distance must exceed MAX_DISTANCE
# Increase of the fraction of correctly classified examples when the change is undone. The limit is low because many
# mirrored or rotated digits are classified correctly without undoing the change.
MIN_GAIN = 0.2
# Accuracy minus chance that the classifier must reach; higher than MIN_GAIN, so the gain cannot come from guessing.
MIN_ABOVE_CHANCE = 0.3
MIN_EXAMPLES, MAX_EXAMPLES = 20, 256
MIN_MEMBERS = 10  # training examples of a class, for a reliable mean
# Inverse of the smallest accepted standard deviation after the model's standardization. The inverse is 2 or 3 for
# images of other data, and 255 for images that are divided by 255 twice.
MAX_SCALE = 10.0
RANGE_TOLERANCE = 0.02  # by which resized or compressed images may exceed the range from 0 to 1
# Mean and standard deviation of the inputs of the first batch normalization, relative to its running statistics. The
# standard deviation may be 1 / MAX_STD at least. MAX_STD corresponds to a factor of about 10 in variance.
MAX_MEAN, MAX_STD = 1.0, 3.0
# The limits after the change is undone: a mean below a medium effect (0.5, Cohen 1988), and a standard deviation less
# than halfway to MAX_STD on a logarithmic scale (sqrt(3) = 1.7), so both cases are clearly separated.
MAX_FITTING_MEAN, MAX_FITTING_STD = 0.3, 1.6


def find(case: Case) -> list[Finding]:
    """Compare validation inputs with training inputs, and both with the inputs that the model was trained on."""
    finding = (
        _finding_by_traits(case)
        or _finding_by_range(case)
        # A model that learned from augmented inputs does better on changed ones, so experiments judge the augmentation.
        or (None if case.augment else _finding_by_recognition(case, case.sample, "train"))
        or _finding_by_norm(case)
        or _finding_by_recognition(case, case.validation_sample, "validation")
    )
    return [] if finding is None else [finding]


def _finding_by_traits(case: Case) -> Finding | None:
    """Compare the mean traits (see `inputs.traits`) of validation and training inputs, by class for classification."""
    held_out = case.validation_sample
    comparison = None if held_out is None else _trait_distance(case, held_out)
    if held_out is None or comparison is None:
        return None
    indices, distance = comparison
    x, reference = float_images(held_out.x)[indices], float_images(case.sample.x)
    current_distance = distance(x)
    limit = MAX_DISTANCE + MIN_DEVIATIONS / sqrt(len(x))
    if current_distance <= limit:
        return None
    max_undone = min(current_distance / 2, MAX_DISTANCE)
    changes = undoing_changes(x, reference, case.model.stats)
    distances = {key: undone for key, change in changes.items() if (undone := distance(change.undo(x))) < max_undone}
    # A new standardization corrects any scale and mean, so it is named only if no other change explains the distance.
    best_key = min(distances, key=lambda key: (key == STANDARDISED_OTHERWISE, distances[key]), default="")
    evidence: Evidence = {
        "distance_of_means_in_standard_deviations": current_distance,
        "largest_usual_distance": limit,
        "mean_train": float(reference.mean()),
        "mean_validation": float(x.mean()),
        "standard_deviation_train": float(reference.std()),
        "standard_deviation_validation": float(x.std()),
    }
    if best_key:
        evidence["distance_if_undone"] = distances[best_key]
    return _finding("validation", evidence, best_key, changes)


def _trait_distance(case: Case, held_out: Arrays) -> tuple[Tensor, Callable[[Tensor], float]] | None:
    """Return the indices of n validation examples that can be compared with training examples, and a distance function.

    The function has the n inputs as its argument. For each trait, it computes the mean difference between these inputs
    and the mean training example (of the same class for classification) in standard deviations of the trait, and
    returns the largest of these differences. None if n is below MIN_EXAMPLES.
    """
    sample = case.sample
    train = traits(sample.x).double()
    # At least 5 % of the standard deviation of the input values, so traits that hardly vary have little influence.
    std = train.std(0, correction=0).clamp_min(0.05 * float(float_images(sample.x).std()) + 1e-12)
    if not case.classifies or int(sample.y.min()) < 0:
        indices, means = torch.arange(len(held_out)), train.mean(0)[None]
    else:
        counts = sample.y.bincount()
        indices = torch.isin(held_out.y, (counts >= MIN_MEMBERS).nonzero().flatten()).nonzero().flatten()
        sums = torch.zeros(len(counts), train.shape[1], dtype=torch.float64).index_add_(0, sample.y, train)
        means = (sums / counts.clamp_min(1)[:, None])[held_out.y[indices]]
    if len(indices) < MIN_EXAMPLES:
        return None
    return indices, lambda x: float(((traits(x).double() - means).mean(0) / std).abs().max())


def _finding_by_range(case: Case) -> Finding | None:
    """Check whether the range and scale of the inputs fit the mean and standard deviation in the model."""
    x, stats = float_images(case.sample.x), case.model.stats
    if stats is None or x.dim() != 4:
        return None
    inputs = case.inputs(case.sample)
    mean, std = float(inputs.mean()), float(inputs.std())
    undone = stats.apply(x * 255)  # float images with values up to 255 raised PellucidError before
    new_mean, new_std = float(undone.mean()), float(undone.std())
    if std <= 1 / MAX_SCALE and abs(new_mean) < MAX_MEAN and 1 / MAX_STD < new_std < MAX_STD:
        evidence: Evidence = {
            "mean_after_standardising": mean,
            "standard_deviation_after_standardising": std,
            "mean_if_undone": new_mean,
            "standard_deviation_if_undone": new_std,
        }
        return _finding("train", evidence, "divided-twice", undoing_changes(x, x, stats))
    undone = x * stats.std + stats.mean
    is_inside = float(undone.min()) >= -RANGE_TOLERANCE and float(undone.max()) <= 1 + RANGE_TOLERANCE
    if float(x.min()) >= -RANGE_TOLERANCE or not is_inside:
        return None
    evidence = {
        "smallest": float(x.min()),
        "largest": float(x.max()),
        "smallest_if_undone": float(undone.min()),
        "largest_if_undone": float(undone.max()),
    }
    return _finding("train", evidence, "standardised-twice", undoing_changes(x, x, stats))


def _finding_by_recognition(case: Case, part: Arrays | None, path: str) -> Finding | None:
    """Compare the accuracy of a classifier on the unchanged inputs and after undoing each possible change."""
    classifier = _classifier(case, path)
    if classifier is None or part is None or len(part) < MIN_EXAMPLES:
        return None
    name, predict = classifier
    part = subsample(part, MAX_EXAMPLES, case.model.seed)
    x = float_images(part.x)
    is_correct = predict(x) == part.y
    if float(is_correct.float().mean()) > 1 - MIN_GAIN:
        return None
    input_rms = float(case.inputs(part).square().mean().sqrt())
    changes = undoing_changes(x, float_images(case.sample.x), case.model.stats)
    if MIN_RMS <= input_rms <= MAX_RMS:  # the scale is right; another one could help only because it outweighs a bias
        changes = {key: change for key, change in changes.items() if key not in SCALE_CHANGES}
    if not changes:
        return None
    correct_by_key = {key: predict(change.undo(x)) == part.y for key, change in changes.items()}
    best_key = max(correct_by_key, key=lambda key: int(correct_by_key[key].sum()))
    is_correct_undone = correct_by_key[best_key]
    accuracy, accuracy_undone = (float(correct.float().mean()) for correct in (is_correct, is_correct_undone))
    min_accuracy = max(accuracy + MIN_GAIN, count_correct(part.y, part.y).chance + MIN_ABOVE_CHANCE)
    if accuracy_undone < min_accuracy or not significantly_better(is_correct, is_correct_undone):
        return None
    evidence: Evidence = {
        "judged_by": name,
        "examples": len(part),
        "share_recognised": accuracy,
        "share_recognised_if_undone": accuracy_undone,
    }
    return _finding(path, evidence, best_key, changes)


def _classifier(case: Case, path: str) -> tuple[str, Callable[[Tensor], Tensor]] | None:
    """Return the name and the predict function of the classifier to use; None if none is accurate enough.

    The classifier is the trained model if it classifies training examples correctly or `path` is "train"; otherwise it
    is `Case.simple_classifier`.
    """
    if not case.classifies:
        return None
    if case.class_predictions is not None:
        predictions = case.class_predictions[0]
        counts = count_correct(predictions.classes, predictions.part.y)
        if path == "train" or counts.accuracy > counts.chance + MIN_ABOVE_CHANCE:
            return "the model", case.classes_for
    simple = None if path == "train" else case.simple_classifier
    if simple is None or simple.leave_one_out.accuracy < simple.leave_one_out.chance + MIN_ABOVE_CHANCE:
        return None
    return "a simple classifier", simple.predict


def _finding_by_norm(case: Case) -> Finding | None:
    """Compare the inputs of the first batch normalization with its running statistics."""
    if not case.trained:
        return None
    part = subsample(case.train, MAX_EXAMPLES, case.model.seed)
    path, mean, std = _first_norm_moments(case, part.x)
    if not path or (mean <= MAX_MEAN and 1 / MAX_STD <= std <= MAX_STD):
        return None
    x = float_images(part.x)
    changes = undoing_changes(x, x, case.model.stats)
    for key, change in changes.items():
        _, new_mean, new_std = _first_norm_moments(case, change.undo(x))
        if new_mean < MAX_FITTING_MEAN and 1 / MAX_FITTING_STD < new_std < MAX_FITTING_STD:
            evidence: Evidence = {
                "mean_off_by_remembered_standard_deviations": mean,
                "standard_deviation_over_the_remembered_one": std,
                "mean_if_undone": new_mean,
                "standard_deviation_if_undone": new_std,
            }
            return _finding(path, evidence, key, changes)
    return None


def _first_norm_moments(case: Case, x: Tensor) -> tuple[str, float, float]:
    """Return the path of the first batch normalization, and the medians over channels of |mean| and standard deviation.

    The moments are those of its outputs before scale and shift. The path is "" if the network has no batch
    normalization or the outputs are not finite.
    """
    for path, outputs in activity(case.model, case.inputs(Arrays(x, x))).items():
        if isinstance(outputs.layer, BatchNorm):
            mean, std = normalized_moments(case.model, outputs)
            if not len(mean) or not outputs.finite:
                break
            return path, float(mean.abs().median()), float(std.median())
    return "", 0.0, 1.0


def _finding(path: str, evidence: Evidence, key: str, changes: Mapping[str, InputChange]) -> Finding:
    """Return the finding of the fault that one of the changes undoes; key: of this change, "" for an unknown fault."""
    inputs = "these inputs are" if path != "validation" else "validation inputs are"
    cause = f"{inputs} {changes[key].fault}, unlike those in training" if key else f"{inputs} prepared in another way"
    fix = "use the same preprocessing for training, validation and prediction: scale, mean, channel order and position"
    return Finding(NAME, path, evidence, cause, fix, kind=key)


NAME = "preprocessing-mismatch"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("confused-labels", "unnormalised-inputs", "overfitting", "underfitting", "miscalibration",
              "collapsed-predictions", "batch-norm", "dead-units", "saturated-units"),
)  # fmt: skip
