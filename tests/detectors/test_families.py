"""SSD and YOLO: losses compared with plain PyTorch object by object, gradients with autograd."""

import pytest
import torch
from torch.nn import functional as F

from pellucid.data import Batch
from pellucid.layers.base import Mode
from pellucid.ops.assign import assign_best_anchor, assign_bipartite, assign_grid
from pellucid.ops.image_objects import Objects
from tests.detectors.drawn import small_ssd, small_yolo1, small_yolo3
from tests.detectors.reference import iou_and_giou, reference_gradients
from tests.detectors.test_single_stage import random_batch, random_params
from tests.oracle import assert_close, leaves

NO_OBJECTS = Objects(torch.zeros(0, 4), torch.zeros(0).long())


def ssd_losses(detector, batch):
    """Return a function from outputs to the losses of Liu et al. 2016, equations 1 to 3."""

    def losses(y, sizes):
        anchors = detector.anchors([tuple(size) for size in sizes]).double()
        class_loss, box_loss, count = 0 * y.sum(), y.new_zeros(()), 0  # 0 * y.sum(): has a gradient without positives
        for outputs, objects in zip(y, batch.targets, strict=True):
            assignment = assign_bipartite(anchors, objects.boxes.double())
            logits, positive = outputs[:, :3], assignment.positive.nonzero()[:, 0].tolist()
            costs = -logits.detach().log_softmax(1)[:, 0]
            negative_by_cost = sorted(set(range(len(anchors))) - set(positive), key=lambda k: -costs[k].item())
            for k in positive:
                index = int(assignment.matched[k])
                x0, y0, x1, y1 = objects.boxes[index].double()
                a0, b0, a1, b1 = anchors[k]
                anchor_width, anchor_height = a1 - a0, b1 - b0
                expected = torch.stack([
                    (x0 + x1 - a0 - a1) / 2 / anchor_width / 0.1, (y0 + y1 - b0 - b1) / 2 / anchor_height / 0.1,
                    ((x1 - x0) / anchor_width).log() / 0.2, ((y1 - y0) / anchor_height).log() / 0.2,
                ])  # fmt: skip
                box_loss = box_loss + F.smooth_l1_loss(outputs[k, 3:], expected, reduction="sum")
                class_loss = class_loss - logits[k].log_softmax(0)[1 + objects.labels[index]]
            for k in negative_by_cost[: 3 * len(positive)]:
                class_loss = class_loss - logits[k].log_softmax(0)[0]
            count += len(positive)
        return {"class": class_loss / max(count, 1), "box": box_loss / max(count, 1)}

    return losses


def yolo3_losses(detector, batch):
    """Return a function from outputs to the losses of Redmon and Farhadi 2018, section 2."""

    def losses(y, sizes):
        sizes = [tuple(size) for size in sizes]
        anchors = detector.anchors(sizes).double()
        map_settings = zip(sizes, detector.strides, detector.shapes, strict=True)
        strides = [s for (h, w), s, k in map_settings for _ in range(h * w * len(k))]
        box_loss, object_loss, class_loss, count = (y.new_zeros(()) for _ in range(4))
        for outputs, objects in zip(y, batch.targets, strict=True):
            boxes = []
            for (x, z, w, h), anchor, s in zip(outputs[:, :4], anchors, strides, strict=True):
                anchor_centre, size = (anchor[:2] + anchor[2:]) / 2, anchor[2:] - anchor[:2]
                centre = anchor_centre - s / 2 + s * torch.stack([x, z]).sigmoid()
                half = size * torch.stack([w, h]).exp() / 2
                boxes.append(torch.cat([centre - half, centre + half]))
            predicted, shapes = torch.stack(boxes).detach(), [torch.tensor(k) for k in detector.shapes]
            assignment = assign_best_anchor(
                anchors,
                shapes,
                sizes,
                detector.strides,
                objects.boxes.double(),
                predicted,
            )
            for k in range(len(anchors)):
                target = y.new_ones(()) if assignment.positive[k] else y.new_zeros(())
                if assignment.positive[k] or assignment.negative[k]:
                    object_loss = object_loss + F.binary_cross_entropy_with_logits(outputs[k, 4], target)
            for k in assignment.positive.nonzero()[:, 0].tolist():
                index = int(assignment.matched[k])
                box, anchor, s = objects.boxes[index].double(), anchors[k], strides[k]
                corner = (anchor[:2] + anchor[2:] - s) / 2
                position = ((box[:2] + box[2:]) / 2 - corner) / s
                size = ((box[2:] - box[:2]) / (anchor[2:] - anchor[:2])).log()
                weight = 2 - (box[2:] - box[:2]).prod() / (batch.images.shape[2] * batch.images.shape[3])
                cross = F.binary_cross_entropy_with_logits(outputs[k, :2], position, reduction="sum")
                box_loss = box_loss + weight * (cross + ((outputs[k, 2:4] - size) ** 2).sum() / 2)
                one_hot = F.one_hot(objects.labels[index], 2).double()
                class_loss = class_loss + F.binary_cross_entropy_with_logits(outputs[k, 5:], one_hot, reduction="sum")
                count = count + 1
        count = count.clamp_min(1).detach()
        return {"box": box_loss / count, "object": object_loss / count, "class": class_loss / count}

    return losses


