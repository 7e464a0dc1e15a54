"""Conservation and completeness: whether the sum of an explanation is the explained score."""

from typing import Any, NamedTuple

from torch import Tensor

from pellucid.explain.sweeps import fixed, scores
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


class Sum(NamedTuple):
    """The sum of an explanation, the expected sum, and the gap between them; (N,) each.

    gap: |found - wanted| / |wanted|, infinite where 0 is wanted and something else found, NaN where either sum is.
    """

    found: Tensor
    wanted: Tensor

    @property
    def gap(self) -> Tensor:
        """The gap relative to the expected sum."""
        off = (self.found - self.wanted).abs()
        return (off / self.wanted.abs()).where(off != 0, 0.0)  # NaN is not 0 either


def conservation(net: Layer, params: Params, x: Any, target: Target, relevance: Tensor) -> Sum:
    """Return how well relevance adds up to the target's score.

    Biases and stabilizers take their shares, so that a gap is no fault where there are some. Source: Bach et al. 2015,
    equation 2.
    """
    return Sum(relevance.flatten(1).sum(1), scores(net, params, x, target))


def completeness(
    net: Layer, params: Params, x: Tensor, target: Target, attribution: Tensor, baseline: float | Tensor = 0.0
) -> Sum:
    """Return how well an attribution adds up to the score of x less that of the baseline.

    target: None is the best class of x itself. Source: Sundararajan, Taly and Yan 2017, proposition 1.
    """
    target = fixed(net, params, x, target)
    start = x.new_zeros(()).add(baseline).expand(x.shape)
    wanted = scores(net, params, x, target) - scores(net, params, start, target)
    return Sum(attribution.flatten(1).sum(1), wanted)
