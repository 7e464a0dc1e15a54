"""Masks (H, W) bool as run lengths and polygons, in the formats of COCO's annotations.

Run lengths are the numbers of pixels in runs of pixels outside and inside the mask, in turn, column by column; the
first run is outside. Source: COCO, "Data format"; the reference implementation in github.com/cocodataset/cocoapi, whose
results are reproduced exactly.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError

_BITS_PER_CHARACTER = 5  # bits of a run length in one character
_ZERO_CODE = 48  # code of the character for 0
_MORE_BIT, _SIGN_BIT = 0x20, 0x10  # bit of a character if another follows; sign bit of the last character
_MAX_CHARACTERS = 8  # of one run length: 40 bits
_GRID_SCALE = 5  # polygons are drawn on a grid that is this many times finer than the pixels
_MAX_POINTS = 1 << 18  # points of this grid that are computed at a time


def run_lengths(mask: Tensor) -> list[int]:
    """Return the run lengths of a mask (H, W) bool, COCO's uncompressed RLE; their sum is H W."""
    values = mask.T.flatten().numpy()  # column by column
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [values.size])))
    return [0, *runs.tolist()] if values.size and values[0] else runs.tolist()


def run_spans(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return the spans of run lengths, see `fill_spans`; raise PellucidError unless the lengths fit `size`."""
    ends = np.cumsum(check_run_lengths(counts, size))
    return _nonempty_spans(ends[: ends.size // 2 * 2])


def check_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return run lengths as an array; raise PellucidError unless they are counts whose sum is H W."""
    total = sum(counts)
    if min(counts, default=0) < 0 or total != size[0] * size[1]:
        raise PellucidError(f"RLE of {total} pixels does not fit a mask of {size[0]}x{size[1]}")
    return np.asarray(counts, dtype=np.int64)


def compress(counts: Sequence[int]) -> str:
    """Return run lengths as COCO's compressed RLE.

    From the fourth run length, each is written as its difference from the run length two before it. Each number is
    written as characters of 5 bits, the lowest bits first; a sixth bit marks that another character follows.
    """
    runs = np.asarray(counts, dtype=np.int64)
    remaining = runs.copy()
    remaining[3:] -= runs[1:-2]
    text = np.zeros((remaining.size, _MAX_CHARACTERS), np.uint8)
    has_more = np.ones(remaining.size, bool)
    for k in range(_MAX_CHARACTERS):
        bits = remaining & (_MORE_BIT - 1)
        is_open = has_more
        remaining = remaining >> _BITS_PER_CHARACTER
        has_more = is_open & np.where(bits & _SIGN_BIT, remaining != -1, remaining != 0)
        text[:, k] = np.where(is_open, bits + has_more * _MORE_BIT + _ZERO_CODE, 0)
    return text[text > 0].tobytes().decode("ascii")


def decompress(text: str | bytes) -> list[int]:
    """Return the run lengths of COCO's compressed RLE; raise PellucidError for invalid text."""
    codes = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)
    codes = codes.astype(np.int64) - _ZERO_CODE
    last_characters = np.flatnonzero((codes & _MORE_BIT) == 0)
    is_complete = not codes.size or (last_characters.size and last_characters[-1] == codes.size - 1)
    first_characters = np.concatenate(([0], last_characters[:-1] + 1)) if last_characters.size else last_characters
    if (
        not is_complete
        or bool(((codes < 0) | (codes >= 2 * _MORE_BIT)).any())
        or bool((last_characters - first_characters >= _MAX_CHARACTERS).any())
    ):
        raise PellucidError("text is not a compressed RLE")
    if not codes.size:
        return []
    position = np.arange(codes.size) - np.repeat(first_characters, last_characters - first_characters + 1)
    values = np.add.reduceat((codes & (_MORE_BIT - 1)) << (_BITS_PER_CHARACTER * position), first_characters)
    n_bits = _BITS_PER_CHARACTER * (position[last_characters] + 1)
    values -= np.where(codes[last_characters] & _SIGN_BIT, np.int64(1) << n_bits, 0)
    for start in (1, 2):
        values[start::2] = np.cumsum(values[start::2])
    return values.tolist()


