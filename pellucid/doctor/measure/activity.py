"""What each layer puts out for a batch, unit by unit."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, walk
from pellucid.data.seeds import generator
from pellucid.doctor.measure.room import parts
from pellucid.layers.base import Cache, Layer, Mode
from pellucid.sweep import forward
from pellucid.training.model import BaseModel
from pellucid.tree import map_tree

MOST = 512 << 20  # bytes of outputs that are kept, of all layers together


@dataclass(frozen=True, eq=False)
class Activity:
    """The outputs of one layer over N examples, U units: features of (N, U), maps of (N, U, H, W).

    y: (N, U, places), the outputs themselves, with one place for features; of maps that take too much memory at some
    places only, drawn for each example. size: the numbers that the layer puts out for one example.
    """

    path: str
    layer: Layer
    y: Tensor
    size: int

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
    def finite(self) -> bool:
        """Whether all outputs are finite numbers."""
        return bool(torch.isfinite(self.y).all())


def activity(model: BaseModel, x: Tensor, train: bool = False, most: int = MOST) -> dict[str, Activity]:
    """Run inputs (N, ...) forward and return what each layer that is no combinator puts out, by path, in order.

    Outputs that are no (N, U, ...) tensors are left out; of a layer that is used more than once the last use counts.
    train: in training mode, on a copy of the weights; inputs for which there is no room at once are batches of their
    own then. most: the bytes that the outputs may take together.
    """
    found: dict[str, list[Tensor]] = {}
    layers: dict[str, tuple[Layer, int]] = {}
    batch: dict[str, Tensor] = {}
    places = generator(model.seed)
    share = most // (4 * len(x) * max(_count(model), 1))  # numbers of one layer for one example

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if not isinstance(layer, Combinator) and isinstance(y, Tensor) and y.dim() >= 2:
            batch.pop(path, None)
            batch[path] = _thinned(y.reshape(*y.shape[:2], -1), share, places)
            layers[path] = layer, y[0].numel()

    with torch.inference_mode():
        params = map_tree(torch.clone, model.params) if train else model.params
        rng = torch.Generator().manual_seed(model.seed)
        for part in parts(model, x):
            batch.clear()
            forward(model.net, params, part, Mode(train, rng, keep=False), watch)
            for path, y in batch.items():
                found.setdefault(path, []).append(y)
        return {path: Activity(path, layers[path][0], torch.cat(ys), layers[path][1]) for path, ys in found.items()}


def _thinned(y: Tensor, share: int, rng: torch.Generator) -> Tensor:
    """Return outputs (N, U, places), of at most `share` numbers for each example, as a copy."""
    n, units, places = y.shape
    kept = max(share // max(units, 1), 1)
    if places <= kept:
        return y.clone()
    drawn = torch.rand(n, 1, places, generator=rng).topk(kept).indices.sort().values
    return y.gather(2, drawn.expand(n, units, kept))


def _count(model: BaseModel) -> int:
    """Return how many layers there are."""
    return sum(not isinstance(layer, Combinator) for _, layer in walk(model.net))
