"""Kinds of training examples that are left out or mended: those that are unusual, and those with exchanged columns."""

from dataclasses import replace
from math import inf

import torch

from pellucid.data.changed_source import with_targets
from pellucid.data.source import Arrays, Source
from pellucid.doctor.case import Case
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.finding import suspect
from pellucid.doctor.inputs import subsample
from pellucid.doctor.paired import MIN_HELD_OUT, ProvenCause
from pellucid.doctor.replaced_parts import with_held_out_part
from pellucid.doctor.training_case import validation_of
from pellucid.task.traits import input_traits, target_traits
from pellucid.task.values import MISSING_INPUTS
from pellucid.training.examples import subset
from pellucid.training.reading import drawn_indices, read_examples

MIN_LEARNED_EXAMPLES = 40  # held-out ones that show an order of points without a training
MAX_EXAMPLES, MAX_READ = 1_000, 200  # of each part of the data: in memory, and of other sources
MIN_KIND_GAIN = 0.1  # of the score, by leaving out the examples of a kind
# Fractions of the training examples with two columns in reverse order, and of these, with other columns reversed too.
MIN_REVERSED_FRACTION, MIN_REVERSED_TOGETHER = 0.2, 0.9
MAX_COLUMNS = 256  # all pairs of columns are compared in each example: 65 MB
MIN_SHIFT = 0.5  # standard deviations by which the mean of a column in reverse order differs; points in the middle stay
MIN_KIND_FRACTION, MAX_KIND_FRACTION = 0.02, 0.9  # of the training examples that are of the kind


def train_without_kinds(evaluations: Evaluations) -> ProvenCause | None:
    """Train without each kind of examples that the training data have, scored on other validation examples."""
    case = evaluations.case
    base = with_held_out_part(case) if case.validation is None else case
    if base is None or not evaluations.has_targets:
        return None
    train, validation = (_limited(data, case.model.seed) for data in (base.train, validation_of(base)))
    examples = [example for data in (train, validation) for example in read_examples(data, len(data), case.model.seed)]
    for name, (values, kind) in (input_traits(examples) | target_traits(case.model, examples)).items():
        if values.dtype is not torch.bool:
            continue
        is_of_kind, is_of_other_kind = values[: len(train)], ~values[len(train) :]
        fraction = float(is_of_kind.double().mean())
        if not MIN_KIND_FRACTION <= fraction <= MAX_KIND_FRACTION or int(is_of_other_kind.sum()) < MIN_HELD_OUT:
            continue
        fraction_in_validation = 1 - float(is_of_other_kind.double().mean())
        if fraction_in_validation > fraction / 2 and kind != MISSING_INPUTS:
            continue  # as many examples of a kind are usual in these data
        other_train = subset(train, (~is_of_kind).nonzero().flatten(), False)
        other_validation = subset(validation, is_of_other_kind.nonzero().flatten(), False)
        base_without_kind = replace(base, train=train, validation=other_validation)
        change = suspect(
            "unusual-examples", f"{fraction:.0%} of the training examples are of one kind ({name}), and without them "
            "the network learns more", f"look at these examples ({name}): leave them out, or correct how they are read",
            f"training without {name}", lambda case, train=other_train: replace(case, train=train), path="train",
            min_gain=MIN_KIND_GAIN, key=f"without-kind/{name}", fraction=fraction,
            fraction_in_validation=fraction_in_validation,
        )  # fmt: skip
        if (cause := evaluations.trainings.measure(base_without_kind, change, {})) is not None:
            return cause
    return None


def train_with_exchanged_columns(evaluations: Evaluations) -> ProvenCause | None:
    """Train with columns of the targets exchanged in the examples that have two of them in reverse order.

    It is the pair farthest apart of those whose order many training examples and no validation examples have. All
    columns whose order is reversed in these take the places at which their means are nearest to the validation data's.
    """
    case = evaluations.case
    if not isinstance(case, Case) or case.validation is None or not case.train.y.is_floating_point():
        return None
    if case.train.y.dim() not in (2, 4) or case.validation.y.dim() != case.train.y.dim():
        return None
    train, validation = (subsample(data, MAX_EXAMPLES, case.model.seed) for data in (case.train, case.validation))
    # of heat maps (N, K, H, W), the horizontal positions of the highest values
    y, other_y = (data.y if data.y.dim() == 2 else data.y.amax(2).argmax(2).float() for data in (train, validation))
    if other_y.shape[1:] != y.shape[1:] or y.shape[1] > MAX_COLUMNS:
        return None
    is_above, is_above_elsewhere = (one[:, :, None] > one[:, None, :] for one in (y, other_y))  # (n, columns, columns)
    fractions = is_above.sum(0).double() / len(y) * ~is_above_elsewhere.any(0)
    means = other_y.mean(0)
    distances_apart = (fractions >= MIN_REVERSED_FRACTION) * (means[:, None] - means).abs()
    first, second = divmod(int(distances_apart.argmax()), y.shape[1])
    fraction = float(fractions[first, second])
    if fraction < MIN_REVERSED_FRACTION:
        return None
    is_reversed = is_above[:, first, second]
    order = torch.arange(y.shape[1])
    together = is_above[is_reversed].sum(0).double() / is_reversed.sum()
    are_reversed = (together > MIN_REVERSED_TOGETHER) & ~is_above_elsewhere.any(0)
    reversed_means = y[is_reversed].mean(0)
    shifts = (means - reversed_means).abs() / other_y.std(0)
    columns = ((are_reversed.any(0) | are_reversed.any(1)) & (shifts > MIN_SHIFT)).nonzero().flatten()
    distances = (means[columns, None] - reversed_means[columns]).abs()
    for _ in columns:  # the nearest means first
        column, source = divmod(int(distances.argmin()), len(columns))
        order[columns[column]] = columns[source]
        distances[column], distances[:, source] = inf, inf
    place, above = ("column", "above") if train.y.dim() == 2 else ("point", "to the right of")
    pairs = ", ".join(f"{k} and {int(j)}" for k, j in enumerate(order) if k < int(j))
    exchanged = with_targets(train, lambda target, size: target[order], frozenset(is_reversed.nonzero()[:, 0].tolist()))
    change = suspect(
        "exchanged-columns", f"in {fraction:.0%} of the training targets and in none of the validation targets {place} "
        f"{first} is {above} {place} {second}, as in mirrored images whose left and right points keep their places",
        f"exchange left and right in the targets of mirrored images ({place}s {pairs}, counted from 0, and "
        "all others of these points)",
        f"{place}s exchanged in {fraction:.0%} of the training targets", lambda case: replace(case, train=exchanged),
        path="train", min_gain=MIN_KIND_GAIN, is_likely=True,
    )  # fmt: skip
    cause = evaluations.trainings.measure(replace(case, train=train), change, {}, evaluations.trainings.max_steps)
    # heat maps take long to learn, but their order shows the fault
    if cause is None and train.y.dim() == 4 and len(validation) >= MIN_LEARNED_EXAMPLES:
        evaluations.likely.append((replace(change.finding, remedy=None, is_fault=True), None))
    return cause


def _limited(data: Source, seed: int) -> Source:
    """Return the examples, or MAX_EXAMPLES (MAX_READ if they are read from files) that are drawn with the seed."""
    count = MAX_EXAMPLES if isinstance(data, Arrays) else MAX_READ
    return data if len(data) <= count else subset(data, drawn_indices(len(data), count, seed), False)
