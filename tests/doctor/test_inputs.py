"""Sizes, copies and changes of inputs, and linear regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from pellucid.data import FeatureStats
from pellucid.doctor.inputs import RIDGE, changes, closeness, digests, linear_error, sizes, traits

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
    places, nearest, quotient, _ = closeness(x, x, seed=0, is_same_set=True)
    assert not bool((places == nearest).any())
    assert float(quotient.min()) > 0.5


SHIFTED = torch.tensor([3.0, -1.0])[:, None, None] + torch.randn(
    10, 2, 4, 5, generator=torch.Generator().manual_seed(0)
)


@pytest.mark.parametrize("few", [1, 3, 10, 99])
def test_batches_give_the_same_results_as_all_inputs_at_once(few: int) -> None:
    found = sizes(SHIFTED.split(few))
    assert found.mean == pytest.approx(float(SHIFTED.mean()), rel=1e-5)
    assert found.std == pytest.approx(float(SHIFTED.std(correction=0)), rel=1e-5)
    assert found.rms == pytest.approx(float(SHIFTED.square().mean().sqrt()), rel=1e-5)
    assert torch.allclose(found.channels.float(), SHIFTED.square().mean((0, 2, 3)).sqrt())
    assert torch.equal(found.low.float(), SHIFTED.amin((0, 2, 3)))
    assert torch.equal(found.high.float(), SHIFTED.amax((0, 2, 3)))


def test_what_never_varies_has_no_deviation() -> None:
    assert sizes([torch.full((7, 3), 0.1)]).std == 0


def test_it_is_ridge_regression() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 8, generator=rng), torch.randn(60, 2, generator=rng)
    fit, rest = x[:30].double().numpy(), x[30:].double().numpy()
    centred = fit - fit.mean(0)
    oracle = Ridge(RIDGE * float((centred**2).sum(1).mean())).fit(fit, y[:30].numpy())
    expected = float(np.square(oracle.predict(rest) - y[30:].numpy()).mean())
    assert abs(linear_error(x, y) - expected) < 1e-6 * expected


def test_constant_inputs_predict_the_mean() -> None:
    y = torch.arange(10.0)
    assert abs(linear_error(torch.ones(10, 3), y) - float((y[5:] - y[:5].mean()).square().mean())) < 1e-9
