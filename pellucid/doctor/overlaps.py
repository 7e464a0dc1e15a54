"""Overlapping windows of signals and sequences, and overlapping tiles of pictures, in two sets of inputs."""

from collections.abc import Callable
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.data.seeds import generator
from pellucid.training.reading import drawn_indices

STRETCH = 8  # neighbouring values along the last axis, which are looked up in the other set
MIN_CHANGES = 4  # of the differences within a stretch that are not 0
MAX_COMMON = 0.3  # of the other examples; a stretch of more of them is of a background, a frame or a watermark
MIN_OVERLAP = 0.25  # of a window; a smaller part says little about the rest
MIN_EQUAL = 0.75  # of the values of an overlap; a filter or transform of each window changes those near its ends
MIN_CHANGING = 0.3  # of the neighbouring values of an overlap that differ; in drawings on an empty ground, fewer do
# After a random split, windows overlap both with windows that begin earlier and with windows that begin later; after a
# split by time, only with one kind. The fraction of the examples that do is measured for each kind.
MIN_BOTH_SIDES = 0.2
MAX_CHANCE = 0.25  # of this fraction, that of reversed examples, which only overlap by chance
MAX_EXAMPLES = 256  # whose overlaps are looked for
MAX_VALUES = 2**25  # of the examples among which they are looked for; of larger sets, a random part is examined
MAX_STRETCHES = 2**21  # of these that are kept; of more, those whose hash is a multiple of a number
MAX_FOUND, MAX_PLACES = 2**15, 8  # stretches that occur in the other set, and places of each, that are compared
CHUNK_VALUES = 2**20  # that are converted at a time
RATIO_LEVELS = 512  # of ratios in a stretch
MAX_RATIO_ERROR = 2e-5  # by the rounding of inputs to float32


class Shift(NamedTuple):
    """An overlap of an example with another one, and how many rows and columns later than the other it begins."""

    index: int
    other: int
    rows: int
    columns: int


class Overlaps(NamedTuple):
    """Examples that overlap with examples of another set.

    n_examples: the number of examined examples. n_overlapping: how many of them overlap. both_sides: the fraction that
    overlap with an example that begins earlier, or with one that begins later, whichever is smaller. example: one of
    the overlaps.
    """

    n_examples: int
    n_overlapping: int
    both_sides: float
    example: Shift


class _View(NamedTuple):
    """What is compared of windows (N, C, H, W): a function of them, the levels in a stretch, and the largest error."""

    of: Callable[[Tensor], Tensor]
    levels: int
    max_error: float


def _ratios(x: Tensor) -> Tensor:
    """Return each step relative to it and the one before, which a scale and an offset of the window do not change."""
    step = x.double().diff(dim=-1)
    size = step.abs()
    return (step[..., 1:] / (size[..., 1:] + size[..., :-1])).nan_to_num()


VALUES, RATIOS = _View(Tensor.double, 0, 0.0), _View(_ratios, RATIO_LEVELS, MAX_RATIO_ERROR)


