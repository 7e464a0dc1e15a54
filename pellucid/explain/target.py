"""Targets of explanations: which score of a network is explained, and its gradient with respect to the outputs."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_targets, as_tensor
from pellucid.base.text import plural, value_range
from pellucid.explain.functions import OutputScore, is_function, mapped
from pellucid.explain.parts import before_probabilities, upto
from pellucid.layers.base import Layer


@dataclass(frozen=True, eq=False)
class Region:
    """A target for scores at each pixel (N, C, ...): the weighted sum of the scores of one class over the pixels."""

    classes: Tensor  # (N,) or (1,)
    weights: Tensor  # weights of the pixels, (N, ...) or (1, ...)
    where: str = ""  # a description of the pixels, for titles
    __repr__ = brief_repr

    def __str__(self) -> str:
        """Return the classes and the pixels as text."""
        return f"{', '.join(map(str, self.classes.tolist()))} {self.where}".rstrip()


# See `aim`.
Target = int | str | Sequence[Any] | Mapping[Any, float] | Tensor | Region | OutputScore | Layer | None
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
UNIT_PATTERN = re.compile(r"(?P<path>[^\[\]]*)\[(?P<index>[^\[\]]+)\]")  # PATH[INDEX]


@dataclass(frozen=True, eq=False)
class Aim:
    """What an explanation explains: the part of a network that a target needs, and a score of each example.

    target: see `aim`; for a path, the index in the outputs of `net`.
    is_unit: whether the target is inside the network, given by its path.
    """

    net: Layer
    target: Any
    is_unit: bool = False
    __repr__ = brief_repr

    @property
    def is_function(self) -> bool:
        """Whether the score is a function of the outputs instead of a weighted sum."""
        return isinstance(self.target, OutputScore)

    @property
    def may_be_fixed(self) -> bool:
        """Whether the outputs for one input decide for its variants what is explained, such as the predicted class."""
        return not (
            self.is_unit or self.is_function or (isinstance(self.target, tuple) and not _is_weights(self.target))
        )

    def gradient(self, y: Any) -> Any:
        """Return ∂ score / ∂ y in the shape of the outputs y, for which the backward pass starts.

        Raises PellucidError if the target does not fit the outputs.
        """
        if isinstance(self.target, OutputScore):
            return self.target.gradient_at(y)
        return output_weights(y, self.target)

    def score(self, y: Any) -> Tensor:
        """Return the score of each example, (N,)."""
        return self.target.value_at(y) if isinstance(self.target, OutputScore) else weighted_sum(y, self.gradient(y))

    def read(self, function: Callable[[Any], Any] | None, y: Any) -> Any:
        """Return a function of the network's outputs, such as probabilities; units and functions take y itself."""
        return y if function is None or self.is_unit or self.is_function else function(y)


def aim(net: Layer, target: Target, examples: int, keep_probabilities: bool = False) -> Aim:
    """Return the part of `net` and the score that a target selects, for a batch of `examples`.

    target: one of the following. None is the class with the largest score of each example, or the only output.
    - a class, or a list with one for each example; for scores of each pixel (N, C, H, W), the sum of its scores where
      it has the largest one. A list may contain any of the following, too, but no paths and functions.
    - a tuple of indices and slices in an output of an example: (3, 10, 20), or (3,) for the largest value of map 3. For
      a network with several outputs, the first is the number of the output, as in (0, 3).
    - weights of the outputs, floats in their shape with or without the batch axis: the score is the weighted sum. A
      tuple of them for several outputs.
    - a dict of weights by target: {3: 1.0, 5: -1.0} is the difference of two classes.
    - a Region.
    - a path with an index: "head.scores[3]" for unit 3, "features.conv5[12, 4, 7]" for one unit of map 12,
      "features.conv5[12]" for the unit of map 12 with the largest value in each image, "features.conv5[12, :, :]" for
      the sum of the map, "head.conv[3, 10:20, 30:50]" for the sum of a region. Negative indices count from the end.
    - a function of the outputs with one number for each example: a model, a layer without weights, or a pair (value,
      gradient) of Python functions of the outputs, (N,) and in the shape of the outputs.
    A softmax or sigmoid at the end of the network is left out, except for paths and functions, or with
    `keep_probabilities`: the scores before it do not saturate.
    Raises PellucidError for other targets.
    """
    if isinstance(target, str):
        unit = UNIT_PATTERN.fullmatch(target.replace(" ", ""))
        if unit is None:
            raise PellucidError(
                f"target {target!r} is not a unit; write a path and an index, such as 'features.conv5[12]', or a "
                "class index"
            )
        index = tuple(_parse_index(text, target) for text in unit["index"].split(","))
        return Aim(upto(net, unit["path"]), index, is_unit=True)
    if is_function(target):
        return Aim(net, target if isinstance(target, OutputScore) else OutputScore.of(target))
    if isinstance(target, list) and _has_parts(target) and len(target) != examples:
        raise PellucidError(f"target is a list of {len(target)}; give one for each of {plural(examples, 'example')}")
    if not isinstance(target, list | tuple | Mapping | Region | None):
        target = _values(target, examples)
    return Aim(net if keep_probabilities else before_probabilities(net), target)


