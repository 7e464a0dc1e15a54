"""Fast R-CNN: losses and gradients with RoIAlign and RoIPool, compared with autograd, and proposals."""

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.data import Batch
from pellucid.detectors import FastRCNN
from pellucid.detectors.regions import DEVIATIONS, draw_regions
from pellucid.detectors.search import search, selective_search, windows
from pellucid.layers import Mode, RoIPool
from tests.detectors.drawn import Rectangles
from tests.detectors.test_faster import NO_OBJECTS
from tests.detectors.two_stages import SEED, random_batch, random_params, small_detector_parts, training_mode
from tests.oracle import assert_close, leaves
from tests.references import reference_forward


def small_fast(align=None, channels=8, units=32, stride=16, regions=8):
    classes, backbone, neck, _, default_align, head = small_detector_parts(channels, units=units)
    return FastRCNN(
        classes, backbone, neck, align or default_align, head, stride=stride, regions=regions, weights={"box": 1.5}
    )


@pytest.mark.parametrize("align", [None, RoIPool(5, 1 / 4)], ids=["align", "pool"])
def test_losses_and_gradients_are_those_of_automatic_differentiation(align):
    detector, batch = small_fast(align), random_batch()
    params = random_params(detector)
    proposals = [search(image, "windows") for image in batch.images]
    regions = draw_regions(proposals, batch.targets, 2, 8, 0.25, torch.Generator().manual_seed(SEED))
    flat = leaves(params)
    for tensor in flat.values():
        tensor.requires_grad_(True)
    maps = reference_forward(detector.backbone, params["backbone"], batch.images, Mode(True))
    maps = reference_forward(detector.neck, params["neck"], maps, Mode(True))
    pooled = reference_forward(detector.align, {}, (maps[0], regions.regions), Mode(True))
    y = reference_forward(detector.head, params["head"], pooled, Mode(True))
    class_loss, box_loss = F.cross_entropy(y[:, :-4], regions.labels), y.new_zeros(())
    for index in regions.positive.tolist():
        region, true_box = regions.regions[index, 1:], regions.target_boxes[index]
        region_size, true_size = region[2:] - region[:2], true_box[2:] - true_box[:2]
        offsets = torch.cat(
            [(true_box[:2] + true_box[2:] - region[:2] - region[2:]) / 2 / region_size, (true_size / region_size).log()]
        )
        scaled = offsets / torch.tensor(DEVIATIONS, dtype=torch.float64)
        box_loss = box_loss + F.smooth_l1_loss(y[index, -4:], scaled, reduction="sum")
    expected = {"class": class_loss, "box": box_loss / len(y)}
    grads = torch.autograd.grad(class_loss + 1.5 * expected["box"], list(flat.values()), allow_unused=True)
    for tensor in flat.values():
        tensor.requires_grad_(False)
    expected_gradients = {
        path: torch.zeros_like(w) if g is None else g for (path, w), g in zip(flat.items(), grads, strict=True)
    }
    losses, dparams = detector.gradients(params, batch, training_mode())
    assert_close(losses, {name: value.detach() for name, value in expected.items()}, 1e-10, "losses")
    assert_close(leaves(dparams), expected_gradients, 1e-8, "gradients")
    assert len(regions.positive) > 2


def test_batches_without_objects_have_finite_gradients():
    detector = small_fast()
    losses, dparams = detector.gradients(
        random_params(detector), Batch(random_batch(2).images, [NO_OBJECTS] * 2), training_mode()
    )
    assert float(losses["box"]) == 0
    assert all(bool(value.isfinite().all()) for value in leaves(dparams).values())


def test_windows_cover_the_image_and_stay_in_it():
    boxes = windows((33, 46))
    # 3 x 3 cells of 15 windows; the smallest wide ones of the last row, from y = 34 to 46, are outside of the image.
    assert len(boxes) == 3 * 3 * 15 - 3
    assert boxes.amin(0).tolist()[:2] == [0.0, 0.0]
    assert boxes.amax(0).tolist()[2:] == [46.0, 33.0]
    assert [16.0, 16.0, 32.0, 32.0] in boxes.tolist()
    assert [16.0, 16.0, 24.0, 24.0] in windows((33, 46), stride=8).tolist()
    assert windows((1, 1)).tolist() == [[0.0, 0.0, 1.0, 1.0]] * 13


def test_selective_search_proposes_the_rectangles_or_raises_with_an_install_command():
    image, truth = Rectangles().example(0)
    try:
        from cv2 import ximgproc  # noqa: F401
    except ImportError:
        with pytest.raises(PellucidError, match="contributed modules; run: pip install"):
            selective_search(image)
        return
    boxes = selective_search(image).tolist()
    assert all(
        any(max(abs(a - b) for a, b in zip(box, proposal, strict=True)) <= 2 for proposal in boxes)
        for box in truth.boxes.tolist()
    )
