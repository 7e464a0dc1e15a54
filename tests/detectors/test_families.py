"""SSD and YOLO: losses and gradients beside automatic differentiation, object by object."""

import pytest
import torch
from torch.nn import functional as F

from pellucid.data import Batch
from pellucid.image_objects import Objects
from pellucid.layers.base import Mode
from pellucid.ops.assign import assign_best_anchor, assign_bipartite, assign_grid
from tests.detectors.drawn import small_ssd, small_yolo1, small_yolo3
from tests.detectors.reference import autograd_of, iou_and_giou
from tests.detectors.test_single_stage import drawn, parameters
from tests.oracle import assert_close, leaves

EMPTY = Objects(torch.zeros(0, 4), torch.zeros(0).long())


def in_ssd(detector, batch):
    """Liu et al. 2016, equations 1 to 3."""

    def losses(y, sizes):
        anchors = detector.anchors([tuple(size) for size in sizes], (0, 0)).double()
        of_class, of_box, count = 0 * y.sum(), y.new_zeros(()), 0  # depends on y also without positives
        for outputs, one in zip(y, batch.targets, strict=True):
            assignment = assign_bipartite(anchors, one.boxes.double())
            logits, positive = outputs[:, :3], assignment.positive.nonzero()[:, 0].tolist()
            costs = -logits.detach().log_softmax(1)[:, 0]
            rest = sorted(set(range(len(anchors))) - set(positive), key=lambda k: -costs[k].item())
            for k in positive:
                index = int(assignment.matched[k])
                x0, y0, x1, y1 = one.boxes[index].double()
                a0, b0, a1, b1 = anchors[k]
                wide, high = a1 - a0, b1 - b0
                expected = torch.stack([
                    (x0 + x1 - a0 - a1) / 2 / wide / 0.1, (y0 + y1 - b0 - b1) / 2 / high / 0.1,
                    ((x1 - x0) / wide).log() / 0.2, ((y1 - y0) / high).log() / 0.2,
                ])  # fmt: skip
                of_box = of_box + F.smooth_l1_loss(outputs[k, 3:], expected, reduction="sum")
                of_class = of_class - logits[k].log_softmax(0)[1 + one.labels[index]]
            for k in rest[: 3 * len(positive)]:
                of_class = of_class - logits[k].log_softmax(0)[0]
            count += len(positive)
        return {"class": of_class / max(count, 1), "box": of_box / max(count, 1)}

    return losses


def in_yolo3(detector, batch):
    """Redmon and Farhadi 2018, section 2."""

    def losses(y, sizes):
        sizes = [tuple(size) for size in sizes]
        anchors = detector.anchors(sizes, (0, 0)).double()
        each = zip(sizes, detector.strides, detector.shapes, strict=True)
        strides = [s for (h, w), s, k in each for _ in range(h * w * len(k))]
        of_box, of_object, of_class, count = (y.new_zeros(()) for _ in range(4))
        for outputs, one in zip(y, batch.targets, strict=True):
            boxes = []
            for (x, z, w, h), anchor, s in zip(outputs[:, :4], anchors, strides, strict=True):
                middle, size = (anchor[:2] + anchor[2:]) / 2, anchor[2:] - anchor[:2]
                centre = middle - s / 2 + s * torch.stack([x, z]).sigmoid()
                half = size * torch.stack([w, h]).exp() / 2
                boxes.append(torch.cat([centre - half, centre + half]))
            predicted, shapes = torch.stack(boxes).detach(), [torch.tensor(k) for k in detector.shapes]
            assignment = assign_best_anchor(
                anchors,
                shapes,
                sizes,
                detector.strides,
                one.boxes.double(),
                predicted,
            )
            for k in range(len(anchors)):
                target = y.new_ones(()) if assignment.positive[k] else y.new_zeros(())
                if assignment.positive[k] or assignment.negative[k]:
                    of_object = of_object + F.binary_cross_entropy_with_logits(outputs[k, 4], target)
            for k in assignment.positive.nonzero()[:, 0].tolist():
                index = int(assignment.matched[k])
                box, anchor, s = one.boxes[index].double(), anchors[k], strides[k]
                corner = (anchor[:2] + anchor[2:] - s) / 2
                inside = ((box[:2] + box[2:]) / 2 - corner) / s
                size = ((box[2:] - box[:2]) / (anchor[2:] - anchor[:2])).log()
                weight = 2 - (box[2:] - box[:2]).prod() / (batch.images.shape[2] * batch.images.shape[3])
                cross = F.binary_cross_entropy_with_logits(outputs[k, :2], inside, reduction="sum")
                of_box = of_box + weight * (cross + ((outputs[k, 2:4] - size) ** 2).sum() / 2)
                one_hot = F.one_hot(one.labels[index], 2).double()
                of_class = of_class + F.binary_cross_entropy_with_logits(outputs[k, 5:], one_hot, reduction="sum")
                count = count + 1
        count = count.clamp_min(1).detach()
        return {"box": of_box / count, "object": of_object / count, "class": of_class / count}

    return losses


