"""Branches on one input whose outputs meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.fuse.inference.activations import OVER
from pellucid.fuse.inference.conv2d import Convolution
from pellucid.fuse.inference.run import MODE, Run
from pellucid.layers.base import Layer, Mode, Params


@dataclass(frozen=True)
class Residual:
    """Run two branches and compute act(their sum); the convolution at the end of one adds the other's output."""

    other: Run
    body: Run
    last: Convolution  # which holds the activation

    def __call__(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        other = self.other(x)
        return self.last(self.body(x), other)


@dataclass(frozen=True)
class Sum:
    """Run branches and compute act(their sum) in the memory of the first one's output, which no other layer reads."""

    first: Run
    others: tuple[Run, ...]
    act: Layer | None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the sum."""
        y = self.first(x)
        for other in self.others:
            y += other(x)
        return y if self.act is None else OVER[type(self.act)](self.act, y)


@dataclass(frozen=True)
class Wired:
    """Run a combinator, its children being these."""

    layer: Combinator
    params: Params
    children: Mapping[str, Run]

    def __call__(self, x: Any) -> Any:
        """Return its output."""

        def step(name: str, child: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, None]:
            return self.children[name](x), None

        return self.layer.flow(self.params, x, MODE, step)[0]
