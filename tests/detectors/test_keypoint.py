"""Keypoint R-CNN: loss and gradients compared with autograd, target cells of key-points, training."""

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.detectors import KeypointRCNN
from pellucid.detectors.keypoint import point_cells
from pellucid.layers import Conv2d, ConvTranspose2d, Mode, ReLU, RoIAlign
from pellucid.model import Model
from pellucid.ops.image_objects import Objects
from pellucid.optim import AdamW
from tests.detectors.drawn import Rectangles
from tests.detectors.test_faster import NO_OBJECTS
from tests.detectors.test_single_stage import reference_losses
from tests.detectors.two_stages import (
    random_batch,
    random_params,
    reference_gradients,
    small_detector_parts,
    training_mode,
)
from tests.oracle import assert_close, leaves
from tests.references import reference_forward


def small_points(channels=8, size=6):
    head = Sequential(conv=Conv2d(channels, 3, padding=1), relu=ReLU(), up=ConvTranspose2d(3, 2, stride=2))
    return KeypointRCNN(
        *small_detector_parts(channels), (4, 8), RoIAlign(size, 1 / 4, sampling=1), head, scale=3.0,
        proposals=20, regions=8, weights={"rpn_box": 2.0, "points": 0.7},
    )  # fmt: skip


def with_corner_points(batch):
    """Return the batch with three points for each object: two corners, just inside the box, and an unlabelled one."""
    return Batch(batch.images, [add_corner_points(target) for target in batch.targets])


def add_corner_points(objects):
    inner_boxes = objects.boxes + torch.tensor([0.1, 0.1, -0.1, -0.1])
    top_left = torch.cat([inner_boxes[:, :2], torch.full((len(objects), 1), 2.0)], 1)
    bottom_right = torch.cat([inner_boxes[:, 2:], torch.full((len(objects), 1), 1.0)], 1)
    return Objects(objects.boxes, objects.labels, keypoints=torch.stack([top_left, bottom_right, 0 * top_left], 1))


def reference_points_loss(detector, targets):
    """Return a function from the finest map to the loss of the points, computed point by point."""

    def losses(finest, params, regions):
        points, values = torch.cat([target.keypoints for target in targets]).double(), []
        for index in regions.positive.tolist():
            region = regions.regions[index : index + 1]
            pooled = reference_forward(detector.point_align, {}, (finest, region), Mode(True))
            maps = reference_forward(detector.point_head, params["point_head"], pooled, Mode(True))[0]
            x0, y0, x1, y1 = region[0, 1:].tolist()
            for plane, (x, y, visibility) in zip(maps, points[regions.objects[index]].tolist(), strict=True):
                if visibility and x0 <= x < x1 and y0 <= y < y1:
                    row, column = int((y - y0) / (y1 - y0) * 12), int((x - x0) / (x1 - x0) * 12)
                    values.append(-F.log_softmax(plane.flatten(), 0)[row * 12 + column])
        return {"points": torch.stack(values).mean()}

    return losses


def test_losses_and_gradients_are_those_of_automatic_differentiation():
    detector, batch = small_points(), with_corner_points(random_batch())
    params = random_params(detector)
    points_loss = reference_points_loss(detector, batch.targets)
    expected, gradients, _ = reference_gradients(detector, params, batch, reference_losses, points_loss)
    losses, dparams = detector.gradients(params, batch, training_mode())
    assert_close(losses, expected, 1e-10, "losses")
    assert_close(leaves(dparams), gradients, 1e-8, "gradients")


def test_points_outside_of_their_region_and_unlabelled_points_are_ignored():
    objects = Objects(
        torch.tensor([[0.0, 0.0, 8.0, 8.0]]), torch.tensor([0]),
        keypoints=torch.tensor([[[1.0, 3.0, 2.0], [8.0, 8.0, 1.0], [8.1, 8.0, 2.0], [0.0, 0.0, 0.0]]]),
    )  # fmt: skip
    cells, valid = point_cells([NO_OBJECTS, objects], torch.tensor([0]), torch.tensor([[1.0, 0, 0, 8, 8]]), (4, 4, 4))
    assert valid.tolist() == [[True, True, False, False]]
    assert cells[0, :2].tolist() == [1 * 4 + 0, 3 * 4 + 3]  # a point on the edge belongs to the last cell


def test_objects_without_points_are_refused_and_batches_without_objects_are_not():
    detector, batch = small_points(), random_batch(2)
    params = random_params(detector)
    with pytest.raises(
        PellucidError, match=r"KeypointRCNN needs 3 key-points, but the objects of image 0 .* have none"
    ):
        detector.gradients(params, batch, training_mode())
    losses, dparams = detector.gradients(params, Batch(batch.images, [NO_OBJECTS] * 2), training_mode())
    assert float(losses["points"]) == 0
    assert all(bool(value.isfinite().all()) for value in leaves(dparams).values())


class RectanglesWithPoints(Rectangles):
    """Rectangles with three points."""

    def batch(self, indices, rng):
        return with_corner_points(super().batch(indices, rng))


@pytest.mark.long
@pytest.mark.real
def test_the_detector_overfits_four_images():
    model = Model(small_points(16), optimizer=AdamW(3e-3), seed=1, metrics=["ap"])
    source = RectanglesWithPoints(4)
    model.fit(source, epochs=200, batch_size=4, verbose=False)
    assert model.evaluate(source)["ap50"] == 1.0
    batch, distances = source.batch(range(3), None), []
    for result, truth in zip(model.predict(batch.images), batch.targets, strict=True):
        for box, points in zip(truth.boxes, truth.keypoints, strict=True):
            nearest = (result.boxes - box).abs().sum(1).argmin()
            distances.append((result.keypoints[nearest, :2, :2] - points[:2, :2]).norm(dim=1))
    assert torch.cat(distances).mean() < 2  # pixels
