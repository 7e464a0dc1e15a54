"""Faster R-CNN: a region proposal network, then a head that classifies each region and refines its box."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.limits import MAX_DETECTOR_LENGTH
from pellucid.base.settings.checks import check_above_zero, check_whole
from pellucid.combine.base import init_child
from pellucid.constant import constant
from pellucid.data.source import Batch
from pellucid.detectors.base import Anchors, Candidates, Size, join_maps, split_maps
from pellucid.detectors.checks import check_maps, check_strides
from pellucid.detectors.regions import MAX_BOXES, Regions, class_agnostic, draw_regions, indexed_regions, propose
from pellucid.detectors.single_stage import PRIOR, SingleStage, single_stage
from pellucid.detectors.two_stage import HeadResult, TwoStage, box_head, refined_candidates, roi_layer
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.models.pyramid import Pyramid
from pellucid.objective import Gradients, InputCount
from pellucid.ops.image_objects import Detections, Objects
from pellucid.sweep import backward


@dataclass(frozen=True)
class ProposalDetector(TwoStage):
    """A two-stage detector: region proposals, a box head that classifies and refines them, and additional heads.

    backbone, neck: together they output the maps of an image at `strides`.
    rpn: outputs a score and the offsets of a box for each cell of each map; it is trained as a `SingleStage` of one
        class with anchors of `scale` strides.
    align: RoIAlign, which receives the finest map and the regions.
    head: outputs C + 1 scores, the last one for background, and four offsets that all classes share.
    proposals: the maximum number of proposals per image.
    regions: the maximum number of regions per image that the head is trained on, at most a quarter of them with an
        object.
    Losses: "rpn_score", "rpn_box", "class", "box". The gradient of the second stage treats proposals as constants.
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
    proposals: int = 300
    regions: int = 64

    def __post_init__(self) -> None:
        """Raise PellucidError for numbers that are not above 0."""
        super().__post_init__()
        check_strides(self, self.strides)
        check_above_zero(self, MAX_DETECTOR_LENGTH, scale=self.scale)
        check_whole(self, proposals=self.proposals, regions=self.regions)

    @abstractmethod
    def branch_gradients(
        self, params: Params, finest_map: Tensor, sampled_regions: Regions, targets: Sequence[Objects], mode: Mode
    ) -> HeadResult:
        """Return the losses and gradients of the additional heads."""

    @abstractmethod
    def branch_counts(self, sampled_regions: Regions, targets: Sequence[Objects]) -> dict[str, float]:
        """Return the counts of the losses of the additional heads, see `Objective.counts`."""

    @abstractmethod
    def complete(
        self, params: Params, finest_map: Tensor, detections: list[Detections], image_size: Size
    ) -> list[Detections]:
        """Return the detections of each image with the outputs of the additional heads; image_size: (H, W)."""

    @property
    def proposer(self) -> SingleStage:
        """The first stage, as a single-stage detector of one class."""
        # on small data, it is trained faster than the anchors of nine shapes of Ren et al. 2015
        weights = {"score": self.weight("rpn_score"), "box": self.weight("rpn_box")}
        return SingleStage(1, self.backbone, self.neck, self.rpn, self.strides, self.scale, weights=weights)

    def regions_of(self, shape: Any) -> InputCount:
        """Return the largest number of proposals of an image, at most MAX_BOXES."""
        n_proposals = min(self.proposals, MAX_BOXES)
        return InputCount(n_proposals, n_proposals)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters, each network for its input's shape; the first stage's scores start near PRIOR."""
        params: Params = {}
        params["backbone"], maps = init_child("backbone", self.backbone, shape, rng)
        params["neck"], maps = init_child("neck", self.neck, maps, rng)
        params["rpn"], rpn_shapes = init_child("rpn", self.rpn, maps, rng)
        check_maps(self.proposer, "rpn", rpn_shapes, shape)
        params["rpn"]["layer"]["out"]["bias"][:1] = math.log(PRIOR / (1 - PRIOR))
        return params, self.init_head(params, "", shape, maps[0], rng)

    def finest_map_shape(self, shape: Any) -> Any:
        """Return the shape of the finest map for images of `shape`."""
        with torch.device("meta"):
            return self.neck.init(self.backbone.init(shape, torch.Generator())[1], torch.Generator())[1][0]

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the losses by name, and the gradients of the parameters; without gradients if not `mode.keep`."""
        images, targets = batch
        maps, caches = self.features(params, images, mode)  # one map for each stride

        y, caches["rpn"] = self.rpn.forward(params["rpn"], maps, mode)
        proposer, anchors, outputs = self.first_stage(y, images)
        losses, doutputs = proposer.losses(outputs, anchors, class_agnostic(targets))
        losses = {f"rpn_{name}": value for name, value in losses.items()}
        sampled_regions = self.sample(outputs, proposer, anchors, targets, mode)
        box_result = self.box_gradients(params, maps[0], sampled_regions, mode)
        branch_result = self.branch_gradients(params, maps[0], sampled_regions, targets, mode)
        losses |= box_result.losses | branch_result.losses
        if box_result.dmap is None:  # not mode.keep
            return losses, {}

        dmap = box_result.dmap if branch_result.dmap is None else box_result.dmap + branch_result.dmap
        dparams: Params = box_result.dparams | branch_result.dparams
        dmaps, dparams["rpn"] = backward(
            self.rpn, params["rpn"], caches.pop("rpn"), split_maps(doutputs, y), consume=True
        )
        dmaps = (dmaps[0] + dmap, *dmaps[1:])
        dmaps, dparams["neck"] = backward(self.neck, params["neck"], caches.pop("neck"), dmaps, consume=True)
        _, dparams["backbone"] = backward(
            self.backbone, params["backbone"], caches.pop("backbone"), dmaps, consume=True
        )
        return losses, dparams

    def counts(self, params: Params, batch: Batch, mode: Mode) -> dict[str, float]:
        """Return the number of positive anchors, the number of regions, and the counts of the additional heads.

        Regions are drawn from the proposals, so this runs the networks of the first stage.
        """
        mode = replace(mode, keep=False)
        maps, _ = self.features(params, batch.images, mode)
        y, _ = self.rpn.forward(params["rpn"], maps, mode)
        proposer, anchors, outputs = self.first_stage(y, batch.images)
        n_positives = proposer.count_positives(anchors, class_agnostic(batch.targets))
        sampled_regions = self.sample(outputs, proposer, anchors, batch.targets, mode)
        n_regions = float(len(sampled_regions.regions))
        counts = {"rpn_score": n_positives, "rpn_box": n_positives, "class": n_regions, "box": n_regions}
        return counts | self.branch_counts(sampled_regions, batch.targets)

    def sample(
        self, outputs: Tensor, proposer: SingleStage, anchors: Anchors, targets: Sequence[Objects], mode: Mode
    ) -> Regions:
        """Draw the regions that the heads are trained on from the proposals and the objects of each image."""
        proposals = constant([boxes for boxes, _ in self.propose(outputs, proposer, anchors)])
        return draw_regions(proposals, targets, self.classes, self.regions, max_positive_fraction=0.25, rng=mode.rng)

    def anchors_of(self, params: Params, images: Tensor) -> Anchors:
        """Return the anchors of the first stage for images (N, C, H, W)."""
        maps, _ = self.features(params, images, Mode(keep=False))
        return self.first_stage(self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0], images)[1]

    def candidates(self, params: Params, images: Tensor) -> list[Candidates]:
        """Return the candidates of each image: refined proposals; `anchors` is the index of each proposal's anchor."""
        return self._candidates(params, self.features(params, images, Mode(keep=False))[0], images)

    def predict(self, params: Params, images: Tensor) -> list[Detections]:
        """Return the detections in each image, on the CPU, by descending score."""
        if not len(images):
            return []
        maps, _ = self.features(params, images, Mode(keep=False))
        detections = [self.decide(candidate).detections for candidate in self._candidates(params, maps, images)]
        height, width = images.shape[2:]
        return [detection.to("cpu") for detection in self.complete(params, maps[0], detections, (height, width))]

    def features(self, params: Params, images: Tensor, mode: Mode) -> tuple[tuple[Tensor, ...], dict[str, Cache]]:
        """Return the maps of the neck, and the caches by network."""
        x, backbone = self.backbone.forward(params["backbone"], images, mode)
        maps, neck = self.neck.forward(params["neck"], x, mode)
        return maps, {"backbone": backbone, "neck": neck}

    def first_stage(self, y: Sequence[Tensor], images: Tensor) -> tuple[SingleStage, Anchors, Tensor]:
        """Return the first stage, its anchors, and its output maps y as one tensor (N, A, 5)."""
        proposer = self.proposer
        height, width = images.shape[2:]
        outputs = join_maps(y, proposer.outputs_per_anchor)
        sizes = [(map_.shape[2], map_.shape[3]) for map_ in y]
        boxes = proposer.anchors(sizes).to(outputs)
        return proposer, Anchors(boxes, sizes, (height, width)), outputs

    def propose(self, outputs: Tensor, proposer: SingleStage, anchors: Anchors) -> list[tuple[Tensor, Tensor]]:
        """Return the proposals of each image, and the indices of their anchors."""
        pairs = (proposer.decode(output, anchors) for output in outputs)
        return [propose(boxes, scores[:, 0], anchors.image_size, self.proposals) for boxes, scores in pairs]

    def _candidates(self, params: Params, maps: tuple[Tensor, ...], images: Tensor) -> list[Candidates]:
        proposer, anchors, outputs = self.first_stage(
            self.rpn.forward(params["rpn"], maps, Mode(keep=False))[0], images
        )
        proposals, indices = zip(*self.propose(outputs, proposer, anchors), strict=True)
        return refined_candidates(
            self.outputs(params, "", maps[0], indexed_regions(proposals)), proposals, indices, anchors.image_size
        )


