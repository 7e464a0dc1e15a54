"""Comparison of a layer's gradient with central differences of the isolated layer.

They are used where central differences of the loss of the network are inconclusive.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.nested import map_tree
from pellucid.verify.differences import KINK_RATIO, ROUNDING, STEP_SIZES, difference
from pellucid.verify.probe import Probe, like, tensors


class DifferentiableFunction:
    """A function from the tensors `inputs` to other tensors, with its explicit gradient.

    outputs: computes the function.
    pull_back: returns the gradients with respect to `inputs`, given those with respect to the outputs.
    rng: a random generator.
    """

    def __init__(
        self,
        outputs: Callable[[list[Tensor]], list[Tensor]],
        pull_back: Callable[[list[Tensor]], list[Tensor | None]],
        inputs: list[Tensor],
        rng: torch.Generator,
    ) -> None:
        self.outputs = outputs
        self.pull_back = pull_back
        self.inputs = inputs
        self.rng = rng
        self.outputs_here = outputs(inputs)

    def is_right_together(self) -> bool:
        """Return whether the gradient is right along two directions: a shift and a rescaling of all entries.

        If two or more entries are equal maxima, the gradient of any one of them may be nonzero, but not of all. The
        output is smooth along these two directions, so the gradient along them is the same for every right choice.
        """
        return self.is_right_along([torch.ones_like(x) for x in self.inputs]) and self.is_right_along(self.inputs)

    def is_right_at(self, entry: int, enclosed: bool) -> bool:
        """Return whether the gradient with respect to one entry is right for the outputs that are smooth in it.

        entry: its index in the concatenated flat tensors. enclosed: whether, with the outputs that are not smooth, the
        gradient must also lie between the slopes on both sides.
        """
        direction = [torch.zeros_like(x) for x in self.inputs]
        for step in direction:
            if 0 <= entry < step.numel():
                step.view(-1)[entry] = 1
            entry -= step.numel() if step.is_floating_point() else 0
        return self.is_right_along(direction, enclosed)

    def is_right_along(self, direction: list[Tensor], enclosed: bool = False) -> bool:
        """Return whether the gradient along a direction equals the slope of the outputs that are smooth along it.

        enclosed: as for `is_right_at`.
        """
        offset = torch.zeros(1, dtype=torch.float64, device=self.inputs[0].device)
        wide_step, step = STEP_SIZES[-2:]

        def outputs_along() -> list[Tensor]:
            pairs = zip(self.inputs, direction, strict=True)
            return self.outputs([x + offset * step if x.is_floating_point() else x for x, step in pairs])

        def curvatures(step_size: float) -> list[Tensor]:
            offset.fill_(step_size)
            above = outputs_along()
            offset.fill_(-step_size)
            below = outputs_along()
            offset.zero_()
            return [
                (up - 2 * y + down).abs() / step_size
                for up, y, down in zip(above, self.outputs_here, below, strict=True)
            ]

        weights = [0.5 + torch.rand(y.shape, generator=self.rng, dtype=y.dtype).to(y.device) for y in self.outputs_here]
        # The same weights, but 0 for the outputs that are not smooth along the direction.
        smooth_weights = [
            weight * (curvature <= (KINK_RATIO * wide_curvature).clamp_min(ROUNDING * float(y.abs().max()) / step))
            if y.numel()
            else weight
            for weight, y, curvature, wide_curvature in zip(
                weights, self.outputs_here, curvatures(step), curvatures(wide_step), strict=True
            )
        ]
        for dys in (smooth_weights, weights) if enclosed else (smooth_weights,):
            slopes = [
                (dx.double() * change).flatten()
                for dx, change in zip(self.pull_back(dys), direction, strict=True)
                if dx is not None and change.is_floating_point()
            ]
            slope = torch.cat(slopes) if slopes else torch.zeros(1)

            def weighted_sum(dys: list[Tensor] = dys) -> float:
                return sum(float((dy * y).sum()) for dy, y in zip(dys, outputs_along(), strict=True))

            magnitude = sum(float((dy * y).abs().sum()) for dy, y in zip(dys, self.outputs_here, strict=True))
            comparison = difference(
                [offset], 0, weighted_sum, float(slope.sum()), float(slope.abs().sum()), ROUNDING * magnitude / step
            )
            if not comparison.agrees and not (comparison.is_kink and (comparison.is_subgradient or not enclosed)):
                return False
        return True


def layer_function(probe: Probe, index: int, x: Any, rng: torch.Generator) -> DifferentiableFunction:
    """Return the leaf with this index in forward order, which receives x, as a function of its input only."""

    def visit(xs: list[Tensor]) -> tuple[Layer, Params, Any, Cache]:
        visited: list[tuple[Layer, Params, Any, Cache]] = []

        def leaf(number: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            if number != index:
                return layer.forward(params, x, mode)
            y, cache = layer.forward(params, like(x, xs), mode)
            visited.append((layer, params, y, cache))
            return y, cache

        with torch.no_grad():
            probe.run(probe.xs, probe.pass_params(), leaf)
        return visited[0]

    inputs = [tensor.detach().clone() for tensor in tensors(x)]

    def pull_back(dys: list[Tensor]) -> list[Tensor | None]:
        layer, params, y, cache = visit(inputs)
        with torch.no_grad():
            return list(tensors(layer.backward(map_tree(torch.detach, params), cache, like(y, dys))[0]))

    def outputs(xs: list[Tensor]) -> list[Tensor]:
        _, _, y, _ = visit(xs)
        return tensors(y)

    return DifferentiableFunction(outputs, pull_back, inputs, rng)
