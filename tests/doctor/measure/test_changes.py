"""Mistakes with pictures, undone."""

import pytest
import torch

from pellucid.data import FeatureStats
from pellucid.doctor.measure.changes import changes, traits

X = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
STATS = FeatureStats(torch.tensor([0.1, 0.2, 0.3])[:, None, None], torch.tensor([0.5, 0.6, 0.7])[:, None, None])
MADE = {
    "not divided by 255": X * 255,
    "divided by 255 once more": X / 255,
    "standardised otherwise": X * 3 - 2,
    "standardised twice": STATS.apply(X),
    "standardised not at all": X * STATS.std + STATS.mean,
    "with channels in reverse order, BGR for RGB": X[:, [2, 1, 0]],
    "reshaped where axes should be exchanged": X.movedim(1, -1).reshape(X.shape),
    "mirrored": X[..., range(5, -1, -1)],
    "upside down": X[..., range(5, -1, -1), :],
    "turned by 180 degrees": torch.rot90(X, 2, (2, 3)),
    "with rows and columns exchanged": X.mT,
    "turned by 90 degrees anticlockwise": torch.rot90(X, 1, (2, 3)),
    "turned by 90 degrees clockwise": torch.rot90(X, -1, (2, 3)),
}


@pytest.mark.parametrize("name", MADE)
def test_each_change_undoes_its_mistake(name: str) -> None:
    wrong = MADE[name]
    assert torch.allclose(changes(wrong, X, STATS)[name](wrong), X, atol=1e-5)


def test_inverting_keeps_the_range() -> None:
    wrong = X.min() + X.max() - X
    assert torch.allclose(changes(wrong, X, None)["inverted"](wrong), X, atol=1e-6)


def test_grey_pictures_and_vectors_have_fewer() -> None:
    assert not any("channels" in name for name in changes(X[:, :1], X[:, :1], None))
    assert set(changes(X.flatten(1), X.flatten(1), None)) == {"not divided by 255", "divided by 255 once more"}


def test_traits_are_moments_of_channels_and_how_far_they_are_apart() -> None:
    found = traits(X)
    assert torch.allclose(found[:, :3], X.mean((2, 3)))
    assert torch.allclose(found[:, 3:6], X.flatten(2).std(2, correction=0))
    assert torch.allclose(found[:, 6], X[:, 1].mean((1, 2)) - X[:, 0].mean((1, 2)), atol=1e-6)
    assert traits(X[:, :, 0, :2].flatten(1)).shape == (12, 6)
    assert traits(X.flatten(1)).shape == (12, 2)
