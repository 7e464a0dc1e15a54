"""Sharpness against SciPy's Laplacian, and copies that Pillow blurred."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import laplace

from pellucid.data.quality import blurry, sharpness
from pellucid.errors import PellucidError
from tests.data.quality.photos import photo


def grey(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("L")))


def values(images: list[Image.Image]) -> torch.Tensor:
    return torch.tensor([sharpness(grey(image)) for image in images])


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def test_sharpness_is_the_variance_of_the_laplacian_over_that_of_the_gradients():
    x = grey(photo(0))
    array = x.double().numpy()
    rounding = 1 / 12  # its variance; the Laplacian weighs it by 4^2 + 4, a difference by 2
    gradients = np.diff(array, axis=0).var() + np.diff(array, axis=1).var() - 4 * rounding
    expected = (laplace(array)[1:-1, 1:-1].var() - 20 * rounding) / gradients
    assert sharpness(x) == pytest.approx(expected, rel=1e-4)


def test_contrast_and_brightness_do_not_count():
    image = photo(1)
    faint = image.point(lambda value: round(0.3 * value + 90))
    assert sharpness(grey(faint)) == pytest.approx(sharpness(grey(image)), rel=0.02)


@pytest.mark.parametrize("radius", [1.5, 2, 4])
def test_a_few_blurred_among_sharp_ones_are_found(radius):
    images = [photo(seed) for seed in range(30)]
    images[4], images[17] = blurred(images[4], radius), blurred(images[17], radius)
    assert torch.nonzero(blurry(values(images))).flatten().tolist() == [4, 17]


@pytest.mark.parametrize("radius", [0, 0.3])
def test_sharp_collections_are_left_in_peace(radius):
    assert not blurry(values([blurred(photo(seed), radius) for seed in range(40)])).any()


def test_where_all_are_blurred_all_are_found():
    assert blurry(values([blurred(photo(seed), 3) for seed in range(20)])).all()


def test_two_values_far_apart_are_no_statistics():
    assert blurry(torch.tensor([2.0, 1.0])).tolist() == [False, False]
    assert blurry(torch.tensor([2.0, 0.1])).tolist() == [False, True]
    assert blurry(torch.tensor([])).tolist() == []


def test_a_picture_that_shows_nothing_has_no_sharpness():
    assert sharpness(torch.full((20, 20), 77)) == 0
    assert blurry(torch.tensor([2.0, 2.0, 0.0])).tolist() == [False, False, True]


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (1, 9, 9)])
def test_too_small_pictures_are_refused(shape):
    with pytest.raises(PellucidError, match="at least 3 x 3"):
        sharpness(torch.zeros(shape))


@pytest.mark.real
def test_signs_are_sharp_and_their_blurred_copies_are_not(real):
    images = [Image.open(file) for file in sorted(real("signs").glob("val/*/*.jpg"))]
    sharp = values(images)
    assert not blurry(sharp).any()
    soft = values([blurred(image, 1.5) for image in images[:20]])
    assert torch.nonzero(blurry(torch.cat([sharp, soft]))).flatten().tolist() == list(range(309, 329))
