"""The dense block in one tensor, to which each layer adds its maps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.fuse.inference.affine import Affine
from pellucid.fuse.inference.run import Run
from pellucid.layers.base import memory_format


@dataclass(frozen=True)
class Grown:
    """One layer: its norm and activation, what is behind them, and how many maps that has."""

    read: Affine
    body: Run
    growth: int


@dataclass(frozen=True)
class Block:
    """Replace Parallels of an Identity and such a layer, concatenated, in a row."""

    rows: tuple[Grown, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Return x's maps and all that were added."""
        channels, *size = x.shape[1:]
        total = channels + sum(row.growth for row in self.rows)
        form = memory_format(x)
        maps = torch.empty(len(x), total, *size, dtype=x.dtype, device=x.device, memory_format=form)
        maps[:, :channels] = x
        for row in self.rows:
            maps[:, channels : channels + row.growth] = row.body(row.read(maps[:, :channels]))
            channels += row.growth
        return maps
