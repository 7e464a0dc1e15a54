"""Tests of explanations: whether they add up, depend on the weights, and point at what counts."""

from pellucid.explain.checks.curves import Curve, deletion, insertion
from pellucid.explain.checks.distance import distance
from pellucid.explain.checks.planted import Agreement, planted
from pellucid.explain.checks.randomisation import Randomised, cascade, randomisation
from pellucid.explain.checks.ranks import rank_correlation
from pellucid.explain.checks.sums import Sum, completeness, conservation

__all__ = [
    "Agreement",
    "Curve",
    "Randomised",
    "Sum",
    "cascade",
    "completeness",
    "conservation",
    "deletion",
    "distance",
    "insertion",
    "planted",
    "randomisation",
    "rank_correlation",
]
