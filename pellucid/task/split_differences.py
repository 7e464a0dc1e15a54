"""Differences between the parts of data that are larger than chance, each in one sentence."""

from collections.abc import Sequence
from math import exp, lgamma, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.task.traits import HEIGHT, HIGH, LOW, WIDTH, Traits
from pellucid.task.values import OF_CLASS, DataTrait

LEVEL = 0.01  # probability that any difference is stated for two parts with the same distribution
MIN_DISTANCE = 0.2  # of two distribution functions; smaller differences of numbers are not stated
MIN_RATIO = 1.5  # of two shares; smaller differences of shares are not stated
UNIT_RATIO = 10.0  # of the typical largest values of two parts, from which their units differ
CLASSES, KINDS, VALUES, SIZES, OTHER = "classes", "kinds", "values", "sizes", "other"  # kinds of differences
COLOUR_TRAITS = ("red", "green", "blue")  # their means follow the brightness
TEST = (
    f"A difference is stated if Fisher's exact test (shares) or the test of Kolmogorov and Smirnov (numbers) gives a p "
    f"below {LEVEL:g} divided by the number of comparisons, and if shares differ by a factor of {MIN_RATIO:g} or the "
    f"distribution functions by {MIN_DISTANCE:g}; and if typical largest values differ by a factor of {UNIT_RATIO:g}."
)


class SplitDifference(NamedTuple):
    """A trait in which another part of the data differs from the training part.

    part: the name of the other part. train, other: the means over the examples of both parts. p: the probability of
    such a difference by chance, 0 for different units. kind: one of CLASSES, KINDS, VALUES, SIZES, OTHER. is_share:
    whether the means are shares of the examples.
    """

    part: str
    trait: str
    train: float
    other: float
    p: float
    kind: str
    is_share: bool

    @property
    def has_other_unit(self) -> bool:
        """Whether the values of both parts have different units."""
        return self.kind == VALUES and not self.p

    def __str__(self) -> str:
        """Return the difference as a sentence without a full stop."""
        train, other = (_share_text(value) if self.is_share else f"{value:.3g}" for value in (self.train, self.other))
        hint = "; their units differ, such as 0 to 1 and 0 to 255" if self.has_other_unit else ""
        return f"{self.trait}: {train} in training, {other} in {self.part}{hint}"


def _share_text(value: float) -> str:
    return "none" if not value else "all" if value == 1 else f"{100 * value:.1f} %"


def split_differences(
    traits: Traits, parts: Sequence[tuple[str, int]], targets: Sequence[str]
) -> list[SplitDifference]:
    """Return the differences of each other part from the training part, the first; the most certain first.

    traits: of the examples of all parts, in their order. parts: the names and the numbers of examples. targets: the
    names of the traits of targets.
    """
    starts = torch.tensor([0, *(count for _, count in parts)]).cumsum(0).tolist()
    slices = {name: slice(*starts[k : k + 2]) for k, (name, _) in enumerate(parts)}
    (_, train), *others = slices.items()
    differences: list[SplitDifference] = []
    n_tests = max(1, len(traits) * len(others))
    for part, other in others:
        compared_traits = {
            name: _difference_of(
                part, name, trait.values[train], trait.values[other], _kind(name, trait, name in targets)
            )
            for name, trait in traits.items()
        }
        significant = {
            name: difference
            for name, difference in compared_traits.items()
            if difference is not None and difference.p < LEVEL / n_tests
        }
        if any(
            difference.has_other_unit for difference in significant.values()
        ):  # other differences of the inputs follow from it
            significant = {
                name: difference
                for name, difference in significant.items()
                if difference.has_other_unit or name in targets or difference.kind == SIZES
            }
        if "brightness" in significant:
            significant = {name: difference for name, difference in significant.items() if name not in COLOUR_TRAITS}
        differences += significant.values()
    return sorted(differences, key=lambda difference: difference.p)


def _kind(name: str, trait: DataTrait, is_of_target: bool) -> str:
    if trait.kind == OF_CLASS:
        return CLASSES
    if name in (LOW, HIGH):
        return VALUES
    if name.startswith((HEIGHT, WIDTH)) and not is_of_target:
        return SIZES
    return KINDS if trait.values.dtype is torch.bool and is_of_target else OTHER


def _difference_of(part: str, name: str, train: Tensor, other: Tensor, kind: str) -> SplitDifference | None:
    """Return the difference of a trait in two parts, if it is large enough to state."""
    a, b = (values[~values.isnan()].double() for values in (train, other))
    if not len(a) or not len(b):
        return None
    means = float(a.mean()), float(b.mean())
    is_fraction = kind == CLASSES and max(float(a.max()), float(b.max())) <= 1  # of the pixels of a mask
    is_share = bool(((a == 0) | (a == 1)).all() and ((b == 0) | (b == 1)).all())
    if kind == VALUES and not is_share:
        typical_values = sorted(float(values.abs().median()) for values in (a, b))
        if name == HIGH and typical_values[1] >= UNIT_RATIO * max(typical_values[0], 1e-6):
            return SplitDifference(part, name, *means, p=0.0, kind=kind, is_share=False)
    is_missing = kind == CLASSES and not (means[0] and means[1])
    if is_share or is_missing:
        n_with_trait = [int((values > 0).sum()) for values in (a, b)]
        p = (
            fisher_p(n_with_trait[0], len(a), n_with_trait[1], len(b))
            if _has_ratio(n_with_trait[0] / len(a), n_with_trait[1] / len(b))
            else 1.0
        )
        return SplitDifference(part, name, *means, p=p, kind=kind, is_share=is_share or is_fraction)
    distance = ks_distance(a, b)
    p = ks_p(distance, len(a), len(b)) if distance >= MIN_DISTANCE else 1.0
    return SplitDifference(part, name, *means, p=p, kind=kind, is_share=is_fraction)


def _has_ratio(first: float, second: float) -> bool:
    """Return whether two shares, or the rests to 1, differ by a factor of MIN_RATIO."""
    low, high = sorted((first, second))
    return (high >= MIN_RATIO * low and high > 0) or 1 - low >= MIN_RATIO * (1 - high)


def fisher_p(a: int, n: int, b: int, m: int) -> float:
    """Return the two-sided p of Fisher's exact test for a of n and b of m examples."""

    def log_choose(total: int, k: int) -> float:
        return lgamma(total + 1) - lgamma(k + 1) - lgamma(total - k + 1)

    def log_p(k: int) -> float:
        return log_choose(n, k) + log_choose(m, a + b - k) - log_choose(n + m, a + b)

    observed = log_p(a) + 1e-7  # rounding
    values = map(log_p, range(max(0, a + b - m), min(n, a + b) + 1))
    return min(1.0, sum(exp(value) for value in values if value <= observed))


def ks_distance(a: Tensor, b: Tensor) -> float:
    """Return the largest distance of the distribution functions of two samples (n,) and (m,)."""
    points = torch.cat([a, b])
    cumulative = [
        torch.searchsorted(values.sort().values, points, right=True).double() / len(values) for values in (a, b)
    ]
    return float((cumulative[0] - cumulative[1]).abs().max())


def ks_p(distance: float, n: int, m: int) -> float:
    """Return p of the test of Kolmogorov and Smirnov, by the approximation of Stephens 1970, section 3.

    It is too large, never much too small, for values that occur several times.
    """
    root = sqrt(n * m / (n + m))
    scaled = (root + 0.12 + 0.11 / root) * distance
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * exp(-2 * (k * scaled) ** 2) for k in range(1, 101))))
