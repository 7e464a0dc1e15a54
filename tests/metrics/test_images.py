"""PSNR and SSIM, compared with scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pellucid.base.errors import PellucidError
from pellucid.metrics import PSNR, SSIM, fresh, ssim


@pytest.fixture
def images():
    rng = torch.Generator().manual_seed(0)
    random = torch.rand(6, 3, 20, 26, generator=rng)
    smooth = torch.nn.functional.avg_pool2d(random, 5, 1, 2, count_include_pad=False)
    noise = 0.1 * torch.randn(smooth.shape, generator=rng)
    return smooth, (smooth + noise).clamp(0, 1)


def evaluate_in_batches(metric, outputs, targets, batch_size):
    for batch in zip(outputs.split(batch_size), targets.split(batch_size), strict=True):
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_psnr_is_that_of_the_pooled_error(images, batch_size):
    first, second = images
    second[0] = 1 - second[0]  # an image with a far larger error than the others
    expected = peak_signal_noise_ratio(first.double().numpy(), second.double().numpy(), data_range=1)
    assert evaluate_in_batches(PSNR(), first, second, batch_size)["psnr"] == pytest.approx(expected, rel=1e-9)
    scaled = evaluate_in_batches(PSNR(255), first * 255, second * 255, batch_size)
    assert scaled["psnr"] == pytest.approx(expected, rel=1e-6)


def test_psnr_of_equal_images_is_infinite(images):
    assert evaluate_in_batches(PSNR(), images[0], images[0], 6)["psnr"] == math.inf


@pytest.mark.parametrize("batch_size", [1, 4])
def test_ssim_agrees_with_scikit_image(images, batch_size):
    first, second = images
    expected = [
        structural_similarity(
            x.double().numpy(), y.double().numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=1, channel_axis=0,
        )
        for x, y in zip(first, second, strict=True)
    ]  # fmt: skip
    torch.testing.assert_close(ssim(first, second), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-7)
    assert evaluate_in_batches(SSIM(), first, second, batch_size)["ssim"] == pytest.approx(np.mean(expected), abs=1e-7)


def test_images_smaller_than_the_window_have_no_ssim(images):
    first, second = images
    metric = SSIM()
    metric.update(first[..., :10, :], second[..., :10, :])
    assert math.isnan(metric.compute()["ssim"])
    metric.update(first, second)
    assert metric.compute()["ssim"] == pytest.approx(ssim(first, second).mean().item())
    with pytest.raises(PellucidError, match="sides of at least 11"):
        ssim(first[..., :10], second[..., :10])


@pytest.mark.parametrize("metric", [PSNR(), SSIM()])
def test_images_of_different_shapes_are_refused(metric, images):
    with pytest.raises(PellucidError, match=r"outputs \(6, 3, 20, 26\) and targets \(6, 1, 20, 26\)"):
        metric.update(images[0], images[1][:, :1])
    with pytest.raises(PellucidError, match="targets list"):
        metric.update(images[0], [1])


@pytest.mark.parametrize("metric", [PSNR(), SSIM()])
def test_a_fresh_copy_leaves_the_original_empty(metric, images):
    first = evaluate_in_batches(fresh(metric), *images, 4)
    assert evaluate_in_batches(fresh(metric), *images, 4) == first
    with pytest.raises(PellucidError, match="no examples were measured"):
        metric.compute()
