"""Windows and mirror images, by hand."""

import numpy as np
import pytest
import torch

from pellucid.data.augment import horizontal_flip, random_crop, resized_crop, vertical_flip
from pellucid.data.seeds import generator
from pellucid.errors import PellucidError

NUMPY_MODE = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}


@pytest.mark.parametrize(("flip", "axis"), [(horizontal_flip, 3), (vertical_flip, 2)])
def test_half_of_the_pictures_are_mirrored(flip, axis):
    x = torch.rand(1000, 2, 3, 4, generator=generator(0))
    y = flip(x, generator(1))
    mirrored = np.flip(x.numpy(), axis)
    changed = [bool(np.array_equal(a, b)) for a, b in zip(y.numpy(), mirrored, strict=True)]
    kept = [bool(torch.equal(a, b)) for a, b in zip(y, x, strict=True)]
    assert all(a != b for a, b in zip(changed, kept, strict=True))
    assert 440 < sum(changed) < 560


@pytest.mark.parametrize("fill", list(NUMPY_MODE))
@pytest.mark.parametrize("size", [None, (2, 6)])
def test_crops_are_windows_of_numpys_padding_and_every_window_comes(fill, size):
    x = torch.rand(1, 2, 4, 5, generator=generator(0)).repeat(1500, 1, 1, 1)
    padding = 6 if fill in ("wrap", "reflect") else 2  # further than the picture is wide
    options = {"constant_values": 0.5} if fill == "constant" else {}
    pad = ((0, 0), (padding, padding), (padding, padding))
    padded = np.pad(x[0].numpy(), pad, mode=NUMPY_MODE[fill], **options)
    rows, columns = size or (4, 5)
    windows = {
        padded[:, i : i + rows, j : j + columns].tobytes()
        for i in range(padded.shape[1] - rows + 1)
        for j in range(padded.shape[2] - columns + 1)
    }
    y = random_crop(x, padding, generator(1), fill, 0.5, size)
    assert {picture.numpy().tobytes() for picture in y} == windows


def test_crop_places_are_uniform():
    x = torch.arange(5.0).reshape(1, 1, 1, 5).repeat(5000, 1, 1, 1)
    y = random_crop(x, 0, generator(0), size=(1, 1)).flatten()
    assert torch.allclose(torch.bincount(y.long()) / 5000, torch.tensor(0.2), atol=0.025)


def test_a_window_that_is_too_large_is_refused():
    with pytest.raises(PellucidError, match="larger than 4x4 padded by 1"):
        random_crop(torch.zeros(1, 1, 4, 4), 1, generator(0), size=(7, 4))


def test_a_resized_crop_shows_a_box_of_the_right_area_and_shape():
    """On pictures of their own coordinates, the ends of a row and a column tell the box."""
    n, h, w = 500, 40, 60
    v, u = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    x = torch.stack((u, v)).float().expand(n, 2, h, w)
    y = resized_crop(x, (8, 8), generator(0), scale=(0.25, 0.5))
    inner = slice(2, 6)  # away from the border, where the sampling is clamped
    width = (y[:, 0, 4, inner].diff(dim=1).mean(dim=1)) * 8
    height = (y[:, 1, inner, 4].diff(dim=1).mean(dim=1)) * 8
    area, ratio = width * height / (h * w), width / height
    assert 0.25 - 1e-3 <= float(area.min()) < 0.26
    assert 0.49 < float(area.max()) <= 0.5 + 1e-3
    assert 0.749 <= float(ratio.min()) < 0.76
    assert 1.31 < float(ratio.max()) <= 1.334
    left = y[:, 0, 4, 3:5].mean(dim=1) - width / 2
    assert float(left.min()) >= -1e-3
    assert float((left + width).max()) <= w + 1e-3


def test_the_whole_picture_is_its_own_resized_crop():
    x = torch.rand(2, 3, 6, 6, generator=generator(0))
    torch.testing.assert_close(resized_crop(x, (6, 6), generator(1), scale=(1, 1), ratio=(1, 1)), x)