def example_target(target: Any, index: int, count: int = 1) -> Any:
    """Return a target fixed by `sweeps.fix_target` for `count` variants of one example."""
    if isinstance(target, Tensor):
        return target[index % len(target)][None].expand(count, *target.shape[1:])
    return tuple(example_target(part, index, count) for part in target) if _is_weights(target) else target


def repeated_target(target: Any, count: int) -> Any:
    """Return a target fixed by `sweeps.fix_target` for a batch with each example repeated `count` times in a row."""
    return mapped(lambda part: part.repeat_interleave(count, 0), target) if _is_weights(target) else target


def weighted_sum(y: Any, weights: Any) -> Tensor:
    """Return the sum of all outputs, weighted, of each example (N,)."""
    if isinstance(y, tuple):
        return torch.stack([*map(weighted_sum, cast("tuple[Tensor, ...]", y), weights)]).sum(0)
    return (y * weights).reshape(len(y), -1).sum(1)


def output_weights(y: Any, target: Any) -> Any:
    """Return the weights of the outputs in the score of a target, in the shape of y: a tensor, or a tuple of them."""
    if isinstance(target, Mapping):
        return _weights_of_sum(y, target)
    if isinstance(target, list) and _has_parts(target):
        examples = [output_weights(mapped(lambda part, n=n: part[n : n + 1], y), part) for n, part in enumerate(target)]
        return mapped(lambda *parts: torch.cat(parts), *examples)
    if isinstance(y, tuple):
        return _weights_of_outputs(cast("tuple[Tensor, ...]", y), target)
    return _weights_of_output(y, target)


def _weights_of_output(y: Tensor, target: Any) -> Tensor:
    if isinstance(target, tuple):
        return _unit_mask(y, target)
    if isinstance(target, Region):
        return _region_weights(y, target)
    if isinstance(target, Tensor) and (target.is_floating_point() or target.dtype is torch.bool):
        return _given_weights(y, target)
    return _class_mask(y, target)


def _weights_of_sum(y: Any, target: Mapping[Any, float]) -> Any:
    """Return the sum of the weights of several targets."""
    if not target:
        raise PellucidError("target: the dict of weights is empty; give at least one output, as in {3: 1.0, 5: -1.0}")
    total = mapped(torch.zeros_like, y)
    for part, weight in target.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            raise PellucidError(f"target: {part!r} has the weight {weight!r}; give a number, as in {{3: 1.0, 5: -1.0}}")
        total = mapped(lambda old, new, factor=weight: old + factor * new, total, output_weights(y, part))
    return total


def _weights_of_outputs(y: tuple[Tensor, ...], target: Any) -> tuple[Tensor, ...]:
    """Return the weights of each of several outputs."""
    if _is_weights(target) and len(target) == len(y):
        return tuple(map(_given_weights, y, target))
    number = target[0] if isinstance(target, tuple) and target else None
    if not isinstance(number, int | np.integer) or not -len(y) <= number < len(y):
        raise PellucidError(
            f"the network has {len(y)} outputs; give the target as a path, such as 'head.scores[3]', or begin it with "
            "the number or name of one of them: (0, 3)"
        )
    rest = target[1:]
    is_single = len(rest) == 1 and not isinstance(rest[0], slice)
    weights = [torch.zeros_like(output) for output in y]
    weights[number] = output_weights(y[number], rest[0] if is_single else rest or None)
    return tuple(weights)


