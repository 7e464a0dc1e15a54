"""Columns of a table whose numbers name categories, such as a shop: proven by one-hot columns in a small network."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.seeds import generator
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case, has_flat_targets
from pellucid.doctor.evaluations import GOOD_SCORE, Evaluations
from pellucid.doctor.finding import suspect
from pellucid.doctor.intervention import effect_of
from pellucid.doctor.paired import ProvenCause
from pellucid.doctor.passes import leaves
from pellucid.doctor.remedies import small_network
from pellucid.operators import Index, OneHot

CATEGORY_AS_NUMBER = "category-as-number"
MIN_VALUES, MAX_VALUES = 5, 100  # different values of a column; of fewer, a network learns any function
MIN_EXAMPLES = 5  # of each value, on average
# The fraction of the variance of held-out targets that the mean of each value explains beyond any smooth function, and
# relative to that: functions with steps or peaks reach 1.2.
MIN_EXPLAINED, MIN_EXPLAINED_RATIO = 0.05, 1.5
MAX_COLUMNS, MAX_CATEGORIES = 256, 8  # columns that are examined; more categories are measurements in few steps
MIN_ONE_HOT_GAIN = 0.08  # of the score
DEGREE = 3  # of the polynomial, one of the smooth functions


class CategoryColumn(NamedTuple):
    """A column whose numbers name categories.

    values: in order, (K,). explained: the fraction of the variance of held-out targets that the mean target of each
    value explains. smooth: the fraction that a smooth function of the number explains.
    """

    column: int
    values: Tensor
    explained: float
    smooth: float


def train_with_one_hot_columns(evaluations: Evaluations) -> ProvenCause | None:
    """Train a small network with one-hot columns in place of numbers that name categories, and with these numbers.

    Only if the one with one-hot columns is clearly better than the present model, and the network looks nothing up.
    """
    case, trainings, steps = evaluations.case, evaluations.trainings, evaluations.trainings.max_steps
    if not isinstance(case, Case) or case.validation is None or not has_flat_targets(case) or case.train.x.dim() != 2:
        return None
    if not evaluations.is_scored or float(evaluations.validation_scores.mean()) >= GOOD_SCORE:
        return None
    if any(isinstance(layer, Index | OneHot) for _, layer in leaves(case.model.net)):
        return None  # the network may have an embedding of the category
    case = _with_classes(case)
    is_multilabel = case.train.y.is_floating_point() and _is_binary(case.train.y)
    columns = [] if is_multilabel else category_columns(case)
    if not 0 < len(columns) <= MAX_CATEGORIES:
        return None
    listing = " and ".join(f"column {one.column} ({len(one.values)} different values)" for one in columns)
    change = suspect(
        CATEGORY_AS_NUMBER, "numbers that name categories have no order: the mean target of each value explains "
        f"{columns[0].explained:.0%} of the variance of other targets, and a smooth function of the number "
        f"{columns[0].smooth:.0%}",
        f"give {listing}, counted from 0, as one-hot columns or through an embedding, since the numbers name "
        "categories", "one-hot columns instead of these numbers in a small network",
        lambda case: small_network(_with_one_hot_columns(case, columns)), "train", min_gain=MIN_ONE_HOT_GAIN,
        general=True, first_column=columns[0].column, explained_by_values=columns[0].explained,
        explained_by_a_smooth_function=columns[0].smooth,
    )  # fmt: skip
    base = small_network(case)
    mended_case = change.apply(base)
    if trainings.proves_nothing(base, change.remedy, steps) or not trainings.spend(change.remedy, (mended_case, steps)):
        return None
    trained = trainings.train(mended_case, 0, steps)
    gain = effect_of(change, trainings.score.name, [(evaluations.validation_scores, trained.scores)], 0)
    return trainings.measure(base, change, {}, steps, trained) if gain.verdict == "cause" else None


def category_columns(case: Case) -> list[CategoryColumn]:
    """Return the columns of a table whose values tell much more of the targets than smooth functions of them do.

    Functions are fitted to a half of the examples, and compared on the other: the mean target of each value, and as
    smooth functions the mean target of the two values beside it, and a polynomial.
    """
    x, y = case.train.x.double(), case.train.y
    if x.shape[1] > MAX_COLUMNS:
        return []
    y = F.one_hot(y.unique(return_inverse=True)[1]) if case.classifies else y.reshape(len(y), -1)
    y = (y - y.double().mean(0)) / y.double().std(0).clamp_min(1e-12)
    first, second = torch.randperm(len(x), generator=generator(case.model.seed)).tensor_split(2)
    found: list[CategoryColumn] = []
    for column in range(x.shape[1]):
        values, index = x[:, column].unique(return_inverse=True)
        if not MIN_VALUES <= len(values) <= min(MAX_VALUES, len(x) // MIN_EXAMPLES) or not values.isfinite().all():
            continue
        sums = torch.zeros(len(values), y.shape[1], dtype=y.dtype).index_add(0, index[first], y[first])
        counts = index[first].bincount(minlength=len(values))[:, None]
        padded = (F.pad(one, (0, 0, 1, 1)) for one in (sums, counts))
        neighbour_sums, neighbour_counts = (one[:-2] + one[2:] for one in padded)
        number = (x[:, column] - values.mean()) / values.std()
        powers = torch.stack([number**power for power in range(DEGREE + 1)], 1)
        polynomial = torch.linalg.lstsq(powers[first], y[first]).solution
        explained, *smooth = (
            1 - float((y[second] - predicted).square().sum() / y[second].square().sum().clamp_min(1e-12))
            for predicted in (
                (sums / (counts + 1))[index[second]],  # 1 more example of the mean of all, against chance
                (neighbour_sums / (neighbour_counts + 1))[index[second]],
                powers[second] @ polynomial,
            )
        )
        explained_smoothly = max(0.0, *smooth)
        if explained >= max(MIN_EXPLAINED + explained_smoothly, MIN_EXPLAINED_RATIO * explained_smoothly):
            found.append(CategoryColumn(column, values, explained, explained_smoothly))
    return found


def _is_binary(y: Tensor) -> bool:
    return bool(((y == 0) | (y == 1)).all())


def _with_classes(case: Case) -> Case:
    """Return the case with targets that are all 0 or 1, one for each example, as classes."""
    y = case.train.y
    if not y.is_floating_point() or y.numel() != len(y) or not _is_binary(y):
        return case
    train, validation = (
        data and replace(data, y=(data.y.flatten() > 0).long()) for data in (case.train, case.validation)
    )
    return replace(case, train=train, validation=validation)


def _with_one_hot_columns(case: Case, columns: Sequence[CategoryColumn]) -> Case:
    """Return the case with a column for each value in place of each of these columns, behind the other columns."""
    removed = {one.column for one in columns}
    kept = [column for column in range(case.train.x.shape[1]) if column not in removed]

    def changed(data: Arrays) -> Arrays:
        parts = [data.x[:, kept].float()]
        for one in columns:
            distances = (data.x[:, one.column, None].double() - one.values).abs()
            parts.append((distances < one.values.diff().min() / 2).float())
        return replace(data, x=torch.cat(parts, 1))

    return replace(case, train=changed(case.train), validation=case.validation and changed(case.validation))
