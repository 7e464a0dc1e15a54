"""Fast R-CNN: one pass over the image, then a head for each proposal, which another method finds."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.detectors.base import Candidates, Detector, Size
from pellucid.detectors.faster import box_head, precise, region_reader, regional_evaluator, scorer_of_region
from pellucid.detectors.regions import compare, draw_regions, numbered, read
from pellucid.detectors.search import STRIDE, Search, search
from pellucid.detectors.single_stage import single_stage
from pellucid.detectors.walk import Scorer, Walk
from pellucid.fuse import fuse
from pellucid.layers.base import Layer, Mode, Params
from pellucid.models.pyramid import Pyramid
from pellucid.objective import Evaluated, Gradients, Losses
from pellucid.ops.boxes import clip
from pellucid.sweep import backward

MIN_BACKGROUND_IOU = 0.1  # of a background proposal of selective search with an object (Girshick 2015, section 2.3)
BATCH_SIZE = 512  # regions in a forward pass of the head


@dataclass(frozen=True)
class FastRCNN(Detector):
    """A detector with proposals that are not learned, and a head that classifies each one and refines its box.

    backbone, neck, head and the losses "class" and "box": see FasterRCNN. align: RoIAlign or RoIPool on the finest map.
    by: the method that finds proposals, see `pellucid.detectors.search`; stride: of windows, in pixels. regions: the
    maximum number for each image that the head is trained on. The IoU of background regions with objects is below 0.5;
    with selective search it is also at least 0.1, as in the paper. Source: Girshick 2015.
    """

    backbone: Layer
    neck: Layer
    align: Layer
    head: Layer
    _: KW_ONLY
    nms_threshold: float = 0.5
    by: Search = "windows"
    stride: int = STRIDE
    regions: int = 64

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters, each network for the output shape of the previous one."""
        params: Params = {}
        params["backbone"], maps = init_child("backbone", self.backbone, shape, rng)
        params["neck"], maps = init_child("neck", self.neck, maps, rng)
        params["align"], pooled = init_child("align", self.align, (maps[0], (5,)), rng)
        params["head"], out = init_child("head", self.head, pooled, rng)
        return params, out

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the losses by name, and the gradients of the parameters; without gradients if not `mode.keep`."""
        images, targets = batch
        x, cache_backbone = self.backbone.forward(params["backbone"], images, mode)
        maps, cache_neck = self.neck.forward(params["neck"], x, mode)

        proposals = [search(image, self.by, self.stride) for image in images]
        floor = MIN_BACKGROUND_IOU if self.by == "selective_search" else 0.0
        drawn = draw_regions(proposals, targets, self.classes, self.regions, 0.25, mode.rng, floor)
        pooled, cache_align = self.align.forward({}, (maps[0], drawn.regions), mode)  # (M, channels, size, size)
        scores, cache_head = self.head.forward(params["head"], pooled, mode)  # (M, C + 1 + 4)
        (label, box), dscores = compare(precise(scores), drawn, (self.weight("class"), self.weight("box")))
        losses: Losses = {"class": label, "box": box}
        if not mode.keep:
            return losses, {}

        dparams: Params = {}
        dpooled, dparams["head"] = backward(
            self.head, params["head"], cache_head, dscores.to(scores.dtype), consume=True
        )
        (dmap, _), _ = self.align.backward({}, cache_align, dpooled)
        dmaps = (dmap, *(torch.zeros_like(one) for one in maps[1:]))
        dx, dparams["neck"] = backward(self.neck, params["neck"], cache_neck, dmaps, consume=True)
        _, dparams["backbone"] = backward(self.backbone, params["backbone"], cache_backbone, dx, consume=True)
        return losses, dparams

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates a batch in one pass of the features; `params` must not change meanwhile."""
        return regional_evaluator(self, params)

    def candidates(self, params: Params, images: Tensor) -> list[Candidates]:
        """Return each proposal with its scores and refined box; `anchors` is the index of the proposal."""
        return self._candidates(*self._outputs(params, images), (images.shape[2], images.shape[3]))

    def walk(self, params: Params, image: Tensor) -> Walk:
        """Return the proposals and the outputs of the head; there are no maps of scores and no anchors."""
        proposals, outputs = self._outputs(params, image)
        (candidates,) = self._candidates(proposals, outputs, (image.shape[2], image.shape[3]))
        return Walk((), None, 0, outputs.new_zeros(0, 1), proposals[0], outputs, candidates)

    def scorer(self, params: Params, walk: Walk, candidate: int, label: int, side: int | None = None) -> Scorer:
        """Return the network that computes an output for the proposal of a candidate."""
        return scorer_of_region(self, params, walk, candidate, label, side)

    def fused(self) -> "FastRCNN":
        """Return the detector with the fused forms of its networks."""
        return self.with_nets({name: fuse(net, need_dx=name != "backbone") for name, net in self.nets.items()})

    def _outputs(self, params: Params, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the proposals of each image, and the outputs of the head for all of them."""
        mode = Mode(keep=False)
        x, _ = self.backbone.forward(params["backbone"], images, mode)
        maps, _ = self.neck.forward(params["neck"], x, mode)
        proposals = [search(image, self.by, self.stride) for image in images]
        outputs: list[Tensor] = []
        for regions in numbered(proposals).split(BATCH_SIZE):
            pooled, _ = self.align.forward({}, (maps[0], regions), mode)
            outputs.append(precise(self.head.forward(params["head"], pooled, mode)[0]))
        return proposals, torch.cat(outputs)

    @staticmethod
    def _candidates(proposals: list[Tensor], outputs: Tensor, size: Size) -> list[Candidates]:
        boxes, scores = read(outputs, torch.cat(proposals))
        counts = [len(one) for one in proposals]
        return [
            Candidates(clip(box, size), score, torch.arange(len(box), device=box.device), size)
            for box, score in zip(boxes.split(counts), scores.split(counts), strict=True)
        ]


def fast_rcnn(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 96,
    units: int = 384,
    by: Search = "windows",
    stride: int = STRIDE,
    pool: bool = False,
) -> FastRCNN:
    """Return Fast R-CNN on a backbone of the zoo.

    by, stride: the method that finds proposals, and the stride of windows in pixels. pool: use RoIPool in place of
    RoIAlign. For the other arguments see `faster_rcnn`.
    """
    first = single_stage(1, backbone, channels)
    align = region_reader(7, first.strides[0], pool)
    return FastRCNN(classes, first.backbone, first.neck, align, box_head(classes, units), by=by, stride=stride)
