"""Perceptual hashes compared with SciPy's cosine transform, and close pairs compared with a search of all pairs."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pellucid.data.quality.duplicates import close_pairs, differing_bits, perceptual_hash
from tests.data.quality.photos import COPIES, photo, thumbnail

MAX_CERTAIN_DISTANCE = 11  # bits; up to this distance every pair is found


def n_differing_bits(a, b) -> int:
    return (int(a) ^ int(b)).bit_count()


def close_pairs_by_hand(hashes, distance):
    return {(i, j) for (i, a), (j, b) in combinations(enumerate(hashes), 2) if n_differing_bits(a, b) <= distance}


def test_bits_mark_frequencies_above_the_median():
    grey = torch.stack([thumbnail(photo(seed)) for seed in range(8)])
    for image, value in zip(grey, perceptual_hash(grey), strict=True):
        averaged = image.double().reshape(32, 2, 32, 2).mean((1, 3)).numpy()
        low = dctn(averaged, norm=None)[:8, :8].flatten()[1:]
        expected = sum(1 << k for k, one in enumerate(low > np.median(low)) if one)
        assert n_differing_bits(value, expected) <= 2, "but for a tie at the median"


def test_a_copy_differs_in_few_bits_and_another_photo_in_many():
    image, other_image = photo(0), photo(1)
    copies = [thumbnail(make(image)) for make in COPIES.values()]
    first, second, *rest = perceptual_hash(torch.stack([thumbnail(image), thumbnail(other_image), *copies]))
    assert max(n_differing_bits(first, copy) for copy in rest) <= 12
    assert n_differing_bits(first, second) > 16


def test_differing_bits_counts():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2**64, (2, 100), dtype=np.uint64, endpoint=False)
    assert differing_bits(a, b).tolist() == [n_differing_bits(x, y) for x, y in zip(a, b, strict=True)]
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert differing_bits(ends, ends[::-1]).tolist() == [64, 64]


@pytest.mark.parametrize("distance", [0, 3, MAX_CERTAIN_DISTANCE])
def test_all_close_pairs_are_found(distance):
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 2**64, 60, dtype=np.uint64, endpoint=False)
    flipped = [
        int(centre) ^ sum(1 << int(bit) for bit in rng.choice(64, rng.integers(0, 9), replace=False))
        for centre in np.repeat(centres, 5)
    ]
    hashes = np.array(flipped, np.uint64)
    actual = close_pairs(hashes, distance)
    expected = close_pairs_by_hand(hashes, distance)
    assert len(expected) > 5 or distance == 0
    assert {(i, j) for i, j in actual.tolist()} == expected
    assert len(actual) == len(expected), "each once"


def test_thousands_of_similar_hashes_are_connected_by_few_pairs():
    n = 3000
    rng = np.random.default_rng(1)
    hashes = np.array([1 << int(bit) for bit in rng.integers(0, 64, n)], np.uint64)  # any two differ in 2 bits or none
    pairs = close_pairs(hashes, 4)
    count, _ = connected_components(coo_array((np.ones(len(pairs)), pairs.T), (n, n)), directed=False)
    assert count == 1
    assert len(pairs) < n * n / 8


def test_no_hashes_have_no_pairs():
    assert close_pairs(np.empty(0, np.uint64), MAX_CERTAIN_DISTANCE).shape == (0, 2)
    assert close_pairs(np.zeros(1, np.uint64), MAX_CERTAIN_DISTANCE).shape == (0, 2)
