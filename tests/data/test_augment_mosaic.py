"""Mosaics: where the quarters come from, and that targets go with them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data import Augment, Objects
from pellucid.data.augment.targets import move_objects, tight_boxes
from pellucid.data.augment.windows import random_mosaic
from pellucid.data.seeds import generator
from pellucid.data.source import Batch

H, W = 40, 50


def numbered(n: int) -> torch.Tensor:
    """Return images (n, 3, H, W) whose pixels hold their image, row and column."""
    image, row, column = torch.meshgrid(torch.arange(n), torch.arange(H), torch.arange(W), indexing="ij")
    return torch.stack((image, row, column), 1).float()


def test_each_quarter_is_a_window_of_one_image():
    x = numbered(5)
    mosaic = random_mosaic(x, 1.0, generator(0))
    y = mosaic.apply(x, "constant", 0)
    sources = set()
    for n in range(5):
        cover = torch.zeros(H, W)
        for k in range(4):
            x0, y0, x1, y1 = mosaic.regions[n, k].tolist()
            cover[y0:y1, x0:x1] += 1
            assert x1 - x0 >= 0.2 * W
            assert y1 - y0 >= 0.2 * H
            image, row, column = y[n, :, y0:y1, x0:x1]
            assert len(image.unique()) == 1
            assert torch.equal(row - row[0, 0], torch.arange(y1 - y0)[:, None].expand_as(row).float())
            assert torch.equal(column - column[0, 0], torch.arange(x1 - x0).expand_as(column).float())
            sources.add((k, int(image[0, 0])))
        assert bool((cover == 1).all())
        assert int(y[n, 0, 0, 0]) == n
    assert len(sources) > 12


def test_windows_are_cut_anywhere():
    """Of each quarter, the first row and column that is seen is uniform over the places that there are."""
    x = numbered(1).expand(4000, 3, H, W)
    mosaic = random_mosaic(x, 1.0, generator(1))
    for k in range(4):
        x0, y0, x1, y1 = mosaic.regions[:, k].unbind(1)
        start = mosaic.windows[k].start + torch.stack((y0, x0), 1)  # in the source
        spare = torch.stack((H - (y1 - y0), W - (x1 - x0)), 1)
        assert bool((start >= 0).all())
        assert bool((start <= spare).all())
        share = (start + 0.5) / (spare + 1)
        assert float((share.mean(0) - 0.5).abs().max()) < 0.015  # three standard errors
        assert float((share.var(0) - 1 / 12).abs().max()) < 0.006


def test_so_many_images_become_mosaics():
    x = numbered(1000)
    y = random_mosaic(x, 0.3, generator(2)).apply(x, "constant", 0)
    same = (y == x).flatten(1).all(1)
    assert 0.65 < float(same.float().mean()) < 0.75
    assert torch.equal(random_mosaic(x, 0.0, generator(2)).apply(x, "constant", 0), x)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_objects_stay_on_what_was_drawn(seed, masked):
    """Every object that is seen has a box, whose pixels are all of the object's number."""
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
        shapes = images[k] == labels[:, None, None] if masked else None
        middle = torch.tensor([[[(b[0] + b[2]) / 2, (b[1] + b[3]) / 2, 2.0]] for b in boxes])
        targets.append(Objects(torch.tensor(boxes).float(), labels, shapes, middle))
    mosaic = random_mosaic(images, 1.0, rng)
    pixels = mosaic.apply(images, "constant", 0)[:, 0]
    for k, objects in enumerate(move_objects(targets, [mosaic], (H, W), (), 0.0)):
        cover = torch.zeros(H, W)
        for i, (label, box) in enumerate(zip(objects.labels, objects.boxes, strict=True)):
            x0, y0, x1, y1 = box.long().tolist()
            assert box.tolist() == [x0, y0, x1, y1]
            assert pixels[k, y0:y1, x0:x1].unique().tolist() == [int(label)]
            cover[y0:y1, x0:x1] += 1
            if objects.masks is not None:
                assert torch.equal(tight_boxes(objects.masks)[i], box)
                assert int(objects.masks[i].sum()) == (x1 - x0) * (y1 - y0)
            assert objects.keypoints is not None
            x, y, seen = objects.keypoints[i, 0].tolist()
            assert not seen or (x0 <= x <= x1 and y0 <= y <= y1)
        assert torch.equal(cover > 0, pixels[k] > 0)


def test_masks_and_images_get_the_same_mosaic():
    x = numbered(4)
    found = Augment(mosaic=1.0)(Batch(x, (x[:, 0] * 10000 + x[:, 1] * 100 + x[:, 2]).long()), generator(3))
    expected = found.images[:, 0] * 10000 + found.images[:, 1] * 100 + found.images[:, 2]
    assert torch.equal(found.targets, expected.long())
