"""Explanations of several inputs by methods that change the input, such as integrated gradients."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.explain.averaged import baseline_like
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Mode, Params, Trait
from pellucid.operators.base import TensorLayer


class JoinedCache(NamedTuple):
    """Cache of SplitInputs: its input."""

    x: Tensor


@dataclass(frozen=True)
class SplitInputs(TensorLayer):
    """Split joined inputs (N, D) into inputs of these shapes without the batch axis."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    shapes: tuple[tuple[int, ...], ...]

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[tuple[Tensor, ...], JoinedCache]:
        """Return the inputs, (N, ...) each."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = [part.reshape(len(x), *shape) for part, shape in zip(x.split(sizes, 1), self.shapes, strict=True)]
        return tuple(parts), JoinedCache(x)

    def backward(self, params: Params, cache: JoinedCache, dy: tuple[Tensor | None, ...]) -> tuple[Tensor, Params]:
        """Join the gradients of the inputs; None, for an input without effect, is 0."""
        gradients_and_shapes = zip(dy, self.shapes, strict=True)
        return join(
            tuple(
                cache.x.new_zeros(len(cache.x), *shape) if gradient is None else gradient
                for gradient, shape in gradients_and_shapes
            )
        ), {}


def join(values: tuple[Tensor, ...]) -> Tensor:
    """Return several inputs (N, ...) as one, (N, D)."""
    return torch.cat([part.reshape(len(part), -1) for part in values], 1)


def explain_joined(
    method: Callable[..., Any], net: Layer, params: Params, x: tuple[Tensor, ...], target: Target,
    options: Mapping[str, Any],
) -> tuple[Tensor, ...]:  # fmt: skip
    """Return the map of each of several inputs by a method for one: all inputs change together.

    options: of the method; those that are a tuple have one number or tensor for each input, such as `baseline`.
    """
    split = SplitInputs(tuple(tuple(part.shape[1:]) for part in x))
    one_input = Sequential(split=split, net=net)
    joined_options = dict(options)
    for name, value in options.items():
        if isinstance(value, tuple):
            values = cast("tuple[Any, ...]", value)
            joined_options[name] = join(
                tuple(baseline_like(name, baseline, part) for baseline, part in zip(values, x, strict=True))
            )
    path_or_target = f"net.{target}" if isinstance(target, str) else target
    map_ = method(one_input, {"split": {}, "net": params}, join(x), path_or_target, **joined_options)
    return split.forward({}, map_, Mode())[0]