def encode_rle(mask: Tensor) -> str:
    """Return a mask (H, W) bool as COCO's compressed RLE."""
    return compress(run_lengths(mask))


def fill_spans(spans: np.ndarray, size: tuple[int, int], new_size: tuple[int, int] | None = None) -> Tensor:
    """Return the mask (H, W) bool of spans.

    spans: (n, 2) int64, for each run inside the mask the index of its first pixel and the index after its last pixel,
    counted column by column, in ascending order. new_size: the size (H, W) of a mask that is resized by the nearest
    pixels, without memory for the mask of the original size.
    """
    if new_size is not None and new_size != size:
        rows, columns = (nearest_pixels(before, after) for before, after in zip(size, new_size, strict=True))
        columns, repeats = np.unique(columns, return_counts=True)  # searchsorted needs strictly ascending pixels
        spans = np.searchsorted((columns[:, None] * size[0] + rows).ravel(), spans)
        return fill_spans(spans, (new_size[0], len(columns))).repeat_interleave(torch.from_numpy(repeats), 1)
    n_pixels = size[0] * size[1]
    runs = np.diff(np.concatenate(([0], spans.ravel(), [n_pixels])))
    values = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return torch.from_numpy(values.reshape(size[1], size[0])).T.contiguous()


def nearest_pixels(old_length: int, new_length: int) -> np.ndarray:
    """Return, for each of `new_length` pixels of a resized row, the index of the nearest of `old_length` pixels."""
    return ((np.arange(new_length) + 0.5) * (old_length / new_length)).astype(np.int64)


def span_box(spans: np.ndarray, height: int) -> tuple[int, int, int, int]:
    """Return the bounding box (x0, y0, x1, y1) of spans, (0, 0, 0, 0) if there are none. height: of the mask."""
    if not spans.size:
        return 0, 0, 0, 0
    (first_x, first_y), (last_x, last_y) = (divmod(pixels, height) for pixels in (spans[:, 0], spans[:, 1] - 1))
    is_wrapped = bool((first_x < last_x).any())  # a run that continues in the next column touches both borders
    top, bottom = (0, height) if is_wrapped else (int(first_y.min()), int(last_y.max()) + 1)
    return int(first_x.min()), top, int(last_x.max()) + 1, bottom