def yolo1_losses(detector, batch):
    """Return a function from outputs to the losses of Redmon et al. 2016, equation 3."""

    def losses(y, sizes):
        ((rows, columns),) = sizes
        height, width = batch.images.shape[2:]
        box_loss, object_loss, background_loss, class_loss = (y.new_zeros(()) for _ in range(4))
        for outputs, objects in zip(y, batch.targets, strict=True):
            assignment = assign_grid((rows, columns), 8, objects.boxes.double())
            for cell, cell_outputs in enumerate(outputs):
                boxes = cell_outputs[:10].view(2, 5)
                index = int(assignment.matched[cell])
                best_box = -1
                if index >= 0:
                    true_box, corner = (
                        objects.boxes[index].double(),
                        torch.tensor([cell % columns, cell // columns]) * 8,
                    )
                    ious = []
                    for x, z, w, h, _ in boxes:
                        centre, half = corner + 8 * torch.stack([x, z]), torch.stack([w**2 * width, h**2 * height]) / 2
                        ious.append(iou_and_giou(torch.cat([centre - half, centre + half]), true_box)[0].detach())
                    best_box = int(torch.stack(ious).argmax())
                    position = ((true_box[:2] + true_box[2:]) / 2 - corner) / 8
                    size_roots = ((true_box[2:] - true_box[:2]) / torch.tensor([width, height])).sqrt()
                    box_loss = box_loss + ((boxes[best_box, :4] - torch.cat([position, size_roots])) ** 2).sum()
                    object_loss = object_loss + (boxes[best_box, 4] - ious[best_box]) ** 2
                    class_loss = class_loss + ((cell_outputs[10:] - F.one_hot(objects.labels[index], 2)) ** 2).sum()
                for k in range(2):
                    background_loss = background_loss + (boxes[k, 4] ** 2 if k != best_box else 0)
        losses_by_name = {"box": box_loss, "object": object_loss, "background": background_loss, "class": class_loss}
        return {name: value / len(y) for name, value in losses_by_name.items()}

    return losses


FAMILIES = [(small_ssd, ssd_losses), (small_yolo3, yolo3_losses), (small_yolo1, yolo1_losses)]


@pytest.mark.parametrize(("make_detector", "reference"), FAMILIES)
@pytest.mark.parametrize("kind", ["drawn", "none", "one pixel", "many"])
def test_losses_and_gradients_are_those_of_automatic_differentiation(make_detector, reference, kind):
    rng = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=rng) * torch.tensor([30.0, 20.0])
    many_boxes = torch.cat([corner, corner + 2 + torch.rand(60, 2, generator=rng) * 12], 1)
    targets = {
        "none": [NO_OBJECTS, NO_OBJECTS],
        "one pixel": [Objects(torch.tensor([[10.0, 10.0, 11.0, 11.0]]), torch.tensor([1])), NO_OBJECTS],
        "many": [Objects(many_boxes, torch.arange(60) % 2), NO_OBJECTS],
    }
    batch = random_batch(2)
    batch = Batch(batch.images, targets.get(kind, batch.targets))
    detector = make_detector()
    params = random_params(detector)
    expected, gradients = reference_gradients(detector, params, batch, reference(detector, batch))
    losses, dparams = detector.gradients(params, batch, Mode(True))
    assert_close(losses, expected, 1e-9, "losses")
    assert_close(leaves(dparams), gradients, 1e-8, "gradients")
    fused_losses, fused_gradients = detector.fused().gradients(params, batch, Mode(True))
    assert_close(fused_losses, expected, 1e-9, "losses of the fused form")
    assert_close(leaves(fused_gradients), gradients, 1e-8, "gradients of the fused form")
