"""Comparison of an exported file's outputs with the network's, on the same random batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import FeatureStats
from pellucid.layers.base import Layer, Mode, Params
from pellucid.network.traced import GraphTrace, GraphValue
from pellucid.operators import Index
from pellucid.sweep import forward

TOLERANCE = 1e-5  # relative to the largest absolute value of an output
BATCH = 3  # number of random inputs for which outputs are compared
SEED = 0


class ParityError(PellucidError):
    """The outputs of an exported file differ from the network's, so the file is not written."""


@dataclass(frozen=True)
class Parity:
    """The largest absolute difference of outputs, relative to the largest absolute value of the network's output.

    images: the number of inputs for which outputs were compared.
    """

    difference: float
    images: int = BATCH

    def require(self, what: str, fault: str = "this is a fault in pellucid", rounding: float = 0.0) -> "Parity":
        """Return self; raises ParityError, whose message names the file `what`, for a difference above TOLERANCE.

        rounding: the difference of the network's own outputs in float32 and float64, of which the file may add as much,
        up to ten times TOLERANCE together.
        """
        allowed = max(TOLERANCE, min(2 * rounding, 10 * TOLERANCE))
        if not self.difference <= allowed:
            raise ParityError(
                f"{what} would differ from the network by {self.difference:.1e} of its largest output, above "
                f"{allowed:.0e}, and is not written; {fault}, or the weights contain NaN"
            )
        return self


def random_inputs(traced: GraphTrace, images: int = BATCH) -> tuple[Tensor, ...]:
    """Return random inputs in [0, 1); switches of max pooling are distinct random indices, and other indices 0 or 1."""
    rng = torch.Generator().manual_seed(SEED)
    indices = {step.inputs[1].name for step in traced.steps if isinstance(step.layer, Index)}

    def draw(value: GraphValue) -> Tensor:
        if value.name in indices:
            return torch.randint(2, (images, *value.shape), generator=rng).float()
        if value.name not in traced.switches:
            return torch.rand(images, *value.shape, generator=rng)
        channels, height, width = value.shape
        order = torch.rand(images, channels, traced.switches[value.name], generator=rng).argsort(2)
        return order[:, :, : height * width].reshape(images, channels, height, width)

    return tuple(map(draw, traced.inputs))


def stored_tensor(leaf: Tensor) -> Tensor:
    """Return a parameter as exported files store it: contiguous, and in float32 if its dtype is floating-point."""
    leaf = leaf.detach().cpu()
    return (leaf.float() if leaf.is_floating_point() else leaf).contiguous()


def outputs(net: Layer, params: Params, xs: Sequence[Tensor], stats: FeatureStats | None) -> list[Tensor]:
    """Return the network's outputs as a flat list."""
    inputs = [x if stats is None else stats.apply(x) for x in xs]
    with torch.inference_mode():
        y, _ = forward(net, params, tuple(inputs) if len(inputs) > 1 else inputs[0], Mode(keep=False))
    return _flat_list(y)


def compare(model_outputs: Sequence[Tensor], file_outputs: Sequence[Tensor]) -> Parity:
    """Return the largest difference over all outputs, each relative to the model output's largest absolute value.

    Raises ParityError if the shapes of an output differ.
    """
    return Parity(
        max(
            (_difference(y, z) for y, z in zip(model_outputs, file_outputs, strict=True)),
            default=0.0,
        ),
        len(model_outputs[0]),
    )


def _difference(expected: Tensor, actual: Tensor) -> float:
    if expected.shape != actual.shape:
        sizes = f"{tuple(actual.shape)}, not {tuple(expected.shape)}"
        raise ParityError(f"an output would have shape {sizes}, so the file is not written")
    if not expected.numel():  # such as the boxes of a detector that finds nothing
        return 0.0
    largest = expected.abs().max().item()
    difference = (expected.double() - actual.double()).abs().max().item()
    relative = difference / largest if largest else difference
    return math.inf if math.isnan(relative) else relative


def _flat_list(y: Any) -> list[Tensor]:
    return [leaf for item in y for leaf in _flat_list(item)] if isinstance(y, tuple) else [y]
