"""Unusual sets of objects and image sizes, for every family of detectors: finite losses and valid boxes."""

from dataclasses import fields, replace

import pytest
import torch

from pellucid.combine import Graph
from pellucid.data import Batch
from pellucid.detectors.rcnn import RCNN
from pellucid.detectors.search import windows
from pellucid.layers import AvgPool2d, Conv2d, Mode
from pellucid.nested import map_tree
from pellucid.ops.image_objects import Objects
from tests.detectors.drawn import small_single_stage, small_ssd, small_yolo1, small_yolo3
from tests.detectors.test_fast import small_fast
from tests.detectors.test_keypoint import small_points
from tests.detectors.test_mask import small_mask
from tests.detectors.two_stages import random_params, small_faster
from tests.oracle import leaves

FAMILIES = {
    "single-stage": small_single_stage, "ssd": small_ssd, "yolo3": small_yolo3, "yolo1": small_yolo1,
    "fast": small_fast, "faster": small_faster, "mask": small_mask, "keypoint": small_points,
}  # fmt: skip
IMAGE_SIZE = (33, 46)


def objects_with_masks_and_points(boxes, detector):
    """Return objects with masks of their boxes, and key-points in their centres, for every family."""
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    rows, columns = torch.arange(IMAGE_SIZE[0])[:, None] + 0.5, torch.arange(IMAGE_SIZE[1]) + 0.5
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    masks = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    count = detector.point_head.children["up"].filters if hasattr(detector, "point_head") else 1
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    points = torch.cat([middle, torch.full_like(middle[..., :1], 2.0)], 2).repeat(1, count, 1)
    return Objects(boxes, torch.arange(len(boxes)) % detector.classes, masks, points)


def random_boxes(count):
    rng = torch.Generator().manual_seed(0)
    low = torch.rand(count, 2, generator=rng) * torch.tensor([30.0, 18.0])
    return torch.cat([low, low + 2 + 12 * torch.rand(count, 2, generator=rng)], 1).tolist()


BOX_SETS = {
    "none": [[], []],
    "some images without": [[[4.0, 5.0, 20.0, 22.0]], []],
    "one pixel": [[[10.0, 12.0, 11.0, 13.0]], [[0.0, 0.0, 1.0, 1.0]]],
    "500 boxes": [random_boxes(500), []],
}


@pytest.mark.parametrize("set_name", BOX_SETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_unusual_sets_of_objects_have_finite_losses_and_gradients(family, set_name):
    detector = FAMILIES[family]()
    params = random_params(detector)
    images = torch.rand(2, 3, *IMAGE_SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batch = Batch(images, [objects_with_masks_and_points(boxes, detector) for boxes in BOX_SETS[set_name]])
    detector.check((), batch.targets)
    losses, dparams = detector.gradients(params, batch, Mode(True, torch.Generator().manual_seed(0)))
    assert all(bool(value.isfinite()) for value in losses.values())
    assert all(bool(value.isfinite().all()) for value in leaves(dparams).values())
    has_box_loss = any(float(value) > 0 for key, value in losses.items() if key.split("_")[-1] == "box")
    if set_name != "one pixel":  # such boxes contain no anchor's centre, so ATSS ignores them
        assert has_box_loss == (set_name != "none")


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_images_have_detections_inside_them(family, size):
    detector = FAMILIES[family]()
    params = random_params(detector)
    (result,) = detector.predict(params, torch.rand(1, 3, *size, dtype=torch.float64))
    limits = torch.tensor([size[1], size[0]] * 2)
    assert bool(((result.boxes >= 0) & (result.boxes <= limits)).all())
    empty_batch = Batch(torch.rand(1, 3, *size, dtype=torch.float64), [objects_with_masks_and_points([], detector)])
    losses, _ = detector.gradients(params, empty_batch, Mode(True, torch.Generator().manual_seed(0)))
    assert all(bool(value.isfinite()) for value in losses.values())


def with_coarse_maps(detector):
    """Return the same detector with maps at the strides 32 and 64, so large images take little time."""
    nodes = {"fine": (Conv2d(8, 1, stride=32), "input"), "coarse": (Conv2d(8, 3, stride=2, padding=1), "fine")}
    values = {field_.name: getattr(detector, field_.name) for field_ in fields(detector)}
    changes = {name: replace(layer, scale=1 / 32) for name, layer in values.items() if name.endswith("align")}
    changes |= {"backbone": Graph(nodes, ("fine", "coarse"))}
    changes |= {name: {"strides": (32, 64), "stride": 64}[name] for name in values if name in ("strides", "stride")}
    return replace(detector, **changes)


@pytest.mark.real
@pytest.mark.parametrize("family", FAMILIES)
def test_anchors_cover_a_large_image(family):
    detector = with_coarse_maps(FAMILIES[family]())
    if family == "fast":
        detector = replace(detector, stride=512)
    params = random_params(detector, (3, 64, 64))
    params = map_tree(torch.Tensor.float, params)
    image = torch.linspace(0, 1, 6000).expand(1, 3, 4000, 6000)
    (result,) = detector.candidates(params, image)
    boxes = result.boxes
    assert result.size == (4000, 6000)
    assert bool(((boxes >= 0) & (boxes <= torch.tensor([6000.0, 4000.0] * 2))).all())
    assert len(boxes) < 1000 or bool((boxes.amax(0)[2:] > torch.tensor([5500.0, 3500.0])).all())
    assert len(detector.decide(result).detections) <= 100


def fitted_rcnn(boxes, proposals, size=IMAGE_SIZE):
    """Return a random image, and R-CNN fitted to it with these objects and proposals."""
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    objects = Objects(torch.tensor(boxes).view(-1, 4).float(), torch.arange(len(boxes)) % 2)
    return image, RCNN(AvgPool2d(10), {}, 2, side=40).fit([image], [objects], [proposals])


def test_rcnn_of_one_pixel_and_of_500_boxes_has_boxes_inside_the_image():
    for boxes in ([[10.0, 12.0, 11.0, 13.0]], random_boxes(500)):
        image, detector = fitted_rcnn(boxes, windows(IMAGE_SIZE))
        predictions = detector.predict(image, windows(IMAGE_SIZE), threshold=-torch.inf)
        assert bool(predictions.boxes.isfinite().all())
        assert bool(((predictions.boxes >= 0) & (predictions.boxes <= torch.tensor([46.0, 33.0] * 2))).all())
        for size in ((1, 1), (7, 90)):
            tiny_detections = detector.predict(torch.rand(3, *size), windows(size), threshold=-torch.inf)
            assert bool((tiny_detections.boxes[:, 2:] <= torch.tensor([size[1], size[0]])).all())
