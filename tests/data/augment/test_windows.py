"""Crops, resized crops, mirror images and mosaics, compared with windows of the source images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base.errors import PellucidError
from pellucid.data import Augment, Objects
from pellucid.data.augment import horizontal_flip, random_crop, resized_crop, vertical_flip
from pellucid.data.augment.targets import move_objects, tight_boxes
from pellucid.data.augment.windows import random_mosaic
from pellucid.data.seeds import generator
from pellucid.data.source import Batch

NUMPY_MODE = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}


@pytest.mark.parametrize(("flip", "axis"), [(horizontal_flip, 3), (vertical_flip, 2)])
def test_half_of_the_pictures_are_mirrored(flip, axis):
    x = torch.rand(1000, 2, 3, 4, generator=generator(0))
    y = flip(x, generator(1))
    mirrored = np.flip(x.numpy(), axis)
    is_mirrored = [bool(np.array_equal(a, b)) for a, b in zip(y.numpy(), mirrored, strict=True)]
    is_unchanged = [bool(torch.equal(a, b)) for a, b in zip(y, x, strict=True)]
    assert all(a != b for a, b in zip(is_mirrored, is_unchanged, strict=True))
    assert 440 < sum(is_mirrored) < 560


@pytest.mark.parametrize("fill", list(NUMPY_MODE))
@pytest.mark.parametrize("size", [None, (2, 6)])
def test_crops_are_windows_of_the_padded_image_and_all_of_them_occur(fill, size):
    x = torch.rand(1, 2, 4, 5, generator=generator(0)).repeat(1500, 1, 1, 1)
    padding = 6 if fill in ("wrap", "reflect") else 2  # wider than the picture itself
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


def test_crop_positions_are_uniform():
    x = torch.arange(5.0).reshape(1, 1, 1, 5).repeat(5000, 1, 1, 1)
    y = random_crop(x, 0, generator(0), size=(1, 1)).flatten()
    assert torch.allclose(torch.bincount(y.long()) / 5000, torch.tensor(0.2), atol=0.025)


def test_a_window_that_is_too_large_is_refused():
    with pytest.raises(PellucidError, match="larger than 4x4 padded by 1"):
        random_crop(torch.zeros(1, 1, 4, 4), 1, generator(0), size=(7, 4))


def test_resized_crops_have_the_given_range_of_areas_and_ratios():
    """On images that contain pixel coordinates, the differences in a row and a column give the size of the box."""
    n, h, w = 500, 40, 60
    v, u = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    x = torch.stack((u, v)).float().expand(n, 2, h, w)
    y = resized_crop(x, (8, 8), generator(0), scale=(0.25, 0.5))
    inner = slice(2, 6)  # away from the border, where sampling positions are clamped
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


def test_a_resized_crop_of_the_whole_image_equals_the_image():
    x = torch.rand(2, 3, 6, 6, generator=generator(0))
    torch.testing.assert_close(resized_crop(x, (6, 6), generator(1), scale=(1, 1), ratio=(1, 1)), x)


H, W = 40, 50


def coordinate_images(n: int) -> torch.Tensor:
    """Return images (n, 3, H, W) whose channels are image index, row and column."""
    image, row, column = torch.meshgrid(torch.arange(n), torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack((image, row, column), 1).float()


def test_each_quarter_is_a_window_of_one_image():
    x = coordinate_images(5)
    mosaic = random_mosaic(x, 1.0, generator(0))
    y = mosaic.apply(x, "constant", 0)
    sources = set()
    for n in range(5):
        coverage = torch.zeros(H, W)
        for k in range(4):
            x0, y0, x1, y1 = mosaic.regions[n, k].tolist()
            coverage[y0:y1, x0:x1] += 1
            assert x1 - x0 >= 0.2 * W
            assert y1 - y0 >= 0.2 * H
            image, row, column = y[n, :, y0:y1, x0:x1]
            assert len(image.unique()) == 1
            assert torch.equal(row - row[0, 0], torch.arange(y1 - y0)[:, None].expand_as(row).float())
            assert torch.equal(column - column[0, 0], torch.arange(x1 - x0).expand_as(column).float())
            sources.add((k, int(image[0, 0])))
        assert bool((coverage == 1).all())
        assert int(y[n, 0, 0, 0]) == n
    assert len(sources) > 12


def test_mosaic_windows_have_uniform_positions():
    """In each quarter, the first visible row and column are uniform over all possible positions."""
    x = coordinate_images(1).expand(4000, 3, H, W)
    mosaic = random_mosaic(x, 1.0, generator(1))
    for k in range(4):
        x0, y0, x1, y1 = mosaic.regions[:, k].unbind(1)
        start = mosaic.windows[k].start + torch.stack((y0, x0), 1)  # in coordinates of the source image
        spare = torch.stack((H - (y1 - y0), W - (x1 - x0)), 1)
        assert bool((start >= 0).all())
        assert bool((start <= spare).all())
        relative_start = (start + 0.5) / (spare + 1)
        assert float((relative_start.mean(0) - 0.5).abs().max()) < 0.015  # three standard errors
        assert float((relative_start.var(0) - 1 / 12).abs().max()) < 0.006


def test_the_given_fraction_of_images_become_mosaics():
    x = coordinate_images(1000)
    y = random_mosaic(x, 0.3, generator(2)).apply(x, "constant", 0)
    is_unchanged = (y == x).flatten(1).all(1)
    assert 0.65 < float(is_unchanged.float().mean()) < 0.75
    assert torch.equal(random_mosaic(x, 0.0, generator(2)).apply(x, "constant", 0), x)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_objects_of_a_mosaic_lie_on_their_pixels(seed, has_masks):
    """Every visible object has a box, in which all pixels have the object's number."""
    rng = generator(seed)
    images, targets = torch.zeros(4, 1, H, W), []
    for k in range(4):
        boxes = []
        for slot in range(2):
            w, h = torch.randint(5, 20, (2,), generator=rng).tolist()
            x = slot * 25 + int(torch.randint(0, 25 - w, (), generator=rng))
            y = int(torch.randint(0, H - h, (), generator=rng))
            boxes.append([x, y, x + w, y + h])
            images[k, 0, y : y + h, x : x + w] = 2 * k + slot + 1
        labels = torch.arange(2) + 2 * k + 1
        shapes = images[k] == labels[:, None, None] if has_masks else None
        middle = torch.tensor([[[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, 2.0]] for b in boxes])
        targets.append(Objects(torch.tensor(boxes).float(), labels, shapes, middle))
    mosaic = random_mosaic(images, 1.0, rng)
    pixels = mosaic.apply(images, "constant", 0)[:, 0]
    for k, objects in enumerate(move_objects(targets, [mosaic], (H, W), (), 0.0)):
        coverage = torch.zeros(H, W)
        for i, (label, box) in enumerate(zip(objects.labels, objects.boxes, strict=True)):
            x0, y0, x1, y1 = box.long().tolist()
            assert box.tolist() == [x0, y0, x1, y1]
            assert pixels[k, y0:y1, x0:x1].unique().tolist() == [int(label)]
            coverage[y0:y1, x0:x1] += 1
            if objects.masks is not None:
                assert torch.equal(tight_boxes(objects.masks)[i], box)
                assert int(objects.masks[i].sum()) == (x1 - x0) * (y1 - y0)
            assert objects.keypoints is not None
            x, y, visibility = objects.keypoints[i, 0].tolist()
            assert not visibility or (x0 <= x <= x1 and y0 <= y <= y1)
        assert torch.equal(coverage > 0, pixels[k] > 0)


def test_masks_and_images_have_the_same_mosaic():
    x = coordinate_images(4)
    augmented = Augment(mosaic=1.0)(Batch(x, (x[:, 0] * 10000 + x[:, 1] * 100 + x[:, 2]).long()), generator(3))
    expected = augmented.images[:, 0] * 10000 + augmented.images[:, 1] * 100 + augmented.images[:, 2]
    assert torch.equal(augmented.targets, expected.long())
