"""Validation examples that change at random with each reading."""

from dataclasses import replace

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.finding import Remedy, suspect
from pellucid.doctor.held_out import outputs_for
from pellucid.doctor.inputs import digests, own_nearer
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import ProvenCause
from pellucid.training.reading import read_examples

RANDOM_VALIDATION = "random-validation"  # the name of the finding that validation examples change at random
# How often two readings of a validation example are nearer than readings of two examples of its class, and the fraction
# of different examples without random changes. Otherwise, examples may be drawn anew for each reading.
MIN_OWN_NEARER, MIN_DIFFERENT = 0.6, 0.9


def evaluate_unchanged_validation(evaluations: Evaluations) -> ProvenCause | None:
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
    groups = readings[0].y if case.classifies else torch.zeros(len(readings[0]))
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
