"""Masks (H, W) bool as run lengths and polygons, in the formats of COCO's annotations.

Run lengths count the pixels of each run, column by column, beginning with pixels outside the mask. Source: COCO, "Data
format"; the reference implementation in github.com/cocodataset/cocoapi, whose results are reproduced exactly.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError

_BITS, _FIRST = 5, 48  # bits of a run length in one character; code of the character for 0
_MORE, _SIGN = 0x20, 0x10  # bit of a character if another follows; sign bit of the last character
_MAX_CHARACTERS = 8  # of one run length: 40 bits
_SCALE = 5  # polygons are drawn on a grid that is this many times finer than the pixels


def run_lengths(mask: Tensor) -> list[int]:
    """Return the run lengths of a mask (H, W) bool, COCO's uncompressed RLE; their sum is H W."""
    values = mask.T.flatten().numpy()  # column by column
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [values.size])))
    return [0, *runs.tolist()] if values.size and values[0] else runs.tolist()


def from_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Return the mask (H, W) bool of run lengths; PellucidError unless they are counts whose sum is H W."""
    runs = check_run_lengths(counts, size)
    values = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return torch.from_numpy(values.reshape(size[1], size[0])).T.contiguous()


def check_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return run lengths as an array; PellucidError unless they are counts whose sum is H W."""
    total = sum(counts)
    if min(counts, default=0) < 0 or total != size[0] * size[1]:
        raise PellucidError(f"RLE of {total} pixels does not fit a mask of {size[0]}x{size[1]}")
    return np.asarray(counts, dtype=np.int64)


def compress(counts: Sequence[int]) -> str:
    """Return run lengths as COCO's compressed RLE.

    From the fourth on, a run length is written as its difference from the run length two before it. Each number is
    written as characters of 5 bits, the lowest first; a sixth bit marks that another character follows.
    """
    runs = np.asarray(counts, dtype=np.int64)
    remaining = runs.copy()
    remaining[3:] -= runs[1:-2]
    text, more = np.zeros((remaining.size, _MAX_CHARACTERS), np.uint8), np.ones(remaining.size, bool)
    for k in range(_MAX_CHARACTERS):
        bits, is_open = remaining & (_MORE - 1), more
        remaining = remaining >> _BITS
        more = is_open & np.where(bits & _SIGN, remaining != -1, remaining != 0)
        text[:, k] = np.where(is_open, bits + more * _MORE + _FIRST, 0)
    return text[text > 0].tobytes().decode("ascii")


def decompress(text: str | bytes) -> list[int]:
    """Return the run lengths of COCO's compressed RLE; PellucidError for invalid text."""
    codes = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8)
    codes = codes.astype(np.int64) - _FIRST
    last = np.flatnonzero((codes & _MORE) == 0)
    is_complete = not codes.size or (last.size and last[-1] == codes.size - 1)
    first = np.concatenate(([0], last[:-1] + 1)) if last.size else last
    if (
        not is_complete
        or bool(((codes < 0) | (codes >= 2 * _MORE)).any())
        or bool((last - first >= _MAX_CHARACTERS).any())
    ):
        raise PellucidError("text is not a compressed RLE")
    if not codes.size:
        return []
    position = np.arange(codes.size) - np.repeat(first, last - first + 1)
    values = np.add.reduceat((codes & (_MORE - 1)) << (_BITS * position), first)
    values -= np.where(codes[last] & _SIGN, np.int64(1) << (_BITS * (position[last] + 1)), 0)
    for start in (1, 2):
        values[start::2] = np.cumsum(values[start::2])
    return values.tolist()


def encode_rle(mask: Tensor) -> str:
    """Return a mask (H, W) bool as COCO's compressed RLE."""
    return compress(run_lengths(mask))


def decode_rle(text: str | bytes, size: tuple[int, int]) -> Tensor:
    """Return the mask (H, W) bool of COCO's compressed RLE; PellucidError for invalid text or another size."""
    return from_run_lengths(decompress(text), size)


def fill_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> Tensor:
    """Return the mask (H, W) bool of the pixels in any of the polygons, each (x0, y0, x1, y1, ...) in pixels.

    The inside of a self-intersecting polygon is given by the even-odd rule. Raises PellucidError for
    polygons of fewer than three points.
    """
    mask = np.zeros(size[0] * size[1], bool)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64)
        if points.ndim != 1 or points.size < 6 or points.size % 2 or not np.isfinite(points).all():
            raise PellucidError("polygon needs three points or more, each of two finite numbers x and y")
        toggles = _toggles(points.reshape(-1, 2), size)
        mask |= np.cumsum(np.bincount(toggles, minlength=mask.size + 1)[: mask.size]) % 2 == 1
    return torch.from_numpy(mask.reshape(size[1], size[0])).T.contiguous()


