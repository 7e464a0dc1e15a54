"""How far apart two methods are."""

from torch import Tensor

from pellucid.explain.checks.ranks import rank_correlation
from pellucid.explain.checks.single import single


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return (N,): 1 less the rank correlation of two explanations (N, C or 1, H, W), summed over their channels.

    0 is the same order of pixels, 1 nothing in common, 2 the reverse; NaN where one of them is the same everywhere.
    """
    return (1 - rank_correlation(single(a), single(b))).clamp(0, 2)  # a rounding may lead beyond
