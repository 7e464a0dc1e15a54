"""The interface of detectors: they predict candidate boxes, then decide which of these are detections."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_whole, check_within
from pellucid.base.text import plural, shown, value_range
from pellucid.combine.base import init_child
from pellucid.data.source import Batch
from pellucid.detectors.checks import check_maps
from pellucid.extend.config import to_config
from pellucid.fuse import fuse
from pellucid.fuse.inference import inference
from pellucid.layers.base import Cache, Mode, Params
from pellucid.losses.base import HALF_DTYPES, upcast_half
from pellucid.nested import leaves
from pellucid.objective import BatchEvaluation, Gradients, Losses, Objective
from pellucid.ops.assign import Assignment
from pellucid.ops.boxes import clip
from pellucid.ops.image_objects import Detections, Objects
from pellucid.ops.nms import batched_nms
from pellucid.sweep import backward

INITIAL_STD = 0.01  # standard deviation of the initial weights of a head's last convolutions
MAX_CANDIDATES = 1000  # pairs of a box and a class per image that enter non-maximum suppression
MAX_DETECTIONS = 100  # detections per image, as in COCO's evaluation


class Fate(IntEnum):
    """Why a candidate is, or is not, a detection of a class."""

    DETECTED = 0
    LOW_SCORE = 1
    NOT_AMONG_BEST = 2
    SUPPRESSED = 3
    OVER_LIMIT = 4
    NO_AREA = 5


FATES = {
    Fate.DETECTED: "detected",
    Fate.LOW_SCORE: "its score is below the threshold",
    Fate.NOT_AMONG_BEST: f"its score is not among the {MAX_CANDIDATES:,} highest of the image",
    Fate.SUPPRESSED: "a detection of this class with a higher score overlaps it",
    Fate.OVER_LIMIT: f"the image has {MAX_DETECTIONS} detections with higher scores",
    Fate.NO_AREA: "its box has no area, usually because it lies outside the image",
}


Size = tuple[int, int]  # (height, width)


class Anchors(NamedTuple):
    """The anchors for images of one size."""

    boxes: Tensor  # (A, 4), ordered by map, row, column and then by anchor within the cell
    sizes: Sequence[Size]  # (H', W') of each map
    image_size: Size  # (H, W) of the images


class Candidates(NamedTuple):
    """The boxes predicted for one image, before detections are selected from them."""

    boxes: Tensor  # (n, 4)
    scores: Tensor  # (n, C), the score of each class, 0 to 1
    anchors: Tensor  # (n,), the index of the anchor, proposal or cell that each box comes from
    size: Size  # (H, W) of the image


class Decision(NamedTuple):
    """The detections among candidates."""

    detections: Detections
    selected_indices: Tensor  # (d,), the index of the candidate of each detection
    fates: Tensor  # (n, C), the `Fate` of each candidate for each class


@dataclass(frozen=True)
class Detector(Objective):
    """An objective whose targets are `Objects` for each image, and whose predictions are `Detections`.

    A detection has a score of at least `score_threshold`, and an IoU of at most `nms_threshold` with each detection of
    its class that has a higher score. Images may have any size: if a stride does not divide it, the size of the map is
    rounded up.
    classes: the number of classes.
    """

    any_size: ClassVar[bool] = True
    classes: int
    _: KW_ONLY
    score_threshold: float = 0.05
    nms_threshold: float = 0.6

    def __post_init__(self) -> None:
        """Raise PellucidError for less than one class, and for thresholds outside 0 to 1."""
        super().__post_init__()
        check_whole(self, classes=self.classes)
        check_within(self, 0, 1, score_threshold=self.score_threshold, nms_threshold=self.nms_threshold)

    def check_classes(self, classes: Sequence[str], data: str) -> None:
        """Raise PellucidError unless the data have as many classes as the detector."""
        if len(classes) != self.classes:
            raise PellucidError(
                f"the detector has {plural(self.classes, 'class', 'classes')}, but {data} has {len(classes)} "
                f"({', '.join(classes):.80}); set objective.classes={len(classes)}"
            )

    @abstractmethod
    def candidates(self, params: Params, images: Tensor) -> list[Candidates]:
        """Return the candidates of each image (N, C, H, W)."""

    def decide(self, candidates: Candidates) -> Decision:
        """Select the detections by score, area, non-maximum suppression within each class, and MAX_DETECTIONS."""
        boxes, scores = candidates.boxes, candidates.scores
        n_classes = scores.shape[1]
        fates = torch.full(scores.shape, Fate.LOW_SCORE, dtype=torch.uint8, device=scores.device).flatten()
        pairs = (scores.flatten() >= self.score_threshold).nonzero()[:, 0]  # candidate * C + class
        fates[pairs] = Fate.NO_AREA
        pairs = pairs[(boxes[:, 2:] > boxes[:, :2]).all(1)[pairs // n_classes]]
        order = scores.flatten()[pairs].argsort(descending=True, stable=True)
        fates[pairs] = Fate.NOT_AMONG_BEST
        pairs = pairs[order[:MAX_CANDIDATES]]
        fates[pairs] = Fate.SUPPRESSED
        indices = pairs // n_classes
        labels = pairs % n_classes
        pair_scores = scores.flatten()[pairs]
        selected_pairs = batched_nms(boxes[indices], pair_scores, labels, self.nms_threshold)
        fates[pairs[selected_pairs]] = Fate.OVER_LIMIT
        selected_pairs = selected_pairs[:MAX_DETECTIONS]
        fates[pairs[selected_pairs]] = Fate.DETECTED
        selected_indices = indices[selected_pairs]
        detections = Detections(boxes[selected_indices], pair_scores[selected_pairs], labels[selected_pairs])
        return Decision(detections, selected_indices, fates.view(scores.shape))

    def detections_of(self, candidates: Sequence[Candidates]) -> list[Detections]:
        """Return the detections in each image, on the CPU, by descending score."""
        return [self.decide(candidate).detections.to("cpu") for candidate in candidates]

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError unless targets are a list of Objects with finite boxes and labels below `classes`."""
        name = type(self).__name__
        if not isinstance(targets, list | tuple) or not all(isinstance(target, Objects) for target in targets):
            raise PellucidError(
                f"{name} takes a list with the Objects of each image as targets, not {shown(targets)}; "
                "give data with boxes, such as a DetectionFolder"
            )
        for index, objects in enumerate(targets):
            if not bool(objects.boxes.isfinite().all()):
                raise PellucidError(f"{name}: image {index} has a box that is not finite; clean the data first")
            if len(objects) and not 0 <= int(objects.labels.min()) <= int(objects.labels.max()) < self.classes:
                raise PellucidError(
                    f"{name}: image {index} has {value_range('class', 'classes', objects.labels)}, "
                    f"but the detector has {self.classes}, numbered from 0; set classes={int(objects.labels.max()) + 1}"
                )

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return the configuration for a weights file, as JSON values."""
        return {"objective": to_config(self, [type(self), *custom])}


@dataclass(frozen=True)
class OneStageDetector(Detector):
    """A detector whose networks run in sequence; the losses are computed from the maps that the last network outputs.

    The last network outputs one map (N, K D, H', W') or a tuple of maps. Each cell of a map has K anchors with D values
    each. `per_positive_losses` names the losses that are sums divided by the number of positive anchors in the batch.
    """

    per_positive_losses: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def anchors(self, sizes: Sequence[Size]) -> Tensor:
        """Return the anchors (A, 4) for maps of these sizes (H', W')."""

    @abstractmethod
    def assign(self, anchors: Anchors, objects: Objects) -> Assignment:
        """Assign the objects of an image to the anchors, without using predictions."""

    def anchors_of(self, params: Params, images: Tensor) -> Anchors:
        """Return the anchors for images (N, C, H, W)."""
        return self.anchors_at(self.forward(params, images, Mode(keep=False))[0], images)

    @abstractmethod
    def losses(self, y: Tensor, anchors: Anchors, targets: Sequence[Objects]) -> tuple[Losses, Tensor]:
        """Return the losses by name, and the gradient of their weighted sum with respect to y (N, A, D)."""

    @abstractmethod
    def decode(self, y: Tensor, anchors: Anchors) -> tuple[Tensor, Tensor]:
        """Return boxes (n, 4) and scores (n, C) decoded from the outputs y (A, D) for one image.

        n is A, or a multiple of A if each anchor has two or more boxes, as in YOLO v1.
        """

    def onnx(self, nodes: Any, y: str, anchors: Anchors) -> tuple[str, str]:
        """Add ONNX nodes that compute `decode` for a batch; return the names of boxes (N, n, 4) and scores (N, n, C).

        nodes: a pellucid.export.Nodes. y: the name of the value (N, A, D). For the library's detectors, which do not
        override this method, `pellucid.tasks.detect.onnx_nodes` adds the nodes. Raises PellucidError unless overridden.
        """
        raise PellucidError(f"{type(self).__name__} cannot be exported to ONNX; implement its method onnx")

    @property
    @abstractmethod
    def outputs_per_anchor(self) -> int:
        """D, the number of values that the network outputs for each anchor."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters, each network for the output shape of the previous one.

        Raises PellucidError unless the last network outputs `outputs_per_anchor` values for each anchor.
        """
        params: Params = {}
        output_shape = shape
        for name, net in self.nets.items():
            params[name], output_shape = init_child(name, net, output_shape, rng)
        maps = output_shape if output_shape and isinstance(output_shape[0], tuple) else (output_shape,)
        check_maps(self, [*self.nets][-1], maps, shape)
        return params, output_shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the losses by name, and the gradients of the parameters."""
        maps, caches = self.forward(params, batch.images, mode)
        losses, dy = self.losses(
            join_maps(maps, self.outputs_per_anchor), self.anchors_at(maps, batch.images), batch.targets
        )
        return losses, self._backward(params, caches, split_maps(dy, maps))

    def counts(self, params: Params, batch: Batch, mode: Mode) -> dict[str, float]:
        """Return the number of positive anchors for each of `per_positive_losses`, without running the networks."""
        if not self.per_positive_losses:
            return {}
        output_shape: Any = tuple(batch.images.shape[1:])
        with torch.device("meta"):
            for net in self.nets.values():
                _, output_shape = net.init(output_shape, torch.Generator())
        sizes = [shape[1:] for shape in (output_shape if isinstance(output_shape[0], tuple) else (output_shape,))]
        anchors = self.anchors_for(sizes, batch.images)
        return dict.fromkeys(self.per_positive_losses, self.count_positives(anchors, batch.targets))

    def count_positives(self, anchors: Anchors, targets: Sequence[Objects]) -> float:
        """Return the number of positive anchors in the images of a batch."""
        return float(sum(int((self.assign(anchors, target).matched >= 0).sum()) for target in targets))

    def predict(self, params: Params, images: Tensor) -> list[Detections]:
        """Return the detections in each image, on the CPU, by descending score."""
        return self.detections_of(self.candidates(params, images))

    def candidates(self, params: Params, images: Tensor) -> list[Candidates]:
        """Return the boxes decoded for each anchor, clipped to the image."""
        return self.candidates_of(self.forward(params, images, Mode(keep=False))[0], images)

    def evaluator(self, params: Params, count: int, first: int = 0) -> Callable[[Batch], BatchEvaluation]:
        """Return a function that evaluates a batch in one forward pass; `params` must not change in the meantime."""
        forward_functions = [inference(net, params[name]) for name, net in self.nets.items()]

        def evaluate(batch: Batch) -> BatchEvaluation:
            maps: Any = batch.images
            for forward in forward_functions:
                maps = forward(maps)
            maps = _as_tuple(maps)
            y = join_maps(maps, self.outputs_per_anchor)
            losses, _ = self.losses(y, self.anchors_at(maps, batch.images), batch.targets)
            detections = [
                self.decide(candidates).detections.to("cpu") for candidates in self.candidates_of(maps, batch.images)
            ]
            return BatchEvaluation(detections, batch, losses)

        return evaluate

    def fused(self) -> "OneStageDetector":
        """Return the detector with the fused forms of its networks."""
        first, *_ = self.nets
        return self.with_nets({name: fuse(net, need_dx=name != first) for name, net in self.nets.items()})

    def forward(self, params: Params, images: Tensor, mode: Mode) -> tuple[tuple[Tensor, ...], dict[str, Cache]]:
        """Run the networks; return the maps that the last network outputs, and the caches by network."""
        x: Any = images
        caches: dict[str, Cache] = {}
        for name, net in self.nets.items():
            x, caches[name] = net.forward(params[name], x, mode)
        return _as_tuple(x), caches

    def _backward(self, params: Params, caches: dict[str, Cache], dmaps: tuple[Tensor, ...]) -> Params:
        """Return the gradients of the parameters, given the gradients of the maps; this empties the caches."""
        dy: Any = dmaps[0] if len(dmaps) == 1 else dmaps
        dparams: Params = {}
        for name, net in reversed([*self.nets.items()]):
            dy, dparams[name] = backward(net, params[name], caches.pop(name), dy, consume=True)
        return dparams

    def anchors_at(self, maps: Sequence[Tensor], images: Tensor) -> Anchors:
        """Return the anchors for the maps computed from images (N, C, H, W)."""
        return self.anchors_for([(map_.shape[2], map_.shape[3]) for map_ in maps], images)

    def anchors_for(self, sizes: Sequence[Size], images: Tensor) -> Anchors:
        """Return the anchors for maps of these sizes (H', W') of images (N, C, H, W)."""
        height, width = images.shape[2:]
        boxes = self.anchors(sizes)
        precision = torch.float32 if images.dtype in HALF_DTYPES else images.dtype
        return Anchors(boxes.to(images.device, precision), sizes, (height, width))

    def candidates_of(self, maps: Sequence[Tensor], images: Tensor) -> list[Candidates]:
        """Return the candidates of each image (N, C, H, W), decoded from its maps."""
        anchors = self.anchors_at(maps, images)
        candidates: list[Candidates] = []
        for y in join_maps(maps, self.outputs_per_anchor):
            boxes, scores = self.decode(y, anchors)
            indices = torch.arange(len(boxes), device=boxes.device) // (len(boxes) // len(anchors.boxes))
            candidates.append(Candidates(clip(boxes, anchors.image_size), scores, indices, anchors.image_size))
        return candidates


