"""Dropout drops the given fraction of entries or channels, and only in training."""

import torch

from pellucid.layers import Dropout, Mode


def training_mode(seed: int) -> Mode:
    return Mode(train=True, rng=torch.Generator().manual_seed(seed))


def test_zeros_have_the_fraction_rate_and_the_mean_is_preserved() -> None:
    x = torch.ones(200, 500)
    for rate in (0.1, 0.5, 0.8):
        y, _ = Dropout(rate).forward({}, x, training_mode(1))
        zero_fraction = (y == 0).double().mean().item()
        standard_error = (rate * (1 - rate) / x.numel()) ** 0.5
        assert abs(zero_fraction - rate) < 5 * standard_error
        assert torch.allclose(y[y != 0], torch.tensor(1 / (1 - rate)))
        assert abs(y.double().mean().item() - 1) < 5 * standard_error / (1 - rate)


def test_the_mask_depends_on_the_seed() -> None:
    x = torch.randn(4, 30)
    first, _ = Dropout().forward({}, x, training_mode(3))
    assert torch.equal(Dropout().forward({}, x, training_mode(3))[0], first)
    assert not torch.equal(Dropout().forward({}, x, training_mode(4))[0], first)


def test_successive_masks_of_one_generator_differ() -> None:
    mode = training_mode(5)
    x = torch.ones(4, 30)
    first, second = (Dropout().forward({}, x, mode)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_dy_is_scaled_by_the_mask_of_the_forward_pass() -> None:
    x = torch.ones(5, 40)
    y, cache = Dropout(0.25).forward({}, x, training_mode(7))
    dx, _ = Dropout(0.25).backward({}, cache, torch.ones(5, 40))
    assert torch.equal(dx, y)


def test_in_evaluation_x_and_dy_are_returned_unchanged() -> None:
    x, dy = torch.randn(3, 4), torch.randn(3, 4)
    y, cache = Dropout(0.9).forward({}, x, Mode())
    assert torch.equal(y, x)
    assert torch.equal(Dropout(0.9).backward({}, cache, dy)[0], dy)
    assert cache.mask.untyped_storage().nbytes() == 1


def test_the_mask_takes_one_byte_per_element() -> None:
    x = torch.randn(3, 4, dtype=torch.float64)
    _, cache = Dropout(0.9).forward({}, x, training_mode(1))
    assert cache.mask.untyped_storage().nbytes() == x.numel()


def test_channel_dropout_keeps_or_drops_whole_channels() -> None:
    x = torch.ones(50, 40, 3, 5)
    y, cache = Dropout(0.3, channels=True).forward({}, x, training_mode(2))
    assert torch.equal(y, y[:, :, :1, :1].expand_as(y))
    standard_error = (0.3 * 0.7 / 2000) ** 0.5
    assert abs((y == 0).double().mean().item() - 0.3) < 5 * standard_error
    assert cache.mask.shape == (50, 40, 1, 1)
    assert torch.equal(Dropout(0.3, channels=True).backward({}, cache, x)[0], y)
