"""Intermediate results of a detector for one image, and networks that compute one output of one candidate box.

The output is the score of a class or a coordinate of the box. Letters in shapes: C classes, K anchors of a cell, D
outputs of an anchor, A anchors of all maps, B boxes of an anchor (more than one in YOLO v1), P proposals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from pellucid.combine import Graph, Sequential
from pellucid.layers import Concat, Dense, Flatten
from pellucid.layers.base import Layer, Mode, Params
from pellucid.ops.coding import decode_gradient

if TYPE_CHECKING:
    from pellucid.detectors.base import Anchors, Candidates


class Walk(NamedTuple):
    """The intermediate results of a detector for one image.

    maps: (1, K D, H', W') each, the outputs for the anchors. anchors: None where proposals are found without learning.
    outputs_per_anchor: D. scores: (A B, C), or (A, 1) of a first stage, whose only score is that of an object.
    proposals: (P, 4), the input of a second stage; outputs: (P, C + 1 + 4), of its head: scores of the classes and the
    background, and offsets of the box; both None for a single-stage detector. candidates: the boxes before the score
    threshold and non-maximum suppression.
    """

    maps: tuple[Tensor, ...]
    anchors: "Anchors | None"
    outputs_per_anchor: int
    scores: Tensor
    proposals: Tensor | None
    outputs: Tensor | None
    candidates: "Candidates"

    @property
    def anchor_counts(self) -> list[int]:
        """The number of anchors of each map."""
        return [one.shape[2] * one.shape[3] * (one.shape[1] // self.outputs_per_anchor) for one in self.maps]

    def cell(self, anchor: int) -> tuple[int, int, int]:
        """Return the index of the map, the row and the column of the cell of an anchor."""
        level = 0
        for count in self.anchor_counts[:-1]:
            if anchor < count:
                break
            anchor, level = anchor - count, level + 1
        _, channels, _, width = self.maps[level].shape
        cell = anchor // (channels // self.outputs_per_anchor)
        return level, cell // width, cell % width

    def score_maps(self, label: int) -> list[Tensor]:
        """Return for each map the highest score in each cell (H', W'): of a class, or the only one of a first stage."""
        column = self.scores[:, min(label, self.scores.shape[1] - 1)]
        boxes = len(column) // sum(self.anchor_counts)  # of an anchor: YOLO v1 has several
        parts = column.split([count * boxes for count in self.anchor_counts])
        return [part.view(*one.shape[2:], -1).amax(2) for part, one in zip(parts, self.maps, strict=True)]


class Scorer(NamedTuple):
    """A network (N, C, H, W) -> (N, 1), its parameters, and the path of the map that a candidate is computed from."""

    net: Layer
    params: Params
    path: str


def map_scorer(nets: Mapping[str, Layer], params: Params, walk: Walk, slopes: Tensor, anchor: int) -> Scorer:
    """Return the networks of a single-stage detector, followed by the sum of their outputs times `slopes`.

    slopes: (A, D), the derivative of the explained score or coordinate with respect to the outputs of all anchors; so
    the sum has the same gradient. anchor: the index of the candidate's anchor.
    """
    parts = zip(slopes.split(walk.anchor_counts), walk.maps, strict=True)
    weights = torch.cat([part.reshape(*one.shape[2:], one.shape[1]).permute(2, 0, 1).flatten() for part, one in parts])
    names = tuple(f"map{k}" for k in range(1, len(walk.maps) + 1))
    nodes: dict[str, tuple[Any, ...]] = {f"flat{k}": (Flatten(), name) for k, name in enumerate(names, 1)}
    flat = tuple(nodes)
    if len(flat) > 1:
        nodes["all"] = (Concat(), *flat)
        flat = ("all",)
    nodes["sum"] = (Dense(1, bias=False), *flat)
    net = Sequential(**nets, read=Graph(nodes, ("sum",), names))
    read: Params = {name: {} for name in nodes} | {"sum": {"weight": weights[None]}}
    return Scorer(net, {**params, "read": read}, map_path(nets, walk.cell(anchor)[0]))


def region_scorer(
    nets: Mapping[str, Layer], params: Params, align: Layer, head: Layer, region: Tensor, slopes: Tensor
) -> Scorer:
    """Return the network for one region (4,), followed by the sum of the head's outputs times `slopes`.

    nets: backbone and neck. align, head: the layers of the second stage. region: a constant, as in training. slopes:
    (C + 1 + 4,), the derivative of the explained score or coordinate with respect to the head's outputs.
    """
    neck = [*nets.values()][-1]
    count = len(neck.outputs) if isinstance(neck, Graph) else 1
    names = tuple(f"map{k}" for k in range(1, count + 1))
    x0, y0, x1, y1 = region.tolist()
    nodes: dict[str, tuple[Any, ...]] = {
        "region": (OneRegion((x0, y0, x1, y1)), names[0]),
        "align": (align, names[0], "region"),
        "head": (head, "align"),
        "sum": (Dense(1, bias=False), "head"),
    }
    box_params: Params = {"region": {}, "align": {}, "head": params["head"], "sum": {"weight": slopes[None]}}
    net = Sequential(**nets, box=Graph(nodes, ("sum",), names))
    return Scorer(net, {**{name: params[name] for name in nets}, "box": box_params}, map_path(nets, 0, last=True))


def map_path(nets: Mapping[str, Layer], level: int, last: bool = False) -> str:
    """Return the path of map `level` of the neck: the last network if `last`, otherwise the one before it."""
    name = [*nets][-1 if last or len(nets) == 1 else -2]
    net = nets[name]
    return f"{name}.{net.outputs[level if level < len(net.outputs) else 0]}" if isinstance(net, Graph) else name


def output_slopes(
    y: Tensor, box: Tensor, column: int, side: int | None, deviations: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Return the derivative of an output, or of a side of the decoded box, with respect to the outputs y (D,).

    The last four outputs are the offsets from the anchor or proposal `box` (4,). column: the output's index. side: None
    for the output, 0 to 3 for x0, y0, x1, y1. deviations: the standard deviations by which the offsets are divided in
    training (dx, dy, dw, dh).
    """
    dy = torch.zeros_like(y)
    if side is None:
        dy[column] = 1
        return dy
    dbox = torch.zeros_like(box)
    dbox[side] = 1
    dy[-4:] = decode_gradient(dbox[None], y[None, -4:], box[None], deviations)[0]
    return dy


class OneRegionCache(NamedTuple):
    """Cache of OneRegion: its input, for the shape of the gradient."""

    x: Tensor


@dataclass(frozen=True)
class OneRegion(Layer):
    """Return the same region for each image, as an input of RoIAlign: x (N, C, H, W), y (N, 5) image index and box."""

    box: Sequence[float]

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Return no parameters and the shape of a region."""
        return {}, (5,)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, OneRegionCache]:
        """Return the region with the index of each image."""
        index = torch.arange(len(x), device=x.device, dtype=x.dtype)[:, None]
        return torch.cat([index, x.new_tensor(self.box).expand(len(x), 4)], 1), OneRegionCache(x)

    def backward(self, params: Params, cache: OneRegionCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return zeros: the region does not depend on x."""
        return torch.zeros_like(cache.x), {}
