"""Detectors in plain PyTorch: modules that Pellucid exports, and losses by automatic differentiation.

The choice of anchors and regions has no gradient, and is the same code in both.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.detection import by_index
from benchmarks.jobs import DETECTORS, Job, scenes
from pellucid.detectors import SSD, YOLO1, YOLO3, FastRCNN, MaskRCNN, OneStage, ProposalDetector, SingleStage
from pellucid.detectors.base import Anchors, Positives, join_maps, positives
from pellucid.detectors.mask import mask_targets
from pellucid.detectors.regions import DEVIATIONS, Regions, draw_regions, unlabelled
from pellucid.detectors.search import search
from pellucid.detectors.yolo3 import MAX_BACKGROUND_IOU
from pellucid.export.torch_file import source
from pellucid.image_objects import Objects
from pellucid.layers import Mode
from pellucid.ops.assign import assign_best_anchor
from pellucid.ops.coding import encode

Targets = Sequence[Objects]


def module(net: Any, params: Any, shape: Any) -> nn.Module:
    """Return a network as the PyTorch module that `pellucid export` writes, with its weights."""
    text, weights = source("made", net, params, shape, None, None)
    space: dict[str, Any] = {"__file__": "made.py"}
    exec(compile(text, "made.py", "exec"), space)
    made: nn.Module = space["network"]()
    made.load_state_dict(weights)
    return made.to(memory_format=torch.channels_last)


def decoded(offsets: Tensor, anchors: Tensor) -> Tensor:
    size, middle = anchors[:, 2:] - anchors[:, :2], (anchors[:, :2] + anchors[:, 2:]) / 2
    centre, half = middle + offsets[:, :2] * size, size * offsets[:, 2:].exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def overlap(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the GIoU of pairs."""
    common = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp_min(0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    union = areas - common.prod(1)
    hull = (torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])).prod(1)
    iou = common.prod(1) / union
    return iou, iou - (hull - union) / hull