def span_outline(spans: np.ndarray, height: int) -> int:
    """Return the number of pixel sides around a mask of spans. height: of the mask."""
    # Each part of a span in one column has a top and a bottom side. The number of left and right sides is the number of
    # pixels in which the mask and the mask shifted right differ.
    n_columns = ((spans[:, 1] - 1) // height - spans[:, 0] // height + 1).sum()
    span_ends = np.sort(np.concatenate((spans.ravel(), spans.ravel() + height)))
    return int(2 * n_columns + (span_ends[1::2] - span_ends[::2]).sum())


def polygon_spans(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """Return the spans, see `fill_spans`, of the pixels in any of the polygons, each (x0, y0, x1, y1, ...) in pixels.

    The even-odd rule determines the inside of a self-intersecting polygon. Raises PellucidError for polygons of fewer
    than three points.
    """
    span_parts = [np.zeros((0, 2), np.int64)]
    for polygon in polygons:
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise PellucidError("polygon needs three points or more, each of two finite numbers x and y")
        crossings = np.sort(_outline_crossings(points.reshape(-1, 2), size))
        n_pixels = size[0] * size[1]
        span_parts.append(
            _nonempty_spans(np.append(crossings, n_pixels)[: (crossings.size + 1) // 2 * 2].clip(max=n_pixels))
        )
    return span_parts[1] if len(span_parts) == 2 else _merge_spans(np.concatenate(span_parts))


def _nonempty_spans(ends: np.ndarray) -> np.ndarray:
    """Return the nonempty spans (n, 2), given an array of their alternating first pixels and ends."""
    spans = ends.reshape(-1, 2)
    return spans[spans[:, 0] < spans[:, 1]]


def _merge_spans(spans: np.ndarray) -> np.ndarray:
    """Merge spans that may overlap: return disjoint spans in ascending order that cover the same pixels."""
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    max_ends = np.maximum.accumulate(spans[:, 1])
    first_spans = np.flatnonzero(np.concatenate(([True], spans[1:, 0] > max_ends[:-1]))[: len(spans)])
    last_spans = np.append(first_spans[1:], len(spans))[: len(first_spans)] - 1
    return np.stack((spans[first_spans, 0], max_ends[last_spans]), 1)


def outline_length(polygons: Sequence[Sequence[float]]) -> float:
    """Return the sum of max(|dx|, |dy|) over the sides of all polygons, in pixels."""
    counts = np.fromiter(map(len, polygons), np.int64, len(polygons)) // 2
    points = np.fromiter(chain.from_iterable(polygons), np.float64).reshape(-1, 2)
    last_index = np.cumsum(counts) - 1
    next_index = np.arange(1, len(points) + 1)
    next_index[last_index] = last_index - counts + 1  # the first point of the same polygon
    return float(np.abs(points[next_index] - points).max(1, initial=0).sum())


def _outline_crossings(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the pixel indices, counted column by column, at which a polygon's inside begins or ends."""
    height, width = size
    crossing_parts: list[np.ndarray] = []
    for fine_x, fine_y in _outline_points(np.trunc(_GRID_SCALE * points + 0.5).astype(np.int64)):
        crossing = np.flatnonzero(fine_x[1:] != fine_x[:-1])
        before, after = fine_x[crossing], fine_x[crossing + 1]
        x = (np.where(after < before, after, after - 1) + 0.5) / _GRID_SCALE - 0.5
        y = (np.minimum(fine_y[crossing], fine_y[crossing + 1]) + 0.5) / _GRID_SCALE - 0.5
        is_centre = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)
        column, row = x[is_centre].astype(np.int64), np.ceil(y[is_centre].clip(0, height)).astype(np.int64)
        crossing_parts.append(column * height + row)
    return np.concatenate(crossing_parts)


def _outline_points(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield x and y of all points of the fine grid on the closed line through `points` (n, 2), in parts.

    A part has up to _MAX_POINTS points, and the first point of the next part. The points of a side do not depend on its
    direction, so two sides between the same points enclose no pixels.
    """
    start, end = points, np.roll(points, -1, 0)
    extent = np.abs(end - start)
    is_flat = extent[:, 0] >= extent[:, 1]
    is_swapped = np.where(is_flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    low, high = (np.where(is_swapped[:, None], a, b) for a, b in ((end, start), (start, end)))
    steps = extent.max(1)
    slope = np.where(is_flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0]) / np.maximum(steps, 1)
    ends = np.cumsum(steps + 1)
    for first in range(0, int(ends[-1]), _MAX_POINTS):
        index = np.arange(first, min(first + _MAX_POINTS + 1, int(ends[-1])))
        side = np.searchsorted(ends, index, side="right")
        distance = index - (ends - steps - 1)[side]
        distance = np.where(is_swapped[side], steps[side] - distance, distance)
        major = np.where(is_flat, low[:, 0], low[:, 1])[side] + distance
        minor = np.trunc(np.where(is_flat, low[:, 1], low[:, 0])[side] + slope[side] * distance + 0.5).astype(np.int64)
        yield np.where(is_flat[side], major, minor), np.where(is_flat[side], minor, major)


_Step = tuple[
    tuple[int, int], int
]  # start of a step (x, y) at a pixel's corner; its direction, an index of _DIRECTIONS or _CUT_DIRECTION
_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up
_CUT_DIRECTION = -1  # the value for a step along a cut between a hole and the outline around it


def outline_polygons(mask: Tensor) -> list[list[float]]:
    """Return polygons (x0, y0, x1, y1, ...) along the pixel sides of a mask (H, W) bool, one for each connected part.

    Pixels are connected if they share a side. A hole is joined to the outline around it by a cut, which the polygon
    contains twice, in opposite directions. `fill_polygons` of the result is equal to the mask.
    """
    pixels = mask.numpy()
    loops = _boundary_loops(pixels)
    previous_step = {step: loop[k - 1] for loop in loops for k, step in enumerate(loop)}
    next_step = {step: previous for previous, step in previous_step.items()}
    # The (y, x) at which each hole's topmost step to the left starts. The pixel above the step is in the mask; the cut
    # begins there and continues upwards.
    hole_tops = {
        k: min((y, x) for (x, y), direction in loop if direction == 2) for k, loop in enumerate(loops) if _is_hole(loop)
    }
    for k in sorted(hole_tops, key=lambda k: hole_tops[k], reverse=True):  # from the bottom: lower holes join first
        bottom, right = hole_tops[k]
        x, top = right - 1, bottom - 1
        while top > 0 and pixels[top - 1, x]:
            top -= 1
        hole_step, outer_step = ((right, bottom), 2), ((x, top), 0)
        cut_down, cut_up = ((x, top), _CUT_DIRECTION), ((x, bottom), _CUT_DIRECTION)
        into_hole = (previous_step[outer_step], cut_down), (cut_down, next_step[hole_step])
        for step, following in (*into_hole, (hole_step, cut_up), (cut_up, outer_step)):
            next_step[step] = following
            previous_step[following] = step
    return [_loop_corners(_follow_loop(loop[0], next_step)) for k, loop in enumerate(loops) if k not in hole_tops]


def _follow_loop(first: _Step, next_step: dict[_Step, _Step]) -> list[_Step]:
    """Return the steps of a closed line, beginning with `first`; next_step: the step that follows each step."""
    loop = [first]
    step = next_step[first]
    while step != first:
        loop.append(step)
        step = next_step[step]
    return loop


def _boundary_loops(pixels: np.ndarray) -> list[list[_Step]]:
    """Return the closed boundaries of a mask, with the mask to the right of each step."""
    padded = np.pad(pixels, 1)
    inner = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    start_corners = ((0, 0), (1, 0), (1, 1), (0, 1))
    remaining: dict[_Step, None] = {}
    for direction, (neighbour, (dx, dy)) in enumerate(zip(neighbours, start_corners, strict=True)):
        rows, columns = np.nonzero(inner & ~neighbour)
        corners = zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True)
        remaining.update(dict.fromkeys((corner, direction) for corner in corners))
    loops: list[list[_Step]] = []
    while remaining:
        step: _Step | None = next(iter(remaining))
        loop: list[_Step] = []
        while step is not None:
            del remaining[step]
            loop.append(step)
            (x, y), direction = step
            end = (x + _DIRECTIONS[direction][0], y + _DIRECTIONS[direction][1])
            # A right turn is tried first, so pixels that only share a corner are separated.
            turns = ((end, (direction + turn) % 4) for turn in (1, 0, 3))
            step = next((candidate for candidate in turns if candidate in remaining), None)
        loops.append(loop)
    return loops


def _is_hole(loop: list[_Step]) -> bool:
    """Return whether a boundary is counter-clockwise, as the boundaries of holes are."""
    return sum(_DIRECTIONS[direction][0] * y for (_, y), direction in loop) > 0


def _loop_corners(loop: list[_Step]) -> list[float]:
    """Return the coordinates x0, y0, x1, y1, ... at which a closed line turns."""
    points = [point for point, _ in loop]
    corners: list[float] = []
    previous_points, next_points = [points[-1], *points[:-1]], [*points[1:], points[0]]
    for previous_point, point, next_point in zip(previous_points, points, next_points, strict=True):
        sides = [(b - a, c - b) for a, b, c in zip(previous_point, point, next_point, strict=True)]
        if not all(incoming == outgoing == 0 or incoming * outgoing > 0 for incoming, outgoing in sides):
            corners += map(float, point)
    return corners