def find_overlaps(x: Tensor, among: Tensor, seed: int) -> Overlaps | None:
    """Find examples that equal, in a part that reaches to their border, a shifted part of an example of another set.

    x, among: inputs (N, D), (N, C, T), (N, T, C) or (N, C, H, W). Each window may have a scale and an offset of its
    own. None if fewer than MIN_BOTH_SIDES of them overlap by MIN_OVERLAP or more, or if as many would by chance. Not
    found are windows that are resized or have noise of their own.
    """
    if x.shape[1:] != among.shape[1:]:
        return None
    indices = drawn_indices(len(x), MAX_EXAMPLES, seed)
    others = drawn_indices(len(among), max(1, MAX_VALUES // prod(x.shape[1:])), seed)
    views = (VALUES, RATIOS) if x.is_floating_point() else (VALUES,)
    for windows, other_windows in zip(_layouts(x[indices]), _layouts(among[others]), strict=True):
        for view in views:
            if windows.shape[-1] < STRETCH + 2:  # the ratios have two columns less
                continue
            shifts, chance_shifts = _shifts((windows, windows.flip(-1)), other_windows, view, seed)
            both_sides = _both_sides(shifts) / len(windows)
            if both_sides >= MIN_BOTH_SIDES and _both_sides(chance_shifts) / len(windows) <= MAX_CHANCE * both_sides:
                first = shifts[0]
                example = first._replace(index=int(indices[first.index]), other=int(others[first.other]))
                n_overlapping = len({shift.index for shift in shifts})
                return Overlaps(len(windows), n_overlapping, both_sides, example)
    return None


def _layouts(x: Tensor) -> list[Tensor]:
    """Return inputs (N, ...) as windows (N, C, H, W), for each axis that may be the one of time."""
    if x.dim() <= 2:
        return [x.reshape(len(x), 1, 1, -1)]
    if x.dim() == 3:
        return [x[:, :, None], x.transpose(1, 2)[:, :, None]]
    return [x.flatten(2, -2)]


def _both_sides(shifts: list[Shift]) -> int:
    """Return the number of examples with another that begins earlier, or of those with a later one if it is smaller."""
    n_later = sum((shift.rows, shift.columns) > (0, 0) for shift in shifts)
    return min(n_later, len(shifts) - n_later)


class _Stretches(NamedTuple):
    """Stretches of windows: their hashes, (K,), and their windows, rows and columns, (K, 3)."""

    hashes: Tensor
    places: Tensor


def _shifts(sets: tuple[Tensor, ...], among: Tensor, view: _View, seed: int) -> list[list[Shift]]:
    """Return the overlaps of the windows of each set: at most one with a window that begins earlier, and one later.

    sets: windows (N, C, H, W). among: those with which they may overlap, (M, C, H, W).
    """
    n_stretches = len(among) * among.shape[2] * among.shape[3]
    divisor = 1 + n_stretches // MAX_STRETCHES
    stretches = _stretches(among, view, divisor, seed)
    order = stretches.hashes.argsort(stable=True)
    others = _Stretches(stretches.hashes[order], stretches.places[order])
    return [
        [
            shift
            for shift in _candidates(_stretches(windows, view, divisor, seed), others, MAX_COMMON * len(among), seed)
            if _is_overlap(view.of(windows[shift.index]), view.of(among[shift.other]), shift, view.max_error)
        ]
        for windows in sets
    ]


def _stretches(windows: Tensor, view: _View, divisor: int, seed: int) -> _Stretches:
    """Return the stretches of all channels with MIN_CHANGES or more whose hash is a multiple of the divisor."""
    keys = 2 * torch.randint(-(2**62), 2**62, (STRETCH + windows.shape[1],), generator=generator(seed)) + 1
    chunk_size = max(1, CHUNK_VALUES // prod(windows.shape[1:]))
    hashes, places = list[Tensor](), list[Tensor]()
    for start in range(0, len(windows), chunk_size):
        values = view.of(windows[start : start + chunk_size])
        if view.levels:
            values = (values * view.levels).round()
        products = (values + 0.0).view(torch.int64) * keys[STRETCH:, None, None]  # 0.0, since -0.0 has other bits
        codes = (products ^ (products >> 32)).sum(1).unfold(-1, STRETCH, 1)  # (n, H, W - STRETCH + 1, STRETCH)
        chunk_hashes = (codes * keys[:STRETCH]).sum(-1)
        n_changes = (codes.diff(dim=-1) != 0).sum(-1)
        is_kept = (n_changes >= MIN_CHANGES) & (chunk_hashes % divisor == 0)
        hashes.append(chunk_hashes[is_kept])
        places.append(is_kept.nonzero() + torch.tensor([start, 0, 0]))
    return _Stretches(torch.cat(hashes), torch.cat(places))


def _candidates(stretches: _Stretches, others: _Stretches, max_places: float, seed: int) -> list[Shift]:
    """Return for each window and each side the shift at which most of its stretches are those of another window.

    others: sorted by their hashes. max_places: the number of places above which a stretch says nothing.
    """
    first = torch.searchsorted(others.hashes, stretches.hashes)
    end = torch.searchsorted(others.hashes, stretches.hashes, right=True)
    found = ((end > first) & (end - first <= max_places)).nonzero().flatten()
    found = found[torch.randperm(len(found), generator=generator(seed))[:MAX_FOUND]]
    ranks = first[found, None] + torch.arange(MAX_PLACES)
    is_place = ranks < end[found, None]
    place = stretches.places[found[is_place.nonzero()[:, 0]]]
    other_place = others.places[ranks[is_place]]
    rows = torch.stack([place[:, 0], other_place[:, 0], *(other_place - place)[:, 1:].unbind(1)], 1)
    rows, counts = rows[(rows[:, 2:] != 0).any(1)].unique(dim=0, return_counts=True)
    ordered = (Shift(*row) for row in rows[counts.argsort(stable=True)].tolist())
    return [*{(shift.index, (shift.rows, shift.columns) > (0, 0)): shift for shift in ordered}.values()]


def _is_overlap(window: Tensor, other: Tensor, shift: Shift, max_error: float) -> bool:
    """Return whether the common part of two windows (C, H, W) is large, changes, and is nearly everywhere the same."""
    part = _part(window, -shift.rows, -shift.columns)
    other_part = _part(other, shift.rows, shift.columns)
    if part[0].numel() < MIN_OVERLAP * window[0].numel():
        return False
    is_changing = (part.diff(dim=-1).abs() > max_error).any(0)
    is_equal = (part - other_part).abs() <= max_error
    return float(is_changing.double().mean()) >= MIN_CHANGING and float(is_equal.double().mean()) >= MIN_EQUAL


def _part(window: Tensor, rows: int, columns: int) -> Tensor:
    """Return a window (C, H, W) without its first rows and columns, or without its last ones for negative numbers."""
    _, height, width = window.shape
    return window[:, max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)]
