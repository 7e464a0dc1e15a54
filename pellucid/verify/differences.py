"""Comparison of gradients with central differences of a loss, which distinguishes errors from kinks of the loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-5  # relative to the largest entry of the tensor's gradient
STEPS = (1e-5, 1e-6, 1e-7)  # relative to the entry if its magnitude is above 1, otherwise absolute
# Shorter steps, for activations so small that the steps above cross many kinks; used where rounding errors of the
# differences are below the tolerance.
SHORT_STEPS = (1e-8, 1e-9)
# With a tenth of the step, the difference between the slopes on the two sides of an entry is unchanged at a kink, and a
# tenth where the loss is smooth. If the new difference divided by the old one is above this ratio, there is a kink.
KINK_RATIO = 0.3
ROUNDING = 100 * torch.finfo(torch.float64).eps  # relative error of a loss; for a step h, slopes have this error / h


class Difference(NamedTuple):
    """One entry of a gradient, compared with its central difference and with another gradient."""

    error: float  # distance from the central difference
    agrees: bool  # whether rounding can explain this distance
    kink: bool  # whether the slopes to both sides differ for short steps too, so that the loss has a kink here
    between: bool  # whether the entry lies between these slopes
    noise: float  # possible rounding error of a central difference with the last step tried
    gap: float | None  # distance from the other gradient, 0 if rounding can explain it; None if there is no other

    @property
    def right(self) -> bool:
        """Whether it agrees with the central difference and with the other gradient."""
        return self.agrees and not self.gap

    @property
    def tie(self) -> bool:
        """Whether both gradients may be right although they differ: this one is a subgradient at a kink."""
        return bool(self.gap) and self.kink and self.between

    @property
    def wrong(self) -> bool:
        """Whether the entry is wrong: it disagrees, and no kink explains it.

        A gap below the rounding error of differences is not counted as wrong.
        """
        if self.gap:
            return not self.tie and not self.gap <= self.noise
        return self.gap is None and not self.agrees and not self.kink

    @property
    def inconclusive(self) -> bool:
        """Whether the entry must be compared at a nudged input: it is not right, nor a kink with equal gradients."""
        return not self.right and (self.gap != 0 or not self.kink)


@dataclass
class GradientComparison:
    """A gradient of a tensor, compared with central differences and, if there is one, with another gradient."""

    gap: float | None  # largest distance from the other gradient
    close: bool | None  # whether rounding can explain this distance
    scale: float  # largest magnitude of both gradients
    largest: float  # largest magnitude of this gradient
    entries: list[Difference]  # the sampled entries
    places: list[int]  # their indices in the flat tensor
    lost: int = 0  # number of entries at which only the other gradient is not finite, which do not count as a gap

    def explain(self, right: Callable[[int, float | None], bool]) -> None:
        """Mark all wrong entries as kinks if `right(index, gap)`, another test, returns True for each of them."""
        wrong = [k for k, entry in enumerate(self.entries) if entry.wrong]
        if all(right(self.places[k], self.entries[k].gap) for k in wrong):
            for k in wrong:
                self.entries[k] = self.entries[k]._replace(kink=True, between=True)

    @property
    def wrong(self) -> bool:
        """Whether it is not finite, an entry is wrong, or it differs from the other gradient without any tie."""
        apart = self.close is False and not any(entry.tie for entry in self.entries)
        return apart or not math.isfinite(self.largest) or any(entry.wrong for entry in self.entries)

    @property
    def confirmed(self) -> bool:
        """Whether it is right, without a comparison at a nudged input.

        Each entry agrees with its central difference or is a kink, and the gradient is equal to the other one; without
        another one, at least one entry must agree.
        """
        explained = all(entry.agrees or entry.kink for entry in self.entries)
        supported = self.close is True or (self.close is None and any(entry.agrees for entry in self.entries))
        return explained and supported and math.isfinite(self.largest)

    @property
    def inconclusive(self) -> bool:
        """Whether it must be compared at a nudged input."""
        return self.close is False or any(entry.inconclusive for entry in self.entries)


def compare(
    tensors: Sequence[Tensor],
    explicit: Tensor,
    reference: Tensor | None,
    loss: Callable[[], float],
    samples: int,
    rng: torch.Generator,
    tolerance: float,
    floor: float,
) -> GradientComparison:
    """Compare the flat gradient `explicit` of `tensors` with a `reference` and with central differences of `loss`.

    The gradients are equal up to `tolerance` times their largest magnitude plus `floor`. Central differences are
    computed for `samples` entries, for up to `samples` further ones at which the gradients differ, and for up to
    `samples` at which only `reference` is not finite, which does not count as a difference between the gradients.
    """
    scale = largest = float(explicit.abs().max()) if explicit.numel() else 0.0
    gap = close = gaps = None
    lost = (
        torch.zeros_like(explicit, dtype=torch.bool)
        if reference is None
        else explicit.isfinite() & ~reference.isfinite()
    )
    chosen = choose(explicit, samples, rng)
    if reference is not None and reference.numel():
        finite = reference[~lost]
        gaps = torch.where(lost, math.nan, (explicit - reference).abs())
        if finite.numel():
            scale = max(largest, float(finite.abs().max()))
            gap = float(gaps[~lost].max())
        gaps = torch.where(gaps <= tolerance * scale + floor, 0, gaps)  # NaN is unchanged
        if finite.numel():
            close = not gaps[~lost].any()
        for apart in ((~lost & (gaps != 0)).nonzero().flatten(), lost.nonzero().flatten()):
            chosen += [entry for entry in apart[choose(explicit[apart], samples, rng)].tolist() if entry not in chosen]
    entries = [
        difference(
            tensors, entry, loss, float(explicit[entry]), scale, floor,
            None if gaps is None or lost[entry] else float(gaps[entry]),
        )
        for entry in chosen
    ]  # fmt: skip
    return GradientComparison(gap, close, scale, largest, entries, chosen, int(lost.sum()))


def choose(gradient: Tensor, samples: int, rng: torch.Generator) -> list[int]:
    """Return the indices of `samples` entries of a flat gradient: half are the largest, half are drawn from `rng`."""
    if gradient.numel() <= samples:
        return list(range(gradient.numel()))
    large: list[int] = gradient.abs().nan_to_num(math.inf).topk(samples // 2).indices.tolist()
    chosen: list[int] = torch.randperm(gradient.numel(), generator=rng)[:samples].tolist()
    return large + [entry for entry in chosen if entry not in large][: samples - len(large)]


def difference(
    tensors: Sequence[Tensor],
    entry: int,
    loss: Callable[[], float],
    expected: float,
    scale: float,
    floor: float,
    gap: float | None = None,
) -> Difference:
    """Compare the central difference (C(t + h) - C(t - h)) / 2h of the loss C with `expected` at one entry t.

    entry: its index in the concatenated flat `tensors`, which are dense and float64; it is changed in place and
    restored. The two agree if their distance is at most TOLERANCE times `scale` plus `floor` plus the rounding error.
    Otherwise the step h is reduced, in case there is a kink near the entry; further if rounding errors allow it. gap:
    see Difference.
    """
    values, index = _locate(tensors, entry)
    start = float(values[index])
    middle = loss()
    agreed = None  # the error of the first step that agrees
    error = noise = math.nan
    slope_gap = math.inf
    kink = between = False
    for relative in (*STEPS, *SHORT_STEPS):
        step = relative * max(1.0, abs(start))
        if relative in SHORT_STEPS and ROUNDING * abs(middle) / step > TOLERANCE * scale:
            break
        values[index] = start + step
        above = loss()
        values[index] = start - step
        below = loss()
        values[index] = start
        noise = ROUNDING * max(abs(above), abs(below)) / step
        bound = TOLERANCE * scale + floor + noise
        error = abs((above - below) / (2 * step) - expected)
        if agreed is None and error <= bound:
            agreed = error
            if not gap:
                break
        slopes = (above - middle) / step, (middle - below) / step
        previous, slope_gap = slope_gap, abs(slopes[0] - slopes[1])
        # If the loss is smooth here, the difference of the slopes to both sides is proportional to the step.
        if slope_gap > max(0.2 * error, noise, KINK_RATIO * previous):
            kink = True
            between = between or min(slopes) - bound <= expected <= max(slopes) + bound
    return Difference(error if agreed is None else agreed, agreed is not None, kink, between, noise, gap)


def _locate(tensors: Sequence[Tensor], entry: int) -> tuple[Tensor, int]:
    for tensor in tensors:
        if entry < tensor.numel():
            return tensor.view(-1), entry
        entry -= tensor.numel()
    raise IndexError(f"no entry {entry} beyond the last tensor")
