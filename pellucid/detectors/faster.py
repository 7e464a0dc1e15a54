"""Faster R-CNN: one network proposes regions, another one classifies each of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.detectors.base import Anchors, Candidates, Detector, joined, parted
from pellucid.detectors.regions import Regions, compare, draw_regions, numbered, read, slopes
from pellucid.detectors.rpn import propose, unlabelled
from pellucid.detectors.single_stage import PRIOR, SingleStage, single_stage
from pellucid.detectors.walk import Scorer, Walk, region_scorer
from pellucid.fuse import fuse
from pellucid.fuse.inference import inference
from pellucid.layers import Dense, Flatten, ReLU, RoIAlign, RoIPool
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import HALF
from pellucid.models.pyramid import Pyramid
from pellucid.objective import Evaluated, Gradients, Losses, Prepared, seeded
from pellucid.objects import Detections, Objects
from pellucid.ops.boxes import clip
from pellucid.sweep import backward
from pellucid.tree import leaves

if TYPE_CHECKING:
    from pellucid.detectors.fast import FastRCNN


class More(NamedTuple):
    """The results of further heads: losses, the gradient with respect to the finest map (None for 0), and dparams."""

    losses: Losses
    dmap: Tensor | None
    dparams: Params


@dataclass(frozen=True)
class FasterRCNN(Detector):
    """A two-stage detector: region proposals, and a head that classifies each one and refines its box.

    backbone, neck: output the maps of an image at `strides`. rpn: outputs for each cell of each map a score and the
    offsets of a box, trained as a `SingleStage` of one class with anchors of `scale` strides. align: RoIAlign, which
    receives the finest map and the regions. head: outputs C + 1 scores, the last one for background, and four offsets
    that all classes share.
    proposals: their maximum number for each image. regions: the maximum number for each image that the head is trained
    on, at most a quarter of them with an object. Losses: "rpn_score", "rpn_box", "class", "box". Proposals are
    constants in the gradient of the second stage.
    Source: Ren, He, Girshick and Sun 2015; Lin et al. 2017 (the pyramid); Zhang et al. 2020 (the assignment of
    anchors).
    """

    backbone: Layer
    neck: Layer
    rpn: Layer
    align: Layer
    head: Layer
    strides: tuple[int, ...]
    _: KW_ONLY
    scale: float = 4.0
    nms_threshold: float = 0.5
    proposals: int = 300
    regions: int = 64

    @property
    def proposer(self) -> SingleStage:
        """The first stage, as a single-stage detector of one class."""
        weights = {"score": self.weight("rpn_score"), "box": self.weight("rpn_box")}
        return SingleStage(1, self.backbone, self.neck, self.rpn, self.strides, self.scale, weights=weights)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters, each network for its input's shape; the first stage's scores start near PRIOR."""
        params: Params = {}
        params["backbone"], maps = init_child("backbone", self.backbone, shape, rng)
        params["neck"], maps = init_child("neck", self.neck, maps, rng)
        params["rpn"], _ = init_child("rpn", self.rpn, maps, rng)
        params["rpn"]["layer"]["out"]["bias"][:1] = math.log(PRIOR / (1 - PRIOR))
        params["align"], pooled = init_child("align", self.align, (maps[0], (5,)), rng)
        params["head"], out = init_child("head", self.head, pooled, rng)
        return params, out

    def pooled(self, shape: Any) -> tuple[Any, Any]:
        """Return the input shapes of RoIAlign, for the finest map and a region, for images of `shape`."""
        with torch.device("meta"):
            maps = self.neck.init(self.backbone.init(shape, torch.Generator())[1], torch.Generator())[1]
        return maps[0], (5,)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the losses by name, and the gradients of the parameters; without gradients if not `mode.keep`."""
        images, targets = batch
        maps, caches = self._features(params, images, mode)  # one map for each stride

        y, caches["rpn"] = self.rpn.forward(params["rpn"], maps, mode)
        first, anchors, outputs = self._first(y, images)
        losses, doutputs = first.compare(outputs, anchors, unlabelled(targets))
        losses = {f"rpn_{name}": value for name, value in losses.items()}
        proposals = [boxes for boxes, _ in self._propose(outputs, first, anchors)]

        drawn = draw_regions(proposals, targets, self.classes, self.regions, 0.25, mode.rng)
        pooled, caches["align"] = self.align.forward({}, (maps[0], drawn.regions), mode)  # (M, channels, size, size)
        scores, caches["head"] = self.head.forward(params["head"], pooled, mode)  # (M, C + 1 + 4)
        weights = self.weight("class"), self.weight("box")
        (losses["class"], losses["box"]), dscores = compare(precise(scores), drawn, weights)
        more = self.more(params, maps[0], drawn, targets, mode)
        if not mode.keep:
            return losses | more.losses, {}

        dparams: Params = dict(more.dparams)
        dpooled, dparams["head"] = backward(
            self.head, params["head"], caches.pop("head"), dscores.to(scores.dtype), consume=True
        )
        (dmap, _), _ = self.align.backward({}, caches.pop("align"), dpooled)
        dmap = dmap if more.dmap is None else dmap + more.dmap
        dmaps, dparams["rpn"] = backward(self.rpn, params["rpn"], caches.pop("rpn"), parted(doutputs, y), consume=True)
        dmaps = (dmaps[0] + dmap, *dmaps[1:])
        dmaps, dparams["neck"] = backward(self.neck, params["neck"], caches.pop("neck"), dmaps, consume=True)
        _, dparams["backbone"] = backward(
            self.backbone, params["backbone"], caches.pop("backbone"), dmaps, consume=True
        )
        return losses | more.losses, dparams

    def anchors_of(self, params: Params, images: Tensor) -> Anchors:
        """Return the anchors of the first stage for images (N, C, H, W)."""
        maps, _ = self._features(params, images, Mode(keep=False))
        return self._first(self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0], images)[1]

    def candidates(self, params: Params, images: Tensor) -> list[Candidates]:
        """Return each proposal with its scores and refined box; `anchors` is the index of the anchor it comes from."""
        return self._candidates(params, self._features(params, images, Mode(keep=False))[0], images)

    def predict(self, params: Params, images: Tensor) -> list[Detections]:
        """Return the detections in each image, on the CPU, by descending score."""
        maps, _ = self._features(params, images, Mode(keep=False))
        detections = [self.decide(one).detections for one in self._candidates(params, maps, images)]
        height, width = images.shape[2:]
        return [one.to("cpu") for one in self.complete(params, maps[0], detections, (height, width))]

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates a batch in one pass of the features; `params` must not change meanwhile."""
        return regional_evaluator(self, params)

    def more(self, params: Params, finest: Tensor, drawn: Regions, targets: Sequence[Objects], mode: Mode) -> More:
        """Return the losses and gradients of the further heads of a subclass; here there are none."""
        return More({}, None, {})

    def complete(
        self, params: Params, finest: Tensor, found: list[Detections], size: tuple[int, int]
    ) -> list[Detections]:
        """Return the detections of each image with the outputs of further heads; here they are unchanged."""
        return found

    def fused(self) -> "FasterRCNN":
        """Return the detector with the fused forms of its networks."""
        return self.with_nets({name: fuse(net, need_dx=name != "backbone") for name, net in self.nets.items()})

    def walk(self, params: Params, image: Tensor) -> Walk:
        """Return the maps and anchors of the first stage, its proposals, and the outputs of the head."""
        maps, _ = self._features(params, image, Mode(keep=False))
        y = self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0]
        first, anchors, outputs = self._first(y, image)
        _, anchor_scores = first.read(outputs[0], anchors)
        ((proposals, anchor_indices),) = self._propose(outputs, first, anchors)
        head = self._head(params, maps, numbered([proposals]))
        boxes, scores = read(head, proposals)
        candidates = Candidates(clip(boxes, anchors.image), scores, anchor_indices, anchors.image)
        return Walk(tuple(y), anchors, first.numbers, anchor_scores, proposals, head, candidates)

    def scorer(self, params: Params, walk: Walk, candidate: int, label: int, side: int | None = None) -> Scorer:
        """Return the network that computes an output for the proposal of a candidate."""
        return scorer_of_region(self, params, walk, candidate, label, side)

    def _features(self, params: Params, images: Tensor, mode: Mode) -> tuple[tuple[Tensor, ...], dict[str, Cache]]:
        x, backbone = self.backbone.forward(params["backbone"], images, mode)
        maps, neck = self.neck.forward(params["neck"], x, mode)
        return maps, {"backbone": backbone, "neck": neck}

    def _first(self, y: Sequence[Tensor], images: Tensor) -> tuple[SingleStage, Anchors, Tensor]:
        """Return the first stage, its anchors, and its output maps y as one tensor (N, A, 5)."""
        first, (height, width) = self.proposer, images.shape[2:]
        outputs, sizes = joined(y, first.numbers), [(one.shape[2], one.shape[3]) for one in y]
        boxes = first.anchors(sizes, (height, width)).to(outputs)
        return first, Anchors(boxes, sizes, (height, width)), outputs

    def _propose(self, outputs: Tensor, first: SingleStage, anchors: Anchors) -> list[tuple[Tensor, Tensor]]:
        """Return the proposals of each image, and the indices of their anchors."""
        pairs = (first.read(one, anchors) for one in outputs)
        return [propose(boxes, scores[:, 0], anchors.image, self.proposals) for boxes, scores in pairs]

    def _head(self, params: Params, maps: tuple[Tensor, ...], regions: Tensor) -> Tensor:
        """Return the outputs (M, C + 1 + 4) of the head for regions (M, 5), in evaluation mode."""
        pooled, _ = self.align.forward({}, (maps[0], regions), Mode(keep=False))
        return precise(self.head.forward(params["head"], pooled, Mode(keep=False))[0])

    def _candidates(self, params: Params, maps: tuple[Tensor, ...], images: Tensor) -> list[Candidates]:
        first, anchors, outputs = self._first(self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0], images)
        proposed = self._propose(outputs, first, anchors)
        regions = numbered([boxes for boxes, _ in proposed])
        boxes, scores = read(self._head(params, maps, regions), regions[:, 1:])
        counts = [len(one) for one, _ in proposed]
        parts = zip(boxes.split(counts), scores.split(counts), proposed, strict=True)
        return [
            Candidates(clip(box, anchors.image), score, indices, anchors.image) for box, score, (_, indices) in parts
        ]