@dataclass(frozen=True)
class FasterRCNN(ProposalDetector):
    """The two-stage detector without additional heads; it has the arguments of ProposalDetector."""

    def branch_gradients(
        self, params: Params, finest_map: Tensor, sampled_regions: Regions, targets: Sequence[Objects], mode: Mode
    ) -> HeadResult:
        """Return no losses and no gradients."""
        return HeadResult({}, None, {})

    def branch_counts(self, sampled_regions: Regions, targets: Sequence[Objects]) -> dict[str, float]:
        """Return no counts."""
        return {}

    def complete(
        self, params: Params, finest_map: Tensor, detections: list[Detections], image_size: Size
    ) -> list[Detections]:
        """Return the detections unchanged."""
        return detections


def faster_rcnn(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 96,
    depth: int = 2,
    units: int = 384,
    pool: bool = False,
) -> FasterRCNN:
    """Return Faster R-CNN on a backbone of the zoo.

    channels: of the feature pyramid's maps. depth: the number of convolutions of the first stage, see `single_stage`.
    units: the outputs of each of the head's two hidden dense layers. pool: use RoIPool instead of RoIAlign.
    """
    proposer = single_stage(1, backbone, channels, depth)
    align = roi_layer(7, proposer.strides[0], pool)
    return FasterRCNN(
        classes, proposer.backbone, proposer.neck, proposer.head, align, box_head(classes, units), proposer.strides,
        weights={"rpn_box": 2.0},
    )  # fmt: skip