def single_stage(it: SingleStage, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    found, count = _found(it, y, anchors, targets)
    at = (found.image, found.anchor)
    iou, giou = overlap(decoded(y[at][:, it.classes :], anchors.boxes[found.anchor]), found.target_boxes)
    quality = torch.zeros_like(y[..., : it.classes])
    quality[(*at, found.label)] = iou.detach()
    logits = y[..., : it.classes]
    cross = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    value = ((quality - logits.sigmoid()) ** 2 * cross).sum()
    return (value + it.weight("box") * (1 - giou).sum()) / count


def ssd(it: SSD, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    found, count = _found(it, y, anchors, targets)
    at, logits = (found.image, found.anchor), y[..., : it.classes + 1]
    classes = torch.zeros(y.shape[:2], dtype=torch.int64)
    classes[at] = found.label + 1
    chosen = it._hard(logits.detach(), found.negative, (classes > 0).sum(1))
    chosen[at] = True
    value = F.cross_entropy(logits[chosen], classes[chosen], reduction="sum")
    wanted = encode(found.target_boxes, anchors.boxes[found.anchor], DEVIATIONS)
    return (value + F.smooth_l1_loss(y[at][:, it.classes + 1 :], wanted, reduction="sum")) / count


def yolo3(it: YOLO3, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    with torch.no_grad():
        predicted, shapes = it._boxes(y, anchors), [torch.tensor(one) for one in it.shapes]
        assigned = [
            assign_best_anchor(anchors.boxes, shapes, anchors.sizes, it.strides, one.boxes, boxes, MAX_BACKGROUND_IOU)
            for one, boxes in zip(targets, predicted, strict=True)
        ]
        found = positives(assigned, targets, y)
        corner, size = it.cells(anchors)
    at, count = (found.image, found.anchor), max(len(found.image), 1)
    mine, (low, high) = y[at], found.target_boxes.split(2, 1)
    inside = (((low + high) / 2 - corner[found.anchor]) / size[found.anchor]).clamp(0, 1)
    shape = anchors.boxes[found.anchor, 2:] - anchors.boxes[found.anchor, :2]
    weight = 2 - (high - low).prod(1, keepdim=True) / (anchors.image[0] * anchors.image[1])
    box = F.binary_cross_entropy_with_logits(mine[:, :2], inside, weight, reduction="sum")
    box = box + (weight * (mine[:, 2:4] - ((high - low) / shape).log()) ** 2).sum() / 2
    there = torch.zeros_like(y[..., 4])
    there[at] = 1
    learns = found.negative.clone()
    learns[at] = True
    value = F.binary_cross_entropy_with_logits(y[..., 4][learns], there[learns], reduction="sum")
    one_hot = F.one_hot(found.label, it.classes).float()
    return (box + value + F.binary_cross_entropy_with_logits(mine[:, 5:], one_hot, reduction="sum")) / count


def yolo1(it: YOLO1, y: Tensor, anchors: Anchors, targets: Targets) -> Tensor:
    found, _ = _found(it, y, anchors, targets)
    at = (found.image, found.anchor)
    numbers, cell = y[..., : 5 * it.boxes].unflatten(2, (it.boxes, 5)), anchors.boxes[found.anchor]
    boxes = it._boxes(numbers[at].detach(), cell, anchors.image)
    iou, best = torch.stack([overlap(boxes[:, k], found.target_boxes)[0] for k in range(it.boxes)], 1).max(1)
    mine, (low, high) = numbers[at][torch.arange(len(best)), best], found.target_boxes.split(2, 1)
    whole = torch.tensor(anchors.image).flip(0)
    wanted = torch.cat([((low + high) / 2 - cell[:, :2]) / it.stride, ((high - low) / whole).sqrt()], 1)
    others = found.negative[..., None].expand(-1, -1, it.boxes).clone()
    others[at] = True
    others[(*at, best)] = False
    one_hot = F.one_hot(found.label, it.classes).float()
    parts = {
        "box": mine[:, :4] - wanted, "object": mine[:, 4] - iou, "background": numbers[..., 4][others],
        "class": y[at][:, 5 * it.boxes :] - one_hot,
    }  # fmt: skip
    return sum((it.weight(name) * (part**2).sum() for name, part in parts.items()), y.new_zeros(())) / len(y)


def regions(drawn: Regions, scores: Tensor) -> Tensor:
    value = F.cross_entropy(scores[:, :-4], drawn.labels, reduction="sum")
    wanted = encode(drawn.target_boxes[drawn.positive], drawn.regions[drawn.positive, 1:], DEVIATIONS)
    return (value + F.smooth_l1_loss(scores[drawn.positive, -4:], wanted, reduction="sum")) / max(len(scores), 1)


def _found(it: OneStage, y: Tensor, anchors: Anchors, targets: Targets) -> tuple[Positives, int]:
    with torch.no_grad():
        found = positives([it.assign(anchors, one) for one in targets], targets, y)
    return found, max(len(found.image), 1)


def masks(it: MaskRCNN, drawn: Regions, y: Tensor, targets: Targets) -> Tensor:
    """Return the loss of the masks y (P, C, M, M) of the regions with an object."""
    positive = drawn.positive
    with torch.no_grad():
        target = mask_targets(targets, drawn.objects[positive], drawn.regions[positive], y.shape[2:])
    return F.binary_cross_entropy_with_logits(y[torch.arange(len(y)), drawn.labels[positive]], target)


LOSSES: dict[type, Callable[..., Tensor]] = {SingleStage: single_stage, SSD: ssd, YOLO3: yolo3, YOLO1: yolo1}


def make(job: Job) -> Callable[[int], None]:
    """Return a function that makes training steps of plain gradient descent."""
    it, batch = DETECTORS[job.network](), scenes(job)
    params, _ = it.init(job.shape, torch.Generator().manual_seed(0))
    images = batch.images.contiguous(memory_format=torch.channels_last)
    nets, x = {}, images[:1]
    two = isinstance(it, ProposalDetector | FastRCNN)
    for name in ("backbone", "neck", "rpn", "head")[: 3 if isinstance(it, ProposalDetector) else 2]:
        nets[name] = module(it.nets[name], params[name], _shape(x))
        x = x if name == "rpn" else it.nets[name].forward(params[name], x, Mode())[0]
    if two:
        nets["head"] = module(it.nets["head"], params["head"], (x[0].shape[1], 7, 7))
        if isinstance(it, MaskRCNN):
            nets["mask_head"] = module(it.mask_head, params["mask_head"], (x[0].shape[1], 14, 14))
    else:
        nets["head"] = module(it.nets["head"], params["head"], _shape(x))
    for path, value in nets["backbone"].named_parameters():
        value.requires_grad_(not path.startswith(("stem.", "stage1.", "stage2.")))
    learned = [one for net in nets.values() for one in net.parameters() if one.requires_grad]
    optimizer, rng = torch.optim.SGD(learned, lr=1e-5), torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        maps = nets["neck"](nets["backbone"](images))
        maps = maps if isinstance(maps, tuple) else (maps,)
        if isinstance(it, OneStage):
            y = nets["head"](maps if len(maps) > 1 else maps[0])
            y = y if isinstance(y, tuple) else (y,)
            outputs = join_maps(y, it.outputs_per_anchor)
            with torch.no_grad():
                anchors = it.anchors_at(y, images)
            return LOSSES[type(it)](it, outputs, anchors, batch.targets)
        total = images.new_zeros(())
        if isinstance(it, ProposalDetector):
            y = nets["rpn"](maps)
            with torch.no_grad():
                first, anchors, _ = it.first_stage(y, images)
            outputs = join_maps(y, first.outputs_per_anchor)
            total = single_stage(first, outputs, anchors, unlabelled(batch.targets))
            with torch.no_grad():
                proposals = [boxes for boxes, _ in it.propose(outputs, first, anchors)]
        else:
            proposals = [search(image, it.by, it.stride) for image in images]
        with torch.no_grad():
            drawn = draw_regions(proposals, batch.targets, it.classes, it.regions, 0.25, rng)
        total = total + regions(drawn, nets["head"](by_index(maps[0], drawn.regions, it.align.scale)))
        if isinstance(it, MaskRCNN):
            pooled = by_index(maps[0], drawn.regions[drawn.positive], it.align.scale, 14)
            total = total + masks(it, drawn, nets["mask_head"](pooled), batch.targets)
        return total

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    run.loss = loss  # type: ignore[attr-defined]
    return run


def _shape(x: Any) -> Any:
    """Return the shape of one example, or of each of several inputs."""
    return tuple(_shape(one) for one in x) if isinstance(x, tuple) else tuple(x.shape[1:])
