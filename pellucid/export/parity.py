"""Compare the outputs of an exported file with the network's, on the same random batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.data import FeatureStats
from pellucid.errors import PellucidError
from pellucid.export.trace import Trace, Value
from pellucid.layers.base import Layer, Mode, Params
from pellucid.sweep import forward

TOLERANCE = 1e-5  # of the largest number of an output
BATCH = 3
SEED = 0


class ParityError(PellucidError):
    """An exported file has other outputs than the network, and is not written."""


@dataclass(frozen=True)
class Parity:
    """The largest absolute difference of two outputs, relative to the largest number in ours."""

    difference: float
    images: int = BATCH

    def require(self, what: str, fault: str = "this is a fault in pellucid") -> "Parity":
        """Return this; ParityError, which calls the file `what`, where the difference is above TOLERANCE."""
        if not self.difference <= TOLERANCE:
            raise ParityError(
                f"{what} would differ from the network by {self.difference:.1e} of its largest output, above "
                f"{TOLERANCE:.0e}, and is not written; {fault}, or the weights hold NaN"
            )
        return self


def batch(traced: Trace, images: int = BATCH) -> tuple[Tensor, ...]:
    """Return random inputs from 0 to 1, as images are; switches are indices, each once."""
    rng = torch.Generator().manual_seed(SEED)

    def draw(value: Value) -> Tensor:
        if value.name not in traced.switches:
            return torch.rand(images, *value.shape, generator=rng)
        channels, height, width = value.shape
        order = torch.rand(images, channels, traced.switches[value.name], generator=rng).argsort(2)
        return order[:, :, : height * width].reshape(images, channels, height, width)

    return tuple(map(draw, traced.inputs))


def outputs(net: Layer, params: Params, xs: Sequence[Tensor], stats: FeatureStats | None) -> list[Tensor]:
    """Return the network's outputs as one list."""
    given = [x if stats is None else stats.apply(x) for x in xs]
    with torch.inference_mode():
        y, _ = forward(net, params, tuple(given) if len(given) > 1 else given[0], Mode(keep=False))
    return _flat(y)


def compare(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Parity:
    """Return the largest difference of all outputs, each relative to its own largest number."""
    return Parity(
        max((_difference(own, other) for own, other in zip(ours, theirs, strict=True)), default=0.0), len(ours[0])
    )


def _difference(own: Tensor, other: Tensor) -> float:
    if own.shape != other.shape:
        sizes = f"{tuple(other.shape)}, not {tuple(own.shape)}"
        raise ParityError(f"an output would be of shape {sizes}, and the file is not written")
    largest = own.abs().max().item()
    apart = (own.double() - other.double()).abs().max().item()
    part = apart / largest if largest else apart
    return math.inf if math.isnan(part) else part


def _flat(y: Any) -> list[Tensor]:
    return [leaf for part in y for leaf in _flat(part)] if isinstance(y, tuple) else [y]
