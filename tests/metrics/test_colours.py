"""Metrics of colours compared with scikit-image and closed forms."""

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab

from pellucid.base.errors import PellucidError
from pellucid.data import Batch
from pellucid.metrics import Colours, DeltaE, ab_histogram, colourfulness_lab, colourfulness_rgb, fresh, overlap


def channels_last(images):
    return images.movedim(1, -1).double().numpy()


@pytest.fixture
def images():
    """Images (8, 3, 6, 7) of moderate colours, so colours with similar a and b are inside the gamut."""
    return torch.rand(8, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


@pytest.fixture
def ab(images):
    """Half of the true a and b with a little noise, (8, 2, 6, 7)."""
    rng = torch.Generator().manual_seed(1)
    true = torch.from_numpy(rgb2lab(channels_last(images))).movedim(-1, 1)[:, 1:].float()
    return true / 2 + torch.randn(true.shape, generator=rng)


def evaluate_in_batches(metric, outputs, images, size):
    for batch_outputs, batch in zip(outputs.split(size), images.split(size), strict=True):
        metric.update_batch(batch_outputs, Batch(batch, torch.zeros(len(batch))))
    return metric.compute()


def recolour_by_skimage(images, ab):
    lab = rgb2lab(channels_last(images))
    lab[..., 1:] = channels_last(ab)
    return lab2rgb(lab)


def hasler_colourfulness(rgb):
    """Return M3 of one image (H, W, 3) with values in 0..1, which are scaled to 0..255."""
    r, g, b = np.moveaxis(rgb * 255, -1, 0)
    rg, yb = r - g, 0.5 * (r + g) - b
    return np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)


def ab_fractions(ab):
    """Return the histogram of a, b (N, H, W, 2), as fractions; bins are 10 wide, with one centred on 0."""
    edges = np.arange(-115, 116, 10)
    flat = ab.reshape(-1, 2)
    return np.histogram2d(flat[:, 0], flat[:, 1], [edges, edges])[0] / len(flat)


def test_colourfulness_in_rgb_and_lab_equals_its_definition(images):
    expected = [hasler_colourfulness(image) for image in channels_last(images)]
    torch.testing.assert_close(colourfulness_rgb(images), torch.tensor(expected).float(), rtol=1e-5, atol=0)
    lab = torch.from_numpy(rgb2lab(channels_last(images))).movedim(-1, 1)
    pairs = lab[:, 1:].numpy().reshape(8, 2, -1)
    expected = np.sqrt(pairs.var(-1).sum(1)) + 0.37 * np.sqrt((pairs.mean(-1) ** 2).sum(1))
    torch.testing.assert_close(colourfulness_lab(lab), torch.from_numpy(expected), rtol=1e-9, atol=0)


def test_colourfulness_equals_the_closed_form():
    """For red and green pixels in equal numbers, R - G is +255 or -255, and (R + G) / 2 - B is 127.5."""
    red_and_green = torch.zeros(1, 3, 2, 2)
    red_and_green[:, 0, 0] = red_and_green[:, 1, 1] = 1
    assert colourfulness_rgb(red_and_green).item() == pytest.approx(255 + 0.3 * 127.5)
    assert colourfulness_rgb(torch.full((1, 3, 4, 4), 0.4)).item() == 0
    lab = torch.tensor([30.0, 40.0])[None, :, None, None].expand(1, 2, 3, 3)
    assert colourfulness_lab(torch.cat((torch.zeros(1, 1, 3, 3), lab), 1)).item() == pytest.approx(0.37 * 50)


def test_the_histogram_counts_every_pixel():
    lab = torch.tensor([[50.0, 4.9, -4.9], [50.0, 5.1, 14.9], [50.0, 400.0, -400.0]]).T[None, :, None]
    result = ab_histogram(lab)
    assert result.shape == (23, 23)
    assert result.sum() == 3
    assert result[11, 11] == result[12, 12] == result[22, 0] == 1


def test_overlap_is_the_sum_of_the_smaller_fractions():
    first, second = torch.tensor([[4.0, 0], [0, 4]]), torch.tensor([[1.0, 3], [0, 0]])
    assert overlap(first, second) == pytest.approx(0.25)
    assert overlap(first, first) == 1


@pytest.mark.parametrize("size", [1, 3, 8])
def test_colours_agree_with_scikit_image(images, ab, size):
    result = evaluate_in_batches(Colours(), ab, images, size)
    true, grey, predicted = channels_last(images), recolour_by_skimage(images, ab * 0), recolour_by_skimage(images, ab)
    assert result["psnr"] == pytest.approx(-10 * np.log10(((predicted - true) ** 2).mean()), abs=1e-3)
    assert result["psnr_grey"] == pytest.approx(-10 * np.log10(((grey - true) ** 2).mean()), abs=1e-3)
    histograms = [ab_fractions(rgb2lab(image)[..., 1:]) for image in (true, predicted, grey)]
    assert result["ab_overlap"] == pytest.approx(np.minimum(histograms[0], histograms[1]).sum(), abs=1e-9)
    assert result["ab_overlap_grey"] == pytest.approx(np.minimum(histograms[0], histograms[2]).sum(), abs=1e-9)
    assert result["colourfulness"] == pytest.approx(
        np.mean([hasler_colourfulness(image) for image in predicted]), abs=0.01
    )
    assert result["colourfulness_true"] == pytest.approx(
        np.mean([hasler_colourfulness(image) for image in true]), abs=1e-4
    )
    assert result["psnr"] > result["psnr_grey"]


@pytest.mark.parametrize("size", [1, 3, 8])
def test_delta_e_agrees_with_scikit_image(images, ab, size):
    actual = evaluate_in_batches(DeltaE(), ab, images, size)
    true = rgb2lab(channels_last(images))
    for name, predicted_ab in (("delta_e", ab), ("delta_e_grey", ab * 0)):
        expected = deltaE_ciede2000(rgb2lab(recolour_by_skimage(images, predicted_ab)), true).mean()
        assert actual[name] == pytest.approx(expected, abs=1e-3)
    assert DeltaE.lower_is_better


@pytest.mark.parametrize("metric", [Colours(), DeltaE()])
def test_a_fresh_copy_leaves_the_original_empty(metric, images, ab):
    first = evaluate_in_batches(fresh(metric), ab, images, 4)
    assert evaluate_in_batches(fresh(metric), ab, images, 4) == first
    with pytest.raises(PellucidError, match="no examples were measured"):
        metric.compute()


@pytest.mark.parametrize("metric", [Colours(), DeltaE()])
def test_outputs_other_than_a_and_b_are_refused(metric, images, ab):
    for outputs, batch_images in ((images, images), (ab, images[:, :1]), (ab[..., 1:], images)):
        with pytest.raises(PellucidError, match="are not a and b"):
            metric.update_batch(outputs, Batch(batch_images, torch.zeros(8)))