class Positives(NamedTuple):
    """The targets of the positive anchors of a batch.

    All other anchors are left out of the losses.
    """

    image: Tensor  # (P,), the index of the image of each positive anchor
    anchor: Tensor  # (P,), the index of the anchor in its image
    target_boxes: Tensor  # (P, 4), the boxes of the objects assigned to them
    label: Tensor  # (P,), the classes of these objects
    negative: Tensor  # (N, A) bool, the anchors whose target is background


def collect_positives(assignments: Sequence[Assignment], targets: Sequence[Objects], y: Tensor) -> Positives:
    """Collect the assignments of a batch's images, on the device of y; the boxes also have the dtype of y."""
    matched = torch.stack([assignment.matched for assignment in assignments])  # (N, A)
    image, anchor = (matched >= 0).nonzero().T
    first_object = torch.tensor([0, *(len(target) for target in targets[:-1])], device=y.device).cumsum(0)
    object_index = first_object[image] + matched[image, anchor]  # index into the objects of all images
    boxes = torch.cat([target.boxes for target in targets]).to(y)
    labels = torch.cat([target.labels for target in targets]).to(y.device)
    negative = torch.stack([assignment.negative for assignment in assignments])
    return Positives(image, anchor, boxes[object_index], labels[object_index], negative)


