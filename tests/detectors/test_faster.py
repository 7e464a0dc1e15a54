"""Faster R-CNN: losses and gradients compared with autograd, unusual batches, training."""

import pytest
import torch

from pellucid.data import Batch
from pellucid.detectors.regions import draw_regions, propose
from pellucid.metrics import AveragePrecision
from pellucid.model import Model
from pellucid.ops.image_objects import Objects
from pellucid.optim import AdamW
from tests.detectors.drawn import Rectangles
from tests.detectors.test_single_stage import reference_losses
from tests.detectors.two_stages import random_batch, random_params, reference_gradients, small_faster, training_mode
from tests.oracle import assert_close, leaves

NO_OBJECTS = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def test_losses_and_gradients_are_those_of_automatic_differentiation():
    detector, batch = small_faster(), random_batch()
    params = random_params(detector)
    expected, gradients, regions = reference_gradients(detector, params, batch, reference_losses)
    losses, dparams = detector.gradients(params, batch, training_mode())
    assert_close(losses, expected, 1e-10, "losses")
    assert_close(leaves(dparams), gradients, 1e-8, "gradients")
    assert all(float(value) > 0 for value in losses.values())
    assert 3 < len(regions.positive) < len(regions.labels) / 3
    fused = detector.fused().gradients(params, batch, training_mode())
    assert_close(fused[0], losses, 1e-12, "fused losses")
    common_gradients = {path: leaf for path, leaf in leaves(dparams).items() if path in leaves(fused[1])}
    assert_close(leaves(fused[1]), common_gradients, 1e-10, "fused gradients")


@pytest.mark.parametrize(
    "target",
    [
        NO_OBJECTS,
        Objects(torch.tensor([[10.0, 12.0, 11.0, 13.0]]), torch.tensor([1])),
        Objects(torch.tensor([[10.0, 12.0, 10.0, 13.0]]), torch.tensor([1])),
        Objects(torch.tensor([[2.0, 2.0, 20.0, 20.0]]), torch.tensor([1]), crowd=torch.tensor([True])),
    ],
    ids=["no object", "one pixel", "no width", "crowd"],
)
def test_unusual_objects_have_finite_losses_and_gradients(target):
    detector = small_faster()
    params = random_params(detector)
    losses, dparams = detector.gradients(params, Batch(random_batch(2).images, [target, NO_OBJECTS]), training_mode())
    assert all(bool(value.isfinite()) for value in losses.values())
    assert all(bool(value.isfinite().all()) for value in leaves(dparams).values())
    if not len(target) or target.crowd is not None:
        assert float(losses["box"]) == float(losses["rpn_box"]) == 0


def test_images_of_one_pixel_have_proposals():
    detector = small_faster()
    params = random_params(detector)
    (result,) = detector.candidates(params, torch.rand(1, 3, 1, 1).double())
    assert result.size == (1, 1)
    assert bool(((result.boxes >= 0) & (result.boxes <= 1)).all())
    assert len(detector.predict(params, torch.rand(1, 3, 1, 1).double())) == 1


def test_at_most_a_quarter_of_the_regions_have_an_object():
    batch = random_batch()
    proposals = [torch.rand(40, 4, generator=torch.Generator().manual_seed(k)).double() * 20 for k in range(4)]
    proposals = [torch.cat([proposal[:, :2], proposal[:, :2] + proposal[:, 2:] + 1], 1) for proposal in proposals]
    drawn_regions = draw_regions(proposals, batch.targets, 2, 12, 0.25, torch.Generator().manual_seed(0))
    truth, labels = (
        torch.cat([target.boxes for target in batch.targets]),
        torch.cat([target.labels for target in batch.targets]),
    )
    for image in range(4):
        is_in_image = drawn_regions.regions[:, 0] == image
        assert int((drawn_regions.objects[is_in_image] >= 0).sum()) == (3 if image < 3 else 0)
        assert int(is_in_image.sum()) == 12
    assert torch.equal(
        drawn_regions.target_boxes[drawn_regions.positive],
        truth[drawn_regions.objects[drawn_regions.positive]].double(),
    )
    assert torch.equal(
        drawn_regions.labels[drawn_regions.positive], labels[drawn_regions.objects[drawn_regions.positive]]
    )
    assert drawn_regions.labels[drawn_regions.objects < 0].unique().tolist() == [2]


def test_background_regions_overlap_an_object_unless_the_image_has_none():
    object_ = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([1]))
    proposals = torch.tensor([[0.0, 0, 3, 1], [0, 0, 5, 5], [20, 20, 30, 30]])  # IoU 0.03, 0.25 and 0
    drawn_regions = draw_regions(
        [proposals, proposals], [object_, NO_OBJECTS], 2, 8, 0.25, torch.Generator().manual_seed(0), 0.1
    )
    boxes = drawn_regions.regions[drawn_regions.objects < 0]
    assert boxes[boxes[:, 0] == 0, 1:].tolist() == [[0, 0, 5, 5]]
    assert sorted(boxes[boxes[:, 0] == 1, 1:].tolist()) == sorted(proposals.tolist())


def test_proposals_are_cut_at_the_borders_and_have_an_area():
    boxes = torch.tensor([[-5.0, -5.0, 5.0, 5.0], [-9.0, 0.0, -1.0, 4.0], [-4.0, -5.0, 5.0, 5.0], [6.0, 6.0, 9.0, 9.0]])
    result, anchors = propose(boxes, torch.tensor([0.4, 0.9, 0.3, 0.2]), (8, 10), 5)
    assert result.tolist() == [[0.0, 0.0, 5.0, 5.0], [6.0, 6.0, 9.0, 8.0]]  # once cut, the third equals the first
    assert anchors.tolist() == [0, 3]
    assert len(propose(boxes, torch.tensor([0.4, 0.9, 0.3, 0.2]), (8, 10), 1)[0]) == 1


def fit_and_evaluate(detector, source, epochs, lr=3e-3, metrics=None):
    """Train the detector, and return its metrics on the training images."""
    model = Model(detector, optimizer=AdamW(lr), seed=1, metrics=metrics or [AveragePrecision()])
    model.fit(source, epochs=epochs, batch_size=4, verbose=False)
    return model.evaluate(source)


@pytest.mark.heavy
@pytest.mark.real
def test_the_detector_overfits_four_images():
    assert fit_and_evaluate(small_faster(16, units=64), Rectangles(4), 200)["ap50"] == 1.0
