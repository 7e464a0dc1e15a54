"""Targets of explanations: the score of a class, or a unit or feature map anywhere in a network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.tensors import as_targets
from pellucid.base.text import plural, value_range
from pellucid.combine import Combinator, Fork, Graph, Parallel, Sequential, Shared
from pellucid.combine.base import first_name
from pellucid.layers.base import Layer


def upto(net: Layer, path: str) -> Layer:
    """Return the part of `net` up to the layer or node at `path`; parameters and paths are the same as for `net`.

    A Shared layer outputs a tuple with one value for each use. A node of a Graph that reuses the layer of another node
    has its own name. Raises PellucidError for an unknown path.
    """
    return _up_to(net, path, path)


def _up_to(layer: Layer, relative_path: str, path: str) -> Layer:
    """Return the part of a layer up to its descendant at `relative_path`; path: the complete path, for messages."""
    if not relative_path:
        return layer
    if not isinstance(layer, Combinator):
        raise PellucidError(
            f"no layer {path!r}: a {type(layer).__name__} has no part {relative_path.partition('.')[0]!r}"
        )
    layers = layer.nodes if isinstance(layer, Graph) else layer.layers
    name = first_name(relative_path, layers)
    inner_path = relative_path.removeprefix(name).removeprefix(".")
    if name not in layers:
        raise PellucidError(f"no layer {path!r}: {name!r} is none of {', '.join(layers)}{nearest(name, layers)}")
    # Types are compared exactly, because a subclass may run its layers in another way.
    if type(layer) is Graph:
        return _graph_up_to(layer, name, inner_path, path)
    if type(layer) is Shared:
        return Shared(_up_to(layer.layer, inner_path, path))
    if type(layer) is Parallel and name == "merge":
        return Parallel(layer.branches, _up_to(layer.merge, inner_path, path))
    preceding: dict[str, Layer] = {}
    if type(layer) is Sequential:
        children = list(layer.children)
        preceding = {child: layer.children[child] for child in children[: children.index(name)]}
    elif type(layer) not in (Parallel, Fork):
        raise PellucidError(
            f"{path!r}: a layer inside a {type(layer).__name__} cannot be a target; give a layer outside of it"
        )
    return Sequential(**preceding, **{name: _up_to(layer.layers[name], inner_path, path)})


def _graph_up_to(graph: Graph, name: str, inner_path: str, path: str) -> Layer:
    """Return the graph of the node `name` and the nodes that it needs, cut at `inner_path` in it unless that is ""."""
    if inner_path and (isinstance(graph.nodes[name][0], str) or any(node[0] == name for node in graph.nodes.values())):
        raise PellucidError(f"{path!r} is in a layer that runs more than once; give one of its nodes as a whole")
    needed_nodes = set[str]()
    pending = [name]
    while pending:
        current = pending.pop()
        if current in needed_nodes or current in graph.inputs:
            continue
        needed_nodes.add(current)
        layer, *sources = graph.nodes[current]
        pending += [*sources, *([layer] if isinstance(layer, str) else [])]
    nodes = {current: node for current, node in graph.nodes.items() if current in needed_nodes}
    if inner_path:
        nodes[name] = (_up_to(graph.nodes[name][0], inner_path, path), *graph.nodes[name][1:])
    return Graph(nodes, (name,), graph.inputs)


@dataclass(frozen=True, eq=False)
class Region:
    """A target for scores at each pixel (N, C, H, W): the weighted sum of the scores of one class over the pixels."""

    classes: Tensor  # (N,) or (1,)
    weights: Tensor  # weights of the pixels, (N, H, W) or (1, H, W)
    where: str = ""  # a description of the pixels, for titles

    def __str__(self) -> str:
        """Return the classes and the pixels as text."""
        return f"{', '.join(map(str, self.classes.tolist()))} {self.where}".rstrip()

    def repeat(self, count: int) -> "Region":
        """Return the target for a batch with each example repeated `count` times in a row."""
        classes, weights = (
            tensor.repeat_interleave(count, 0) if len(tensor) > 1 else tensor for tensor in (self.classes, self.weights)
        )
        return Region(classes, weights, self.where)


Target = int | Sequence[int] | Tensor | str | Region | None
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
UNIT_PATTERN = re.compile(r"(?P<path>[^\[\]]*)\[(?P<index>[^\[\]]+)\]")  # PATH[INDEX]


@dataclass(frozen=True, eq=False)
class Aim:
    """The part of a network that a target needs, and the outputs that it selects.

    Without index, classes and region, the class with the largest score is the target. For scores of each pixel (N, C,
    H, W), a class selects its scores at the pixels where it has the largest score, and `region` selects scores at the
    given pixels.
    index: indices and slices after the batch axis.
    classes: one class for each example, or one for all.
    """

    net: Layer
    index: tuple[int | slice, ...] | None = None
    classes: Tensor | None = None
    region: Region | None = None
    __repr__ = brief_repr

    def mask(self, y: Any) -> Tensor:
        """Return 1, or the weight in the sum, for the explained outputs, and 0 for the others, in the shape of y.

        Raises PellucidError if the target does not fit the network's output.
        """
        if not isinstance(y, Tensor):
            raise PellucidError(
                f"the network has {len(y)} outputs; give the target as a path, such as 'head.scores[3]', to one of them"
            )
        if self.index is not None:
            return _unit_mask(y, self.index)
        if self.region is not None or (y.dim() == 4 and self.classes is not None):
            region = self.region or predicted_region(y, self.classes)
            return _region_weights(y, region)
        if y.dim() != 2:
            raise PellucidError(
                f"outputs of shape {tuple(y.shape[1:])} are not scores of classes; give the target as a path, such as "
                "'head.conv[3]' for the largest value of map 3, 'head.conv[3, :, :]' for the whole map, or "
                "'head.conv[3, 10:20, 30:50]' for a region"
            )
        classes = y.argmax(1) if self.classes is None else _expanded_classes(self.classes, y)
        return torch.zeros_like(y).scatter_(1, classes[:, None], 1.0)


def predicted_region(y: Tensor, classes: Any) -> Region:
    """Return the region of the pixels whose largest score in y (N, C, H, W) is that of the given class of each image.

    Raises PellucidError for an image without such a pixel.
    """
    image_classes = _expanded_classes(target_classes(classes, len(y)), y)
    pixels = y.argmax(1) == image_classes[:, None, None]  # (N, H, W)
    empty = (~pixels.flatten(1).any(1)).nonzero()
    if len(empty):
        raise PellucidError(
            f"target: no pixel of image {int(empty[0])} is predicted as class {int(image_classes[empty[0]])}; "
            "give its scores by a path, such as 'head.conv[3, :, :]'"
        )
    return Region(image_classes, pixels.to(y.dtype), "where it is predicted")


def _region_weights(y: Tensor, region: Region) -> Tensor:
    """Return the weights of a region in the shape of scores y (N, C, H, W); raises PellucidError if it does not fit."""
    if y.dim() != 4 or y.shape[2:] != region.weights.shape[1:]:
        raise PellucidError(
            f"target: a region of {tuple(region.weights.shape[1:])} pixels does not fit outputs of shape "
            f"{tuple(y.shape[1:])}"
        )
    index = _expanded_classes(region.classes, y)[:, None, None, None].expand(-1, 1, *y.shape[2:])
    weights = region.weights.to(y)[:, None].expand(len(y), -1, -1, -1)
    return torch.zeros_like(y).scatter_(1, index, weights)


def aim(net: Layer, target: Target, examples: int) -> Aim:
    """Return the part of `net` and the outputs that a target selects, for a batch of `examples`.

    target: a class, or one for each example; None for each example's class with the largest score; a Region; or a path
    with an index: "head.scores[3]" for unit 3, "features.conv5[12, 4, 7]" for one unit of map 12, "features.conv5[12]"
    for the unit of map 12 with the largest value in each image, "features.conv5[12, :, :]" for the sum of the map,
    "head.conv[3, 10:20, 30:50]" for the sum of a region. Negative indices count from the end.
    Raises PellucidError for other targets.
    """
    if target is None:
        return Aim(net)
    if isinstance(target, Region):
        return Aim(net, region=target)
    if isinstance(target, str):
        unit = UNIT_PATTERN.fullmatch(target.replace(" ", ""))
        if unit is None:
            raise PellucidError(
                f"target {target!r} is not a unit; write a path and an index, such as 'features.conv5[12]', or a "
                "class index"
            )
        return Aim(upto(net, unit["path"]), tuple(_parse_index(text, target) for text in unit["index"].split(",")))
    return Aim(net, classes=target_classes(target, examples))


def target_classes(target: Any, examples: int) -> Tensor:
    """Return the classes, one for all `examples` or one for each; raises PellucidError for other values."""
    try:
        classes = as_targets(target, "target", torch.float32)
    except PellucidError:
        classes = torch.zeros(())  # not integers: raises below
    if classes.dtype not in INTEGER_DTYPES or classes.numel() not in (1, examples):
        raise PellucidError(
            f"target must be a class, one for each of {plural(examples, 'example')}, or a path, not {target!r}"
        )
    return classes.reshape(-1).long()


def _expanded_classes(classes: Tensor, y: Tensor) -> Tensor:
    """Return a class for each example; raises PellucidError for a class without a score in `y`."""
    classes = classes.to(y.device).expand(len(y))
    if bool((classes < 0).any() or (classes >= y.shape[1]).any()):
        raise PellucidError(
            f"target contains {value_range('class', 'classes', classes)}, but the network has "
            f"{plural(y.shape[1], 'output')}, numbered from 0"
        )
    return classes


def _parse_index(text: str, target: str) -> int | slice:
    match = re.fullmatch("(-?[0-9]{1,18})?(:)?(-?[0-9]{1,18})?", text)
    if match is None or not text or (match[2] is None and match[3] is not None):
        raise PellucidError(f"target {target!r}: {text!r} is not an index; write integers, 3:9, or : for all")
    if match[2] is None:
        return int(text)
    return slice(None if match[1] is None else int(match[1]), None if match[3] is None else int(match[3]))


def _unit_mask(y: Tensor, index: tuple[int | slice, ...]) -> Tensor:
    """Return the mask of a unit, of the unit with a map's largest value, or of a region or whole map."""
    sizes = y.shape[1:]
    if len(index) not in (1, len(sizes)) or any(
        not range(size)[position] if isinstance(position, slice) else not -size <= position < size
        for position, size in zip(index, sizes, strict=False)
    ):
        raise PellucidError(f"target: no index {_index_text(index)} in outputs of shape {tuple(sizes)}")
    mask = torch.zeros_like(y)
    if len(index) == len(sizes):
        mask[(slice(None), *index)] = 1
        return mask
    if isinstance(index[0], slice):
        raise PellucidError("target: [:] selects all maps; give one, or write [:, :, :] for the sum of all")
    maps = y[:, index[0]].flatten(1)  # (N, H W)
    strongest = torch.zeros_like(maps).scatter_(1, maps.argmax(1, keepdim=True), 1.0)
    mask[:, index[0]] = strongest.view(y[:, index[0]].shape)
    return mask


def _index_text(index: tuple[int | slice, ...]) -> str:
    texts: list[str] = []
    for position in index:
        if isinstance(position, slice):
            start, stop = ("" if bound is None else str(bound) for bound in (position.start, position.stop))
            texts.append(f"{start}:{stop}")
        else:
            texts.append(str(position))
    return f"[{', '.join(texts)}]"
