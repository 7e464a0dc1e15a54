"""Trainings without examples of one kind, such as images without colours or targets that all have one value."""

from dataclasses import replace

import torch

from pellucid.data.source import Arrays, Source
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.finding import suspect
from pellucid.doctor.paired import MIN_HELD_OUT, ProvenCause
from pellucid.doctor.replaced_parts import with_held_out_part
from pellucid.doctor.training_case import validation_of
from pellucid.task.traits import input_traits, target_traits
from pellucid.task.values import MISSING_INPUTS
from pellucid.training.examples import subset
from pellucid.training.reading import drawn_indices, read_examples

MAX_EXAMPLES, MAX_READ = 1_000, 200  # of each part of the data: in memory, and of other sources
MIN_KIND_GAIN = 0.1  # of the score, by leaving out the examples of a kind
MIN_FRACTION, MAX_FRACTION = 0.02, 0.9  # of the training examples that are of the kind


def train_without_kinds(evaluations: Evaluations) -> ProvenCause | None:
    """Train without each kind of examples that the training data have, scored on other validation examples."""
    case = evaluations.case
    base = with_held_out_part(case) if case.validation is None else case
    if base is None or not evaluations.has_targets:
        return None
    train, validation = (_limited(part, case.model.seed) for part in (base.train, validation_of(base)))
    examples = [example for part in (train, validation) for example in read_examples(part, len(part), case.model.seed)]
    for name, (values, kind) in (input_traits(examples) | target_traits(case.model, examples)).items():
        if values.dtype is not torch.bool:
            continue
        is_of_kind, kept = values[: len(train)], ~values[len(train) :]
        fraction = float(is_of_kind.double().mean())
        if not MIN_FRACTION <= fraction <= MAX_FRACTION or int(kept.sum()) < MIN_HELD_OUT:
            continue
        left_fraction = 1 - float(kept.double().mean())
        if left_fraction > fraction / 2 and kind != MISSING_INPUTS:
            continue  # as many examples of a kind are usual in these data
        other_train = subset(train, (~is_of_kind).nonzero().flatten(), False)
        without = replace(base, train=train, validation=subset(validation, kept.nonzero().flatten(), False))
        change = suspect(
            "unusual-examples", f"{fraction:.0%} of the training examples are of one kind ({name}), and without them "
            "the network learns more", f"look at these examples ({name}): leave them out, or correct how they are read",
            f"training without {name}", lambda case, part=other_train: replace(case, train=part), path="train",
            min_gain=MIN_KIND_GAIN, key=f"without-kind/{name}", fraction=fraction, fraction_in_validation=left_fraction,
        )  # fmt: skip
        if (cause := evaluations.trainings.measure(without, change, {})) is not None:
            return cause
    return None


def _limited(part: Source, seed: int) -> Source:
    """Return the examples, or MAX_EXAMPLES (MAX_READ if they are read from files) that are drawn with the seed."""
    count = MAX_EXAMPLES if isinstance(part, Arrays) else MAX_READ
    if len(part) <= count:
        return part
    return subset(part, drawn_indices(len(part), count, seed), False)
