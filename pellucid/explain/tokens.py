"""The tokens of transformers as maps: which token stands for which part of the image."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.combine.base import uses_flow
from pellucid.explain.layout import ImageOutputs
from pellucid.layers.base import Cache, Layer, Mode, Trait
from pellucid.operators import Attention, Fixed, Learned


@dataclass(frozen=True, eq=False)
class Places:
    """Where in a grid of parts of the image the values of a tensor are.

    labels: of the tensor's shape: 1 + the index, in row-major order, of a part; 0 for none. size: (h, w) of the grid.
    """

    labels: Tensor
    size: tuple[int, int]

    def order(self) -> Tensor | None:
        """Return, for values (N, ..., C), the index of each part's token among those of an example, (h w,).

        None unless every part has exactly one token, at the same index in each example.
        """
        if self.labels.dim() < 3 or not bool((self.labels == self.labels[..., :1]).all()):
            return None
        tokens = self.labels[..., 0].flatten(1)  # (N, T)
        if not bool((tokens == tokens[:1]).all()):
            return None
        index = tokens[0].argsort(stable=True)[int((tokens[0] == 0).sum()) :]
        expected = torch.arange(1, self.size[0] * self.size[1] + 1, device=index.device)
        return index if torch.equal(tokens[0][index], expected.to(tokens.dtype)) else None

    def maps(self, values: Tensor) -> Tensor:
        """Return token values (N, ..., C) as maps (N, C, h, w)."""
        order = self.order()
        assert order is not None
        return values.flatten(1, -2)[:, order].mT.unflatten(2, self.size)


class Tokens:
    """A watch for `sweep.forward` that follows the parts of an image through a network of tokens.

    The outputs of convolutions are grids of parts; layers that move values move them, other layers keep the parts of
    their input, sums those of any input, and attention those of its queries. Patches that are joined in one token, as
    in Swin, become one part. found: by path, the output and places of the layers whose output has a token for each
    part; None for a layer that runs more than once.
    """

    def __init__(self, images: ImageOutputs) -> None:
        self.found: dict[str, tuple[Layer, Tensor, Places] | None] = {}
        self._images = images
        self._places: dict[int, tuple[Any, Places]] = {}  # by the id of a value, which is kept alive

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Record the forward pass of one layer."""
        if uses_flow(layer) or not isinstance(y, Tensor):
            return
        places = self._after(layer, x, y)
        if places is None:
            return
        self._places[id(y)] = y, places
        if y.dim() < 3 or self._images.includes(y) or places.order() is None:
            return
        self.found[path] = None if path in self.found else (layer, y, places)

    def _after(self, layer: Layer, x: Any, y: Tensor) -> Places | None:
        if self._images.includes(y):
            size = (y.shape[2], y.shape[3])
            return Places(torch.arange(1, size[0] * size[1] + 1, device=y.device).view(size).expand(y.shape), size)
        parts = cast("tuple[Any, ...]", x) if isinstance(x, tuple) else (x,)
        known = [self._places[id(part)][1] if id(part) in self._places else None for part in parts]
        size = next((places.size for places in known if places is not None), None)
        if isinstance(layer, Learned | Fixed):
            return Places(torch.zeros(y.shape, dtype=torch.int64, device=y.device), (0, 0))
        if size is None:
            return None
        size = next((places.size for places in known if places is not None and places.size != (0, 0)), size)
        if layer.traits & (Trait.MOVES | Trait.RESHAPE) or type(layer).__name__ == "Concat":
            return _moved(layer, x, known, size)
        if isinstance(layer, Attention):
            known = known[:1]
        labels = [found for places in known if places is not None and (found := _kept(places, y)) is not None]
        return _joined(labels, size)


def _moved(layer: Layer, x: Any, known: list[Places | None], size: tuple[int, int]) -> Places | None:
    """Return the places after a layer that only moves values: its outputs for the labels, without its constants."""
    if not isinstance(x, tuple):
        return None if known[0] is None else Places(_outputs(layer, known[0].labels), size)
    labels = [
        part if index in layer.constants else label.labels if label is not None else None
        for index, (part, label) in enumerate(zip(cast("tuple[Any, ...]", x), known, strict=True))
    ]
    if any(label is None for label in labels):
        return None
    return Places(_outputs(layer, tuple(labels)), size)


def _outputs(layer: Layer, labels: Any) -> Tensor:
    """Return the outputs of a layer for labels: 0 where it inserts a constant, which is the output for labels of 0."""

    def run(factor: int) -> Tensor:
        parts = [
            one if index in layer.constants else factor * one.double()  # not all operators take whole numbers
            for index, one in enumerate(cast("tuple[Tensor, ...]", labels) if isinstance(labels, tuple) else (labels,))
        ]
        return layer.forward({}, tuple(parts) if isinstance(labels, tuple) else parts[0], Mode(keep=False))[0]

    return (run(1) - run(0)).nan_to_num(0).long()


def _kept(places: Places, y: Tensor) -> Places | None:
    """Return the places of an output that has the shape of the input, or another number of channels."""
    labels = places.labels
    if labels.shape == y.shape:
        return places
    if labels.dim() != y.dim() or labels.shape[:-1] != y.shape[:-1]:
        return None
    if bool((labels == labels[..., :1]).all()):
        return Places(labels[..., :1].expand(y.shape), places.size)
    first = labels.amin(-1, keepdim=True)  # the label of the first of the joined patches
    values = first[first > 0].unique()
    rows = ((values - 1) // places.size[1]).unique().numel()
    if bool((labels == 0).any()) or values.numel() % rows:
        return None
    return Places((torch.searchsorted(values, first) + 1).expand(y.shape), (rows, values.numel() // rows))


def _joined(places: list[Places], size: tuple[int, int]) -> Places | None:
    """Return the places of a value computed from several: None if they disagree."""
    if not places:
        return None
    labels = places[0].labels
    for other in places[1:]:
        if bool(((labels != other.labels) & (labels != 0) & (other.labels != 0)).any()):
            return None
        labels = torch.maximum(labels, other.labels)
    return Places(labels, size if len(places) > 1 else places[0].size)
