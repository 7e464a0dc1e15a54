"""Trainings without examples of one kind, such as images without colours or targets that all have one value."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.data.seeds import generator
from pellucid.doctor.differences import traits
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.finding import suspect
from pellucid.doctor.held_out import read_examples
from pellucid.doctor.paired import MIN_HELD_OUT, ProvenCause
from pellucid.doctor.replaced_parts import with_held_out_part
from pellucid.training.examples import first_batch, subset

MAX_EXAMPLES = 1_000  # of each part of the data; of larger data, so many are drawn
MIN_KIND_GAIN = 0.1  # of the score, by leaving out the examples of a kind
MIN_FRACTION, MAX_FRACTION = 0.02, 0.9  # of the training examples that are of the kind


def train_without_kinds(evaluations: Evaluations) -> ProvenCause | None:
    """Train without each kind of examples that the training data have, scored on other validation examples."""
    case = evaluations.case
    base = with_held_out_part(case) if case.validation is None else case
    if base is None or getattr(case.train, "x", None) is getattr(case.train, "y", 0):
        return None
    train, validation = (_limited(part, case.model.seed) for part in (base.train, base.validation))
    in_train, in_validation = (_kinds(evaluations, part) for part in (train, validation))
    has_images = len(first_batch(train).images.shape) > 2
    for name, is_of_kind in in_train.items():
        fraction = float(is_of_kind.double().mean())
        kept = ~in_validation[name] if name in in_validation else torch.ones(len(validation), dtype=torch.bool)
        if not MIN_FRACTION <= fraction <= MAX_FRACTION or int(kept.sum()) < MIN_HELD_OUT:
            continue
        left_fraction = 1 - float(kept.double().mean())
        if left_fraction > fraction / 2 and has_images:
            continue  # as many images of a kind are usual in these data
        other_train = subset(train, (~is_of_kind).nonzero().flatten(), False)
        without = replace(base, train=train, validation=subset(validation, kept.nonzero().flatten(), False))
        change = suspect(
            "unusual-examples", f"{fraction:.0%} of the training examples are of one kind ({name}), and without them "
            "the network learns more", f"look at these examples ({name}): leave them out, or mend how they are read",
            f"training without {name}", lambda case, part=other_train: replace(case, train=part), path="train",
            min_gain=MIN_KIND_GAIN, fraction=fraction, fraction_in_validation=left_fraction,
        )  # fmt: skip
        if (cause := evaluations.trainings.measure(without, change, {})) is not None:
            return cause
    return None


def _limited(part: Any, seed: int) -> Any:
    """Return at most MAX_EXAMPLES examples, drawn with the seed."""
    if len(part) <= MAX_EXAMPLES:
        return part
    return subset(part, torch.randperm(len(part), generator=generator(seed))[:MAX_EXAMPLES].sort().values, False)


def _kinds(evaluations: Evaluations, part: Any) -> dict[str, Tensor]:
    """Return by the name of a kind whether each example is of this kind, (n,)."""
    model = evaluations.case.model
    found = traits(evaluations.task, model, read_examples(part, len(part), model.seed))
    return {name: values for name, values in found.items() if values.dtype is torch.bool}
