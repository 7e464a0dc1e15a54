"""Functions of a network's outputs as targets of explanations, with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import shape_of
from pellucid.layers.base import Layer, Mode, Params
from pellucid.nested import leaves, map_tree
from pellucid.sweep import backward, forward
from pellucid.training.model import BaseModel

MAX_ERROR = 0.05  # relative difference of a given gradient from finite differences


@dataclass(frozen=True, eq=False)
class OutputScore:
    """A target: one number for each example, computed from the network's outputs y.

    value: returns the numbers, (N,) or (N, 1).
    gradient: returns their gradient with respect to y, in its shape.
    name: its type, for messages.
    """

    value: Callable[[Any], Tensor]
    gradient: Callable[[Any], Any]
    name: str

    @staticmethod
    def of(target: Any) -> OutputScore:
        """Return the function of a model, a layer without weights, or a pair of Python functions.

        Raises PellucidError for a layer with weights, and for a model that standardizes its input.
        """
        if isinstance(target, tuple):
            value, gradient = cast("tuple[Any, Any]", target)
            return OutputScore(value, gradient, "function")
        if isinstance(target, Layer):
            return _network_function(target, None)
        if target.stats is not None:
            raise PellucidError("target: the model of the score has a mean and std, but outputs are not standardized")
        return _network_function(target.net, target.params)

    def value_at(self, y: Any) -> Tensor:
        """Return the number of each example (N,); raises PellucidError for another number of values."""
        values = self.value(y)
        n_examples = len(y[0] if isinstance(y, tuple) else y)
        if not isinstance(values, Tensor) or not values.dim() or not values.numel() == len(values) == n_examples:
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise PellucidError(
                f"target: the {self.name} must return one number for each example, ({n_examples},): {shape}"
            )
        return values.detach().reshape(n_examples)

    def gradient_at(self, y: Any) -> Any:
        """Return the gradient in the shape of y; raises PellucidError if it is not that of the values."""
        gradient = self.gradient(y)
        if not all(isinstance(part, Tensor) for part in (gradient if isinstance(gradient, tuple) else (gradient,))):
            raise PellucidError(
                f"target: the gradient of the {self.name} must be a tensor in the shape of the outputs, not "
                f"{type(gradient).__name__}"
            )
        if shape_of(gradient) != shape_of(y):
            raise PellucidError(
                f"target: the gradient of the {self.name} has the shape {shape_of(gradient)}; the outputs have "
                f"{shape_of(y)}"
            )
        gradient = mapped(lambda slope, part: slope.detach().to(part), gradient, y)
        generator = torch.Generator().manual_seed(0)
        random_direction = mapped(lambda part: torch.randn(part.shape, generator=generator).to(part), y)
        self._check_gradient(y, gradient, gradient)
        # along itself, a gradient that lacks some parts of the right one would pass
        self._check_gradient(y, gradient, random_direction)
        return gradient

    def _check_gradient(self, y: Any, gradient: Any, direction: Any) -> None:
        """Compare the change of the values along a direction with the prediction of the gradient."""
        outputs, slopes, directions = (
            part if isinstance(part, tuple) else (part,) for part in (y, gradient, direction)
        )
        largest = max(float(direction.abs().max()) if direction.numel() else 0.0 for direction in directions)
        if not largest:
            return
        eps = torch.finfo(directions[0].dtype).eps
        scale = max(float(part.abs().max()) for part in outputs if part.numel()) or 1.0
        # where the rounding error of a central difference, eps / step, balances its truncation error, step²
        step = eps ** (1 / 3) * scale / largest
        above, below = (
            self.value_at(mapped(lambda part, direction, shift=shift: part + shift * direction, y, direction)).double()
            for shift in (step, -step)
        )
        products = [
            (slope.double() * direction.double()).flatten() for slope, direction in zip(slopes, directions, strict=True)
        ]
        expected = float(torch.cat(products).sum())
        measured = float((above - below).sum()) / (2 * step)
        rounding = 16 * eps * float(above.abs().sum()) / step
        typical = float(torch.cat(products).norm())  # of such a sum, if its terms have random signs
        if not abs(measured - expected) <= MAX_ERROR * max(abs(expected), typical) + rounding:
            raise PellucidError(
                f"target: the gradient of the {self.name} is not that of its values: in one direction they change by "
                f"{measured:.4g}, and by the gradient they should change by {expected:.4g}"
            )


def is_function(target: Any) -> bool:
    """Return whether a target is a function of the outputs."""
    if isinstance(target, tuple):
        return len(target) == 2 and all(callable(part) and not isinstance(part, Tensor | Layer) for part in target)
    return isinstance(target, OutputScore | Layer | BaseModel)


def mapped(function: Callable[..., Any], *values: Any) -> Any:
    """Return the function of tensors, or of each of several outputs, as a tuple."""
    if isinstance(values[0], tuple):
        return tuple(map(function, *values))
    return function(*values)


def _network_function(net: Layer, params: Params | None) -> OutputScore:
    """Return the function that a network computes, with its explicit backward pass."""

    def run(y: Any) -> tuple[Any, Any, Params]:
        tensor = y[0] if isinstance(y, tuple) else y
        weights = params
        if weights is None:
            weights, _ = net.init(shape_of(y), torch.Generator())
            if leaves(weights):
                raise PellucidError(f"target: the {type(net).__name__} has weights; give a pellucid.Model of it")
        weights = map_tree(lambda weight: weight.to(tensor) if weight.is_floating_point() else weight, weights)
        return *forward(net, weights, y, Mode()), weights

    def value(y: Any) -> Tensor:
        return run(y)[0]

    def gradient(y: Any) -> Any:
        values, cache, weights = run(y)
        return backward(net, weights, cache, torch.ones_like(values))[0]

    return OutputScore(value, gradient, type(net).__name__)
