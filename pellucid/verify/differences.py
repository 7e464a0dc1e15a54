"""Comparison of gradients with central differences of a loss; it distinguishes wrong gradients from kinks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-5  # relative to the largest entry of the tensor's gradient
STEP_SIZES = (1e-5, 1e-6, 1e-7)  # relative to the entry if its magnitude is above 1, otherwise absolute
# Shorter steps, for activations so small that the steps above cross many kinks. A step is tried only if the rounding
# error of its difference is below the tolerance.
SHORT_STEP_SIZES = (1e-8, 1e-9)
# If the step is divided by ten, the difference between the slopes on both sides of an entry is unchanged at a kink, but
# is also divided by ten where the loss is smooth. If new difference / old difference is above this ratio, it is a kink.
KINK_RATIO = 0.3
ROUNDING = 100 * torch.finfo(torch.float64).eps  # relative error of a loss; for a step h, slopes have this error / h


class Difference(NamedTuple):
    """One entry of a gradient, compared with its central difference and with another gradient."""

    error: float  # distance from the central difference
    agrees: bool  # whether rounding can explain this distance
    is_kink: bool  # whether the loss has a kink here: the slopes on both sides differ even for short steps
    is_subgradient: bool  # whether the entry lies between these slopes
    noise: float  # possible rounding error of a central difference with the last step tried
    gap: float | None  # distance from the other gradient, 0 if rounding can explain it; None if there is no other

    @property
    def is_right(self) -> bool:
        """Whether the entry agrees with the central difference and with the other gradient."""
        return self.agrees and not self.gap

    @property
    def is_tie(self) -> bool:
        """Whether both gradients may be right although they differ: the entry is a subgradient at a kink."""
        return bool(self.gap) and self.is_kink and self.is_subgradient

    @property
    def is_wrong(self) -> bool:
        """Whether the entry is wrong: it disagrees with its references, and no kink explains this.

        A gap below the rounding error of differences is not counted as wrong.
        """
        if self.gap:
            return not self.is_tie and not self.gap <= self.noise
        return self.gap is None and not self.agrees and not self.is_kink

    @property
    def is_inconclusive(self) -> bool:
        """Whether the entry must be compared at a nudged input: not right, nor a kink where both gradients agree."""
        return not self.is_right and (self.gap != 0 or not self.is_kink)


@dataclass
class GradientComparison:
    """A gradient of a tensor, compared with central differences and, if there is one, with another gradient."""

    gap: float | None  # largest distance from the other gradient
    is_close: bool | None  # whether rounding can explain this distance
    scale: float  # largest magnitude of both gradients
    largest: float  # largest magnitude of this gradient
    entries: list[Difference]  # the sampled entries
    indices: list[int]  # their indices in the flat tensor
    n_not_finite: int = 0  # number of entries left out of the gap because only the other gradient is not finite there

    def mark_as_kinks(self, is_right_alone: Callable[[int, float | None], bool]) -> None:
        """Mark all wrong entries as kinks if `is_right_alone(index, gap)`, another test, is True for each of them."""
        wrong_indices = [k for k, entry in enumerate(self.entries) if entry.is_wrong]
        if all(is_right_alone(self.indices[k], self.entries[k].gap) for k in wrong_indices):
            for k in wrong_indices:
                self.entries[k] = self.entries[k]._replace(is_kink=True, is_subgradient=True)

    @property
    def is_wrong(self) -> bool:
        """Whether the gradient is not finite, has a wrong entry, or differs from the other gradient without any tie."""
        differs = self.is_close is False and not any(entry.is_tie for entry in self.entries)
        return differs or not math.isfinite(self.largest) or any(entry.is_wrong for entry in self.entries)

    @property
    def is_confirmed(self) -> bool:
        """Whether the gradient is right, without a comparison at a nudged input.

        Each entry agrees with its central difference or is a kink, and the gradient is equal to the other gradient. If
        there is no other gradient, at least one entry must agree.
        """
        is_explained = all(entry.agrees or entry.is_kink for entry in self.entries)
        is_supported = self.is_close is True or (self.is_close is None and any(entry.agrees for entry in self.entries))
        return is_explained and is_supported and math.isfinite(self.largest)

    @property
    def is_inconclusive(self) -> bool:
        """Whether the gradient must be compared at a nudged input."""
        return self.is_close is False or any(entry.is_inconclusive for entry in self.entries)


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

    The gradients count as equal up to `tolerance` times their largest magnitude plus `floor`. Central differences are
    computed for `samples` entries, for up to `samples` additional entries at which the gradients differ, and for up to
    `samples` entries at which only `reference` is not finite; these do not count as differing.
    """
    scale = largest = float(explicit.abs().max()) if explicit.numel() else 0.0
    gap = is_close = gaps = None
    # such as autograd's of a square root at 0, 0 x infinity = NaN: those entries are compared by differences instead
    is_not_finite = (
        torch.zeros_like(explicit, dtype=torch.bool)
        if reference is None
        else explicit.isfinite() & ~reference.isfinite()
    )
    indices = choose_entries(explicit, samples, rng)
    if reference is not None and reference.numel():
        finite = reference[~is_not_finite]
        gaps = torch.where(is_not_finite, math.nan, (explicit - reference).abs())
        if finite.numel():
            scale = max(largest, float(finite.abs().max()))
            gap = float(gaps[~is_not_finite].max())
        gaps = torch.where(gaps <= tolerance * scale + floor, 0, gaps)  # NaN is unchanged
        if finite.numel():
            is_close = not gaps[~is_not_finite].any()
        for differing_entries in (
            (~is_not_finite & (gaps != 0)).nonzero().flatten(),
            is_not_finite.nonzero().flatten(),
        ):
            indices += [
                entry
                for entry in differing_entries[choose_entries(explicit[differing_entries], samples, rng)].tolist()
                if entry not in indices
            ]
    entries = [
        difference(
            tensors, entry, loss, float(explicit[entry]), scale, floor,
            None if gaps is None or is_not_finite[entry] else float(gaps[entry]),
        )
        for entry in indices
    ]  # fmt: skip
    return GradientComparison(
        gap=gap,
        is_close=is_close,
        scale=scale,
        largest=largest,
        entries=entries,
        indices=indices,
        n_not_finite=int(is_not_finite.sum()),
    )


