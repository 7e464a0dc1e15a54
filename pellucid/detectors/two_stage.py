"""Base class of detectors whose heads receive regions of an image: Fast, Faster, Mask and Keypoint R-CNN."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.combine.base import init_child
from pellucid.data.seeds import BatchDraws
from pellucid.data.source import Batch
from pellucid.detectors.base import MAX_DETECTIONS, Candidates, Detector, Size
from pellucid.detectors.regions import Regions, decode_head_outputs, head_losses
from pellucid.fuse import fuse
from pellucid.fuse.inference import inference
from pellucid.layers import Dense, Flatten, ReLU, RoIAlign, RoIPool
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses.base import upcast_half
from pellucid.nested import leaves
from pellucid.objective import (
    ONE_INPUT,
    BatchEvaluation,
    InferenceNetwork,
    InputCount,
    Losses,
    merge_turns,
    seeded_generator,
    without_wrappers,
)
from pellucid.ops.boxes import clip
from pellucid.sweep import backward

# Maps a head's outputs to its losses, and to the gradient of their weighted sum with respect to the outputs.
HeadLoss = Callable[[Tensor], tuple[Losses, Tensor]]


class HeadResult(NamedTuple):
    """The results of a head: its losses, and the gradients with respect to the finest map and to its parameters."""

    losses: Losses
    dmap: Tensor | None  # None if gradients are not computed, or if the detector does not have the head
    dparams: Params


@dataclass(frozen=True)
class TwoStage(Detector):
    """A detector that classifies proposals: its networks are at least "backbone", "neck", "align" and "head".

    The networks of an additional head are named PREFIX_align and PREFIX_head.
    backbone, neck: together they output the maps of an image.
    align: RoIAlign or RoIPool, which receives the finest map and the regions.
    head: outputs C + 1 scores, the last one for background, and four offsets that all classes share.
    """

    _: KW_ONLY
    nms_threshold: float = 0.5

    def inputs_of(self, name: str, shape: Any) -> InputCount:
        """Return the number of inputs of a network per image: 1, proposals for the box head, detections for others."""
        if not name.endswith(("head", "align")):
            return ONE_INPUT
        return self.regions_of(shape) if name in ("head", "align") else InputCount(MAX_DETECTIONS, MAX_DETECTIONS)

    @abstractmethod
    def regions_of(self, shape: Any) -> InputCount:
        """Return the largest number of proposals of an image of `shape`."""

    def init_head(self, params: Params, prefix: str, image_shape: Any, map_shape: Any, rng: torch.Generator) -> Any:
        """Initialize the parameters of a head for the shapes of an image and its finest map; return the output shape.

        Raises PellucidError unless the `align` of the head is RoIAlign or RoIPool, if an image multiplied by the scale
        of `align` is more than about twice as large as the map, and unless the box head has C + 5 outputs.
        """
        align, head = f"{prefix}align", f"{prefix}head"
        layer = without_wrappers(self.nets[align])
        if not isinstance(layer, RoIAlign | RoIPool):
            raise PellucidError(
                f"{type(self).__name__}: {align} must be RoIAlign or RoIPool, not {type(layer).__name__}"
            )
        scale = layer.scale
        if any(scale * side > 2 * cells + 2 for side, cells in zip(image_shape[1:], map_shape[1:], strict=True)):
            raise PellucidError(
                f"{type(self).__name__}: {align}: scale {scale:g} does not fit maps of {map_shape[1]}x{map_shape[2]} "
                f"for images of {image_shape[1]}x{image_shape[2]}; give 1 / stride of the finest map"
            )
        params[align], pooled = init_child(align, self.nets[align], (map_shape, (5,)), rng)
        params[head], output_shape = init_child(head, self.nets[head], pooled, rng)
        if not prefix and tuple(output_shape) != (self.classes + 5,):
            raise PellucidError(
                f"{type(self).__name__}: head outputs {tuple(output_shape)} for a region, but {self.classes} classes, "
                f"background and four offsets need ({self.classes + 5},)"
            )
        return output_shape

    def head_gradients(
        self, params: Params, prefix: str, finest_map: Tensor, regions: Tensor, loss_function: HeadLoss, mode: Mode
    ) -> HeadResult:
        """Return the losses of a head for regions (M, 5) and their gradients, the latter only if `mode.keep`."""
        align, head = self.nets[f"{prefix}align"], self.nets[f"{prefix}head"]
        pooled, cache_align = align.forward({}, (finest_map, regions), mode)  # (M, channels, size, size)
        y, cache_head = head.forward(params[f"{prefix}head"], pooled, mode)
        losses, dy = loss_function(y)
        if not mode.keep:
            return HeadResult(losses, None, {})
        dpooled, dparams = backward(head, params[f"{prefix}head"], cache_head, dy, consume=True)
        (dmap, _), _ = align.backward({}, cache_align, dpooled)
        return HeadResult(losses, dmap, {f"{prefix}head": dparams})

    def box_gradients(self, params: Params, finest_map: Tensor, regions: Regions, mode: Mode) -> HeadResult:
        """Return the losses "class" and "box" of the head for sampled regions, and their gradients."""

        def head_loss(y: Tensor) -> tuple[Losses, Tensor]:
            (class_loss, box_loss), dy = head_losses(
                upcast_half(y), regions, (self.weight("class"), self.weight("box"))
            )
            return {"class": class_loss, "box": box_loss}, dy.to(y.dtype)

        return self.head_gradients(params, "", finest_map, regions.regions, head_loss, mode)

    def outputs(self, params: Params, prefix: str, finest_map: Tensor, regions: Tensor) -> Tensor:
        """Return the outputs of a head for regions (M, 5) in evaluation mode."""
        pooled, _ = self.nets[f"{prefix}align"].forward({}, (finest_map, regions), Mode(keep=False))
        return upcast_half(self.nets[f"{prefix}head"].forward(params[f"{prefix}head"], pooled, Mode(keep=False))[0])

    def evaluator(self, params: Params, count: int, first: int = 0) -> Callable[[Batch], BatchEvaluation]:
        """Return a function that evaluates a batch, computing the features once for both detections and losses.

        Regions are drawn with a seed that depends on the index of the batch. `params` must not change in the meantime.
        count: the number of examples, which is not used. first: the index of the first batch.
        """
        feature_nets = {name: net for name, net in self.nets.items() if name in ("backbone", "neck", "rpn")}
        memos = {name: _Memo(inference(net, params[name])) for name, net in feature_nets.items()}
        prepared_detector = self.with_nets(
            {name: InferenceNetwork(net, memos[name]) for name, net in feature_nets.items()}
        )
        draws = BatchDraws(seeded_generator(leaves(params)[0].device), first)

        def evaluate(batch: Batch) -> BatchEvaluation:
            detections = prepared_detector.predict(params, batch.images)
            losses, _ = merge_turns(prepared_detector.gradients(params, batch, Mode(rng=draws.next(), keep=False)))
            for memo in memos.values():
                memo.last.clear()  # the next batch may be in the same tensor, for which the cached output is wrong
            return BatchEvaluation(detections, batch, losses)

        return evaluate

    def fused(self) -> Self:
        """Return the detector with the fused forms of its networks."""
        return self.with_nets({name: fuse(net, need_dx=name != "backbone") for name, net in self.nets.items()})


def refined_candidates(
    outputs: Tensor, proposals: Sequence[Tensor], indices: Sequence[Tensor], size: Size
) -> list[Candidates]:
    """Return the candidates of each image: its proposals (m, 4) with scores and refined boxes.

    outputs: the head's outputs for the proposals of all images. indices: (m,) for each image, used as
    `Candidates.anchors`. size: (H, W) of the images.
    """
    boxes, scores = decode_head_outputs(outputs, torch.cat([*proposals]))
    proposal_counts = [len(proposal) for proposal in proposals]
    by_image = zip(boxes.split(proposal_counts), scores.split(proposal_counts), indices, strict=True)
    return [
        Candidates(clip(image_boxes, size), image_scores, anchor_indices, size)
        for image_boxes, image_scores, anchor_indices in by_image
    ]


class _Memo:
    """A function of one argument that caches its last output, and returns it if the input is the same object."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.last: list[Any] = []  # the input and the output

    def __call__(self, x: Any) -> Any:
        """Return the output for x, computed only if x is not the last input."""
        if not self.last or self.last[0] is not x:
            self.last[:] = x, self.function(x)
        return self.last[1]


def roi_layer(size: int, stride: int, pool: bool) -> Layer:
    """Return RoIAlign, or RoIPool if `pool`, with outputs of size x size; stride: pixels per cell of the map."""
    return RoIPool(size, 1 / stride) if pool else RoIAlign(size, 1 / stride, sampling=2)


def box_head(classes: int, units: int) -> Layer:
    """Return a head of two dense layers and an output layer with C + 1 scores and four offsets."""
    return Sequential(
        flat=Flatten(), dense1=Dense(units), relu1=ReLU(), dense2=Dense(units), relu2=ReLU(),
        out=Dense(classes + 5, init_weight="lecun"),
    )  # fmt: skip