def draw_small_weights(params: Params, rng: torch.Generator) -> None:
    """Draw small weights for a head's last convolutions, so its initial outputs are near its biases.

    Source: Lin et al. 2017, "Focal loss for dense object detection", section 4.1.
    """
    for weight in leaves(params):
        if weight.dim() == 4:
            weight.copy_(INITIAL_STD * torch.randn(weight.shape, generator=rng))


def _as_tuple(maps: Any) -> tuple[Tensor, ...]:
    return maps if isinstance(maps, tuple) else (maps,)


def join_maps(maps: Sequence[Tensor], outputs_per_anchor: int) -> Tensor:
    """Return maps (N, K D, H, W) as one tensor (N, A, D), in the order of `Anchors`; half precision becomes float32."""
    # -1 instead of the counts is ambiguous for an empty batch
    anchor_counts = [map_.shape[1:].numel() // outputs_per_anchor for map_ in maps]
    flat_maps = (
        map_.permute(0, 2, 3, 1).reshape(len(map_), n_anchors, outputs_per_anchor)
        for map_, n_anchors in zip(maps, anchor_counts, strict=True)
    )
    return upcast_half(torch.cat([*flat_maps], 1))


def split_maps(dy: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Split the gradient (N, A, D) into the gradients of the maps: the inverse of `join_maps`."""
    anchor_counts = [map_.shape[2] * map_.shape[3] * map_.shape[1] // dy.shape[2] for map_ in maps]
    return tuple(
        dy_part.reshape(len(map_), *map_.shape[2:], map_.shape[1]).permute(0, 3, 1, 2).to(map_.dtype)
        for dy_part, map_ in zip(dy.split(anchor_counts, 1), maps, strict=True)
    )
