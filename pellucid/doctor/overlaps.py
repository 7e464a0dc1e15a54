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
# Short overlaps of whole numbers, such as tokens, are frequent by chance, and so are those of which at most the
# fraction MAX_LEVELS of the values are different ones.
MIN_COARSE_SIZE, MIN_COARSE_EQUAL, MAX_LEVELS = 24, 0.95, 0.5
MIN_CHANGING = 0.3  # of the neighbouring values of an overlap that differ; in drawings on an empty ground, fewer do
# After a random split, windows overlap both with windows that begin earlier and with windows that begin later; after a
# split by time, only with one kind. The fraction of the examples that do is measured for each kind.
MIN_BOTH_SIDES = 0.2
MAX_CHANCE = 0.25  # of this fraction, that of mirrored examples, which only overlap by chance
MAX_EXAMPLES = 256  # whose overlaps are looked for
# The maximum numbers of positions of the other examples, of larger sets a random part is examined; of their channels
# in stretches; of their stretches, of which otherwise those are kept whose hashes end alike; of stretches found in both
# sets; and of the places of each that are compared.
MAX_POSITIONS, MAX_CHANNELS, MAX_STRETCHES, MAX_FOUND, MAX_PLACES = 2**22, 4, 2**19, 2**13, 8
HIGH_BITS = 40  # of a hash; the lower ones are 0 if the values are whole numbers
CHUNK_VALUES = 2**17  # that are converted at a time
RATIO_LEVELS = 512  # of ratios in a stretch
MIN_STEP = 1e-4  # of the largest value; ratios of smaller steps are uncertain, since inputs are rounded to float32
MAX_ROUNDING = 1e-6  # of the largest value


class Shift(NamedTuple):
    """An overlap of a window with another one, and how many rows and columns later than the other it begins."""

    window: int
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


def _values(x: Tensor, is_scaled: bool) -> Tensor:
    """Return the values of windows (N, C, H, W) that are compared, float64, (N, C, H, W) or (N, C, H, W - 2).

    is_scaled: whether each window may have its own scale and offset, which leave the ratio of each step to the sum of
    it and the one before, without signs, as it is.
    """
    x = x.double()
    if not is_scaled:
        return x + 0.0  # -0.0 has other bits than 0.0
    step = x.diff(dim=-1)
    step[step.abs() < MIN_STEP * x.abs().amax(-1, keepdim=True)] = 0.0
    size = step.abs()
    ratio = step[..., 1:] / (size[..., 1:] + size[..., :-1])
    return (ratio.nan_to_num() * RATIO_LEVELS).round() + 0.0