def in_yolo1(detector, batch):
    """Redmon et al. 2016, equation 3."""

    def losses(y, sizes):
        ((rows, columns),) = sizes
        height, width = batch.images.shape[2:]
        of_box, of_object, background, of_class = (y.new_zeros(()) for _ in range(4))
        for outputs, one in zip(y, batch.targets, strict=True):
            assignment = assign_grid((rows, columns), 8, one.boxes.double())
            for cell, numbers in enumerate(outputs):
                boxes = numbers[:10].view(2, 5)
                index = int(assignment.matched[cell])
                best = -1
                if index >= 0:
                    truth, corner = one.boxes[index].double(), torch.tensor([cell % columns, cell // columns]) * 8
                    ious = []
                    for x, z, w, h, _ in boxes:
                        centre, half = corner + 8 * torch.stack([x, z]), torch.stack([w**2 * width, h**2 * height]) / 2
                        ious.append(iou_and_giou(torch.cat([centre - half, centre + half]), truth)[0].detach())
                    best = int(torch.stack(ious).argmax())
                    inside = ((truth[:2] + truth[2:]) / 2 - corner) / 8
                    roots = ((truth[2:] - truth[:2]) / torch.tensor([width, height])).sqrt()
                    of_box = of_box + ((boxes[best, :4] - torch.cat([inside, roots])) ** 2).sum()
                    of_object = of_object + (boxes[best, 4] - ious[best]) ** 2
                    of_class = of_class + ((numbers[10:] - F.one_hot(one.labels[index], 2)) ** 2).sum()
                for k in range(2):
                    background = background + (boxes[k, 4] ** 2 if k != best else 0)
        names = {"box": of_box, "object": of_object, "background": background, "class": of_class}
        return {name: value / len(y) for name, value in names.items()}

    return losses


FAMILIES = [(small_ssd, in_ssd), (small_yolo3, in_yolo3), (small_yolo1, in_yolo1)]


@pytest.mark.parametrize(("make", "reference"), FAMILIES)
@pytest.mark.parametrize("kind", ["drawn", "none", "one pixel", "many"])
def test_losses_and_gradients_are_those_of_automatic_differentiation(make, reference, kind):
    rng = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=rng) * torch.tensor([30.0, 20.0])
    many = torch.cat([corner, corner + 2 + torch.rand(60, 2, generator=rng) * 12], 1)
    targets = {
        "none": [EMPTY, EMPTY],
        "one pixel": [Objects(torch.tensor([[10.0, 10.0, 11.0, 11.0]]), torch.tensor([1])), EMPTY],
        "many": [Objects(many, torch.arange(60) % 2), EMPTY],
    }
    batch = drawn(2)
    batch = Batch(batch.images, targets.get(kind, batch.targets))
    detector = make()
    params = parameters(detector)
    expected, gradients = autograd_of(detector, params, batch, reference(detector, batch))
    losses, dparams = detector.gradients(params, batch, Mode(True))
    assert_close(losses, expected, 1e-9, "losses")
    assert_close(leaves(dparams), gradients, 1e-8, "gradients")
    fused, dfused = detector.fused().gradients(params, batch, Mode(True))
    assert_close(fused, expected, 1e-9, "losses of the fused form")
    assert_close(leaves(dfused), gradients, 1e-8, "gradients of the fused form")
