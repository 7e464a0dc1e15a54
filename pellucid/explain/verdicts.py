"""Verdicts of the tests of an explanation, and the rules for them.

- Deletion, insertion and ROAD: the area under the curve is compared with the areas for ORDERS random orders of the same
  image's pixels (a Monte Carlo test: Barnard 1963; Besag and Diggle 1977). A random map is better than all of them with
  probability 1 / (ORDERS + 1) = 5 %, the significance level. A map that is not better than all random orders is "no
  better than random order", or "worse than random order" if all random orders are better.
- Sums: a map with a guaranteed sum must add up to it within MAX_GAP, the tolerance of Sundararajan, Taly and Yan 2017,
  section 5, for integrated gradients.
- Weights: when all weights are shuffled, the map must change (Adebayo et al. 2018). A rank correlation of the two maps
  above MAX_LIKENESS means that more than half of the variance of the pixels' ranks does not depend on the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

ORDERS = 19  # number of random orders
MAX_GAP = 0.05
MAX_LIKENESS = 0.5**0.5
SUM_LOST, ZERO = "sum lost", "0 everywhere"  # marks of a map, wherever it is shown
RULES = (
    f"Deletion, insertion and ROAD are compared with {ORDERS} random orders of the pixels: a random map passes with "
    f"probability {100 / (ORDERS + 1):.0f} % (significance level)."
)
# What the numbers mean, by name, in the table of the command and on the page.
MEANINGS = {
    "score": "the network's output for the target, before a softmax or sigmoid at its end",
    "adds up to, should be": "the sum of the map, and the sum that the method guarantees: the score (lrp), or its "
    "difference from the score of a baseline of zeros (integrated_gradients, deeplift); empty without a guarantee",
    "absorbed": "the part of the score that biases, stabilizers and other causes took on the way to the input (lrp)",
    "deletion, insertion": "the mean score, for classes their probability, while pixels are removed (lower is better) "
    "and added (higher is better), the most important first",
    "ROAD": "the same while pixels are imputed from their neighbours, which leaves no outline (lower is better)",
    "infidelity": "the share of the score's changes under random squares that the map does not predict, from 0 to 1, "
    "and its 95 % interval (lower is better)",
    "sensitivity": "the largest relative change of the map when each pixel changes by up to 2 % (lower is better)",
    "likeness": "rank correlation with the map of a network whose weights are shuffled from the top down to a layer; "
    "near 1 means that the map depends on the image, not on the weights",
}
BETTER = "better than random order"
NO_BETTER = "no better than random order"
WORSE = "worse than random order"


@dataclass(frozen=True)
class TestVerdict:
    """The result of one test of one explanation of one image."""

    passed: bool | None  # whether the explanation passes the test, None if the test is not conclusive
    text: str
    p: float | None = None  # the probability that a random map passes as well, None if unknown

    def to_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"passed": self.passed, "verdict": self.text, "p": self.p}


def curve_verdict(area: float, random_areas: Sequence[float], low_is_good: bool) -> TestVerdict:
    """Compare the area under a deletion curve (low is good) or an insertion curve with those of random orders."""
    at_most, at_least = (
        sum(random_area <= area for random_area in random_areas),
        sum(random_area >= area for random_area in random_areas),
    )
    as_good, as_bad = (at_most, at_least) if low_is_good else (at_least, at_most)
    p = (1 + as_good) / (len(random_areas) + 1)
    if len(set(random_areas)) == 1 and random_areas[0] == area:
        return TestVerdict(None, "all orders have the same result", p)
    if as_good == 0:
        return TestVerdict(True, f"{BETTER} on this image", p)
    return TestVerdict(False, f"{WORSE if as_bad == 0 else NO_BETTER} on this image", p)


def sum_verdict(map_sum: float, expected: float, gap: float) -> TestVerdict:
    """Compare the sum of a map with the expected sum."""
    if gap <= MAX_GAP:
        return TestVerdict(True, f"adds up within {100 * MAX_GAP:.0f} %")
    return TestVerdict(False, f"does not add up: {map_sum:.4g}, not {expected:.4g}")


def map_caveat(map_: Tensor, expected_sum: float | None) -> str:
    """Return what to know of a map wherever it is shown: ZERO, SUM_LOST, or "" for nothing.

    expected_sum: the sum that the method guarantees, None without a guarantee.
    """
    if not bool(map_.any()):
        return ZERO
    if expected_sum is not None and relative_gap(float(map_.sum()), expected_sum) > MAX_GAP:
        return SUM_LOST
    return ""


def relative_gap(map_sum: float, expected_sum: float) -> float:
    """Return |sum - expected sum| / |expected sum|, 0 for equal sums."""
    difference = abs(map_sum - expected_sum)
    if difference == 0:
        return 0.0
    return difference / abs(expected_sum) if expected_sum else float("inf")


def zero_verdict() -> TestVerdict:
    """Return the verdict on a map that is 0 everywhere."""
    return TestVerdict(False, f"{ZERO}: the method finds nothing that the score depends on, and no place is evidence")


def weights_verdict(correlations: Mapping[str, float | None]) -> TestVerdict:
    """Test whether the map changed with all weights shuffled; correlations: of ranks, the last for all layers."""
    last_correlation = list(correlations.values())[-1] if correlations else None
    if last_correlation is None:
        return TestVerdict(None, "not tested: there is nothing to compare")
    if last_correlation > MAX_LIKENESS:
        return TestVerdict(False, "nearly the same without the learned weights: it shows the image, not the network")
    return TestVerdict(True, "changes when the weights are shuffled")
