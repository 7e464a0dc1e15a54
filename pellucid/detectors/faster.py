"""Faster R-CNN: a network proposes regions, a second one classifies each."""

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
from pellucid.objective import Evaluated, Gradients, Losses, StandIn, seeded
from pellucid.objects import Detections, Objects
from pellucid.ops.boxes import clip
from pellucid.sweep import backward
from pellucid.tree import leaves

if TYPE_CHECKING:
    from pellucid.detectors.fast import FastRCNN


class More(NamedTuple):
    """What further heads return: losses, the gradient with respect to the finest map (None for 0), and dparams."""

    losses: Losses
    dmap: Tensor | None
    dparams: Params


@dataclass(frozen=True)
class FasterRCNN(Detector):
    """A detector of two stages: proposals, and a head that classifies each and moves its box.

    backbone, neck: maps of an image at `strides`. rpn: for each map one score and the offsets of a box in each cell,
    learned as by `SingleStage` of one class with anchors of `scale` strides. align: RoIAlign on the finest map, from
    (maps, regions). head: C + 1 scores, the last one of background, and four offsets, the same for all classes.
    proposals: their number for each image. regions: how many of them the head learns from, at most a quarter with an
    object. Losses: "rpn_score", "rpn_box", "class", "box". Proposals are constants to the second stage's gradient.
    Source: Ren, He, Girshick and Sun 2015; Lin et al. 2017 (the pyramid); Zhang et al. 2020 (how anchors are assigned).
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
        """The first stage as a detector of one class."""
        weights = {"score": self.weight("rpn_score"), "box": self.weight("rpn_box")}
        return SingleStage(1, self.backbone, self.neck, self.rpn, self.strides, self.scale, weights=weights)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters, each network for the output of the one before; scores begin near PRIOR."""
        params: Params = {}
        params["backbone"], maps = init_child("backbone", self.backbone, shape, rng)
        params["neck"], maps = init_child("neck", self.neck, maps, rng)
        params["rpn"], _ = init_child("rpn", self.rpn, maps, rng)
        params["rpn"]["layer"]["out"]["bias"][:1] = math.log(PRIOR / (1 - PRIOR))
        params["align"], pooled = init_child("align", self.align, (maps[0], (5,)), rng)
        params["head"], out = init_child("head", self.head, pooled, rng)
        return params, out

    def pooled(self, shape: Any) -> tuple[Any, Any]:
        """Return the input's shapes of RoIAlign, finest map and region, for images of `shape`."""
        with torch.device("meta"):
            maps = self.neck.init(self.backbone.init(shape, torch.Generator())[1], torch.Generator())[1]
        return maps[0], (5,)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the losses by name, and the gradients: features, proposals, regions, heads, and back."""
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
        """Return each proposal with its scores, the box moved; `anchors` is the anchor that proposed it."""
        return self._candidates(params, self._features(params, images, Mode(keep=False))[0], images)

    def predict(self, params: Params, images: Tensor) -> list[Detections]:
        """Return the detections in each image, on the CPU, in the order of descending scores."""
        maps, _ = self._features(params, images, Mode(keep=False))
        found = [self.decide(one).detections for one in self._candidates(params, maps, images)]
        height, width = images.shape[2:]
        return [one.to("cpu") for one in self.complete(params, maps[0], found, (height, width))]

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates batches by one forward pass; `params` must stay meanwhile."""
        return regional_evaluator(self, params)

    def more(self, params: Params, finest: Tensor, drawn: Regions, targets: Sequence[Objects], mode: Mode) -> More:
        """Return losses and gradients of further heads, which a subclass has."""
        return More({}, None, {})

    def complete(
        self, params: Params, finest: Tensor, found: list[Detections], size: tuple[int, int]
    ) -> list[Detections]:
        """Return the detections of each image with what further heads find in their boxes."""
        return found

    def fused(self) -> "FasterRCNN":
        """Return the detector over fused forms of its networks, each of which runs as a whole."""
        return self.with_nets({name: fuse(net, need_dx=name != "backbone") for name, net in self.nets.items()})

    def walk(self, params: Params, image: Tensor) -> Walk:
        """Return the maps and anchors of the first stage, its proposals, and the outputs of the head."""
        maps, _ = self._features(params, image, Mode(keep=False))
        y = self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0]
        first, anchors, outputs = self._first(y, image)
        _, scores = first.read(outputs[0], anchors)
        ((proposals, of),) = self._propose(outputs, first, anchors)
        head = self._head(params, maps, numbered([proposals]))
        boxes, found = read(head, proposals)
        candidates = Candidates(clip(boxes, anchors.image), found, of, anchors.image)
        return Walk(tuple(y), anchors, first.numbers, scores, proposals, head, candidates)

    def scorer(self, params: Params, walk: Walk, candidate: int, label: int, side: int | None = None) -> Scorer:
        """Return the second stage on the proposal of a candidate."""
        return scorer_of_region(self, params, walk, candidate, label, side)

    def _features(self, params: Params, images: Tensor, mode: Mode) -> tuple[tuple[Tensor, ...], dict[str, Cache]]:
        x, backbone = self.backbone.forward(params["backbone"], images, mode)
        maps, neck = self.neck.forward(params["neck"], x, mode)
        return maps, {"backbone": backbone, "neck": neck}

    def _first(self, y: Sequence[Tensor], images: Tensor) -> tuple[SingleStage, Anchors, Tensor]:
        """Return the first stage, its anchors, and its outputs y as (N, A, 5)."""
        first, (height, width) = self.proposer, images.shape[2:]
        outputs, sizes = joined(y, first.numbers), [(one.shape[2], one.shape[3]) for one in y]
        boxes = first.anchors(sizes, (height, width)).to(outputs)
        return first, Anchors(boxes, sizes, (height, width)), outputs

    def _propose(self, outputs: Tensor, first: SingleStage, anchors: Anchors) -> list[tuple[Tensor, Tensor]]:
        """Return the proposals of each image, and the anchor of each."""
        pairs = (first.read(one, anchors) for one in outputs)
        return [propose(boxes, scores[:, 0], anchors.image, self.proposals) for boxes, scores in pairs]

    def _head(self, params: Params, maps: tuple[Tensor, ...], regions: Tensor) -> Tensor:
        """Return the outputs (M, C + 1 + 4) of the head for regions (M, 5), in evaluation."""
        pooled, _ = self.align.forward({}, (maps[0], regions), Mode(keep=False))
        return precise(self.head.forward(params["head"], pooled, Mode(keep=False))[0])

    def _candidates(self, params: Params, maps: tuple[Tensor, ...], images: Tensor) -> list[Candidates]:
        first, anchors, outputs = self._first(self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0], images)
        proposed = self._propose(outputs, first, anchors)
        regions = numbered([boxes for boxes, _ in proposed])
        boxes, scores = read(self._head(params, maps, regions), regions[:, 1:])
        counts = [len(one) for one, _ in proposed]
        parts = zip(boxes.split(counts), scores.split(counts), proposed, strict=True)
        return [Candidates(clip(box, anchors.image), score, of, anchors.image) for box, score, (_, of) in parts]


