"""The tokens of transformers as maps: which token represents which part of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.combine.base import uses_flow
from pellucid.layers.base import Mode, Trait
from pellucid.operators import Attention, Fixed, Learned

if TYPE_CHECKING:
    from pellucid.explain.layout import ImageOutputs
    from pellucid.layers.base import Cache, Layer


@dataclass(frozen=True, eq=False)
class PartLabels:
    """The parts of the image to which the values of a tensor belong; the parts form a grid."""

    labels: Tensor  # in the tensor's shape, 1 + the row-major index of the part, 0 for no part
    size: tuple[int, int]  # (h, w) of the grid

    def order(self) -> Tensor | None:
        """Return, for values (N, ..., C), the index of each part's token among the tokens of an example, (h w,).

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


class TokenOutput(NamedTuple):
    """The output y of a layer that has one token for each part of the image."""

    layer: Layer
    y: Tensor
    part_labels: PartLabels


class Tokens:
    """A watch for `sweep.forward` that follows the parts of an image through a network of tokens.

    The outputs of convolutions are grids of parts. Layers that move values also move their labels. Other layers keep
    the labels of their input, sums the labels of any input, and attention the labels of its queries. Patches that are
    joined in one token, as in Swin, become one part. outputs: by path, if the output has one token for each
    part; None for a layer that runs more than once.
    """

    def __init__(self, images: ImageOutputs) -> None:
        self.outputs: dict[str, TokenOutput | None] = {}
        self._images = images
        self._part_labels: dict[int, tuple[Any, PartLabels]] = {}  # by the id of a value; storing it keeps the id valid

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Record the forward pass of one layer."""
        if uses_flow(layer) or not isinstance(y, Tensor):
            return
        part_labels = self._output_labels(layer, x, y)
        if part_labels is None:
            return
        self._part_labels[id(y)] = y, part_labels
        if y.dim() < 3 or self._images.includes(y) or part_labels.order() is None:
            return
        self.outputs[path] = None if path in self.outputs else TokenOutput(layer, y, part_labels)

    def _output_labels(self, layer: Layer, x: Any, y: Tensor) -> PartLabels | None:
        if self._images.includes(y):
            if y.dim() != 4:
                return None  # tokens are followed in pictures only
            size = (y.shape[2], y.shape[3])
            return PartLabels(torch.arange(1, size[0] * size[1] + 1, device=y.device).view(size).expand(y.shape), size)
        inputs = cast("tuple[Any, ...]", x) if isinstance(x, tuple) else (x,)
        input_labels = [
            self._part_labels[id(tensor)][1] if id(tensor) in self._part_labels else None for tensor in inputs
        ]
        size = next((part_labels.size for part_labels in input_labels if part_labels is not None), None)
        if isinstance(layer, Learned | Fixed):
            return PartLabels(torch.zeros(y.shape, dtype=torch.int64, device=y.device), (0, 0))
        if size is None:
            return None
        size = next(
            (
                part_labels.size
                for part_labels in input_labels
                if part_labels is not None and part_labels.size != (0, 0)
            ),
            size,
        )
        if layer.traits & (Trait.COPIES_VALUES | Trait.RESHAPE) or type(layer).__name__ == "Concat":
            return _moved_labels(layer, x, input_labels, size)
        # the keys only weight the values, so each output belongs to the part of its query
        if isinstance(layer, Attention):
            input_labels = input_labels[:1]
        known_labels = [
            same_labels
            for part_labels in input_labels
            if part_labels is not None and (same_labels := _labels_of_same_tokens(part_labels, y)) is not None
        ]
        return _merged_labels(known_labels, size)


def _moved_labels(
    layer: Layer, x: Any, input_labels: list[PartLabels | None], size: tuple[int, int]
) -> PartLabels | None:
    """Return the labels after a layer that only moves values, computed by running it on the labels of its inputs."""
    if not isinstance(x, tuple):
        return None if input_labels[0] is None else PartLabels(_run_on_labels(layer, input_labels[0].labels), size)
    labels: list[Any] = []
    for index, (tensor, label) in enumerate(zip(cast("tuple[Any, ...]", x), input_labels, strict=True)):
        if index not in layer.constants and label is None:
            return None
        labels.append(tensor if index in layer.constants or label is None else label.labels)
    return PartLabels(_run_on_labels(layer, tuple(labels)), size)


def _run_on_labels(layer: Layer, labels: Any) -> Tensor:
    """Return a layer's output labels; its outputs for labels 0 are subtracted, so inserted constants have label 0."""

    def run(factor: int) -> Tensor:
        inputs = [
            tensor if index in layer.constants else factor * tensor.double()  # not all operators accept integers
            for index, tensor in enumerate(
                cast("tuple[Tensor, ...]", labels) if isinstance(labels, tuple) else (labels,)
            )
        ]
        return layer.forward({}, tuple(inputs) if isinstance(labels, tuple) else inputs[0], Mode(keep=False))[0]

    return (run(1) - run(0)).nan_to_num(0).long()


def _labels_of_same_tokens(part_labels: PartLabels, y: Tensor) -> PartLabels | None:
    """Return the labels of an output with the input's shape, or with another number of channels; None for others."""
    labels = part_labels.labels
    if labels.shape == y.shape:
        return part_labels
    if labels.dim() != y.dim() or labels.shape[:-1] != y.shape[:-1]:
        return None
    if bool((labels == labels[..., :1]).all()):
        return PartLabels(labels[..., :1].expand(y.shape), part_labels.size)
    first_labels = labels.amin(-1, keepdim=True)  # the label of the first of the joined patches
    values = first_labels[first_labels > 0].unique()
    n_rows = ((values - 1) // part_labels.size[1]).unique().numel()
    if bool((labels == 0).any()) or values.numel() % n_rows:
        return None
    return PartLabels(
        (torch.searchsorted(values, first_labels) + 1).expand(y.shape), (n_rows, values.numel() // n_rows)
    )


def _merged_labels(part_labels: list[PartLabels], size: tuple[int, int]) -> PartLabels | None:
    """Return the labels of a value computed from values with these labels; None if the labels disagree."""
    if not part_labels:
        return None
    labels = part_labels[0].labels
    for other in part_labels[1:]:
        if bool(((labels != other.labels) & (labels != 0) & (other.labels != 0)).any()):
            return None
        labels = torch.maximum(labels, other.labels)
    return PartLabels(labels, size if len(part_labels) > 1 else part_labels[0].size)
