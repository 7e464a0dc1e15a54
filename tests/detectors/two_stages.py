"""Two-stage detectors small enough to train in seconds, and their losses in plain PyTorch."""

import torch
from torch.nn import functional as F

from pellucid.combine import Sequential, Shared
from pellucid.data import Batch
from pellucid.detectors import FasterRCNN
from pellucid.detectors.regions import DEVIATIONS, class_agnostic, draw_regions
from pellucid.layers import Conv2d, Dense, Flatten, GroupNorm, Mode, ReLU, RoIAlign
from pellucid.models.fpn import fpn
from tests.detectors.drawn import Rectangles, backbone
from tests.oracle import leaves, randomized
from tests.references import reference_forward

SEED = 5


def small_detector_parts(channels=8, classes=2, units=32):
    """Return the arguments that all two-stage families share."""
    rpn = Shared(
        Sequential(conv=Conv2d(channels, 3, padding=1), norm=GroupNorm(2), relu=ReLU(), out=Conv2d(5, 3, padding=1))
    )
    head = Sequential(flat=Flatten(), dense=Dense(units), relu=ReLU(), out=Dense(classes + 5))
    align = RoIAlign(5, 1 / 4, sampling=2)
    return classes, backbone(channels), fpn(channels, 2, groups=2), rpn, align, head


def small_faster(channels=8, classes=2, units=32):
    return FasterRCNN(
        *small_detector_parts(channels, classes, units),
        (4, 8),
        scale=3.0,
        proposals=20,
        regions=8,
        weights={"rpn_box": 2.0, "box": 1.5},
    )


def random_batch(count=4, size=(33, 46)):
    """Return a float64 batch whose image sides are not multiples of the strides; the last image has no objects."""
    batch = Rectangles(count, size).batch(range(count), None)
    noise = torch.rand(batch.images.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(batch.images.double() / 255 + noise, batch.targets)


def random_params(detector, shape=(3, 33, 46)):
    rng = torch.Generator().manual_seed(0)
    return randomized(detector.init(shape, rng)[0], rng)


def training_mode():
    return Mode(True, torch.Generator().manual_seed(SEED))


def sampled_regions(detector, params, batch):
    """Return the regions that the detector is trained on; its gradients treat them as constants."""
    maps, _ = detector.features(params, batch.images, Mode())
    proposer, anchors, y = detector.first_stage(detector.rpn.forward(params["rpn"], maps, Mode())[0], batch.images)
    proposals = [boxes for boxes, _ in detector.propose(y, proposer, anchors)]
    rng = torch.Generator().manual_seed(SEED)
    return draw_regions(proposals, batch.targets, detector.classes, detector.regions, 0.25, rng)


def reference_gradients(detector, params, batch, first_losses, more_losses=None):
    """Return the losses, all gradients by autograd, and the sampled regions.

    first_losses: (proposer, batch) -> a function from the proposer's outputs and map sizes to its losses. more_losses:
    (finest map, params, regions) -> additional losses.
    """
    regions = sampled_regions(detector, params, batch)
    flat = leaves(params)
    for tensor in flat.values():
        tensor.requires_grad_(True)
    maps = reference_forward(detector.backbone, params["backbone"], batch.images, Mode(True))
    maps = reference_forward(detector.neck, params["neck"], maps, Mode(True))
    y = reference_forward(detector.rpn, params["rpn"], maps, Mode(True))
    rpn_outputs = torch.cat([map_.permute(0, 2, 3, 1).reshape(len(map_), -1, 5) for map_ in y], 1)
    class_agnostic_batch = Batch(batch.images, class_agnostic(batch.targets))
    proposer_losses = first_losses(detector.proposer, class_agnostic_batch)(rpn_outputs, [map_.shape[2:] for map_ in y])
    losses = {f"rpn_{name}": value for name, value in proposer_losses.items()}
    pooled = reference_forward(detector.align, {}, (maps[0], regions.regions), Mode(True))
    scores = reference_forward(detector.head, params["head"], pooled, Mode(True))
    losses["class"] = F.cross_entropy(scores[:, :-4], regions.labels)
    distance = scores.new_zeros(())
    for row, label, true_box, region in zip(
        scores, regions.labels, regions.target_boxes, regions.regions[:, 1:], strict=True
    ):
        if label < detector.classes:
            size, expected = region[2:] - region[:2], true_box[2:] - true_box[:2]
            offset = (true_box[:2] + true_box[2:] - region[:2] - region[2:]) / 2
            offsets = torch.cat([offset / size, (expected / size).log()]) / torch.tensor(
                DEVIATIONS, dtype=torch.float64
            )
            distance = distance + F.smooth_l1_loss(row[-4:], offsets, reduction="sum")
    losses["box"] = distance / len(scores)
    if more_losses is not None:
        losses |= more_losses(maps[0], params, regions)
    total = sum(detector.weight(name) * value for name, value in losses.items())
    grads = torch.autograd.grad(total, list(flat.values()), allow_unused=True)
    for tensor in flat.values():
        tensor.requires_grad_(False)
    gradients = {
        path: torch.zeros_like(w) if g is None else g for (path, w), g in zip(flat.items(), grads, strict=True)
    }
    return {name: value.detach() for name, value in losses.items()}, gradients, regions
