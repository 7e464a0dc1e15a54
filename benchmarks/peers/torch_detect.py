"""Detectors in plain PyTorch: modules that Pellucid exports, and losses differentiated by autograd.

The assignment of anchors and regions has no gradient and uses Pellucid's code.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection import roi_align_by_index
from benchmarks.jobs import DETECTORS, Job, scenes
from pellucid.detectors import SSD, YOLO1, YOLO3, FastRCNN, MaskRCNN, OneStageDetector, ProposalDetector, SingleStage
from pellucid.detectors.base import Anchors, Positives, collect_positives, join_maps
from pellucid.detectors.mask import mask_targets
from pellucid.detectors.regions import DEVIATIONS, Regions, class_agnostic, draw_regions
from pellucid.detectors.search import search
from pellucid.detectors.yolo3 import MAX_BACKGROUND_IOU
from pellucid.export.torch_file import source
from pellucid.layers import Mode
from pellucid.ops.assign import assign_best_anchor
from pellucid.ops.coding import encode
from pellucid.ops.image_objects import Objects

Targets = Sequence[Objects]


def exported_module(net: Any, params: Any, shape: Any) -> nn.Module:
    """Return a network, with its weights, as the PyTorch module that `pellucid export` writes."""
    text, weights = source("made", net, params, shape, None, None)
    namespace: dict[str, Any] = {"__file__": "made.py"}
    exec(compile(text, "made.py", "exec"), namespace)
    network: nn.Module = namespace["network"]()
    network.load_state_dict(weights)
    return network.to(memory_format=torch.channels_last)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    size, middle = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
    centre, half = middle + offsets[:, :2] * size, size * offsets[:, 2:].exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def iou_and_giou(boxes: Tensor, other_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the GIoU of pairs of boxes, each (n,); boxes and other_boxes: (n, 4)."""
    common = (
        torch.minimum(boxes[:, 2:], other_boxes[:, 2:]) - torch.maximum(boxes[:, :2], other_boxes[:, :2])
    ).clamp_min(0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (other_boxes[:, 2:] - other_boxes[:, :2]).prod(1)
    union = areas - common.prod(1)
    hull = (torch.maximum(boxes[:, 2:], other_boxes[:, 2:]) - torch.minimum(boxes[:, :2], other_boxes[:, :2])).prod(1)
    iou = common.prod(1) / union
    return iou, iou - (hull - union) / hull


def single_stage(detector: SingleStage, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    matched, count = _matched_anchors(detector, y, anchors, targets)
    matched_indices = (matched.image, matched.anchor)
    iou, giou = iou_and_giou(
        decode_boxes(y[matched_indices][:, detector.classes :], anchors.boxes[matched.anchor]), matched.target_boxes
    )
    quality = torch.zeros_like(y[..., : detector.classes])
    quality[(*matched_indices, matched.label)] = iou.detach()
    logits = y[..., : detector.classes]
    cross = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    value = ((quality - logits.sigmoid()) ** 2 * cross).sum()
    return (value + detector.weight("box") * (1 - giou).sum()) / count


def ssd(detector: SSD, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    matched, count = _matched_anchors(detector, y, anchors, targets)
    matched_indices, logits = (matched.image, matched.anchor), y[..., : detector.classes + 1]
    classes = torch.zeros(y.shape[:2], dtype=torch.int64)
    classes[matched_indices] = matched.label + 1
    scored = detector._hard_negatives(logits.detach(), matched.negative, (classes > 0).sum(1))
    scored[matched_indices] = True
    value = F.cross_entropy(logits[scored], classes[scored], reduction="sum")
    offsets = encode(matched.target_boxes, anchors.boxes[matched.anchor], DEVIATIONS)
    return (value + F.smooth_l1_loss(y[matched_indices][:, detector.classes + 1 :], offsets, reduction="sum")) / count


def yolo3(detector: YOLO3, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    with torch.no_grad():
        predicted, shapes = detector._decode_boxes(y, anchors), [torch.tensor(one) for one in detector.shapes]
        assigned = [
            assign_best_anchor(
                anchors.boxes, shapes, anchors.sizes, detector.strides, one.boxes, boxes, MAX_BACKGROUND_IOU
            )
            for one, boxes in zip(targets, predicted, strict=True)
        ]
        matched = collect_positives(assigned, targets, y)
        corner, size = detector.cells(anchors)
    matched_indices, count = (matched.image, matched.anchor), max(len(matched.image), 1)
    predictions, (low, high) = y[matched_indices], matched.target_boxes.split(2, 1)
    cell_offsets = (((low + high) / 2 - corner[matched.anchor]) / size[matched.anchor]).clamp(0, 1)
    shape = anchors.boxes[matched.anchor, 2:] - anchors.boxes[matched.anchor, :2]
    weight = 2 - (high - low).prod(1, keepdim=True) / (anchors.image_size[0] * anchors.image_size[1])
    box = F.binary_cross_entropy_with_logits(predictions[:, :2], cell_offsets, weight, reduction="sum")
    box = box + (weight * (predictions[:, 2:4] - ((high - low) / shape).log()) ** 2).sum() / 2
    objectness = torch.zeros_like(y[..., 4])
    objectness[matched_indices] = 1
    scored = matched.negative.clone()
    scored[matched_indices] = True
    value = F.binary_cross_entropy_with_logits(y[..., 4][scored], objectness[scored], reduction="sum")
    one_hot = F.one_hot(matched.label, detector.classes).float()
    return (box + value + F.binary_cross_entropy_with_logits(predictions[:, 5:], one_hot, reduction="sum")) / count


def yolo1(detector: YOLO1, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    matched, _ = _matched_anchors(detector, y, anchors, targets)
    matched_indices = (matched.image, matched.anchor)
    numbers, cell = y[..., : 5 * detector.boxes].unflatten(2, (detector.boxes, 5)), anchors.boxes[matched.anchor]
    boxes = detector._decode_boxes(numbers[matched_indices].detach(), cell, anchors.image_size)
    iou, best_box = torch.stack(
        [iou_and_giou(boxes[:, k], matched.target_boxes)[0] for k in range(detector.boxes)], 1
    ).max(1)
    predicted, (low, high) = (
        numbers[matched_indices][torch.arange(len(best_box)), best_box],
        matched.target_boxes.split(2, 1),
    )
    image_size = torch.tensor(anchors.image_size).flip(0)
    box_targets = torch.cat([((low + high) / 2 - cell[:, :2]) / detector.stride, ((high - low) / image_size).sqrt()], 1)
    background = matched.negative[..., None].expand(-1, -1, detector.boxes).clone()
    background[matched_indices] = True
    background[(*matched_indices, best_box)] = False
    one_hot = F.one_hot(matched.label, detector.classes).float()
    errors = {
        "box": predicted[:, :4] - box_targets, "object": predicted[:, 4] - iou,
        "background": numbers[..., 4][background], "class": y[matched_indices][:, 5 * detector.boxes :] - one_hot,
    }  # fmt: skip
    return sum((detector.weight(name) * (part**2).sum() for name, part in errors.items()), y.new_zeros(())) / len(y)


def region_loss(sampled: Regions, scores: Tensor) -> Tensor:
    value = F.cross_entropy(scores[:, :-4], sampled.labels, reduction="sum")
    offsets = encode(sampled.target_boxes[sampled.positive], sampled.regions[sampled.positive, 1:], DEVIATIONS)
    return (value + F.smooth_l1_loss(scores[sampled.positive, -4:], offsets, reduction="sum")) / max(len(scores), 1)


def _matched_anchors(
    detector: OneStageDetector, y: Tensor, anchors: Anchors, targets: Targets
) -> tuple[Positives, int]:
    with torch.no_grad():
        matched = collect_positives([detector.assign(anchors, one) for one in targets], targets, y)
    return matched, max(len(matched.image), 1)


def mask_loss(detector: MaskRCNN, sampled: Regions, y: Tensor, targets: Targets) -> Tensor:
    """Return the mask loss; y (P, C, M, M): mask logits of the P regions with an object."""
    positive = sampled.positive
    with torch.no_grad():
        target = mask_targets(targets, sampled.objects[positive], sampled.regions[positive], y.shape[2:])
    return F.binary_cross_entropy_with_logits(y[torch.arange(len(y)), sampled.labels[positive]], target)


LOSSES: dict[type, Callable[..., Tensor]] = {SingleStage: single_stage, SSD: ssd, YOLO3: yolo3, YOLO1: yolo1}


def make(job: Job) -> Callable[[int], None]:
    """Return a function that runs training steps of plain gradient descent, or predictions of a one-stage detector."""
    detector, batch = DETECTORS[job.network](), scenes(job)
    params, _ = detector.init(job.shape, torch.Generator().manual_seed(0))
    images = batch.images.contiguous(memory_format=torch.channels_last)
    nets, x = {}, images[:1]
    is_two_stage = isinstance(detector, ProposalDetector | FastRCNN)
    for name in ("backbone", "neck", "rpn", "head")[: 3 if isinstance(detector, ProposalDetector) else 2]:
        nets[name] = exported_module(detector.nets[name], params[name], _shape(x))
        x = x if name == "rpn" else detector.nets[name].forward(params[name], x, Mode())[0]
    if is_two_stage:
        nets["head"] = exported_module(detector.nets["head"], params["head"], (x[0].shape[1], 7, 7))
        if isinstance(detector, MaskRCNN):
            nets["mask_head"] = exported_module(detector.mask_head, params["mask_head"], (x[0].shape[1], 14, 14))
    else:
        nets["head"] = exported_module(detector.nets["head"], params["head"], _shape(x))
    if job.inference:
        return make_predictions(detector, nets, images)
    for path, value in nets["backbone"].named_parameters():
        value.requires_grad_(not path.startswith(("stem.", "stage1.", "stage2.")))
    trainable = [one for net in nets.values() for one in net.parameters() if one.requires_grad]
    optimizer, rng = torch.optim.SGD(trainable, lr=1e-5, fused=True), torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        maps = nets["neck"](nets["backbone"](images))
        maps = maps if isinstance(maps, tuple) else (maps,)
        if isinstance(detector, OneStageDetector):
            y = nets["head"](maps if len(maps) > 1 else maps[0])
            y = y if isinstance(y, tuple) else (y,)
            outputs = join_maps(y, detector.outputs_per_anchor)
            with torch.no_grad():
                anchors = detector.anchors_at(y, images)
            return LOSSES[type(detector)](detector, outputs, anchors, batch.targets)
        total = images.new_zeros(())
        if isinstance(detector, ProposalDetector):
            y = nets["rpn"](maps)
            with torch.no_grad():
                first, anchors, _ = detector.first_stage(y, images)
            outputs = join_maps(y, first.outputs_per_anchor)
            total = single_stage(first, outputs, anchors, class_agnostic(batch.targets))
            with torch.no_grad():
                proposals = [boxes for boxes, _ in detector.propose(outputs, first, anchors)]
        else:
            proposals = [search(image, detector.by, detector.stride) for image in images]
        with torch.no_grad():
            sampled = draw_regions(proposals, batch.targets, detector.classes, detector.regions, 0.25, rng)
        total = total + region_loss(
            sampled, nets["head"](roi_align_by_index(maps[0], sampled.regions, detector.align.scale))
        )
        if isinstance(detector, MaskRCNN):
            pooled = roi_align_by_index(maps[0], sampled.regions[sampled.positive], detector.align.scale, 14)
            total = total + mask_loss(detector, sampled, nets["mask_head"](pooled), batch.targets)
        return total

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    run.loss = loss  # type: ignore[attr-defined]
    return run


def make_predictions(detector: Any, nets: dict[str, nn.Module], images: Tensor) -> Callable[[int], None]:
    """Return a function that runs predictions of a one-stage detector, with the same decoding and suppression."""
    modules = [nets[name].eval() for name in ("backbone", "neck", "head")]

    @torch.inference_mode()
    def run(steps: int) -> None:
        for _ in range(steps):
            y: Any = images
            for module in modules:
                y = module(y[0] if isinstance(y, tuple) and len(y) == 1 else y)
            detector.detections_of(detector.candidates_of(y if isinstance(y, tuple) else (y,), images))

    return run


def _shape(x: Any) -> Any:
    """Return the shape of one example; for a tuple of inputs, a tuple of shapes."""
    return tuple(_shape(one) for one in x) if isinstance(x, tuple) else tuple(x.shape[1:])