def faster_rcnn(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 96,
    depth: int = 2,
    units: int = 384,
    pool: bool = False,
) -> FasterRCNN:
    """Return Faster R-CNN on a backbone of the zoo.

    channels, depth: of the pyramid and of the first stage, as for `single_stage`. units: of the two dense layers of
    the head. pool: whether regions are read by RoIPool in place of RoIAlign.
    """
    first = single_stage(1, backbone, channels, depth)
    align = region_reader(7, first.strides[0], pool)
    return FasterRCNN(
        classes, first.backbone, first.neck, first.head, align, box_head(classes, units), first.strides,
        weights={"rpn_box": 2.0},
    )  # fmt: skip


def region_reader(size: int, stride: int, pool: bool) -> Layer:
    """Return RoIAlign, or RoIPool, that reads regions of a map of `stride` pixels as size x size."""
    return RoIPool(size, 1 / stride) if pool else RoIAlign(size, 1 / stride, sampling=2)


def scorer_of_region(
    detector: "FasterRCNN | FastRCNN", params: Params, walk: Walk, candidate: int, label: int, side: int | None
) -> Scorer:
    """Return backbone, neck and head of a detector of two stages on the proposal of a candidate."""
    assert walk.proposals is not None
    assert walk.outputs is not None
    region = walk.proposals[candidate]
    own = slopes(walk.outputs[candidate], region, label, side)
    nets = {"backbone": detector.backbone, "neck": detector.neck}
    return region_scorer(nets, params, detector.align, detector.head, region, own)


@dataclass(frozen=True, eq=False)
class _Remembered(StandIn):
    """A network as `inference` runs it, which computes nothing for an input that it got the last time."""

    run: Callable[[Any], Any]
    last: list[Any] = field(default_factory=list)  # the input and the output

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the network."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network on a new input."""
        if not self.last or self.last[0] is not x:
            self.last[:] = x, self.run(x)
        return self.last[1], None

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Raise NotImplementedError: an evaluation has no backward pass."""
        raise NotImplementedError("an evaluation has no backward pass")


def regional_evaluator(detector: "FasterRCNN | FastRCNN", params: Params) -> Callable[[Batch], Evaluated]:
    """Return the evaluator of a detector of two stages: detections and losses share the features.

    Regions are drawn with the same random numbers each time.
    """
    before = {name: net for name, net in detector.nets.items() if name in ("backbone", "neck", "rpn")}
    runs = {name: _Remembered(net, inference(net, params[name])) for name, net in before.items()}
    prepared = detector.with_nets(runs)
    mode = Mode(rng=seeded(leaves(params)[0].device), keep=False)

    def evaluate(batch: Batch) -> Evaluated:
        found = prepared.predict(params, batch.images)
        losses, _ = prepared.gradients(params, batch, mode)
        for run in runs.values():
            run.last.clear()  # what is computed with may be filled anew with the next batch
        return Evaluated(found, batch, losses)

    return evaluate


def box_head(classes: int, units: int) -> Layer:
    """Return two dense layers and the outputs: C + 1 scores and four offsets."""
    return Sequential(
        flat=Flatten(), dense1=Dense(units), relu1=ReLU(), dense2=Dense(units), relu2=ReLU(),
        out=Dense(classes + 5, init_weight="lecun"),
    )  # fmt: skip


def precise(y: Tensor) -> Tensor:
    """Return y in float32 where it is in half precision."""
    return y.float() if y.dtype in HALF else y
