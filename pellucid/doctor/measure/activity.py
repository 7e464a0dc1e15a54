"""What each layer puts out for a batch, unit by unit."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator
from pellucid.layers.base import Cache, Layer, Mode
from pellucid.sweep import forward
from pellucid.train.model import Model
from pellucid.tree import map_tree


@dataclass(frozen=True, eq=False)
class Activity:
    """The outputs of one layer over N examples, U units: features of (N, U), maps of (N, U, H, W).

    y: (N, U, places), the outputs themselves, with one place for features. finite: whether all of them are.
    """

    path: str
    layer: Layer
    y: Tensor

    @property
    def units(self) -> int:
        """The number of units."""
        return self.y.shape[1]

    @property
    def mean(self) -> Tensor:
        """The mean of each unit, (U,)."""
        return self.y.mean((0, 2))

    @property
    def std(self) -> Tensor:
        """The deviation of each unit over examples and places, (U,)."""
        return self.y.std((0, 2), correction=0)

    @property
    def alive(self) -> Tensor:
        """The share of outputs above 0 of each unit, (U,)."""
        return (self.y > 0).float().mean((0, 2))

    @property
    def finite(self) -> bool:
        """Whether all outputs are finite numbers."""
        return bool(torch.isfinite(self.y).all())


def activity(model: Model, x: Tensor, train: bool = False) -> dict[str, Activity]:
    """Run inputs (N, ...) forward and return what each layer that is no combinator puts out, by path, in order.

    Outputs that are no (N, U, ...) tensors are left out; of a layer that is used more than once the last use counts.
    train: in training mode, on a copy of the weights.
    """
    found: dict[str, Activity] = {}

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if not isinstance(layer, Combinator) and isinstance(y, Tensor) and y.dim() >= 2:
            found.pop(path, None)
            found[path] = Activity(path, layer, y.reshape(*y.shape[:2], -1).clone())

    with torch.inference_mode():
        params = map_tree(torch.clone, model.params) if train else model.params
        rng = torch.Generator().manual_seed(model.seed)
        forward(model.net, params, x, Mode(train, rng), watch)
    return found
