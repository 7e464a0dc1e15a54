"""Fast R-CNN: features of the whole image, then a head for each proposal; the proposals are not learned."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from pellucid.base.settings.checks import check_choice, check_whole
from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.detectors.base import Candidates
from pellucid.detectors.checks import check_stride
from pellucid.detectors.regions import Regions, draw_regions, indexed_regions
from pellucid.detectors.search import DEFAULT_STRIDE, Search, count_windows, search
from pellucid.detectors.single_stage import single_stage
from pellucid.detectors.two_stage import TwoStage, box_head, refined_candidates, roi_layer
from pellucid.layers.base import Layer, Mode, Params
from pellucid.models.pyramid import Pyramid
from pellucid.objective import Gradients, InputCount
from pellucid.ops.image_objects import Detections, Objects
from pellucid.sweep import backward

# The lowest IoU with an object that a background proposal of selective search has (Girshick 2015, section 2.3).
MIN_BACKGROUND_IOU = 0.1
BATCH_SIZE = 512  # regions in a forward pass of the head


@dataclass(frozen=True)
class FastRCNN(TwoStage):
    """A detector with proposals that are not learned, and a head that classifies each one and refines its box.

    backbone, neck, head and the losses "class" and "box": see FasterRCNN. The highest IoU of a background region with
    an object is below 0.5; with selective search it is also at least 0.1, as in the paper.
    align: RoIAlign or RoIPool on the finest map.
    by: the method that finds proposals, see `pellucid.detectors.search`.
    stride: the distance of windows, in pixels.
    regions: the maximum number of regions per image that the head is trained on, at most a quarter of them with an
        object.
    Source: Girshick 2015.
    """

    backbone: Layer
    neck: Layer
    align: Layer
    head: Layer
    _: KW_ONLY
    by: Search = "windows"
    stride: int = DEFAULT_STRIDE
    regions: int = 64

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown method, and for a stride or a number of regions below 1."""
        super().__post_init__()
        check_choice(self, get_args(Search), by=self.by)
        check_stride(self, self.stride)
        check_whole(self, regions=self.regions)

    def regions_of(self, shape: Any) -> InputCount:
        """Return the number of windows in an image of `shape`, also used as an estimate for selective search."""
        n_windows = count_windows((shape[1], shape[2]), self.stride)
        return InputCount(min(n_windows, BATCH_SIZE), n_windows)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters, each network for the output shape of the previous one."""
        params: Params = {}
        params["backbone"], maps = init_child("backbone", self.backbone, shape, rng)
        params["neck"], maps = init_child("neck", self.neck, maps, rng)
        return params, self.init_head(params, "", shape, maps[0], rng)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the losses by name, and the gradients of the parameters; without gradients if not `mode.keep`."""
        images, targets = batch
        sampled_regions = self.sample(images, targets, mode)
        x, cache_backbone = self.backbone.forward(params["backbone"], images, mode)
        maps, cache_neck = self.neck.forward(params["neck"], x, mode)
        losses, dmap, dparams = self.box_gradients(params, maps[0], sampled_regions, mode)
        if not mode.keep:
            return losses, {}

        dmaps = (dmap, *(torch.zeros_like(map_) for map_ in maps[1:]))
        dx, dparams["neck"] = backward(self.neck, params["neck"], cache_neck, dmaps, consume=True)
        _, dparams["backbone"] = backward(self.backbone, params["backbone"], cache_backbone, dx, consume=True)
        return losses, dparams

    def counts(self, params: Params, batch: Batch, mode: Mode) -> dict[str, float]:
        """Return the number of regions for both losses, without running the networks."""
        return dict.fromkeys(("class", "box"), float(len(self.sample(*batch, mode).regions)))

    def sample(self, images: Tensor, targets: Sequence[Objects], mode: Mode) -> Regions:
        """Draw the regions that the head is trained on from the proposals and the objects of each image."""
        proposals = [search(image, self.by, self.stride) for image in images]
        min_background_iou = MIN_BACKGROUND_IOU if self.by == "selective_search" else 0.0
        return draw_regions(
            proposals, targets, self.classes, self.regions, max_positive_fraction=0.25, rng=mode.rng,
            min_background_iou=min_background_iou,
        )  # fmt: skip

    def predict(self, params: Params, images: Tensor) -> list[Detections]:
        """Return the detections in each image, on the CPU, by descending score."""
        if not len(images):
            return []
        return self.detections_of(self.candidates(params, images))

    def candidates(self, params: Params, images: Tensor) -> list[Candidates]:
        """Return the candidates of each image; their boxes are refined, and `anchors` is the index of the proposal."""
        return self.classify(params, images)[2]

    def classify(self, params: Params, images: Tensor) -> tuple[list[Tensor], Tensor, list[Candidates]]:
        """Return the proposals of each image, the outputs of the head for all of them, and the candidates."""
        x, _ = self.backbone.forward(params["backbone"], images, Mode(keep=False))
        maps, _ = self.neck.forward(params["neck"], x, Mode(keep=False))
        proposals = [search(image, self.by, self.stride) for image in images]
        chunks = indexed_regions(proposals).split(BATCH_SIZE)
        outputs = torch.cat([self.outputs(params, "", maps[0], regions) for regions in chunks])
        indices = [torch.arange(len(proposal), device=proposal.device) for proposal in proposals]
        return proposals, outputs, refined_candidates(outputs, proposals, indices, (images.shape[2], images.shape[3]))


def fast_rcnn(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 96,
    units: int = 384,
    by: Search = "windows",
    stride: int = DEFAULT_STRIDE,
    pool: bool = False,
) -> FastRCNN:
    """Return Fast R-CNN on a backbone of the zoo.

    by, stride: the method that finds proposals, and the stride of windows in pixels. pool: use RoIPool instead of
    RoIAlign. For the other arguments see `faster_rcnn`.
    """
    base = single_stage(1, backbone, channels)
    align = roi_layer(7, base.strides[0], pool)
    return FastRCNN(classes, base.backbone, base.neck, align, box_head(classes, units), by=by, stride=stride)
