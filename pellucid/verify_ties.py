"""A layer's backward compared with differences of that layer alone, at ties and where the network's decide nothing."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.differences import ROUNDING, STEPS, difference
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.probe import Probe, like, tensors
from pellucid.tree import map_tree


class Alone:
    """A differentiable step from the tensors `at` to those of `outputs`, and its explicit `pull_back` to them."""

    def __init__(
        self,
        outputs: Callable[[list[Tensor]], list[Tensor]],
        pull_back: Callable[[list[Tensor]], list[Tensor | None]],
        at: list[Tensor],
        draw: torch.Generator,
    ) -> None:
        self.outputs, self.pull_back, self.at, self.draw = outputs, pull_back, at, draw
        self.start = outputs(at)

    def right_together(self) -> bool:
        """Return whether the gradient is right as all entries grow by the same, and as they grow in proportion.

        At equal maxima each entry alone may have the gradient of the maximum, but all of them together may not: where
        an output is smooth along such a direction, every right choice among them has the same sum.
        """
        return self.right_along([torch.ones_like(x) for x in self.at]) and self.right_along(self.at)

    def right_at(self, entry: int, enclosed: bool) -> bool:
        """Return whether one entry, counted through all tensors, is right where outputs are smooth.

        With `enclosed`, its gradient has to lie between the slopes to both sides where they are not, too.
        """
        ones = [torch.zeros_like(x) for x in self.at]
        for one in ones:
            if 0 <= entry < one.numel():
                one.view(-1)[entry] = 1
            entry -= one.numel() if one.is_floating_point() else 0
        return self.right_along(ones, enclosed)

    def right_along(self, direction: list[Tensor], enclosed: bool = False) -> bool:
        """Return whether the gradient along a direction is the slope of those outputs that are smooth along it."""
        time, step = torch.zeros(1, dtype=torch.float64, device=self.at[0].device), STEPS[-1]

        def moved() -> list[Tensor]:
            pairs = zip(self.at, direction, strict=True)
            return self.outputs([x + time * one if x.is_floating_point() else x for x, one in pairs])

        time.fill_(step)
        above = moved()
        time.fill_(-step)
        below = moved()
        time.zero_()
        weights = [0.5 + torch.rand(y.shape, generator=self.draw, dtype=y.dtype).to(y.device) for y in self.start]
        smooth = [
            weight * ((up - 2 * y + down).abs() <= ROUNDING * y.abs().max() if y.numel() else 1)
            for weight, y, up, down in zip(weights, self.start, above, below, strict=True)
        ]
        for dys in (smooth, weights) if enclosed else (smooth,):
            slopes = [
                (dx.double() * one).flatten()
                for dx, one in zip(self.pull_back(dys), direction, strict=True)
                if dx is not None and one.is_floating_point()
            ]
            slope = torch.cat(slopes) if slopes else torch.zeros(1)

            def total(dys: list[Tensor] = dys) -> float:
                return sum(float((dy * y).sum()) for dy, y in zip(dys, moved(), strict=True))

            size = sum(float((dy * y).abs().sum()) for dy, y in zip(dys, self.start, strict=True))
            found = difference([time], 0, total, float(slope.sum()), float(slope.abs().sum()), ROUNDING * size / step)
            if not found.agrees and not (found.kink and (found.between or not enclosed)):
                return False
        return True


def layer_alone(probe: Probe, index: int, x: Any, draw: torch.Generator) -> Alone:
    """Return the leaf layer visited at place `index`, which receives x."""

    def visit(xs: list[Tensor]) -> tuple[Layer, Params, Any, Cache]:
        found: list[tuple[Layer, Params, Any, Cache]] = []

        def leaf(place: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            if place != index:
                return layer.forward(params, x, mode)
            y, cache = layer.forward(params, like(x, xs), mode)
            found.append((layer, params, y, cache))
            return y, cache

        with torch.no_grad():
            probe.run(probe.xs, probe.fresh(), leaf)
        return found[0]

    at = [one.detach().clone() for one in tensors(x)]

    def pull_back(dys: list[Tensor]) -> list[Tensor | None]:
        layer, params, y, cache = visit(at)
        with torch.no_grad():
            return list(tensors(layer.backward(map_tree(torch.detach, params), cache, like(y, dys))[0]))

    return Alone(lambda xs: tensors(visit(xs)[2]), pull_back, at, draw)
