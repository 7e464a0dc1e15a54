"""Augmentation of objects: crowd flags, transposed images, and key-points of images with one object each."""

from dataclasses import replace

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import Augment, Objects
from pellucid.data.seeds import generator
from pellucid.data.source import Batch
from tests.data.augment.test_joint import EVERYTHING, H, W, rectangle_batch


def test_crowd_flags_follow_their_objects():
    for seed in range(8):
        batch = rectangle_batch(seed, masks=seed % 2 == 0)
        marked = [replace(target, crowd=target.labels % 2 == 0) for target in batch.targets]
        result = EVERYTHING(Batch(batch.images.repeat(1, 3, 1, 1), marked), generator(seed)).targets
        assert sum(map(len, result)) > 0
        for objects in result:
            assert objects.crowd is not None
            assert torch.equal(objects.crowd, objects.labels % 2 == 0)


def test_transposed_images_and_masks_have_their_axes_exchanged():
    images = torch.rand(2, 3, H, W)
    points = torch.tensor([[[3.0, 7.0, 2.0], [9.0, 1.0, 1.0]]])
    target = Objects(torch.tensor([[2.0, 5.0, 20.0, 9.0]]), torch.tensor([1]), None, points)
    augment, shapes = Augment(transpose=True, swaps=((0, 1),)), set()
    for seed in range(8):
        augmented = augment(Batch(images, [target, target]), generator(seed))
        shapes.add(tuple(augmented.images.shape[2:]))
        if augmented.images.shape[2:] == (W, H):
            assert torch.equal(augmented.images, images.transpose(2, 3))
            assert augmented.targets[0].boxes.tolist() == [[5, 2, 9, 20]]
            assert augmented.targets[0].keypoints.tolist() == [[[1, 9, 1], [7, 3, 2]]]  # exchanged like left and right
            plain = augment(Batch(images, points.repeat(2, 1, 1)), generator(seed)).targets  # one object per image
            assert plain.tolist() == [[[1, 9, 1], [7, 3, 2]]] * 2
        else:
            assert torch.equal(augmented.images, images)
            assert torch.equal(augmented.targets[0].keypoints, points)
    assert shapes == {(H, W), (W, H)}
    with pytest.raises(PellucidError, match=r"augment\.swaps is missing"):
        Augment(transpose=True)(Batch(images, [target, target]), generator(0))


def dots(seed: int, n: int = 6) -> Batch:
    """Return images (n, 2, H, W) with a soft dot in each channel, and the dots' positions as key-points."""
    positions = torch.rand(n, 2, 2, generator=generator(seed)) * torch.tensor([W / 2, H / 2]) + torch.tensor([W, H]) / 4
    columns, rows = torch.arange(W) + 0.5, (torch.arange(H) + 0.5)[:, None]
    x, y = positions[..., 0, None, None], positions[..., 1, None, None]
    images = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    return Batch(images, torch.cat((positions, torch.full((n, 2, 1), 2.0)), 2))


def centroids(images: torch.Tensor) -> torch.Tensor:
    h, w = images.shape[2:]
    weights = images / images.sum((2, 3), keepdim=True)
    x = (weights.sum(2) * (torch.arange(w) + 0.5)).sum(2)
    return torch.stack((x, (weights.sum(3) * (torch.arange(h) + 0.5)).sum(2)), 2)


@pytest.mark.parametrize(
    "augment",
    [
        Augment(flip=True, vertical_flip=True, swaps=()),
        Augment(rotate=30, shift=0.05, zoom=0.1, shear=10, swaps=()),
        Augment(flip=True, crop_padding=3, scale=(0.8, 1.0), crop_size=(H, W - 8), swaps=()),
        Augment(elastic_alpha=20, elastic_sigma=6, swaps=()),
    ],
    ids=["mirrored", "affine", "window", "elastic"],
)
def test_key_points_stay_on_their_dots(augment):
    batch = dots(1)
    augmented = augment(batch, generator(2))
    size = torch.tensor([augmented.images.shape[3], augmented.images.shape[2]])
    points = augmented.targets[..., :2]
    is_inside = ((points > 8) & (points < size - 8)).all(2)  # the dot lies inside the image
    assert int(is_inside.sum()) >= 6
    torch.testing.assert_close(points[is_inside], centroids(augmented.images)[is_inside], atol=0.3, rtol=0)
    assert bool((augmented.targets[is_inside][:, 2] == 2).all())


def test_mirror_images_exchange_the_key_points_of_a_pair_and_those_outside_are_not_labelled():
    batch = dots(3, 40)
    batch.targets[0, 1] = 0  # this key-point has no label
    augmented = Augment(flip=True, swaps=((0, 1),))(batch, generator(4))
    mirrored = ~(augmented.images == batch.images).flatten(1).all(1)
    assert 10 < int(mirrored.sum()) < 30
    expected = centroids(augmented.images)
    expected[mirrored] = expected[mirrored].flip(1)
    is_labelled = augmented.targets[..., 2] > 0
    torch.testing.assert_close(augmented.targets[is_labelled][:, :2], expected[is_labelled], atol=0.1, rtol=0)
    assert int((~is_labelled).sum()) == 1
    points = Augment(crop_size=(8, 8))(batch, generator(0)).targets
    outside = points[..., 2] == 0
    assert bool(outside.any())
    assert not points[outside].any()
    assert bool(((points[~outside][:, :2] >= 0) & (points[~outside][:, :2] <= 8)).all())
