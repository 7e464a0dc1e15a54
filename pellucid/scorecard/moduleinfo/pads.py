"""Samples of PyTorch's padding modules, all of which are Pad2d."""

from functools import partial
from typing import Any

from torch import Tensor

from pellucid.layers import Pad2d
from pellucid.scorecard.moduleinfo.module import Twin, layer
from pellucid.scorecard.views import of_space

KINDS = {
    "Reflection": "reflect",
    "Replication": "replicate",
    "Circular": "circular",
    "Zero": "zero",
    "Constant": "constant",
}


def pad(module: Any, x: Tensor, axes: int, kind: str) -> Twin:
    """Turn a padding module into Pad2d."""
    left, right, top, bottom = (*module.padding, 0, 0)[:4]
    value = module.value if kind == "constant" else 0.0
    return Twin(Pad2d((left, right, top, bottom), kind, value), of_space(x, axes))


MODULES = tuple(
    layer(f"nn.{name}Pad{axes}d", Pad2d, partial(pad, axes=axes, kind=kind))
    for name, kind in KINDS.items()
    for axes in (1, 2)
)