def find_overlaps(x: Tensor, among: Tensor, seed: int) -> Overlaps | None:
    """Find examples that equal, in a part that reaches to their border, a shifted part of an example of another set.

    x, among: inputs (N, D), (N, C, T), (N, T, C) or (N, C, H, W). Each window may have a scale and an offset of its
    own. None if fewer than MIN_BOTH_SIDES of them overlap by MIN_OVERLAP or more, or if as many do when mirrored. Not
    found are windows that are resized or have noise of their own, stretches that more than MAX_COMMON of the other
    examples have, such as a background, and those that a window has several times.
    """
    if x.shape[1:] != among.shape[1:]:
        return None
    for layout in LAYOUTS.get(x.dim(), ()):
        windows, others = layout(x), layout(among)
        indices = drawn_indices(len(windows), MAX_EXAMPLES, seed)
        other_indices = drawn_indices(len(others), max(1, MAX_POSITIONS // prod(others.shape[2:])), seed)
        windows, others = windows[indices], others[other_indices]
        for is_scaled in (False, True) if x.is_floating_point() else (False,):
            if windows.shape[-1] < STRETCH + 2:  # the ratios have two columns less
                continue
            shifts, chance_shifts = _shifts((windows, windows.flip(-1)), others, is_scaled, seed)
            both_sides = _both_sides(shifts) / len(windows)
            if both_sides >= MIN_BOTH_SIDES and _both_sides(chance_shifts) / len(windows) <= MAX_CHANCE * both_sides:
                first = shifts[0]
                example = first._replace(window=int(indices[first.window]), other=int(other_indices[first.other]))
                n_overlapping = len({shift.window for shift in shifts})
                return Overlaps(len(windows), n_overlapping, both_sides, example)
    return None


# Inputs (N, ...) as windows (N, C, H, W) by their number of axes; of three axes, the second or third is that of time.
LAYOUTS: dict[int, tuple[Callable[[Tensor], Tensor], ...]] = {
    2: (lambda x: x[:, None, None],),
    3: (lambda x: x[:, :, None], lambda x: x.transpose(1, 2)[:, :, None]),
    4: (lambda x: x,),
    5: (lambda x: x.flatten(2, 3),),
}


def _both_sides(shifts: list[Shift]) -> int:
    """Return the number of examples with another that begins earlier, or of those with a later one if it is smaller."""
    n_later = sum((shift.rows, shift.columns) > (0, 0) for shift in shifts)
    return min(n_later, len(shifts) - n_later)


class _Stretches(NamedTuple):
    """Stretches of windows: hashes, (K,), and places, (K,), the indices of their first values in (N, *shape)."""

    hashes: Tensor
    places: Tensor
    shape: tuple[int, int]


def _shifts(sets: tuple[Tensor, ...], among: Tensor, is_scaled: bool, seed: int) -> list[list[Shift]]:
    """Return the overlaps of the windows of each set: at most one with a window that begins earlier, and one later.

    sets: windows (N, C, H, W). among: those with which they may overlap, (M, C, H, W).
    """
    n_changes = (sets[0].diff(dim=-1) != 0).sum((0, 2, 3))
    channels = n_changes.topk(min(len(n_changes), MAX_CHANNELS)).indices
    n_bits = (len(among) * prod(among.shape[2:]) // MAX_STRETCHES).bit_length()
    others = _stretches(among[:, channels], is_scaled, n_bits, seed)
    order = others.hashes.argsort()
    others = _Stretches(others.hashes[order], others.places[order], others.shape)
    result = list[list[Shift]]()
    for windows in sets:
        candidates = _candidates(_stretches(windows[:, channels], is_scaled, n_bits, seed), others, len(among), seed)
        result.append([shift for shift in candidates if _is_overlap(windows, among, shift, is_scaled)])
    return result


def _stretches(windows: Tensor, is_scaled: bool, n_bits: int, seed: int) -> _Stretches:
    """Return the stretches of all channels with MIN_CHANGES or more, of whose hashes `n_bits` bits are 0."""
    keys = 2 * torch.randint(-(2**62), 2**62, (windows.shape[1] + 1,), generator=generator(seed)) + 1
    hashes, places, shape, n_places = list[Tensor](), list[Tensor](), (0, 0), 0
    for chunk in windows.split(max(1, CHUNK_VALUES // prod(windows.shape[1:]))):
        products = _values(chunk, is_scaled).view(torch.int64) * keys[1:, None, None]
        codes = (products ^ (products >> 32)).sum(1).unfold(-1, STRETCH, 1)  # (n, H, columns, STRETCH)
        chunk_hashes = codes[..., 0].clone()
        for column in range(1, STRETCH):
            chunk_hashes.mul_(keys[0]).add_(codes[..., column])
        is_kept = (chunk_hashes >> HIGH_BITS) & ((1 << n_bits) - 1) == 0
        changes = (codes[is_kept].diff(dim=-1) != 0).sum(-1) >= MIN_CHANGES
        hashes.append(chunk_hashes[is_kept][changes])
        places.append(is_kept.flatten().nonzero()[changes, 0] + n_places)
        shape, n_places = (chunk_hashes.shape[1], chunk_hashes.shape[2]), n_places + chunk_hashes.numel()
    return _Stretches(torch.cat(hashes), torch.cat(places), shape)


def _candidates(stretches: _Stretches, others: _Stretches, n_others: int, seed: int) -> list[Shift]:
    """Return for each window and each side the shift at which most of its stretches are those of another window.

    others: sorted by their hashes. Stretches that a window has more than once are those of a pattern, and left out.
    """
    height, width = stretches.shape
    n_shifts = 4 * height * width
    window = stretches.places // (height * width)
    _, inverse, counts = (stretches.hashes ^ window * n_shifts).unique(return_inverse=True, return_counts=True)
    first = torch.searchsorted(others.hashes, stretches.hashes)
    end = torch.searchsorted(others.hashes, stretches.hashes, right=True)
    is_rare = (end > first) & (end - first <= MAX_COMMON * n_others) & (counts[inverse] == 1)
    found = is_rare.nonzero()[:, 0]
    found = found[torch.randperm(len(found), generator=generator(seed))[:MAX_FOUND]]
    ranks = first[found, None] + torch.arange(MAX_PLACES)
    is_place = ranks < end[found, None]
    place = stretches.places[found[is_place.nonzero()[:, 0]]]
    other_place = others.places[ranks[is_place]]
    rows = other_place // width % height - place // width % height
    columns = other_place % width - place % width
    pair = place // (height * width) * n_others + other_place // (height * width)
    codes = pair * n_shifts + (rows + height) * 2 * width + columns + width
    codes, counts = codes[(rows != 0) | (columns != 0)].unique(return_counts=True)
    is_later = codes % n_shifts > (2 * height + 1) * width
    sides = codes // n_shifts // n_others * 2 + is_later
    order = counts.argsort(stable=True)
    best = dict(zip(sides[order].tolist(), codes[order].tolist(), strict=True))  # of each side the last, most frequent
    return [
        Shift(
            code // n_shifts // n_others,
            code // n_shifts % n_others,
            code % n_shifts // (2 * width) - height,
            code % (2 * width) - width,
        )
        for code in best.values()
    ]


def _is_overlap(windows: Tensor, among: Tensor, shift: Shift, is_scaled: bool) -> bool:
    """Return whether the common part of two windows is large, changes, and is nearly everywhere the same."""
    window, other = windows[shift.window].double(), among[shift.other].double()
    part, other_part = _part(window, -shift.rows, -shift.columns), _part(other, shift.rows, shift.columns)
    levels = part.unique()
    is_coarse = len(levels) <= MAX_LEVELS * part.numel() or bool((levels == levels.round()).all())
    min_size, min_equal = (MIN_COARSE_SIZE, MIN_COARSE_EQUAL) if is_coarse else (0, MIN_EQUAL)
    if part[0].numel() < max(MIN_OVERLAP * window[0].numel(), min_size):
        return False
    max_error = 0.0
    if is_scaled:
        max_error = MAX_ROUNDING * float(other_part.abs().amax())
        mean, other_mean = (one.mean((1, 2), keepdim=True) for one in (part, other_part))
        scale = ((part - mean) * other_part).sum((1, 2), True) / (part - mean).square().sum((1, 2), True)
        part = other_mean + scale * (part - mean)
    is_changing = (part.diff(dim=-1).abs() > max_error).any(0)
    is_equal = (part - other_part).abs() <= max_error
    return float(is_changing.double().mean()) >= MIN_CHANGING and float(is_equal.double().mean()) >= min_equal


def _part(window: Tensor, rows: int, columns: int) -> Tensor:
    """Return a window (C, H, W) without its first rows and columns, or without its last ones for negative numbers."""
    _, height, width = window.shape
    return window[:, max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)]
