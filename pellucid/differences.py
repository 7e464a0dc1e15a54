"""Central differences of a loss, which distinguish wrong gradients from corners of the loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

TOLERANCE = 1e-5  # of the largest entry of the tensor's gradient
STEPS = (1e-5, 1e-6, 1e-7)  # relative to the entry where that is above 1
CORNER = 0.3  # slopes to both sides differ on a corner by the same over a tenth of the step, and else by a tenth
ROUNDING = 100 * torch.finfo(torch.float64).eps  # of a loss: a difference over a step h errs by this / h


class Difference(NamedTuple):
    """One entry of a gradient, compared with its central difference and with another gradient."""

    error: float  # distance from the central difference
    agrees: bool  # whether that is rounding
    kink: bool  # the slopes to both sides differ, however short the step: the loss has a corner at this entry
    between: bool  # the entry lies between these slopes
    noise: float  # what rounding may change in a difference over the shortest step
    gap: float | None  # distance from the other gradient, 0 where that is rounding; None where it has no answer

    @property
    def right(self) -> bool:
        """Whether it agrees with the central difference and with the other gradient."""
        return self.agrees and not self.gap

    @property
    def tie(self) -> bool:
        """Whether both gradients may be right, though they differ: this one is a subgradient on a corner."""
        return bool(self.gap) and self.kink and self.between

    @property
    def wrong(self) -> bool:
        """Whether no corner can explain what it disagrees with; a gap too small for differences is left open."""
        if self.gap:
            return not self.tie and not self.gap <= self.noise
        return self.gap is None and not self.agrees and not self.kink

    @property
    def inconclusive(self) -> bool:
        """Whether a nudged input has to decide: without one, only what the other gradient confirms is a kink."""
        return not self.right and (self.gap != 0 or not self.kink)


@dataclass
class Comparison:
    """A gradient beside another one of the same tensor, where there is one, and beside central differences."""

    gap: float | None  # largest distance from the other one
    close: bool | None  # whether that is rounding
    scale: float
    largest: float
    entries: list[Difference]
    places: list[int]  # of the entries in the tensor
    lost: int = 0  # entries at which the other one is not finite, though this one is: there it has no answer

    def explain(self, right: Callable[[int, float | None], bool]) -> None:
        """Take entries for kinks that are wrong here if `right(place, gap)` holds for each, by another test."""
        wrong = [k for k, one in enumerate(self.entries) if one.wrong]
        if all(right(self.places[k], self.entries[k].gap) for k in wrong):
            for k in wrong:
                self.entries[k] = self.entries[k]._replace(kink=True, between=True)

    @property
    def wrong(self) -> bool:
        """Whether it is not finite, or an entry is wrong, or it differs from the other one and no entry is a tie."""
        apart = self.close is False and not any(one.tie for one in self.entries)
        return apart or not math.isfinite(self.largest) or any(one.wrong for one in self.entries)

    @property
    def confirmed(self) -> bool:
        """Whether it is right without another point: where all entries lie on corners, the other one can say so."""
        smooth = all(one.agrees or one.kink for one in self.entries)
        beside = self.close is True or (self.close is None and any(one.agrees for one in self.entries))
        return smooth and beside and math.isfinite(self.largest)

    @property
    def inconclusive(self) -> bool:
        """Whether a nudged input has to decide."""
        return self.close is False or any(one.inconclusive for one in self.entries)


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
    """Compare the flat gradient of `tensors` with another, to `tolerance` and `floor`, and with differences.

    Where the two gradients differ, `samples` of the entries that do are compared with differences as well. An entry of
    `theirs` that is not finite, where `mine` is, is not an answer.
    """
    scale = largest = float(mine.abs().max()) if mine.numel() else 0.0
    gap = close = gaps = None
    lost = torch.zeros_like(mine, dtype=torch.bool) if theirs is None else mine.isfinite() & ~theirs.isfinite()
    chosen = choose(mine, samples, rng)
    if theirs is not None and theirs.numel():
        answered = theirs[~lost]
        gaps = torch.where(lost, math.nan, (mine - theirs).abs())
        if answered.numel():
            scale = max(largest, float(answered.abs().max()))
            gap = float(gaps[~lost].max())
        gaps = torch.where(gaps <= tolerance * scale + floor, 0, gaps)  # NaN stays
        if answered.numel():
            close = not gaps[~lost].any()
        for apart in ((~lost & (gaps != 0)).nonzero().flatten(), lost.nonzero().flatten()):
            chosen += [entry for entry in apart[choose(mine[apart], samples, rng)].tolist() if entry not in chosen]
    entries = [
        difference(
            tensors, entry, loss, float(mine[entry]), scale, floor,
            None if gaps is None or lost[entry] else float(gaps[entry]),
        )
        for entry in chosen
    ]  # fmt: skip
    return Comparison(gap, close, scale, largest, entries, chosen, int(lost.sum()))


def choose(gradient: Tensor, samples: int, rng: torch.Generator) -> list[int]:
    """Return the places to look at in a flat gradient: half of them its largest entries, half drawn from `rng`."""
    if gradient.numel() <= samples:
        return list(range(gradient.numel()))
    large: list[int] = gradient.abs().nan_to_num(math.inf).topk(samples // 2).indices.tolist()
    drawn: list[int] = torch.randperm(gradient.numel(), generator=rng)[:samples].tolist()
    return large + [entry for entry in drawn if entry not in large][: samples - len(large)]


def difference(
    tensors: Sequence[Tensor],
    entry: int,
    loss: Callable[[], float],
    expected: float,
    scale: float,
    floor: float,
    gap: float | None = None,
) -> Difference:
    """Compare (C(t + h) - C(t - h)) / 2h with `expected` at one entry of `tensors`, counted through all of them.

    The tensors are dense and float64; the entry is moved in place and put back. Errors of TOLERANCE `scale` and of
    `floor` agree, and so does what rounding may explain. The step shrinks as long as they disagree, to stay clear of
    corners nearby. `gap` is the distance from another gradient, see Difference.
    """
    numbers, place = _locate(tensors, entry)
    start = float(numbers[place])
    middle = loss()
    agreed = None  # the error of the first step that agrees
    error = noise = math.nan
    bend = math.inf
    kink = between = False
    for relative in STEPS:
        step = relative * max(1.0, abs(start))
        numbers[place] = start + step
        above = loss()
        numbers[place] = start - step
        below = loss()
        numbers[place] = start
        noise = ROUNDING * max(abs(above), abs(below)) / step
        bound = TOLERANCE * scale + floor + noise
        error = abs((above - below) / (2 * step) - expected)
        if agreed is None and error <= bound:
            agreed = error
            if not gap:
                break
        slopes = (above - middle) / step, (middle - below) / step
        longer, bend = bend, abs(slopes[0] - slopes[1])
        # over a smooth stretch the slopes to both sides grow as alike as the step grows short
        if bend > max(0.2 * error, noise, CORNER * longer):
            kink = True
            between = between or min(slopes) - bound <= expected <= max(slopes) + bound
    return Difference(error if agreed is None else agreed, agreed is not None, kink, between, noise, gap)


def _locate(tensors: Sequence[Tensor], entry: int) -> tuple[Tensor, int]:
    for tensor in tensors:
        if entry < tensor.numel():
            return tensor.view(-1), entry
        entry -= tensor.numel()
    raise IndexError(f"no entry {entry} beyond the last tensor")
