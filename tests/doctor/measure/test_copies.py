"""Copies, bit by bit and nearly."""

import torch

from pellucid.doctor.measure.copies import closeness, digests


def pictures(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_equal_examples_have_equal_digests() -> None:
    x = pictures(5, 0)
    x[3] = x[1]
    found = digests(x)
    assert [i for i in range(5) if found[i] == found[1]] == [1, 3]
    assert len(digests((x * 255).byte())) == 5


def test_a_copy_is_nearest_to_its_original_by_far() -> None:
    among = pictures(60, 0)
    places, nearest, quotient, _ = closeness(0.5 * among[[7, 9]] + 0.2, among, seed=0)
    assert (places.tolist(), nearest.tolist()) == ([0, 1], [7, 9])
    assert float(quotient.max()) < 0.01


def test_a_picture_is_no_neighbour_of_its_own() -> None:
    x = pictures(60, 0)
    places, nearest, quotient, _ = closeness(x, x, seed=0, same=True)
    assert not bool((places == nearest).any())
    assert float(quotient.min()) > 0.5
