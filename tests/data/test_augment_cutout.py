"""Covered squares: where they lie, how large they are, and what covers them."""

import numpy as np
import pytest
import torch

from pellucid.data import Augment
from pellucid.data.augment.colour import cutout
from pellucid.errors import PellucidError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_each_picture_has_one_square_of_its_mean_colour() -> None:
    x = torch.rand(200, 3, 20, 24, generator=generator(1))
    y = cutout(x, 6, generator())
    assert y.shape == x.shape
    sizes = set()
    for before, after in zip(x.numpy(), y.numpy(), strict=True):
        changed = (before != after).any(0)
        rows, columns = np.nonzero(changed.any(1))[0], np.nonzero(changed.any(0))[0]
        inside = after[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert changed.sum() == inside[0].size  # one rectangle
        np.testing.assert_allclose(inside, np.broadcast_to(before.mean((1, 2))[:, None, None], inside.shape), rtol=1e-5)
        sizes.add(inside.shape[1:])
    assert max(sizes) == (6, 6)
    assert all(3 <= h <= 6 and 3 <= w <= 6 for h, w in sizes)  # half of it at least is within


def test_every_pixel_is_covered_about_as_often_away_from_the_edges() -> None:
    x = torch.ones(20_000, 1, 12, 12)
    x[:, :, 0, 0] = 0.0  # so that no mean is 1
    covered = (cutout(x, 4, generator()) != x).float().mean((0, 1))[4:-4, 4:-4]
    expected = 16 / 144
    assert float((covered - expected).abs().max()) < 4 * (expected / 20_000) ** 0.5


def test_the_input_stays_and_the_seed_decides() -> None:
    x = torch.rand(5, 3, 8, 8, generator=generator(2))
    kept = x.clone()
    first = Augment(cutout=3)(x, generator(7))
    assert torch.equal(x, kept)
    assert torch.equal(first, Augment(cutout=3)(x, generator(7)))
    assert not torch.equal(first, Augment(cutout=3)(x, generator(8)))


def test_no_side_is_refused() -> None:
    with pytest.raises(PellucidError, match="side is 0"):
        cutout(torch.rand(1, 1, 4, 4), 0, generator())