def _toggles(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the pixel indices, column by column, at which a polygon's outline switches between inside and outside."""
    height, width = size
    u, v = _line(np.trunc(_SCALE * points + 0.5).astype(np.int64))
    crossing = np.flatnonzero(u[1:] != u[:-1])
    before, after = u[crossing], u[crossing + 1]
    x = (np.where(after < before, after, after - 1) + 0.5) / _SCALE - 0.5
    y = (np.minimum(v[crossing], v[crossing + 1]) + 0.5) / _SCALE - 0.5
    centre = (x == np.floor(x)) & (x >= 0) & (x <= width - 1)
    return x[centre].astype(np.int64) * height + np.ceil(y[centre].clip(0, height)).astype(np.int64)


def _line(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of all points of the fine grid on the closed line through `points` (n, 2).

    A side is the same in both directions, so a side that is drawn forth and back encloses nothing.
    """
    start, end = points, np.roll(points, -1, 0)
    d = np.abs(end - start)
    flat = d[:, 0] >= d[:, 1]
    swapped = np.where(flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    low, high = (np.where(swapped[:, None], a, b) for a, b in ((end, start), (start, end)))
    steps = d.max(1)
    slope = np.where(flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0]) / np.maximum(steps, 1)
    side = np.repeat(np.arange(len(points)), steps + 1)
    t = np.arange(side.size) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    t = np.where(swapped[side], steps[side] - t, t)
    along = np.where(flat, low[:, 0], low[:, 1])[side] + t
    across = np.trunc(np.where(flat, low[:, 1], low[:, 0])[side] + slope[side] * t + 0.5).astype(np.int64)
    return np.where(flat[side], along, across), np.where(flat[side], across, along)


_Step = tuple[
    tuple[int, int], int
]  # start of a step (x, y) at a pixel's corner; its direction, an index of _STEPS or _CUT
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up
_CUT = -1  # direction of a step along a cut between a hole and the outline around it


def outline_polygons(mask: Tensor) -> list[list[float]]:
    """Return polygons (x0, y0, x1, y1, ...) along the pixel sides of a mask (H, W) bool, one for each connected part.

    Pixels are connected by their sides. A hole is joined to the outline around it by a cut, along which the polygon
    runs once in each direction; `fill_polygons` of the result is the mask itself.
    """
    pixels = mask.numpy()
    loops = _loops(pixels)
    owner = {step: k for k, loop in enumerate(loops) for step in loop}
    # Start of each hole's topmost step to the left. The pixel above it is in the mask; the cut goes up from there.
    tops = {
        k: min((y, x) for (x, y), direction in loop if direction == 2) for k, loop in enumerate(loops) if _is_hole(loop)
    }
    for k in sorted(tops, key=lambda k: tops[k], reverse=True):  # from the bottom: lower holes join first
        bottom, right = tops[k]
        x, top = right - 1, bottom - 1
        while top > 0 and pixels[top - 1, x]:
            top -= 1
        outer = loops[owner[(x, top), 0]]
        start, position = loops[k].index(((right, bottom), 2)) + 1, outer.index(((x, top), 0))
        hole = [*loops[k][start:], *loops[k][:start]]
        outer[position:position] = [((x, top), _CUT), *hole, ((x, bottom), _CUT)]
        for step in hole:
            owner[step] = owner[(x, top), 0]
    return [_corners(loop) for k, loop in enumerate(loops) if k not in tops]


def _loops(pixels: np.ndarray) -> list[list[_Step]]:
    """Return the closed boundaries of a mask, with the mask to the right of each step."""
    padded = np.pad(pixels, 1)
    inner = padded[1:-1, 1:-1]
    others = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    starts = ((0, 0), (1, 0), (1, 1), (0, 1))
    remaining: dict[_Step, None] = {}
    for direction, (other, (dx, dy)) in enumerate(zip(others, starts, strict=True)):
        rows, columns = np.nonzero(inner & ~other)
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
            end = (x + _STEPS[direction][0], y + _STEPS[direction][1])
            turns = (
                (end, (direction + turn) % 4) for turn in (1, 0, 3)
            )  # right first: pixels that share only a corner are separate
            step = next((candidate for candidate in turns if candidate in remaining), None)
        loops.append(loop)
    return loops


def _is_hole(loop: list[_Step]) -> bool:
    """Return whether a boundary runs counter-clockwise, as those of holes do."""
    return sum(_STEPS[direction][0] * y for (_, y), direction in loop) > 0


def _corners(loop: list[_Step]) -> list[float]:
    """Return the coordinates x0, y0, x1, y1, ... at which a closed line turns."""
    points = [point for point, _ in loop]
    kept: list[float] = []
    for before, point, after in zip([points[-1], *points[:-1]], points, [*points[1:], points[0]], strict=True):
        sides = [(b - a, c - b) for a, b, c in zip(before, point, after, strict=True)]
        if not all(there == onward == 0 or there * onward > 0 for there, onward in sides):
            kept += map(float, point)
    return kept
