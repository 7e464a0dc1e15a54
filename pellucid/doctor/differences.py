"""Differences of the training and the validation data, measured by a few traits of each image and each target."""

from collections.abc import Callable, Sequence
from functools import cache
from math import inf, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.data.seeds import generator
from pellucid.data.source import Source
from pellucid.doctor.checks.class_imbalance import LACKED_CLASS
from pellucid.doctor.finding import Evidence, Finding
from pellucid.task.traits import input_traits, target_traits
from pellucid.task.values import OF_CLASS
from pellucid.training.model import BaseModel
from pellucid.training.reading import read_examples

MAX_EXAMPLES = 200  # of each part of the data
MIN_EFFECT, MIN_DEVIATIONS = 0.5, 4.0  # difference of two means: in standard deviations, and in standard errors
N_DIVISIONS = 10_000  # random ones of the examples, none of which may differ as much
# Of large differences: in standard deviations, and the ratio of the means. Shares of a class may differ by more between
# groups, such as scenes, of sound data.
LARGE_EFFECT, MIN_RATIO, MIN_CLASS_RATIO = 1.0, 1.5, 5.0
MAX_SHOWN, MAX_IN_TEXT = 3, 2  # differences in the evidence, and in a sentence


class TraitDifference(NamedTuple):
    """A trait whose means over training and over validation examples differ.

    size: in standard deviations. is_of_inputs: whether it is a trait of the inputs, not of the targets. kind: of the
    trait, see `DataTrait`.
    """

    trait: str
    train: float
    validation: float
    size: float
    is_of_inputs: bool = False
    kind: str = ""

    @property
    def is_of_class(self) -> bool:
        """Whether it is the share or the number of a class."""
        return self.kind == OF_CLASS

    @property
    def is_large(self) -> bool:
        """Whether it is larger than differences that are usual between sound data sets, such as shares of classes."""
        low, high = sorted((abs(self.train), abs(self.validation)))
        min_ratio = MIN_CLASS_RATIO if self.is_of_class else MIN_RATIO
        return self.size >= LARGE_EFFECT and (self.train * self.validation <= 0 or high >= min_ratio * low)

    def __str__(self) -> str:
        """Return both means as text."""
        return f"{self.trait}: {self.train:.3g} in training, {self.validation:.3g} in validation"


def differences(model: BaseModel, train: Source, validation: Source) -> list[TraitDifference]:
    """Return the clear differences of the traits of two parts of the data, the largest first."""
    examples = [read_examples(values, MAX_EXAMPLES, model.seed) for values in (train, validation)]
    found, of_inputs = list[TraitDifference](), input_traits([*examples[0], *examples[1]])
    draw_orders = cache(lambda n: torch.rand(N_DIVISIONS, n, generator=generator(model.seed)).argsort(1))
    for name, trait in (of_inputs | target_traits(model, [*examples[0], *examples[1]])).items():
        train_values, validation_values = (
            values[~values.isnan()] for values in trait.values.double().split([len(values) for values in examples])
        )
        if min(len(train_values), len(validation_values)) < 2:
            continue
        difference, variances = (
            abs(float(train_values.mean() - validation_values.mean())),
            (float(train_values.var()), float(validation_values.var())),
        )
        size = difference / sqrt(sum(variances) / 2) if sum(variances) else inf
        is_rounding = difference <= 1e-6 * max(abs(float(train_values.mean())), abs(float(validation_values.mean())))
        if not is_rounding and size >= MIN_EFFECT and not _can_be_chance(train_values, validation_values, draw_orders):
            found.append(TraitDifference(
                name, float(train_values.mean()), float(validation_values.mean()), size, name in of_inputs, trait.kind
            ))  # fmt: skip
    return sorted(found, key=lambda one: (-one.size, one.trait))


def _can_be_chance(a: Tensor, b: Tensor, draw_orders: Callable[[int], Tensor]) -> bool:
    """Return whether random divisions of the examples into two parts of these sizes differ as much.

    draw_orders: returns N_DIVISIONS random orders of a number of examples, (N_DIVISIONS, n), always the same.

    The variance of all values together is that of such divisions; the variances of the parts would be far too small for
    a class that a few images have, and the smaller part lacks.
    """
    smaller, larger = sorted((a, b), key=len)
    count = len(smaller)
    values = torch.cat([smaller, larger])
    values = values - values.mean()
    shift = float(values[:count].mean())
    if abs(shift) < MIN_DEVIATIONS * float(values.std()) * sqrt(1 / count - 1 / len(values)):
        return True
    means = values[draw_orders(len(values))[:, :count]].mean(1)
    return bool((means.abs() >= abs(shift) * (1 - 1e-9)).any())


def one_sided_first(found: Sequence[TraitDifference]) -> list[TraitDifference]:
    """Return the differences, first those of which one part of the data has none."""
    return sorted(found, key=lambda difference: bool(difference.train and difference.validation))


def as_evidence(found: Sequence[TraitDifference]) -> Evidence:
    """Return the largest differences as evidence."""
    return {f"difference_{k}": str(difference) for k, difference in enumerate(one_sided_first(found)[:MAX_SHOWN], 1)}


def as_text(found: Sequence[TraitDifference]) -> str:
    """Return the largest differences in brackets after a space; "" for none."""
    return f" ({'; '.join(map(str, one_sided_first(found)[:MAX_IN_TEXT]))})" if found else ""


def lacked_text(finding: Finding, found: Sequence[TraitDifference]) -> str:
    """Return in brackets the share of a class that a finding says training lacks; "" for other findings."""
    names_class = finding.path == "train" and finding.kind == LACKED_CLASS
    return as_text([one for one in found if one.is_of_class and not one.train][:1]) if names_class else ""
