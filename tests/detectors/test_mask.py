"""Mask R-CNN: loss and gradients compared with autograd, mask targets, pasted masks, training."""

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.detectors import MaskRCNN
from pellucid.detectors.mask import mask_targets, paste_masks
from pellucid.layers import Conv2d, ConvTranspose2d, Mode, ReLU, RoIAlign
from pellucid.ops.image_objects import Objects
from tests.detectors.drawn import Rectangles
from tests.detectors.test_faster import NO_OBJECTS, fit_and_evaluate
from tests.detectors.test_single_stage import reference_losses
from tests.detectors.two_stages import (
    random_batch,
    random_params,
    reference_gradients,
    small_detector_parts,
    training_mode,
)
from tests.oracle import assert_close, leaves
from tests.references import bilinear, reference_forward


def small_mask(channels=8, classes=2):
    head = Sequential(
        conv=Conv2d(channels, 3, padding=1),
        relu=ReLU(),
        up=ConvTranspose2d(channels, 2, stride=2),
        out=Conv2d(classes, 1),
    )
    return MaskRCNN(
        *small_detector_parts(channels, classes), (4, 8), RoIAlign(6, 1 / 4, sampling=1), head, scale=3.0,
        proposals=20, regions=8, weights={"rpn_box": 2.0, "mask": 0.7},
    )  # fmt: skip


def add_oval_masks(objects, size):
    """Return the objects with masks that are the ovals inscribed in their boxes."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    low, high = objects.boxes[:, :2, None, None], objects.boxes[:, 2:, None, None]
    u, v = (
        (coordinates - (a + b) / 2) / ((b - a) / 2)
        for coordinates, a, b in zip((x, y), low.unbind(1), high.unbind(1), strict=True)
    )
    return Objects(objects.boxes, objects.labels, u**2 + v**2 <= 1)


def with_oval_masks(batch):
    size = tuple(batch.images.shape[2:])
    return Batch(batch.images, [add_oval_masks(target, size) for target in batch.targets])


def reference_mask_loss(detector, targets):
    """Return a function from the finest map to the loss of the masks, computed region by region."""

    def losses(finest, params, regions):
        masks = torch.cat([target.masks for target in targets])
        values = []
        for index in regions.positive.tolist():
            region = regions.regions[index : index + 1]
            pooled = reference_forward(detector.mask_align, {}, (finest, region), Mode(True))
            y = reference_forward(detector.mask_head, params["mask_head"], pooled, Mode(True))[0, regions.labels[index]]
            plane = masks[regions.objects[index]].double()[None]
            indexed_box = torch.cat([torch.zeros(1, 1).double(), region[:, 1:]], 1)
            resampled = reference_forward(RoIAlign(tuple(y.shape)), {}, (plane[None], indexed_box), Mode())[0, 0]
            values.append(F.binary_cross_entropy_with_logits(y, (resampled >= 0.5).double()))
        return {"mask": torch.stack(values).mean()}

    return losses


@pytest.mark.slow
def test_losses_and_gradients_are_those_of_automatic_differentiation():
    detector, batch = small_mask(), with_oval_masks(random_batch())
    params = random_params(detector)
    mask_loss = reference_mask_loss(detector, batch.targets)
    expected, gradients, _ = reference_gradients(detector, params, batch, reference_losses, mask_loss)
    losses, dparams = detector.gradients(params, batch, training_mode())
    assert_close(losses, expected, 1e-10, "losses")
    assert_close(leaves(dparams), gradients, 1e-8, "gradients")


def test_the_target_of_a_region_is_the_part_of_the_mask_in_it():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 2:6, 2:6] = True
    objects = Objects(torch.tensor([[2.0, 2.0, 6.0, 6.0]]), torch.tensor([0]), mask)
    regions = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0], [0.0, 2.0, 2.0, 6.0, 6.0]])
    result = mask_targets([NO_OBJECTS, objects], torch.tensor([0, 0]), regions, (4, 4))
    assert result[0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert result[1].tolist() == [[1.0] * 4] * 4


def test_a_pasted_mask_is_bilinear_in_its_box():
    masks = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    box = torch.tensor([[2.0, 1.0, 12.0, 7.0]]).double()
    result = paste_masks(masks, box, (9, 14))
    for row in range(9):
        for column in range(14):
            u, v = (column + 0.5 - 2) / 10 * 4 - 0.5, (row + 0.5 - 1) / 6 * 4 - 0.5
            is_inside = 2 <= column < 12 and 1 <= row < 7
            u, v = min(max(u, 0.0), 3.0), min(max(v, 0.0), 3.0)
            assert bool(result[0, row, column]) == (is_inside and float(bilinear(masks, v, u)) >= 0.5)
    assert paste_masks(masks[:0], box[:0], (9, 14)).shape == (0, 9, 14)


def test_objects_without_masks_are_refused_in_one_line():
    detector, batch = small_mask(), random_batch()
    with pytest.raises(PellucidError, match=r"objects of image 0 of the batch have none; give data with masks"):
        detector.gradients(random_params(detector), batch, training_mode())


def test_a_batch_without_objects_has_a_mask_loss_of_zero():
    detector = small_mask()
    losses, dparams = detector.gradients(
        random_params(detector), Batch(random_batch(2).images, [NO_OBJECTS] * 2), training_mode()
    )
    assert float(losses["mask"]) == 0
    assert all(bool(value.isfinite().all()) for value in leaves(dparams).values())


class RectanglesWithOvalMasks(Rectangles):
    """Rectangles whose masks are ovals."""

    def batch(self, indices, rng):
        return with_oval_masks(super().batch(indices, rng))


@pytest.mark.long
@pytest.mark.real
def test_the_detector_overfits_four_images():
    result = fit_and_evaluate(small_mask(16), RectanglesWithOvalMasks(4), 200, metrics=["ap", "mask_ap"])
    assert result["ap50"] == result["mask_ap50"] == 1.0
