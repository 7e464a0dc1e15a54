"""Label maps: masks as one-hot input images, photos as targets."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import Augment
from pellucid.data.source import Arrays, Batch, LabelMaps

MASKS = torch.tensor([[[0, 1], [2, 7]], [[1, 1], [0, 255]]], dtype=torch.uint8)
PHOTOS = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 2, 2)


def test_label_maps_have_a_channel_for_each_class_and_one_for_no_class():
    maps = LabelMaps.from_source(Arrays(PHOTOS, MASKS, ("sky", "road", "car"), "abc"), "mine")
    images, targets = maps.batch([1, 0], torch.Generator())
    assert len(maps) == 2
    assert maps.checksum != "abc"
    assert images.shape == (2, 4, 2, 2)
    assert images.dtype is torch.uint8
    assert images[0].argmax(0).tolist() == [[1, 1], [0, 3]]
    assert images[1].argmax(0).tolist() == [[0, 1], [2, 3]]
    assert bool((images.long().sum(1) == 255).all())
    torch.testing.assert_close(targets, PHOTOS[[1, 0]] / 255)


def test_label_maps_and_photos_are_flipped_together():
    batch = LabelMaps.from_source(Arrays(PHOTOS, MASKS, ("sky", "road", "car")), "mine").batch(
        [0, 1], torch.Generator()
    )
    images = batch.images.float() / 255
    augmented = Augment(flip=True)(Batch(images, batch.targets), torch.Generator().manual_seed(1))
    for image, target, before, photo in zip(*augmented, images, batch.targets, strict=True):
        is_flipped = torch.equal(image, before.flip(2))
        assert is_flipped or torch.equal(image, before)
        assert torch.equal(target, photo.flip(2) if is_flipped else photo)


def test_data_without_masks_are_refused():
    with pytest.raises(PellucidError, match="mine has no masks to generate photos from; give data with a mask"):
        LabelMaps.from_source(Arrays(PHOTOS, torch.zeros(2), ("a", "b")), "mine")
