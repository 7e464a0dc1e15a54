"""The rescale rule of DeepLIFT: nonlinearities pass back their slope between an input and its baseline."""

from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import uses_flow
from pellucid.layers import BatchNorm, Dropout, MaxPool2d, Multiply
from pellucid.layers.base import Cache, Layer, Params, Trait
from pellucid.operators import (
    Convolve,
    Einsum,
    Expand,
    Fixed,
    Index,
    Learned,
    LinearMap,
    MatMul,
    Over,
    ParametricReLU,
    Times,
)
from pellucid.rules.without_weights import own
from pellucid.sweep import Rule

SMALLEST_DIFFERENCE = 1e-10  # below it the slope is the layer's gradient
# Without the trait LINEAR, and yet an affine function of the input in evaluation mode: their gradient is exact.
AFFINE_LAYERS = (BatchNorm, Dropout, Expand, Index)
PRODUCTS = (Convolve, Einsum, LinearMap, MatMul, Multiply, Times)  # linear in each of their inputs


class Rescale:
    """A watch for `sweep.forward`, and the rules for the backward pass of the batch that it watched.

    In the batch, each example is followed by its baseline: x_1, baseline_1, x_2, baseline_2 ... A nonlinearity that
    acts on each value alone has dx = dy Δy / Δx for both, with the differences between an example and its baseline. Max
    pooling sends dy (max(y, y0) - y0) to the example's maximum, dy (y - max(y, y0)) to the baseline's, and divides the
    sum by Δx. Layers that are affine functions, and products of one value with constants, use their gradient.
    The watch raises PellucidError for other layers, for which there is no rule.
    Source: Shrikumar, Greenside and Kundaje 2017, section 3.5.1, which has no rule for max pooling; this is Captum's.
    """

    def __init__(self, examples: int) -> None:
        self.examples = examples
        # by the id of their cache or value; all are kept alive, so that no id is reused
        self._nonlinear_uses: dict[int, tuple[Cache, Tensor, Tensor]] = {}
        self._constants: dict[int, Any] = {}

    def __call__(self, path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        """Record the input and the output of a nonlinearity."""
        if uses_flow(layer):
            return
        inputs = cast("tuple[Any, ...]", x) if isinstance(x, tuple) else (x,)
        variable_inputs = [k for k, value in enumerate(inputs) if id(value) not in self._constants]
        if isinstance(layer, Learned | Fixed) or not variable_inputs:
            self._constants[id(y)] = y
        elif (
            isinstance(layer, MaxPool2d)
            or (Trait.ELEMENTWISE in layer.traits and not _is_affine(layer, variable_inputs))
            or (isinstance(layer, ParametricReLU) and variable_inputs == [0])
        ):
            self._nonlinear_uses[id(cache)] = cache, inputs[0], y
        elif not _is_affine(layer, variable_inputs):
            raise PellucidError(
                f"deeplift has no rule for {path} ({type(layer).__name__}); use integrated_gradients, or lrp"
            )

    def rule_for(self, path: str, layer: Layer) -> Rule:
        """Return the rule for the layer at `path`."""
        if isinstance(layer, MaxPool2d):
            return self._max_pool
        return self._slope if Trait.ELEMENTWISE in layer.traits or isinstance(layer, ParametricReLU) else own

    def _slope(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return dy Δy / Δx, in the example's place and in the baseline's."""
        dx: Any = layer.pull(params, cache, dy)
        if id(cache) not in self._nonlinear_uses:
            return dx, {}
        _, x, y = self._nonlinear_uses[id(cache)]
        change = self._change(x)
        quotient = self._pairs(dy)[:, 0] * self._change(y) / change
        if isinstance(dx, tuple):  # the slopes of ParametricReLU are an input
            first, *others = cast("tuple[Any, ...]", dx)
            return (self._where_changed(change, quotient, first), *others), {}
        return self._where_changed(change, quotient, dx), {}

    def _max_pool(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the contributions of the maxima divided by Δx."""
        dx = layer.pull(params, cache, dy)
        _, x, y = self._nonlinear_uses[id(cache)]
        y_pairs = self._pairs(y)
        larger = torch.maximum(y_pairs[:, 0], y_pairs[:, 1])
        changes = torch.stack([larger - y_pairs[:, 1], y_pairs[:, 0] - larger], 1).reshape(y.shape)
        contributions = self._pairs(layer.pull(params, cache, dy * changes)).sum(1)
        change = self._change(x)
        return self._where_changed(change, contributions / change, dx), {}

    def _change(self, values: Tensor) -> Tensor:
        """Return the differences between the examples and their baselines, (N, k, ...)."""
        pairs = self._pairs(values)
        return pairs[:, 0] - pairs[:, 1]

    def _pairs(self, values: Tensor) -> Tensor:
        """Return values (2 N k, ...) as (N, 2, k, ...): those of each example, and those of its baseline."""
        return values.reshape(self.examples, 2, -1, *values.shape[1:])

    def _where_changed(self, change: Tensor, quotient: Tensor, dx: Tensor) -> Tensor:
        """Return the quotient where the input differs from the baseline, else the gradient dx, in dx's shape."""
        pairs = self._pairs(dx)
        is_changed = change.abs() >= SMALLEST_DIFFERENCE
        return torch.where(is_changed[:, None], quotient[:, None], pairs).reshape(dx.shape)


def _is_affine(layer: Layer, variable_inputs: list[int]) -> bool:
    """Return whether a layer is an affine function of the inputs with these indices; the others are constant."""
    if Trait.LINEAR in layer.traits or isinstance(layer, AFFINE_LAYERS):
        return True
    if isinstance(layer, Over):
        return variable_inputs == [0]
    return isinstance(layer, PRODUCTS) and len(variable_inputs) == 1
