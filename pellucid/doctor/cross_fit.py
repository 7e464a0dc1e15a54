"""The cross-fit: trainings on training and on validation data, both scored on other validation data."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from pellucid.data import Arrays, Source, float_images
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.checks import (
    class_imbalance,
    confused_labels,
    label_noise,
    leakage,
    preprocessing_mismatch,
    shortcut_pixels,
    shuffled_labels,
    unpaired_targets,
)
from pellucid.doctor.differences import (
    TraitDifference,
    as_evidence,
    as_text,
    differences,
    lacked_text,
)
from pellucid.doctor.evaluations import (
    GOOD_SCORE,
    MIN_EXPLAINED,
    MIN_GAP,
    MIN_HALF_EXAMPLES,
    Evaluations,
)
from pellucid.doctor.finding import Finding, Suspect, suspect
from pellucid.doctor.inputs import FAR_RANK, MOVES, closeness, undoing_changes
from pellucid.doctor.judged_examples import JudgedExamples
from pellucid.doctor.overlaps import find_overlaps
from pellucid.doctor.paired import ProvenCause
from pellucid.doctor.redrawn import finding_of_hidden_labels
from pellucid.doctor.simple_classifier import MIN_ABOVE_CHANCE, KernelClassifier, fit_simple_classifier
from pellucid.doctor.training_case import TrainingCase, validation_of
from pellucid.task.traits import is_image
from pellucid.task.values import OF_PAIR
from pellucid.training.examples import subset

# Checks whose faults of the training or the validation data explain that a model learns more from the other data.
DATA_FAULTS = (
    preprocessing_mismatch.NAME, unpaired_targets.NAME, shuffled_labels.NAME, confused_labels.NAME, label_noise.NAME,
    shortcut_pixels.NAME, class_imbalance.NAME,
)  # fmt: skip

CROSS_FIT_KEY = "cross-fit"
SPLITS_DIFFER = "splits-differ"  # the name of the finding
COMPARE_SPLITS = (
    "compare some examples of both: whether targets fit the images, how they were read, what one part lacks"
)
MIN_GAIN_OF_TARGETS = 0.5  # of the gain by training on validation data, by predicted targets for the training inputs
MIN_TURNED, MIN_TURNED_GAIN = 0.15, 0.2  # fraction of the images that fit their values better by this, turned back
MIN_FIT_ABOVE_CHANCE = 0.08  # of the best closeness in two ways, compared with values of other images
MIN_SPLIT_GAIN = 0.1  # of the score, by training on validation data instead of training data
# Of the images of one half, with near copies in the other: half of them if each image has one copy, while simple
# drawings that are turned or moved by random amounts reach 0.3.
MIN_NEAR_COPIES = 0.4
MIN_FAR_RANK = 10  # of the farther neighbours; twice as many images of a class may be frames of a few scenes
MIN_PER_VALUE = 10  # images on average; with fewer, a repeated value is no kind of images, but may be that of copies
MIN_TRAINING_SCORE = 0.7  # on training data; below it, a training on validation data is tried even without a gap


def train_on_validation_data(evaluations: Evaluations) -> ProvenCause | None:
    """Train on half of the validation data and on as many training examples; score both on the other half."""
    case, untried = evaluations.case, evaluations.untried
    is_examined = evaluations.is_scored and evaluations.has_targets  # without targets, none of them can be wrong
    if not is_examined or _are_alike(evaluations):
        return None
    first_half, second_half = evaluations.halves
    if len(first_half) < MIN_HALF_EXAMPLES:
        untried[CROSS_FIT_KEY] = f"needs {2 * MIN_HALF_EXAMPLES} validation examples"
        return None
    if have_near_copies(first_half, second_half, case.model.seed):
        untried[CROSS_FIT_KEY] = (
            "needs validation examples that are no near copies of each other, as frames of a scene, images of a "
            "patient or overlapping windows are: half of them would be learned by heart from the other half"
        )
        return None
    count = min(len(first_half), len(case.train))
    indices = torch.randperm(len(case.train), generator=generator(case.model.seed))[:count]
    base = replace(
        case,
        train=subset(case.train, indices, False),
        validation=second_half,
        batch_size=min(case.batch_size, count),
    )
    validation_part = subset(first_half, torch.arange(count), False)
    change = suspect(
        SPLITS_DIFFER, "the training and validation data differ in their images or their targets", COMPARE_SPLITS,
        f"training on {count} validation instead of training examples",
        lambda case: replace(case, train=validation_part), path="validation", min_gain=MIN_SPLIT_GAIN,
        key=f"{SPLITS_DIFFER}/{count}", is_likely=True,
    )  # fmt: skip
    base_scores = dict[int, Tensor]()
    split_cause = evaluations.trainings.measure(base, change, base_scores)
    if split_cause is None:
        return None
    exchange = (
        _exchange_of_direction(base) or _turned_back(base, validation_part) or _values_turned_back(base, split_cause)
    )
    exchange_cause = exchange and evaluations.trainings.measure(base, exchange, base_scores)
    min_gain = max(MIN_SPLIT_GAIN, MIN_EXPLAINED * fmean(split_cause.effect.gains))
    judged = JudgedExamples(evaluations, base, indices, base_scores, split_cause.mended_case.model, min_gain)
    found_differences = differences(case.model, case.train, validation_of(case))
    n_untried = len(evaluations.untried)
    hidden = finding_of_hidden_labels(case, {}) if isinstance(case, Case) and case.hides_labels else None
    cause = exchange_cause
    if cause is None and hidden is None:
        cause = _known_difference(evaluations, judged, split_cause, found_differences)
    # data that differ, as by augmentation, cost nothing if the model has learned as much from all training data
    is_harmful = cause is None and split_cause.effect.surpasses(evaluations.score(case.model, second_half))
    if is_harmful and hidden is not None:
        cause = split_cause.with_finding(hidden)
    elif is_harmful:
        all_tried = len(evaluations.untried) == n_untried
        cause = _unknown_difference(evaluations, judged, split_cause, found_differences, all_tried)
    return cause


def _are_alike(evaluations: Evaluations) -> bool:
    """Return whether the scores leave no difference of the parts to explain, and a simple classifier finds none."""
    case = evaluations.case
    is_learned = evaluations.score_gap < MIN_GAP and evaluations.training_score >= MIN_TRAINING_SCORE
    return is_learned and _classifier_failing_on_training(case.train, validation_of(case), case) is None


def compare_targets(evaluations: Evaluations) -> None:
    """Add a finding to `likely` if the targets of the training and the validation data are clearly unlike.

    Only if no fault is measured, and the score on validation data leaves something to explain.
    """
    case = evaluations.case
    is_good = not evaluations.is_scored or float(evaluations.validation_scores.mean()) >= GOOD_SCORE
    faults = [one for one in evaluations.findings if one.is_fault and not evaluations.is_harmless(one)]
    if is_good or faults or evaluations.partial_cause is not None or not evaluations.has_targets:
        return
    all_differences = differences(case.model, case.train, validation_of(case))
    is_balanced = _balances_classes(case)  # then other shares of the classes are intended, or have no effect
    if unlike_targets := [
        one for one in all_differences
        if one.is_large and not one.is_of_inputs and not (one.is_of_class and is_balanced)
    ]:  # fmt: skip
        finding = Finding(
            SPLITS_DIFFER,
            "validation",
            as_evidence(unlike_targets),
            cause=f"the targets of the training and the validation data are unlike{as_text(unlike_targets)}",
            fix=COMPARE_SPLITS,
            is_fault=True,
        )
        evaluations.likely.append((finding, None))


def _balances_classes(case: TrainingCase) -> bool:
    """Return whether classes are drawn as often as each other, or have weights in the loss."""
    loss: Any = getattr(case.model.objective, "loss", None)
    weights = [getattr(loss, "class_weights", None), getattr(getattr(loss, "criterion", None), "weight", None)]
    pos_weight = torch.as_tensor(getattr(loss, "pos_weight", 1.0))
    is_resampled = isinstance(case, Case) and case.resampled
    return is_resampled or any(one is not None for one in weights) or bool((pos_weight != 1).any())


def _known_difference(
    evaluations: Evaluations,
    judged: JudgedExamples,
    split_cause: ProvenCause,
    found_differences: Sequence[TraitDifference],
) -> ProvenCause | None:
    """Return the measured fault or the change of the training targets that explains the difference, if one does.

    judged: training examples, judged by a model that was trained on validation data.
    """
    if (fault := _measured_fault(evaluations, found_differences)) is not None:
        return split_cause.with_finding(fault)
    lacked_class_finding = next((one for one in evaluations.findings if lacked_text(one, found_differences)), None)
    proven_cause = judged.some_changed() or judged.shown_by_outputs(split_cause, lacked_class_finding is not None)
    if proven_cause is not None or lacked_class_finding is None:
        return proven_cause
    cause = f"{lacked_class_finding.cause}{lacked_text(lacked_class_finding, found_differences)}"
    return split_cause.with_finding(replace(lacked_class_finding, cause=cause))


def _unknown_difference(
    evaluations: Evaluations,
    judged: JudgedExamples,
    split_cause: ProvenCause,
    found_differences: Sequence[TraitDifference],
    all_tried: bool,
) -> ProvenCause:
    """Return whether the inputs or the targets differ, as far as a training with predicted targets shows.

    all_tried: whether all changes of targets that were suggested have been tried.
    """
    fault = split_cause.suspect.finding
    # Targets that can be learned fit their images, and the targets of other images have the same traits.
    can_be_unpaired = {one.kind for one in found_differences} <= {OF_PAIR} and all_tried
    if can_be_unpaired and evaluations.training_score < MIN_TRAINING_SCORE and not judged.are_paired:
        return split_cause.with_finding(replace(
            fault, check=unpaired_targets.NAME, path="train",
            cause="the training targets belong to other images: a model that was trained on validation data predicts "
            "them hardly better than the targets of other training images",
            fix="match images and targets by their names, not by their places in two lists",
        ))  # fmt: skip
    of_targets, of_inputs = (
        [one for one in found_differences if one.is_of_inputs is are_inputs] for are_inputs in (False, True)
    )
    min_gain = max(MIN_SPLIT_GAIN, MIN_GAIN_OF_TARGETS * fmean(split_cause.effect.gains))
    proven_cause, effect = judged.with_predicted_targets(as_text(of_targets), min_gain)
    is_misled = judged.are_as_usual and evaluations.training_score >= MIN_TRAINING_SCORE
    if proven_cause is not None and not is_misled:
        return proven_cause
    cause, shown_differences = fault.cause, found_differences
    if effect is not None and effect.verdict == "no effect":
        cause = "the inputs of the training and the validation data differ, and not only their targets"
        shown_differences = of_inputs
    elif effect is not None and fmean(effect.gains) >= min_gain and is_misled:
        cause = "the training inputs show their targets in a way that the validation inputs do not, as a leak does"
        shown_differences = of_inputs
    elif effect is not None and fmean(effect.gains) >= min_gain:
        cause = "the targets of the training and the validation data differ, probably not their inputs"
        shown_differences = of_targets
    evidence = {**fault.evidence, **as_evidence(shown_differences)}
    return split_cause.with_finding(replace(fault, cause=f"{cause}{as_text(shown_differences)}", evidence=evidence))


def _measured_fault(evaluations: Evaluations, found_differences: Sequence[TraitDifference]) -> Finding | None:
    """Return the first finding of a check that explains why a model learns more from validation data; None without one.

    found_differences: the differences of the training and the validation data.
    """
    for finding in evaluations.findings:
        if finding.check == preprocessing_mismatch.NAME and evaluations.score_gap < MIN_GAP:
            continue  # inputs of another kind would lower the score on validation data
        if finding.is_fault and finding.check in DATA_FAULTS:
            cause = finding.cause
            if evaluations.refutes(finding):
                cause = (
                    f"validation inputs are prepared in another way than training inputs{as_text(found_differences)}"
                )
            return replace(finding, cause=f"{cause}{lacked_text(finding, found_differences)}")
    return None


def _exchange_of_direction(base: TrainingCase) -> Suspect | None:
    """Return the exchange of inputs and targets in the training data; None unless both have the same shape."""
    if not isinstance(base.train, Arrays) or base.train.x.shape != base.train.y.shape:
        return None
    return suspect(
        "direction", "the training goes from the targets to the inputs, unlike the validation",
        "exchange inputs and targets of the training data", "training with inputs and targets exchanged",
        lambda case: replace(case, train=replace(case.train, x=case.train.y, y=case.train.x)),
        path="train", min_gain=MIN_SPLIT_GAIN,
    )  # fmt: skip


def _classifier_failing_on_training(train: Source, validation: Source, case: TrainingCase) -> KernelClassifier | None:
    """Return a simple classifier of the validation images if it fails on the training images; None otherwise."""
    if not (
        isinstance(case, Case)
        and case.classifies
        and isinstance(train, Arrays)
        and isinstance(validation, Arrays)
        and is_image(train.x)
    ):
        return None
    classifier = fit_simple_classifier(validation, case.model.seed)
    return classifier if classifier is not None and classifier.fails_on(train.x, train.y) else None


def _turned_back(base: TrainingCase, validation_part: Source) -> Suspect | None:
    """Return the exchange of training images for mirrored or turned ones that show their classes best.

    None unless a simple classifier of the validation images fails on the training images, and reads far more of them
    rightly in one of the ways than it would if their labels were those of other images.
    """
    classifier = _classifier_failing_on_training(base.train, validation_part, base)
    if (
        classifier is None
        or not isinstance(base.train, Arrays)
        or int(base.train.y.max()) > int(classifier.classes.max())
    ):
        return None
    x, y = float_images(base.train.x), base.train.y
    changes = undoing_changes(x, x)
    images = torch.stack([x, *(change.undo(x) for key, change in changes.items() if key in MOVES)])
    class_scores = torch.stack([classifier.scores(version) for version in images])
    predicted = class_scores.argmax(2)
    other_y = y[torch.randperm(len(y), generator=generator(base.model.seed))]
    fraction_right, fraction_by_chance = (float((predicted == labels).any(0).float().mean()) for labels in (y, other_y))
    if fraction_right - fraction_by_chance < MIN_ABOVE_CHANCE:
        return None
    best_versions = class_scores.gather(2, y.expand(len(images), -1)[..., None])[..., 0].argmax(0)
    turned_back = replace(base.train, x=images[best_versions, torch.arange(len(x))])
    return suspect(
        "augmentation-destroys", "training images are mirrored or turned, unlike those in validation, and show other "
        "classes or none then", "leave flips and turns out of the augmentation of the training images",
        "training images turned back", lambda case: replace(case, train=turned_back), path="train",
        min_gain=MIN_SPLIT_GAIN, is_likely=True,
    )  # fmt: skip


def _values_turned_back(base: TrainingCase, split_cause: ProvenCause) -> Suspect | None:
    """Return the exchange of training images with values for mirrored or turned ones that show their values far better.

    split_cause: whose model was trained on validation data. None unless one of the ways makes a part of the images fit
    far better, and all of them better than if their values were those of other images.
    """
    train, model = base.train, split_cause.mended_case.model
    if not (isinstance(train, Arrays) and is_image(train.x) and train.y.is_floating_point() and train.y.dim() <= 2):
        return None
    x, y = float_images(train.x), train.y.double().reshape(len(train), -1)
    if model.output_shape != y.shape[1:]:
        return None
    other_y = y[torch.randperm(len(y), generator=generator(base.model.seed))]
    moves = {key: change for key, change in undoing_changes(x, x).items() if key in MOVES}
    versions = torch.stack([x, *(change.undo(x) for change in moves.values())])
    predicted = torch.stack([model.predict(version).double().reshape(y.shape) for version in versions])
    closeness, by_chance = (
        1 - ((predicted - values).square() / values.var(0).clamp_min(1e-12)).clamp_max(1).mean(2)
        for values in (y, other_y)
    )  # (versions, n) each
    gains = (closeness - closeness[0]).clamp_min(0).mean(1)
    best = int(gains.argmax())
    is_turned = closeness[best] > closeness[0] + MIN_TURNED_GAIN
    fit, fit_by_chance = (float(torch.maximum(one[0], one[best]).mean()) for one in (closeness, by_chance))
    if not (fit > fit_by_chance + MIN_FIT_ABOVE_CHANCE and float(is_turned.double().mean()) >= MIN_TURNED):
        return None
    turned_back = replace(train, x=versions[is_turned * best, torch.arange(len(x))])
    how = moves[[*moves][best - 1]].fault
    return suspect(
        "augmentation-destroys", f"in {float(is_turned.double().mean()):.0%} of the training data, images and values "
        f"fit only if the images are taken as {how}, as where a random flip leaves the value as it is",
        f"change the value together with the image: training images are {how} and their values are not (or leave such "
        "flips out of the augmentation)", f"images that are {how} turned back",
        lambda case: replace(case, train=turned_back), path="train",
        min_gain=max(MIN_SPLIT_GAIN, MIN_EXPLAINED * fmean(split_cause.effect.gains)), is_likely=True,
        key=f"turned-back/{[*moves][best - 1]}",
    )  # fmt: skip


def have_near_copies(first: Source, second: Source, seed: int) -> bool:
    """Return whether many examples of one half of the data overlap with the other half or are near to some of it.

    Near images are far nearer to some images of the other half than to most. False without overlaps if a class, or a
    value that many images share, has too few images: those may be similar without being copies.
    """
    if not (isinstance(first, Arrays) and isinstance(second, Arrays)):
        return False
    if find_overlaps(second.x, first.x, seed) is not None:
        return True
    if not is_image(first.x) or first.x.shape[1:] != second.x.shape[1:]:
        return False
    n_groups = 1
    if first.y.dim() == 1:
        n_values = len(first.y.unique())
        n_groups = n_values if not first.y.is_floating_point() or n_values * MIN_PER_VALUE <= len(first) else 1
    far_rank = min(FAR_RANK, len(first) // (2 * n_groups))  # within the images of a class
    if far_rank < MIN_FAR_RANK:
        return False
    *_, far_quotient = closeness(second.x, first.x, seed, far_rank=far_rank)
    return float((far_quotient < leakage.MAX_CLOSE_RATIO).double().mean()) >= MIN_NEAR_COPIES
