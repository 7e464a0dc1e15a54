"""Inputs that change at random from draw to draw: training inputs whose labels they hide, and validation inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from pellucid.data.dataset import float_images
from pellucid.doctor.case import MIN_SURVIVING, Case
from pellucid.doctor.finding import EvidenceValue, Finding, Remedy, Suspect, suspect
from pellucid.doctor.held_out import outputs_for
from pellucid.doctor.inputs import digests, own_nearer
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import ProvenCause
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.training_case import TrainingCase
from pellucid.metrics.functions import confusion_matrix
from pellucid.training.reading import read_examples

if TYPE_CHECKING:
    from pellucid.doctor.evaluations import Evaluations

NAME = "augmentation-destroys"
MIN_GAIN = 0.1  # of the score, without random changes, since sound ones make short trainings a little worse
MIN_CHANGED = 0.5  # fraction of the images of a class that a classifier answers with one other class if they are moved
MAX_SHOWN, MAX_MOVES = 4, 2  # classes and moves in a sentence
RANDOM_VALIDATION = "random-validation"  # the name of the finding that validation examples change at random
# How often two readings of a validation example are nearer than readings of two examples of its class, and the fraction
# of different examples without random changes. Otherwise, examples may be drawn anew for each reading.
MIN_OWN_NEARER, MIN_DIFFERENT = 0.6, 0.9


def redrawn_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the training inputs change much at random, and are known without that."""
    if isinstance(case, Case) and case.plain is not None and case.changes_much:
        plain, (cause, fix) = case.plain, _texts(case)
        yield suspect(
            NAME, cause, fix, "training inputs read as validation inputs, without the random changes",
            lambda case: replace(rebuilt(case), train=plain), path="train", unusual=True, min_gain=MIN_GAIN,
            key="no-random-changes", most_like_another_draw_of_themselves=case.surviving,
        )  # fmt: skip


def finding_of_hidden_labels(case: Case, evidence: Mapping[str, EvidenceValue]) -> Finding:
    """Return the finding for training inputs that random changes make so unlike that no label can be judged."""
    cause, fix = _texts(case)
    return Finding(
        NAME, "train", {**evidence, "most_like_another_draw_of_themselves": case.surviving}, cause,
        f"{fix} (if a training without random changes learns no more, look whether labels and inputs belong together)",
        is_fault=True,
    )  # fmt: skip


def _texts(case: Case) -> tuple[str, str]:
    """Return the cause and the fix."""
    if classes := moved_classes(case):
        return (
            "training images are mirrored or turned at random, and keep their labels where that makes another class",
            f"leave flips and turns that make one class another out of the augmentation ({classes})",
        )
    if case.moves and case.train.y.is_floating_point():
        faults = ", ".join(change.fault for change in case.moves.values())
        return (
            f"training images are changed at random ({faults}), and their targets stay as they are",
            "change the targets together with the images, or leave flips and turns out of the augmentation",
        )
    measured = "two draws of one input are often taken for different classes"
    if case.surviving < MIN_SURVIVING:
        measured = f"only {case.surviving:.0%} of them are most like another draw of themselves"
    return (
        f"the random changes of the training inputs leave little of what their targets say: {measured}",
        "weaken the augmentation: look at some augmented inputs, and make crops larger, and turns, noise and changes "
        "of colours smaller, until they show their targets",
    )


def moved_classes(case: Case) -> str:
    """Return as text which classes look like others after a flip or turn that training images have at random.

    A simple classifier of images without random changes answers most moved images of such a class with one other class,
    and no other class is answered so. "" if there are none.
    """
    data, classifier = case.unchanged, case.unchanged_classifier if case.moves else None
    if data is None or classifier is None:
        return ""
    x, y, texts = float_images(data.x[classifier.indices]), classifier.y, list[str]()
    for change in case.moves.values():
        confusion = confusion_matrix(y, classifier.predict(change.undo(x)), int(y.max()) + 1).double()
        fractions, answers = (confusion / confusion.sum(1, keepdim=True).clamp_min(1)).max(1)
        changed = [
            f"{case.class_name(label)} looks like {case.class_name(int(answers[label]))}"
            for label in classifier.classes.tolist()
            if float(fractions[label]) > MIN_CHANGED
            and int(answers[label]) != label
            and int((answers[classifier.classes] == answers[label]).sum()) == 1
        ]
        if changed:
            texts.append(f"{change.fault}: {', '.join(changed[:MAX_SHOWN])}")
    return "; ".join(texts[:MAX_MOVES])


def evaluate_unchanged_validation(evaluations: "Evaluations") -> ProvenCause | None:
    """Evaluate the present model on validation examples without the random changes of their reading.

    If they cannot be read without these, the mean output for several readings of an example is scored instead: a fault
    that this shows is added to `likely`, since it is no change of the data.
    """
    case, score = evaluations.case, evaluations.score
    if not (isinstance(case, Case) and case.redrawn_validation and evaluations.is_scored):
        return None
    readings, plain = case.redrawn_validation, case.plain_validation
    change = suspect(
        RANDOM_VALIDATION, "each reading of the validation loader changes its examples at random, so that the score is "
        "that of changed examples, and another one after each epoch",
        "validate on unchanged examples: leave the random changes (crops, flips, colours, erasing, noise) out of the "
        "transform of the validation data, and keep resizing and normalisation",
        "unchanged validation examples",
        lambda case: replace(case, validation=plain), path="validation",
    )  # fmt: skip
    before = torch.stack([score(case.model, one) for one in readings]).mean(0)
    if plain is not None:
        if len({*digests(plain.x)}) < MIN_DIFFERENT * len(plain):
            return None
        effect = effect_of(change, score.name, [(before, score(case.model, plain))], 0)
        if effect.high > 0:
            evaluations.trainings.record(effect)
            return ProvenCause(change, effect, change.apply(case)) if effect.verdict == "cause" else None
        # otherwise the setting that ends the changes also prepares the inputs, such as by a normalisation
    groups = readings[0].y if case.classifies else torch.zeros(len(before))
    if own_nearer(readings[0].x, readings[1].x, groups) < MIN_OWN_NEARER:
        return None
    examples = [read_examples(one, len(one), case.model.seed) for one in readings]
    outputs = torch.stack([torch.stack(outputs_for(case.model, one)) for one in examples]).mean(0)
    scored = evaluations.task.scores(case.model, [*outputs], [one.targets[0] for one in examples[0]])
    if scored is None or len(scored.weighted) != len(before):
        return None
    averaged = Remedy("the mean output for several readings of each example", change.apply, "averaged-readings")
    change = replace(change, finding=replace(change.finding, remedy=averaged))
    effect = evaluations.trainings.record(effect_of(change, score.name, [(before, scored.weighted)], 0))
    if effect.verdict == "cause":
        evaluations.likely.append((replace(change.finding, remedy=None, is_fault=True), None))
    return None