def faster_rcnn(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 96,
    depth: int = 2,
    units: int = 384,
    pool: bool = False,
) -> FasterRCNN:
    """Return Faster R-CNN on a backbone of the zoo.

    channels, depth: of the feature pyramid and of the first stage, see `single_stage`. units: of each of the head's two
    dense layers. pool: use RoIPool in place of RoIAlign.
    """
    first = single_stage(1, backbone, channels, depth)
    align = region_reader(7, first.strides[0], pool)
    return FasterRCNN(
        classes, first.backbone, first.neck, first.head, align, box_head(classes, units), first.strides,
        weights={"rpn_box": 2.0},
    )  # fmt: skip


def region_reader(size: int, stride: int, pool: bool) -> Layer:
    """Return RoIAlign, or RoIPool if `pool`, with outputs of size x size, for a map with this stride in pixels."""
    return RoIPool(size, 1 / stride) if pool else RoIAlign(size, 1 / stride, sampling=2)


def scorer_of_region(
    detector: "FasterRCNN | FastRCNN", params: Params, walk: Walk, candidate: int, label: int, side: int | None
) -> Scorer:
    """Return the backbone, neck and head of a two-stage detector, for the proposal of a candidate."""
    assert walk.proposals is not None
    assert walk.outputs is not None
    region = walk.proposals[candidate]
    head_slopes = slopes(walk.outputs[candidate], region, label, side)
    nets = {"backbone": detector.backbone, "neck": detector.neck}
    return region_scorer(nets, params, detector.align, detector.head, region, head_slopes)


