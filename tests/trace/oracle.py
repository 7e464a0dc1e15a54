"""Traces of the samples of all layers, and exact recomputation of the sums of products in an explanation."""

import math
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Mode
from pellucid.losses.base import Loss
from pellucid.trace import PassSettings, Trace
from pellucid.trace.record import TracedElement
from tests.oracle import SEED, Sample, autograd, cast, leaves, tree_map


@dataclass(frozen=True)
class DotProductLoss(Loss):
    """C = Σ y r with fixed random r, for outputs of any structure: dy differs at each output."""

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        rng = torch.Generator().manual_seed(12)
        dy = tree_map(lambda leaf: torch.randn(leaf.shape, generator=rng, dtype=torch.float64).to(leaf.dtype), y)
        parts = zip(leaves(y).values(), leaves(dy).values(), strict=True)
        return sum(((leaf * slope).sum() for leaf, slope in parts), start=torch.zeros(())), dy

    def check(self, outputs: Any, targets: Tensor) -> None:
        raise NotImplementedError

    def predict(self, y: Any) -> Tensor:
        raise NotImplementedError


def trace_sample(sample: Sample, batch: int = 2, dtype: torch.dtype = torch.float64) -> Trace:
    """Trace the layer or network of a sample with DotProductLoss."""
    params, x = cast(sample.inputs(batch), dtype)
    return Trace(PassSettings(sample.layer, params, x, torch.zeros(batch), DotProductLoss(), sample.train, SEED))


def autograd_gradients(trace: Trace) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return PyTorch's gradients with respect to the inputs ("x", or "x.0" ...) and the parameters, by path."""
    settings = trace.settings
    mode = Mode(settings.train, torch.Generator().manual_seed(SEED))
    _, dx, dparams = autograd(settings.net, settings.params, settings.x, mode, trace.dy)
    return {f"x.{path}".rstrip("."): leaf for path, leaf in dx.items()}, dparams


def draw_elements(trace: Trace, per_tensor: int, seed: int = 0) -> list[TracedElement]:
    """Draw up to `per_tensor` elements of every tensor that can be explained."""
    rng = random.Random(seed)
    result = []
    for target in {id(target): target for target in trace.targets.values()}.values():
        if target.tensor.is_floating_point() and target.tensor.numel():
            indices = {rng.randrange(target.tensor.numel()) for _ in range(per_tensor)}
            result += [TracedElement(target, index) for index in sorted(indices)]
    return result


def sum_of_products(link: dict[str, Any]) -> tuple[Fraction, Fraction, int]:
    """Recompute a link's sum of products from printed values, without rounding; return Σ, Σ|product|, count."""
    assert len(link["terms"]) == link["count"], "ask with top=None"
    products = [
        math.prod((checked_value(factor) for factor in term["factors"]), start=Fraction(1)) for term in link["terms"]
    ]
    magnitudes = [
        math.prod((magnitude(factor) for factor in term["factors"]), start=Fraction(1)) for term in link["terms"]
    ]
    return sum(products, Fraction(0)), sum(magnitudes, Fraction(0)), len(products)


def checked_value(factor: dict[str, Any]) -> Fraction:
    """Return the value of a factor; if it lists summands, check that they add up to it."""
    value = Fraction(factor["value"])
    if "sum_of" in factor:
        parts = [Fraction(part["value"]) for part in factor["sum_of"]]
        tolerance = Fraction(4e-16) * sum(map(abs, parts), Fraction(0))
        assert abs(sum(parts, Fraction(0)) - value) <= tolerance, factor
    return value


def magnitude(factor: dict[str, Any]) -> Fraction:
    return sum((abs(Fraction(part["value"])) for part in factor.get("sum_of", [factor])), Fraction(0))


def assert_adds_up(link: dict[str, Any], epsilon: float = 2**-52) -> None:
    """Check that a link's printed products add up to its gradient, up to the rounding of each operation."""
    total, magnitudes, count = sum_of_products(link)
    tolerance = (count + 8) * Fraction(epsilon) * magnitudes
    assert abs(total - Fraction(link["gradient"])) <= tolerance, (
        f"{link['derivative_by']} by {link['layer']}: {float(total)!r}, not {link['gradient']!r} "
        f"({float(tolerance):.1e})"
    )