def choose_entries(gradient: Tensor, samples: int, rng: torch.Generator) -> list[int]:
    """Return the indices of `samples` entries of a flat gradient: half are the largest, half are drawn from `rng`."""
    if gradient.numel() <= samples:
        return list(range(gradient.numel()))
    large: list[int] = gradient.abs().nan_to_num(math.inf).topk(samples // 2).indices.tolist()
    indices: list[int] = torch.randperm(gradient.numel(), generator=rng)[:samples].tolist()
    return large + [entry for entry in indices if entry not in large][: samples - len(large)]


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

    entry: the index of t in the concatenated flat `tensors`, which are dense and float64; t is changed in place and
    restored. The values agree if their distance is at most TOLERANCE times `scale` plus `floor` plus the rounding
    error. Otherwise the step h is reduced, in case there is a kink near t: to the STEP_SIZES and, if rounding errors
    allow it, to the SHORT_STEP_SIZES. gap: see Difference.
    """
    values, index = _locate(tensors, entry)
    original = float(values[index])
    loss_here = loss()
    agreed_error = None  # the error of the first step that agrees
    error = noise = math.nan
    slope_gap = math.inf
    is_kink = is_subgradient = False
    for relative_step in (*STEP_SIZES, *SHORT_STEP_SIZES):
        step = relative_step * max(1.0, abs(original))
        if relative_step in SHORT_STEP_SIZES and ROUNDING * abs(loss_here) / step > TOLERANCE * scale:
            break
        values[index] = original + step
        above = loss()
        values[index] = original - step
        below = loss()
        values[index] = original
        noise = ROUNDING * max(abs(above), abs(below)) / step
        bound = TOLERANCE * scale + floor + noise
        error = abs((above - below) / (2 * step) - expected)
        if agreed_error is None and error <= bound:
            agreed_error = error
            if not gap:
                break
        slopes = (above - loss_here) / step, (loss_here - below) / step
        previous_gap = slope_gap
        slope_gap = abs(slopes[0] - slopes[1])
        # If the loss is smooth here, the difference of the slopes on both sides is proportional to the step. An error
        # more than five times as large as this difference has another cause than a kink.
        if slope_gap > max(0.2 * error, noise, KINK_RATIO * previous_gap):
            is_kink = True
            is_subgradient = is_subgradient or min(slopes) - bound <= expected <= max(slopes) + bound
    return Difference(
        error=error if agreed_error is None else agreed_error,
        agrees=agreed_error is not None,
        is_kink=is_kink,
        is_subgradient=is_subgradient,
        noise=noise,
        gap=gap,
    )


def _locate(tensors: Sequence[Tensor], entry: int) -> tuple[Tensor, int]:
    for tensor in tensors:
        if entry < tensor.numel():
            return tensor.view(-1), entry
        entry -= tensor.numel()
    raise IndexError(f"no entry {entry} beyond the last tensor")
