"""What augmentation keeps of objects: crowds, key-points of one object per image, and of transposed images."""

from dataclasses import replace

import pytest
import torch

from pellucid.data import Augment, Objects
from pellucid.data.seeds import generator
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from tests.data.test_augment_joint import EVERYTHING, H, W, rectangle_batch


def test_crowd_flags_follow_their_objects():
    for seed in range(8):
        batch = rectangle_batch(seed, masks=seed % 2 == 0)
        marked = [replace(target, crowd=target.labels % 2 == 0) for target in batch.targets]
        result = EVERYTHING(Batch(batch.images.repeat(1, 3, 1, 1), marked), generator(seed)).targets
        assert sum(map(len, result)) > 0
        for one in result:
            assert one.crowd is not None
            assert torch.equal(one.crowd, one.labels % 2 == 0)


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
            assert augmented.targets[0].keypoints.tolist() == [[[1, 9, 1], [7, 3, 2]]]  # mirrored, so left is right
            plain = augment(Batch(images, points.repeat(2, 1, 1)), generator(seed)).targets  # of one object per image
            assert plain.tolist() == [[[1, 9, 1], [7, 3, 2]]] * 2
        else:
            assert torch.equal(augmented.images, images)
            assert torch.equal(augmented.targets[0].keypoints, points)
    assert shapes == {(H, W), (W, H)}
    with pytest.raises(PellucidError, match=r"augment\.swaps is missing"):
        Augment(transpose=True)(Batch(images, [target, target]), generator(0))


def dots(seed: int, n: int = 6) -> Batch:
    """Return images with two soft dots, one in each channel, and their places as key-points."""
    places = torch.rand(n, 2, 2, generator=generator(seed)) * torch.tensor([W / 2, H / 2]) + torch.tensor([W, H]) / 4
    columns, rows = torch.arange(W) + 0.5, (torch.arange(H) + 0.5)[:, None]
    x, y = places[..., 0, None, None], places[..., 1, None, None]
    images = torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
    return Batch(images, torch.cat((places, torch.full((n, 2, 1), 2.0)), 2))


def centroids(images: torch.Tensor) -> torch.Tensor:
    h, w = images.shape[2:]
    share = images / images.sum((2, 3), keepdim=True)
    x = (share.sum(2) * (torch.arange(w) + 0.5)).sum(2)
    return torch.stack((x, (share.sum(3) * (torch.arange(h) + 0.5)).sum(2)), 2)


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
    at = augmented.targets[..., :2]
    kept = ((at > 8) & (at < size - 8)).all(2)  # a whole dot
    assert int(kept.sum()) >= 6
    torch.testing.assert_close(at[kept], centroids(augmented.images)[kept], atol=0.3, rtol=0)
    assert bool((augmented.targets[kept][:, 2] == 2).all())


def test_mirror_images_exchange_the_key_points_of_a_pair_and_those_outside_are_not_labelled():
    batch = dots(3, 40)
    batch.targets[0, 1] = 0  # not labelled
    augmented = Augment(flip=True, swaps=((0, 1),))(batch, generator(4))
    mirrored = ~(augmented.images == batch.images).flatten(1).all(1)
    assert 10 < int(mirrored.sum()) < 30
    there = centroids(augmented.images)
    there[mirrored] = there[mirrored].flip(1)
    seen = augmented.targets[..., 2] > 0
    torch.testing.assert_close(augmented.targets[seen][:, :2], there[seen], atol=0.1, rtol=0)
    assert int((~seen).sum()) == 1
    gone = Augment(crop_size=(8, 8))(batch, generator(0)).targets
    outside = gone[..., 2] == 0
    assert bool(outside.any())
    assert not gone[outside].any()
    assert bool(((gone[~outside][:, :2] >= 0) & (gone[~outside][:, :2] <= 8)).all())
