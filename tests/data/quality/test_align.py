"""Laying one picture on another, undone by what Pillow did."""

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.data.quality.duplicates import alike
from tests.data.quality.photos import photo, small

NONE = (-1.0, -1.0, -1.0)  # give nothing up


def moved(image: Image.Image, scale: float, dx: float, dy: float) -> Image.Image:
    """Return the part of a picture that an affine map looks at, by Pillow."""
    w, h = image.size
    return image.transform(
        (w, h), Image.Transform.AFFINE, (scale, 0, dx * w, 0, scale, dy * h), Image.Resampling.BICUBIC
    )


def correlation(a, b) -> float:
    return float(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1])


@pytest.mark.parametrize(("scale", "dx", "dy"), [(0.9, 0.05, 0.05), (0.95, 0, 0.05), (0.92, 0.08, 0), (0.9, 0, 0)])
def test_what_was_cut_or_shifted_fits_again(scale, dx, dy):
    one = photo(3)
    a, b = small(moved(one, scale, dx, dy)), small(one)
    value = float(alike(a[None], b[None], NONE)[0])
    assert value > 0.98
    assert value > correlation(a, b) + 0.05, "as they lie, they fit less"


def test_gain_and_offset_do_not_count():
    a = small(photo(4)).float()
    assert float(alike(a[None], (0.5 * a + 30)[None], NONE)[0]) == pytest.approx(1, abs=1e-3)


def test_other_photos_do_not_fit_and_are_given_up():
    a, b = (torch.stack([small(photo(seed)) for seed in seeds]) for seeds in (range(0, 8), range(8, 16)))
    assert float(alike(a, b, NONE).max()) < 0.9
    assert alike(a, b, (0.9, 0.94, 0.97)).tolist() == [0.0] * 8


def test_each_pair_is_on_its_own():
    a, b = torch.stack([small(photo(0)), small(photo(1))]), torch.stack([small(photo(0)), small(photo(2))])
    together = alike(a, b, (0.9, 0.94, 0.97))
    assert float(together[0]) > 0.999
    assert float(together[1]) == 0
    assert len(alike(a[:0], b[:0], NONE)) == 0
