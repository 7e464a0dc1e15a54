"""Statistics, copies and changes of inputs, and the error of linear regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from pellucid.doctor.inputs import (
    RIDGE,
    closeness,
    digests,
    input_statistics,
    linear_error,
    scrambling,
    traits,
    undoing_changes,
)

X = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0))
CHANGED_INPUTS = {
    "not-divided": X * 255,
    "divided-twice": X / 255,
    "standardised-otherwise": X * 3 - 2,
    "reversed-channels": X[:, [2, 1, 0]],
    "reshaped": X.movedim(1, -1).reshape(X.shape),
    "mirrored": X[..., range(5, -1, -1)],
    "upside-down": X[..., range(5, -1, -1), :],
    "half-turn": torch.rot90(X, 2, (2, 3)),
    "transposed": X.mT,
    "turned-left": torch.rot90(X, 1, (2, 3)),
    "turned-right": torch.rot90(X, -1, (2, 3)),
}


@pytest.mark.parametrize("key", CHANGED_INPUTS)
def test_each_change_undoes_its_mistake(key: str) -> None:
    changed = CHANGED_INPUTS[key]
    assert torch.allclose(undoing_changes(changed, X)[key].undo(changed), X, atol=1e-5)


def test_inversion_is_undone_within_the_range() -> None:
    inverted = X.min() + X.max() - X
    assert torch.allclose(undoing_changes(inverted, X)["inverted"].undo(inverted), X, atol=1e-6)


def test_grey_images_and_vectors_have_fewer_changes() -> None:
    assert "reversed-channels" not in undoing_changes(X[:, :1], X[:, :1])
    assert set(undoing_changes(X.flatten(1), X.flatten(1))) == {"not-divided", "divided-twice"}


def test_traits_are_moments_of_channels_and_differences_of_means() -> None:
    computed = traits(X)
    assert torch.allclose(computed[:, :3], X.mean((2, 3)))
    assert torch.allclose(computed[:, 3:6], X.flatten(2).std(2, correction=0))
    assert torch.allclose(computed[:, 6], X[:, 1].mean((1, 2)) - X[:, 0].mean((1, 2)), atol=1e-6)
    assert traits(X[:, :, 0, :2].flatten(1)).shape == (12, 6)
    assert traits(X.flatten(1)).shape == (12, 2)


def random_images(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_equal_examples_have_equal_digests() -> None:
    x = random_images(5, 0)
    x[3] = x[1]
    hashes = digests(x)
    assert [i for i in range(5) if hashes[i] == hashes[1]] == [1, 3]
    assert len(digests((x * 255).byte())) == 5


def test_a_copy_is_nearest_to_its_original_by_far() -> None:
    among = random_images(60, 0)
    indices, nearest, quotient, _ = closeness(0.5 * among[[7, 9]] + 0.2, among, seed=0)
    assert (indices.tolist(), nearest.tolist()) == ([0, 1], [7, 9])
    assert float(quotient.max()) < 0.01


def test_blank_images_are_no_copies() -> None:
    x = random_images(60, 0)
    x[:20] = torch.linspace(0, 1, 20)[:, None, None, None].round()
    assert {*digests(x)[:20]} == {b""}
    sampled, nearest, quotient, _ = closeness(x, x, seed=0, is_same_set=True)
    assert int(torch.cat([sampled, nearest]).min()) >= 20
    assert float(quotient.min()) > 0.5


def smooth_images(channels: int, height: int, width: int, noise: float) -> torch.Tensor:
    """Return images whose neighbouring pixels are alike, and whose channels are alike."""
    rng = torch.Generator().manual_seed(height)
    coarse = torch.rand(40, 1, 5, 5, generator=rng) + 0.2 * torch.rand(40, channels, 1, 1, generator=rng)
    x = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return x + noise * torch.rand(x.shape, generator=rng)


@pytest.mark.parametrize(("channels", "height", "width"), [(3, 32, 32), (3, 24, 40), (4, 48, 20), (2, 28, 28)])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_images_that_were_reshaped_are_smooth_with_their_axes_exchanged(
    channels: int, height: int, width: int, noise: float
) -> None:
    x = smooth_images(channels, height, width, noise)
    assert scrambling(x) is None
    rows_last = x.movedim(1, -1)
    for reshaped in (rows_last.reshape(x.shape), x.reshape(rows_last.shape).movedim(-1, 1)):
        found = scrambling(2 * reshaped - 1)
        assert found is not None
        assert torch.equal(found[0].undo(reshaped), x)


@pytest.mark.parametrize("shape", [(40, 3, 32, 32), (40, 1, 32, 32), (40, 3, 4, 4), (40, 30)])
def test_noise_grey_images_tiny_images_and_vectors_are_not_called_reshaped(shape: tuple[int, ...]) -> None:
    assert scrambling(torch.rand(shape, generator=torch.Generator().manual_seed(0))) is None


def test_an_image_is_not_its_own_neighbour() -> None:
    x = random_images(60, 0)
    indices, nearest, quotient, _ = closeness(x, x, seed=0, is_same_set=True)
    assert not bool((indices == nearest).any())
    assert float(quotient.min()) > 0.5


INPUTS = torch.tensor([3.0, -1.0])[:, None, None] + torch.randn(10, 2, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [1, 3, 10, 99])
def test_batches_give_the_same_results_as_all_inputs_at_once(batch_size: int) -> None:
    statistics = input_statistics(INPUTS.split(batch_size))
    assert statistics.mean == pytest.approx(float(INPUTS.mean()), rel=1e-5)
    assert statistics.std == pytest.approx(float(INPUTS.std(correction=0)), rel=1e-5)
    assert (statistics.mean**2 + statistics.std**2) ** 0.5 == pytest.approx(
        float(INPUTS.square().mean().sqrt()), rel=1e-5
    )
    assert torch.allclose(statistics.channels.float(), INPUTS.square().mean((0, 2, 3)).sqrt())
    assert torch.equal(statistics.low.float(), INPUTS.amin((0, 2, 3)))
    assert torch.equal(statistics.high.float(), INPUTS.amax((0, 2, 3)))


def test_constant_inputs_have_a_deviation_of_0() -> None:
    assert input_statistics([torch.full((7, 3), 0.1)]).std == 0


def test_the_linear_error_is_that_of_ridge_regression() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 8, generator=rng), torch.randn(60, 2, generator=rng)
    fit, held_out = x[:30].double().numpy(), x[30:].double().numpy()
    centred = fit - fit.mean(0)
    ridge = Ridge(RIDGE * float((centred**2).sum(1).mean())).fit(fit, y[:30].numpy())
    expected = float(np.square(ridge.predict(held_out) - y[30:].numpy()).mean())
    assert abs(linear_error(x, y) - expected) < 1e-6 * expected


def test_the_linear_error_of_constant_inputs_is_that_of_the_mean() -> None:
    y = torch.arange(10.0)
    assert abs(linear_error(torch.ones(10, 3), y) - float((y[5:] - y[:5].mean()).square().mean())) < 1e-9
