"""Central differences of a loss, and how to tell a wrong gradient from a corner."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-5  # of the largest entry of the tensor's gradient
STEPS = (1e-5, 1e-6, 1e-7)  # relative to the entry where that is above 1
ROUNDING = 100 * torch.finfo(torch.float64).eps  # of a loss: a difference over a step h errs by this / h


class Difference(NamedTuple):
    """One entry's central difference: its distance from the expected gradient, and what to make of that."""

    error: float
    agrees: bool
    kink: bool  # it disagrees, but the loss has a corner there: the difference is no gradient


@dataclass
class Comparison:
    """A gradient beside another one of the same tensor, where there is one, and beside central differences."""

    gap: float | None  # largest distance from the other one
    close: bool | None  # whether that is rounding
    scale: float
    largest: float
    entries: list[Difference]

    @property
    def wrong(self) -> bool:
        """Whether it is not finite, not close to the other one, or not the slope where there is no corner."""
        smooth = any(not one.agrees and not one.kink for one in self.entries)
        return not math.isfinite(self.largest) or self.close is False or smooth

    @property
    def settled(self) -> bool:
        """Whether it is right: where all entries lie on corners, the other one alone can say so."""
        return not self.wrong and (self.close is True or any(one.agrees for one in self.entries))

    @property
    def doubtful(self) -> bool:
        """Whether another point has to decide: it seems wrong, or lies on a corner without another one beside it."""
        return self.wrong or (self.close is None and any(one.kink for one in self.entries))


def compare(
    tensors: Sequence[Tensor],
    mine: Tensor,
    theirs: Tensor | None,
    loss: Callable[[], float],
    samples: int,
    rng: torch.Generator,
    tolerance: float,
    floor: float,
) -> Comparison:
    """Compare the flat gradient of `tensors` with another, to `tolerance` and `floor`, and with differences."""
    scale = largest = float(mine.abs().max()) if mine.numel() else 0.0
    gap = close = None
    if theirs is not None and theirs.numel():
        scale = max(largest, float(theirs.abs().max()))
        gap = float((mine - theirs).abs().max())
        close = gap <= tolerance * scale + floor
    chosen = choose(mine, samples, rng)
    entries = [difference(tensors, entry, loss, float(mine[entry]), scale, floor) for entry in chosen]
    return Comparison(gap, close, scale, largest, entries)


def choose(gradient: Tensor, samples: int, rng: torch.Generator) -> list[int]:
    """Return the places to look at in a flat gradient: half of them its largest entries, half drawn from `rng`."""
    if gradient.numel() <= samples:
        return list(range(gradient.numel()))
    large: list[int] = gradient.abs().nan_to_num(math.inf).topk(samples // 2).indices.tolist()
    drawn: list[int] = torch.randperm(gradient.numel(), generator=rng)[:samples].tolist()
    return large + [entry for entry in drawn if entry not in large][: samples - len(large)]


def difference(
    tensors: Sequence[Tensor], entry: int, loss: Callable[[], float], expected: float, scale: float, floor: float
) -> Difference:
    """Compare (C(t + h) - C(t - h)) / 2h with `expected` at one entry of `tensors`, counted through all of them.

    The tensors are dense and float64; the entry is moved in place and put back. Errors of TOLERANCE `scale` and of
    `floor` agree, and so does what rounding may explain. The step shrinks as long as they disagree, to stay clear of
    corners nearby.
    """
    numbers, place = _locate(tensors, entry)
    start = float(numbers[place])
    middle = loss()
    error = noise = bend = math.nan
    for relative in STEPS:
        step = relative * max(1.0, abs(start))
        numbers[place] = start + step
        above = loss()
        numbers[place] = start - step
        below = loss()
        numbers[place] = start
        noise = ROUNDING * max(abs(above), abs(below)) / step
        error = abs((above - below) / (2 * step) - expected)
        if error <= TOLERANCE * scale + floor + noise:
            return Difference(error, True, False)
        bend = abs((above - middle) - (middle - below)) / step
    # over a smooth stretch this short both sides have one slope, however wrong the expected gradient is
    return Difference(error, False, bend > max(0.2 * error, noise))


def _locate(tensors: Sequence[Tensor], entry: int) -> tuple[Tensor, int]:
    for tensor in tensors:
        if entry < tensor.numel():
            return tensor.view(-1), entry
        entry -= tensor.numel()
    raise IndexError(f"no entry {entry} beyond the last tensor")
