"""What a network is made of where nothing goes back: functions in a row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params

Run = Callable[[Any], Any]
MODE = Mode(keep=False)


@dataclass(frozen=True)
class Row:
    """Run one after the other."""

    runs: tuple[Run, ...]

    def __call__(self, x: Any) -> Any:
        """Return the last one's output."""
        for run in self.runs:
            x = run(x)
        return x


@dataclass(frozen=True)
class ChannelsLast:
    """Run on images that lie channels-last in memory, the order that CPU convolutions are fastest in."""

    run: Run

    def __call__(self, x: Any) -> Any:
        """Return the outputs."""
        images = isinstance(x, Tensor) and x.dim() == 4
        return self.run(x.contiguous(memory_format=torch.channels_last) if images else x)


@dataclass(frozen=True)
class AsWritten:
    """Run a layer by its own `forward`."""

    layer: Layer
    params: Params

    def __call__(self, x: Any) -> Any:
        """Return its output."""
        return self.layer.forward(self.params, x, MODE)[0]
