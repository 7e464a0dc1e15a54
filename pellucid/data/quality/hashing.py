"""Perceptual hashes of 64 bits, and a search for close ones that does not compare all pairs."""

import math
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

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
    low = (cosine @ reduced @ cosine.T).flatten(1)[:, 1:]  # (N, 63)
    bits = (low > low.median(1, keepdim=True).values).numpy()
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
    n = len(hashes)
    match_counts = np.zeros(n, np.int64)
    for flips in range(MAX_FLIPS + 1):
        for band in range(BANDS):
            rotated = _rotate_bits(hashes, band)
            order = np.argsort(rotated, kind="stable")
            sorted_hashes = rotated[order]
            for bits in combinations(range(BAND_BITS), flips):
                is_searched = np.nonzero(match_counts < MAX_MATCHES)[0]
                change = np.uint64(sum(1 << (64 - BAND_BITS + bit) for bit in bits))
                i, j = _find_matches(rotated[is_searched] ^ change, sorted_hashes, order)
                i = is_searched[i]
                is_close = (i != j) & (differing_bits(hashes[i], hashes[j]) <= distance)
                keys = np.unique(np.minimum(i, j)[is_close] * n + np.maximum(i, j)[is_close])
                match_counts += np.bincount(keys // n, minlength=n) + np.bincount(keys % n, minlength=n)
                pairs.append(keys)
    keys = np.unique(np.concatenate(pairs))
    return np.stack([keys // n, keys % n], 1) if n else np.empty((0, 2), np.int64)


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
    first = np.searchsorted(sorted_hashes, searched & ~lowest, "left")
    last = np.searchsorted(sorted_hashes, searched | lowest, "right")
    position = np.searchsorted(sorted_hashes, searched, "left")
    first = np.maximum(first, np.minimum(position - MAX_NEIGHBOURS // 2, last - MAX_NEIGHBOURS))
    length = np.minimum(last - first, MAX_NEIGHBOURS)
    i = np.repeat(np.arange(len(searched)), length)
    index_in_range = np.arange(len(i)) - np.repeat(np.cumsum(length) - length, length)
    return i, order[np.repeat(first, length) + index_in_range]
