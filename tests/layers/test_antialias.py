"""Antialiased resizing equals Pillow's, as in torchvision and Keras."""

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.layers import Mode, Upsample

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("size", [(5, 7), (40, 11), (8, 50), (30, 1), (1, 9), (1, 1)])
def test_an_image_is_resized_as_by_pillow(kind: str, size: tuple[int, int]) -> None:
    image = torch.rand(23, 31, generator=torch.Generator().manual_seed(3))
    y, _ = Upsample(size=size, kind=kind, antialias=True).forward({}, image[None, None], Mode())
    expected = Image.fromarray(image.numpy()).resize((size[1], size[0]), FILTERS[kind])
    torch.testing.assert_close(y[0, 0], torch.from_numpy(np.array(expected)), rtol=0, atol=1e-5)


def test_every_pixel_contributes_to_an_antialiased_smaller_image() -> None:
    """Without antialiasing, a bilinear image of a third of the size depends on one row of three only."""
    x = torch.zeros(1, 1, 9, 9)
    x[:, :, ::3] = 1
    layer = Upsample(size=3, kind="bilinear", antialias=True)
    y, cache = layer.forward({}, x, Mode())
    dx, _ = layer.backward({}, cache, torch.ones_like(y))
    not_antialiased, _ = Upsample(size=3, kind="bilinear").forward({}, x, Mode())
    assert not_antialiased.eq(0).all()
    assert y.gt(0.2).all()
    assert dx.gt(0).all()