def _class_mask(y: Tensor, target: Any) -> Tensor:
    """Return 1 for the score of a class of each example, None for the largest, or for the scores of its pixels."""
    if y.dim() == 1 or (target is None and y.dim() > 2 and y.shape[1] == 1):
        if target is not None:
            _expanded_classes(target_classes(target, len(y)), y[:, None])  # 0 is the only class
        return torch.ones_like(y)
    if y.dim() >= 4 and target is not None:
        return _region_weights(y, predicted_region(y, target))
    if y.dim() != 2:
        raise PellucidError(
            f"outputs of shape {tuple(y.shape[1:])} are not scores of classes; give the target as an index, such as "
            "(3, 10, 20), as weights in their shape, or as a path, such as 'head.conv[3]' for the largest value of map "
            "3, 'head.conv[3, :, :]' for the whole map, or 'head.conv[3, 10:20, 30:50]' for a region"
        )
    classes = y.argmax(1) if target is None else _expanded_classes(target_classes(target, len(y)), y)
    return torch.zeros_like(y).scatter_(1, classes[:, None], 1.0)


def predicted_region(y: Tensor, classes: Any) -> Region:
    """Return the region of the pixels whose largest score in y (N, C, ...) is that of the given class of each image.

    Raises PellucidError for an image without such a pixel.
    """
    image_classes = _expanded_classes(target_classes(classes, len(y)), y)
    pixels = y.argmax(1) == image_classes.view(-1, *(1,) * (y.dim() - 2))  # (N, ...)
    empty = (~pixels.flatten(1).any(1)).nonzero()
    if len(empty):
        raise PellucidError(
            f"target: no pixel of image {int(empty[0])} is predicted as class {int(image_classes[empty[0]])}; "
            "give its scores by a path, such as 'head.conv[3, :, :]'"
        )
    return Region(image_classes, pixels.to(y.dtype), "where it is predicted")


def _region_weights(y: Tensor, region: Region) -> Tensor:
    """Return the weights of a region in the shape of scores y (N, C, ...); raises PellucidError if it does not fit."""
    if y.dim() < 4 or y.shape[2:] != region.weights.shape[1:]:
        raise PellucidError(
            f"target: a region of {tuple(region.weights.shape[1:])} pixels does not fit outputs of shape "
            f"{tuple(y.shape[1:])}"
        )
    classes = _expanded_classes(region.classes, y)
    index = classes.view(-1, *(1,) * (y.dim() - 1)).expand(-1, 1, *y.shape[2:])
    weights = region.weights.to(y)[:, None].expand(len(y), -1, *y.shape[2:])
    return torch.zeros_like(y).scatter_(1, index, weights)


def _given_weights(y: Tensor, weights: Tensor) -> Tensor:
    """Return weights in the shape of the outputs y, from weights with or without a batch axis."""
    if weights.shape == y.shape[1:]:
        weights = weights[None]
    if weights.shape not in (y.shape, (1, *y.shape[1:])):
        raise PellucidError(
            f"target: weights of shape {tuple(weights.shape)} do not fit outputs of shape {tuple(y.shape)}; give one "
            "for each output of an example, or of each example"
        )
    if not bool(weights.isfinite().all()):
        raise PellucidError("target: the weights must be finite; they contain NaN or infinity")
    return weights.to(y).expand(y.shape)


def target_classes(target: Any, examples: int) -> Tensor:
    """Return the classes, one for all `examples` or one for each; raises PellucidError for other values."""
    classes = _values(target, examples)
    if classes.dtype not in INTEGER_DTYPES:
        raise _not_a_target(target, examples)
    return classes.reshape(-1).long()


def _values(target: Any, examples: int) -> Tensor:
    """Return numbers that are classes, or weights of outputs; raises PellucidError for other values."""
    is_array = isinstance(target, Tensor | np.ndarray)
    try:
        values = as_tensor(target, "target") if is_array else as_targets(target, "target", torch.float32)
    except PellucidError as error:
        raise _not_a_target(target, examples) from error
    is_class = values.dtype in INTEGER_DTYPES and values.numel() in (1, examples)
    if not is_class and not (is_array and (values.is_floating_point() or values.dtype is torch.bool)):
        raise _not_a_target(target, examples)
    return values


def _not_a_target(target: Any, examples: int) -> PellucidError:
    return PellucidError(
        f"target must be a class, one for each of {plural(examples, 'example')}, a tuple of indices, weights of the "
        f"outputs, or a path, not {target!r}"
    )


def _has_parts(target: list[Any]) -> bool:
    """Return whether a list contains targets other than the numbers of classes."""
    return any(isinstance(part, tuple | list | dict | Region | Tensor) or part is None for part in target)


def _is_weights(target: Any) -> bool:
    """Return whether a target is weights of the outputs: a float tensor, or a tuple of them."""
    if isinstance(target, tuple):
        return bool(target) and all(isinstance(part, Tensor) for part in target)
    return isinstance(target, Tensor) and target.is_floating_point()


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
    if y.dim() == 1:
        return _unit_mask(y[:, None], index)[:, 0]  # one number for each example
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
