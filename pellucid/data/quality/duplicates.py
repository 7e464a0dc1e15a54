"""Duplicate images: the same bytes, or the same photo saved, scaled or cropped again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.quality.hashing import GRID, close_pairs, perceptual_hash
from pellucid.errors import PellucidError

SIDE = 64  # pixels of the small grey pictures
BITS = 12  # maximum difference of the hashes of near duplicates: holds for 99 of 100 cut by 3 % at each edge
SAME_CORRELATION = 0.985  # correlation at 32 pixels above which pairs are not aligned
LIKELY_CORRELATION = 0.5  # correlation at 32 pixels below which pairs are not aligned
MIN_CORRELATIONS = (0.9, 0.94, 0.97)  # correlations at 16, 32 and 64 pixels when aligned
MIN_DEVIATION = 2.0  # in grey levels; images below it are uniform, and would all match
MAX_ALIGNMENTS = 16  # of one image, most similar first; photos of one kind, such as hands, need about 4
CHUNK = 512  # pairs at a time

# Alignment of two pictures.
LEVELS = (16, 32, 64)  # pixels a side, from coarse to fine
STEPS = 4  # at each level
MAX_CHANGE = 0.25  # of any entry of the affine map, in half images: beyond it the fit has diverged
MIN_OVERLAP = 0.7  # part of the image that the other must cover
MIN_GAIN = 0.2
DAMPING = 1e-3  # relative: keeps the equations solvable where a picture is plain in one direction


class Groups:
    """Groups of n items, numbered from 0, that are joined in pairs: a union-find structure.

    Source: Tarjan, van Leeuwen 1984, "Worst-Case Analysis of Set Union Algorithms"; here with halving of paths.
    """

    def __init__(self, n: int) -> None:
        self._above = list(range(n))

    def first(self, i: int) -> int:
        """Return the smallest item of the group of `i`."""
        while self._above[i] != i:
            self._above[i] = i = self._above[self._above[i]]
        return i

    def joined(self, i: int, j: int) -> bool:
        """Return whether two items are in one group."""
        return self.first(i) == self.first(j)

    def join(self, i: int, j: int) -> bool:
        """Merge the groups of two items; False where they were one group already."""
        low, high = sorted((self.first(i), self.first(j)))
        self._above[high] = low
        return low != high


@dataclass(frozen=True)
class Pair:
    """Two images by their indices, first < second, and their correlation when aligned."""

    first: int
    second: int
    similarity: float


def exact_duplicates(digests: Sequence[bytes]) -> list[Pair]:
    """Return each picture whose bytes, by their digests, an earlier one has, paired with the first of these."""
    first: dict[bytes, int] = {}
    places = ((first.setdefault(digest, i), i) for i, digest in enumerate(digests))
    return [Pair(i, j, 1.0) for i, j in places if i != j]


def near_duplicates(grey: Tensor, progress: Callable[[int, int], None] | None = None) -> list[Pair]:
    """Return the pairs among small grey pictures that show the same photo.

    grey: (N, 64, 64), 0..255. Candidates have perceptual hashes that are close (see `close_pairs`); each is verified
    by aligning the two (see `alike`). Found are copies that were scaled, compressed, brightened, shifted, turned by
    a few degrees or cut by up to 5 % at an edge, and frames of one scene; a mirrored copy is another picture here.
    Images that show nothing are left out. Of a group of k, k - 1 pairs are returned that connect them. A pair is not
    aligned when both have been aligned MAX_ALIGNMENTS times, which bounds the work where many are a little alike, such
    as frames on one background.
    progress: called with the number of pairs done, and of all.
    """
    if grey.dim() != 3 or tuple(grey.shape[1:]) != (SIDE, SIDE):
        raise PellucidError(f"near_duplicates: pictures have shape {tuple(grey.shape)}; give (N, {SIDE}, {SIDE})")
    if not len(grey):
        return []
    smaller = torch.cat([F.adaptive_avg_pool2d(some.float()[:, None], GRID)[:, 0] for some in grey.split(CHUNK)])
    shown = torch.nonzero(smaller.flatten(1).std(1, correction=0) > MIN_DEVIATION).flatten()
    pairs = shown[torch.from_numpy(close_pairs(perceptual_hash(smaller[shown]), BITS))]  # (P, 2)
    flat = smaller.flatten(1)  # (N, 1024)
    flat = F.normalize(flat - flat.mean(1, keepdim=True))
    report = progress or (lambda done, total: None)
    values: list[Tensor] = []
    for some in pairs.split(CHUNK):
        values.append((flat[some[:, 0]] * flat[some[:, 1]]).sum(1))
        report(CHUNK * (len(values) - 1) + len(some), len(pairs))
    likeness, order = torch.cat([torch.empty(0), *values]).sort(descending=True, stable=True)
    pairs = pairs[order]
    group = Groups(len(grey))
    sure = int((likeness >= SAME_CORRELATION).sum())
    found = [
        Pair(i, j, value)
        for (i, j), value in zip(pairs[:sure].tolist(), likeness[:sure].tolist(), strict=True)
        if group.join(i, j)
    ]
    likely = pairs[sure : int((likeness >= LIKELY_CORRELATION).sum())]
    tries, done = [0] * len(grey), 0
    for some in likely.split(CHUNK):
        chosen: list[tuple[int, int]] = []
        for i, j in some.tolist():
            if min(tries[i], tries[j]) < MAX_ALIGNMENTS and not group.joined(i, j):
                tries[i], tries[j] = tries[i] + 1, tries[j] + 1
                chosen.append((i, j))
        apart = torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2)
        similar = alike(grey[apart[:, 0]], grey[apart[:, 1]], MIN_CORRELATIONS)
        for (i, j), value in zip(chosen, similar.tolist(), strict=True):
            if value and group.join(i, j):
                found.append(Pair(i, j, value))
        done += len(some)
        report(done, len(likely))
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def alike(a: Tensor, b: Tensor, minimums: tuple[float, ...]) -> Tensor:
    """Return the correlation (P,) of each picture a[p] with b[p] after b[p] is aligned with it; 0 for rejected pairs.

    a, b: (P, 64, 64) grey. An affine map of six numbers, a gain and an offset are fitted by least squares at three
    sizes, STEPS steps each; a pair whose correlation at a size is below that of `minimums` is rejected there.
    Source: Lucas, Kanade 1981, "An Iterative Image Registration Technique"; Baker, Matthews 2004, section 3.1.
    """
    found = torch.zeros(len(a))
    left = torch.arange(len(a))
    a, b = a.float()[:, None], b.float()[:, None]  # (P, 1, 64, 64)
    maps = torch.eye(2, 3).repeat(len(a), 1, 1)
    for side, minimum in zip(LEVELS, minimums, strict=True):
        if not len(left):
            break
        fixed, moving = F.adaptive_avg_pool2d(a[left], side), F.adaptive_avg_pool2d(b[left], side)
        maps = _fit(fixed, moving, maps)
        value = _correlation(fixed, moving, maps)
        good = value >= minimum
        left, maps, value = left[good], maps[good], value[good]
        if side == LEVELS[-1]:
            found[left] = value
    return found


def _fit(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    """Improve the maps (P, 2, 3) by Gauss-Newton steps on sum (fixed - gain moving(map x) - offset)^2."""
    side = fixed.shape[-1]
    dx = F.pad((moving[..., 2:] - moving[..., :-2]) * side / 4, (1, 1))  # per half picture, as the maps count
    dy = F.pad((moving[..., 2:, :] - moving[..., :-2, :]) * side / 4, (0, 0, 1, 1))
    layers = torch.cat([moving, dx, dy], 1)  # (P, 3, S, S)
    place = (torch.arange(side) * 2 + 1) / side - 1
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))  # (S S,)
    same = torch.eye(2, 3)
    for _ in range(STEPS):
        warped, inside = _warp(layers, maps)
        value, along, down = warped.unbind(1)  # (P, S S)
        slopes = torch.stack(
            [along * x, along * y, along, down * x, down * y, down, value, torch.ones_like(value)], 2
        )  # (P, S S, 8)
        weighted = (slopes * inside[..., None]).transpose(1, 2)
        normal = weighted @ slopes
        normal = normal + torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * DAMPING + DAMPING)
        found = torch.linalg.solve(normal, weighted @ fixed.flatten(1)[..., None])[..., 0]  # (P, 8)
        step = found[:, :6] / found[:, 6:7].clamp_min(
            MIN_GAIN
        )  # the slopes of gain * moving are gain times those of moving
        maps = maps + step.reshape(-1, 2, 3).clamp(-MAX_CHANGE / 2, MAX_CHANGE / 2)
        diverged = (maps - same).abs().amax((1, 2)) > MAX_CHANGE
        maps = torch.where(diverged[:, None, None], same, maps)
    return maps


def _correlation(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    warped, inside = _warp(moving, maps)
    a, b = (_centred(values, inside) for values in (fixed.flatten(1), warped[:, 0]))
    value = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-6)
    return torch.where(inside.mean(1) >= MIN_OVERLAP, value, 0.0)


def _centred(values: Tensor, inside: Tensor) -> Tensor:
    mean = (values * inside).sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp_min(1)
    return (values - mean) * inside


def _warp(layers: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return layers (P, C, S S) read where the maps point, and (P, S S) 1 where that is inside the picture."""
    count, channels, side, _ = layers.shape
    grid = F.affine_grid(maps, [count, channels, side, side], align_corners=False)
    warped = F.grid_sample(layers, grid, padding_mode="border", align_corners=False)
    return warped.flatten(2), (grid.abs().amax(-1) <= 1).flatten(1).float()