@dataclass(frozen=True, eq=False)
class _Memoized(Prepared):
    """A network in the form of `inference`, which returns its last output again if the input is the same object."""

    last: list[Any] = field(default_factory=list)  # the input and the output

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Return the output for x, computed only if x is not the last input."""
        if not self.last or self.last[0] is not x:
            self.last[:] = x, self.run(x)
        return self.last[1], None


def regional_evaluator(detector: "FasterRCNN | FastRCNN", params: Params) -> Callable[[Batch], Evaluated]:
    """Return the evaluator of a two-stage detector: detections and losses share the features.

    Regions are drawn by a generator that has the same seed for each evaluator.
    """
    before = {name: net for name, net in detector.nets.items() if name in ("backbone", "neck", "rpn")}
    runs = {name: _Memoized(net, inference(net, params[name])) for name, net in before.items()}
    prepared = detector.with_nets(runs)
    mode = Mode(rng=seeded(leaves(params)[0].device), keep=False)

    def evaluate(batch: Batch) -> Evaluated:
        detections = prepared.predict(params, batch.images)
        losses, _ = prepared.gradients(params, batch, mode)
        for run in runs.values():
            run.last.clear()  # the next batch may be written into the same tensor, and must be computed again
        return Evaluated(detections, batch, losses)

    return evaluate


def box_head(classes: int, units: int) -> Layer:
    """Return a head of two dense layers and an output layer with C + 1 scores and four offsets."""
    return Sequential(
        flat=Flatten(), dense1=Dense(units), relu1=ReLU(), dense2=Dense(units), relu2=ReLU(),
        out=Dense(classes + 5, init_weight="lecun"),
    )  # fmt: skip


def precise(y: Tensor) -> Tensor:
    """Return y, converted to float32 if it is in half precision."""
    return y.float() if y.dtype in HALF else y
