"""Duplicate images: the same bytes, or the same photo saved again, scaled or cropped.

Candidates are close perceptual hashes of 64 bits, which are found without comparing all pairs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError

Hashes = NDArray[np.uint64]

HASHED_SIDE = 32  # pixels per side of the image that is hashed
N_FREQUENCIES = 8  # lowest frequencies per axis that are kept
BANDS, BAND_BITS = 4, 16  # a hash is searched by 4 bands of 16 bits
MAX_FLIPS = 2  # differing bits in at least one band of a close pair
MAX_MATCHES = 200  # matches of one hash, after which no more are searched
MAX_NEIGHBOURS = 32  # hashes examined in one search

# Shift and mask of each step of the bit count in `differing_bits`.
_BIT_SUM_STEPS = [(np.uint64(1 << k), np.uint64(((1 << 64) - 1) // ((1 << (1 << k)) + 1))) for k in range(6)]


def perceptual_hash(grey: Tensor) -> Hashes:
    """Return (N,) hashes of images (N, S, S), S a multiple of 32: similar images differ in few bits.

    Bit k is set if the k-th of the 63 lowest DCT coefficients is above their median; the mean is left out, so the hash
    does not depend on brightness and contrast. Source: Zauner 2010, "Implementation and Benchmarking of Perceptual
    Image Hash Functions", section 3.2.1.
    """
    reduced = F.adaptive_avg_pool2d(grey.float()[:, None], HASHED_SIDE)[:, 0]  # (N, 32, 32)
    k = torch.arange(N_FREQUENCIES)[:, None]
    cosine = torch.cos(math.pi / HASHED_SIDE * k * (torch.arange(HASHED_SIDE) + 0.5))  # (8, 32), DCT-II
    low_frequencies = (cosine @ reduced @ cosine.T).flatten(1)[:, 1:]  # (N, 63)
    bits = (low_frequencies > low_frequencies.median(1, keepdim=True).values).numpy()
    return (bits * (np.uint64(1) << np.arange(N_FREQUENCIES * N_FREQUENCIES - 1, dtype=np.uint64))).sum(
        1, dtype=np.uint64
    )


def close_pairs(hashes: Hashes, distance: int) -> NDArray[np.int64]:
    """Return (P, 2) pairs i < j of hashes that differ in at most `distance` bits.

    In a pair that differs in at most 11 bits, at least one of the four bands differs in at most MAX_FLIPS = 2 bits. All
    hashes with such a band are found by binary search in the list sorted by this band, once for every choice of the
    flipped bits (Norouzi, Punjani, Fleet 2012, "Fast Search in Hamming Space with Multi-Index Hashing"): O(n log n) for
    diverse hashes. Most pairs that differ in more bits are found too. With hundreds of similar hashes, each is compared
    only with the MAX_NEIGHBOURS nearest in each list, until it has MAX_MATCHES matches, so some pairs are missed.
    """
    pairs: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    n_hashes = len(hashes)
    match_counts = np.zeros(n_hashes, np.int64)
    for flips in range(MAX_FLIPS + 1):
        for band in range(BANDS):
            rotated = _rotate_bits(hashes, band)
            order = np.argsort(rotated, kind="stable")
            sorted_hashes = rotated[order]
            for bits in combinations(range(BAND_BITS), flips):
                searched = np.nonzero(match_counts < MAX_MATCHES)[0]
                flipped_bits = np.uint64(sum(1 << (64 - BAND_BITS + bit) for bit in bits))
                i, j = _find_matches(rotated[searched] ^ flipped_bits, sorted_hashes, order)
                i = searched[i]
                is_close = (i != j) & (differing_bits(hashes[i], hashes[j]) <= distance)
                pair_keys = np.unique(np.minimum(i, j)[is_close] * n_hashes + np.maximum(i, j)[is_close])
                match_counts += np.bincount(pair_keys // n_hashes, minlength=n_hashes) + np.bincount(
                    pair_keys % n_hashes, minlength=n_hashes
                )
                pairs.append(pair_keys)
    pair_keys = np.unique(np.concatenate(pairs))
    return np.stack([pair_keys // n_hashes, pair_keys % n_hashes], 1) if n_hashes else np.empty((0, 2), np.int64)


def differing_bits(a: Hashes, b: Hashes) -> NDArray[np.int64]:
    """Return the number of bits in which each hash of `a` differs from the hash of `b` at the same index."""
    x = a ^ b
    for shift, mask in _BIT_SUM_STEPS:  # sums of 1 bit become sums of 2, 4, 8 ... 64 bits
        x = (x & mask) + ((x >> shift) & mask)
    return x.astype(np.int64)


def _rotate_bits(hashes: Hashes, band: int) -> Hashes:
    """Return the hashes with their bits rotated to the left, so `band` becomes the highest bits."""
    left = np.uint64(BAND_BITS * band)
    return hashes if not band else (hashes << left) | (hashes >> (np.uint64(64) - left))


def _find_matches(
    searched: Hashes, sorted_hashes: Hashes, order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return index pairs (into `searched`, into the unsorted hashes) with the same highest BAND_BITS bits.

    order: the index of each sorted hash among the unsorted ones. Each of `searched` is paired with at most the
    MAX_NEIGHBOURS hashes that are nearest in the sorted order.
    """
    lowest = np.uint64((1 << (64 - BAND_BITS)) - 1)
    range_start = np.searchsorted(sorted_hashes, searched & ~lowest, "left")
    range_end = np.searchsorted(sorted_hashes, searched | lowest, "right")
    position = np.searchsorted(sorted_hashes, searched, "left")
    range_start = np.maximum(range_start, np.minimum(position - MAX_NEIGHBOURS // 2, range_end - MAX_NEIGHBOURS))
    length = np.minimum(range_end - range_start, MAX_NEIGHBOURS)
    i = np.repeat(np.arange(len(searched)), length)
    index_in_range = np.arange(len(i)) - np.repeat(np.cumsum(length) - length, length)
    return i, order[np.repeat(range_start, length) + index_in_range]


THUMBNAIL_SIDE = 64  # pixels; height and width of the grey thumbnails
MAX_BITS = 12  # bits in which hashes of near duplicates differ; enough for 99 % of images cropped by 3 % at each edge
MIN_SAME_CORRELATION = 0.985  # at 32 pixels; pairs above it are near duplicates without alignment
MIN_LIKELY_CORRELATION = 0.5  # at 32 pixels; pairs below it are rejected without alignment
MIN_CORRELATIONS = (0.9, 0.94, 0.97)  # of aligned near duplicates at 16, 32 and 64 pixels
MIN_DEVIATION = 2.0  # standard deviation in grey levels; images below it are uniform, and would all match each other
MAX_ALIGNMENTS = 16  # per image, most similar pairs first; photos of similar objects, such as hands, need about 4
CHUNK_SIZE = 512  # images or pairs processed at a time

# Alignment of two images.
PYRAMID_SIDES = (16, 32, 64)  # pixels per side, from coarse to fine
FIT_STEPS = 4  # Gauss-Newton steps at each level
MAX_MAP_CHANGE = 0.25  # of any entry of the affine map, in units of half an image; beyond it the fit has diverged
MIN_OVERLAP = 0.7  # fraction of the first image that the aligned second one must cover
MIN_GAIN = 0.2  # lower limit of the fitted gain, by which the steps are divided
DAMPING = 1e-3  # relative; keeps the equations solvable for images that are constant in one direction


class DisjointSets:
    """Union-find structure: groups of n items, numbered from 0, that are merged pair by pair.

    Source: Tarjan, van Leeuwen 1984, "Worst-Case Analysis of Set Union Algorithms"; implemented with path halving.
    """

    def __init__(self, n_items: int) -> None:
        self._parent = list(range(n_items))

    def first(self, i: int) -> int:
        """Return the smallest item of the group of `i`."""
        while self._parent[i] != i:
            self._parent[i] = i = self._parent[self._parent[i]]
        return i

    def joined(self, i: int, j: int) -> bool:
        """Return whether two items are in the same group."""
        return self.first(i) == self.first(j)

    def join(self, i: int, j: int) -> bool:
        """Merge the groups of two items; return False if they were already in the same group."""
        low, high = sorted((self.first(i), self.first(j)))
        self._parent[high] = low
        return low != high


@dataclass(frozen=True)
class SimilarPair:
    """Indices of two images, first < second, and their correlation, after alignment if below MIN_SAME_CORRELATION."""

    first: int
    second: int
    similarity: float


def exact_duplicates(digests: Sequence[bytes]) -> list[SimilarPair]:
    """Return a pair for each repeated digest: the indices of its first occurrence and of itself, and similarity 1."""
    first_index: dict[bytes, int] = {}
    pairs = ((first_index.setdefault(digest, i), i) for i, digest in enumerate(digests))
    return [SimilarPair(i, j, 1.0) for i, j in pairs if i != j]


def near_duplicates(grey: Tensor, progress: Callable[[int, int], None] | None = None) -> list[SimilarPair]:
    """Return pairs of near-duplicate images.

    grey: thumbnails (N, 64, 64), 0..255. Candidates are pairs with close perceptual hashes (see `close_pairs`); they
    are verified by aligning the two images (see `aligned_correlations`). This finds copies that were scaled,
    compressed, brightened, shifted, rotated by a few degrees or cropped by up to 5 % at an edge, and frames of the same
    scene, but not mirrored copies. Uniform images are left out. For a group of k images, k - 1 connecting pairs are
    returned. A pair is not aligned if both images have already been aligned MAX_ALIGNMENTS times, which bounds the work
    for many slightly similar images, such as frames with the same background.
    progress: called with the number of pairs processed so far and the total, first while pairs are compared, then while
    they are aligned. Raises PellucidError for another shape.
    """
    if grey.dim() != 3 or tuple(grey.shape[1:]) != (THUMBNAIL_SIDE, THUMBNAIL_SIDE):
        raise PellucidError(
            f"near_duplicates: images have shape {tuple(grey.shape)}; give (N, {THUMBNAIL_SIDE}, {THUMBNAIL_SIDE})"
        )
    if not len(grey):
        return []
    reduced = torch.cat(
        [F.adaptive_avg_pool2d(chunk.float()[:, None], HASHED_SIDE)[:, 0] for chunk in grey.split(CHUNK_SIZE)]
    )
    textured_indices = torch.nonzero(reduced.flatten(1).std(1, correction=0) > MIN_DEVIATION).flatten()
    pairs = textured_indices[
        torch.from_numpy(close_pairs(perceptual_hash(reduced[textured_indices]), MAX_BITS))
    ]  # (P, 2)
    normalized = reduced.flatten(1)  # (N, 1024)
    normalized = F.normalize(normalized - normalized.mean(1, keepdim=True))
    report_progress = progress or (lambda n_done, total: None)
    values: list[Tensor] = []
    for chunk in pairs.split(CHUNK_SIZE):
        values.append((normalized[chunk[:, 0]] * normalized[chunk[:, 1]]).sum(1))
        report_progress(CHUNK_SIZE * (len(values) - 1) + len(chunk), len(pairs))
    correlations, order = torch.cat([torch.empty(0), *values]).sort(descending=True, stable=True)
    pairs = pairs[order]
    groups = DisjointSets(len(grey))
    n_same = int((correlations >= MIN_SAME_CORRELATION).sum())
    near_pairs = [
        SimilarPair(i, j, value)
        for (i, j), value in zip(pairs[:n_same].tolist(), correlations[:n_same].tolist(), strict=True)
        if groups.join(i, j)
    ]
    candidate_pairs = pairs[n_same : int((correlations >= MIN_LIKELY_CORRELATION).sum())]
    n_alignments, n_done = [0] * len(grey), 0
    for chunk in candidate_pairs.split(CHUNK_SIZE):
        to_align: list[tuple[int, int]] = []
        for i, j in chunk.tolist():
            if min(n_alignments[i], n_alignments[j]) < MAX_ALIGNMENTS and not groups.joined(i, j):
                n_alignments[i], n_alignments[j] = n_alignments[i] + 1, n_alignments[j] + 1
                to_align.append((i, j))
        indices = torch.tensor(to_align, dtype=torch.int64).reshape(-1, 2)
        similarities = aligned_correlations(grey[indices[:, 0]], grey[indices[:, 1]], MIN_CORRELATIONS)
        for (i, j), value in zip(to_align, similarities.tolist(), strict=True):
            if value and groups.join(i, j):
                near_pairs.append(SimilarPair(i, j, value))
        n_done += len(chunk)
        report_progress(n_done, len(candidate_pairs))
    return sorted(near_pairs, key=lambda pair: (pair.first, pair.second))


def aligned_correlations(a: Tensor, b: Tensor, minimums: tuple[float, ...]) -> Tensor:
    """Return the correlation (P,) of each image a[p] with b[p] after b[p] is aligned with it; 0 for rejected pairs.

    a, b: (P, 64, 64) grey. An affine map of six parameters, a gain and an offset are fitted by least squares at three
    sizes, with FIT_STEPS steps each; a pair is rejected at the first size at which its correlation is below `minimums`.
    Source: Lucas, Kanade 1981, "An Iterative Image Registration Technique"; Baker, Matthews 2004, section 3.1.
    """
    correlations = torch.zeros(len(a))
    remaining_indices = torch.arange(len(a))
    a, b = a.float()[:, None], b.float()[:, None]  # (P, 1, 64, 64)
    maps = torch.eye(2, 3).repeat(len(a), 1, 1)
    for side, minimum in zip(PYRAMID_SIDES, minimums, strict=True):
        if not len(remaining_indices):
            break
        fixed, moving = (
            F.adaptive_avg_pool2d(a[remaining_indices], side),
            F.adaptive_avg_pool2d(b[remaining_indices], side),
        )
        maps = _fit_maps(fixed, moving, maps)
        correlation = _correlation(fixed, moving, maps)
        is_accepted = correlation >= minimum
        remaining_indices, maps, correlation = (
            remaining_indices[is_accepted],
            maps[is_accepted],
            correlation[is_accepted],
        )
        if side == PYRAMID_SIDES[-1]:
            correlations[remaining_indices] = correlation
    return correlations


def _fit_maps(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    """Improve the maps (P, 2, 3) by Gauss-Newton steps on sum (fixed - gain moving(map x) - offset)^2."""
    side = fixed.shape[-1]
    dx = F.pad((moving[..., 2:] - moving[..., :-2]) * side / 4, (1, 1))  # per half image, the unit of the maps
    dy = F.pad((moving[..., 2:, :] - moving[..., :-2, :]) * side / 4, (0, 0, 1, 1))
    planes = torch.cat([moving, dx, dy], 1)  # (P, 3, S, S)
    position = (torch.arange(side) * 2 + 1) / side - 1
    y, x = (axis.flatten() for axis in torch.meshgrid(position, position, indexing="ij"))  # (S S,)
    identity = torch.eye(2, 3)
    for _ in range(FIT_STEPS):
        warped, is_inside = _warp(planes, maps)
        value, slope_x, slope_y = warped.unbind(1)  # (P, S S)
        slopes = torch.stack(
            [slope_x * x, slope_x * y, slope_x, slope_y * x, slope_y * y, slope_y, value, torch.ones_like(value)], 2
        )  # (P, S S, 8)
        weighted = (slopes * is_inside[..., None]).transpose(1, 2)
        normal_matrix = weighted @ slopes
        normal_matrix = normal_matrix + torch.diag_embed(normal_matrix.diagonal(dim1=1, dim2=2) * DAMPING + DAMPING)
        solution = torch.linalg.solve(normal_matrix, weighted @ fixed.flatten(1)[..., None])[..., 0]  # (P, 8)
        # The first six unknowns are the step of the map times the gain: divide by the gain, the seventh.
        step = solution[:, :6] / solution[:, 6:7].clamp_min(MIN_GAIN)
        maps = maps + step.reshape(-1, 2, 3).clamp(-MAX_MAP_CHANGE / 2, MAX_MAP_CHANGE / 2)
        is_diverged = (maps - identity).abs().amax((1, 2)) > MAX_MAP_CHANGE
        maps = torch.where(is_diverged[:, None, None], identity, maps)
    return maps


def _correlation(fixed: Tensor, moving: Tensor, maps: Tensor) -> Tensor:
    """Return the correlations (P,) of fixed and warped images; 0 for an overlap of less than MIN_OVERLAP."""
    warped, is_inside = _warp(moving, maps)
    centred_fixed, centred_warped = (_subtract_mean(values, is_inside) for values in (fixed.flatten(1), warped[:, 0]))
    value = (centred_fixed * centred_warped).sum(1) / (
        centred_fixed.norm(dim=1) * centred_warped.norm(dim=1)
    ).clamp_min(1e-6)  # 0 for a uniform image
    return torch.where(is_inside.mean(1) >= MIN_OVERLAP, value, 0.0)


def _subtract_mean(values: Tensor, is_inside: Tensor) -> Tensor:
    """Return values (P, S S) minus their mean over the positions where `is_inside` is 1, and 0 at other positions."""
    mean = (values * is_inside).sum(1, keepdim=True) / is_inside.sum(1, keepdim=True).clamp_min(1)
    return (values - mean) * is_inside


def _warp(planes: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return layers (P, C, S S) sampled at the mapped positions, and (P, S S) 1 for positions inside the image."""
    n_images, channels, side, _ = planes.shape
    grid = F.affine_grid(maps, [n_images, channels, side, side], align_corners=False)
    warped = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return warped.flatten(2), (grid.abs().amax(-1) <= 1).flatten(1).float()
