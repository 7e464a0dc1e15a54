"""The base class of operators: layers for tensors whose first axis need not be the batch axis."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Layer, Mode, Params, Trait

BATCHES = (3, 5)  # batch sizes from which the shape of an output is derived


@dataclass(frozen=True)
class TensorLayer(Layer):
    """A layer without parameters for tensors with any axes, like the operators of PyTorch.

    Axis 0 is the first axis of a tensor. In the graphs of opened networks, it need not be the batch axis: it may also
    contain the windows of all images, the positions of a sequence, or an axis of a parameter.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Return no parameters and the output shape for inputs whose first axis is the batch axis.

        The output shape is derived from runs with two batch sizes on the device "meta". Raises PellucidError for inputs
        of an invalid shape, and if the first axis of the output is not the batch axis.
        """
        name = type(self).__name__
        try:
            out_shapes = [
                tuple(self.forward({}, _meta_inputs(shape, n_examples), Mode(keep=False))[0].shape)
                for n_examples in BATCHES
            ]
        except (RuntimeError, IndexError) as error:
            raise PellucidError(f"{name}: {' '.join(str(error).split())}") from error
        if (
            any(out_shape[:1] != (n_examples,) for out_shape, n_examples in zip(out_shapes, BATCHES, strict=True))
            or out_shapes[0][1:] != out_shapes[1][1:]
        ):
            raise PellucidError(f"{name} changes the batch axis of inputs {shape}; use it only in an opened network")
        return {}, out_shapes[0][1:]


def _meta_inputs(shape: Any, n_examples: int) -> Any:
    if shape and isinstance(shape[0], tuple):
        return tuple(_meta_inputs(part, n_examples) for part in cast("tuple[Any, ...]", shape))
    return torch.empty(n_examples, *shape, device="meta")


def unbroadcast(dx: Tensor, x: Tensor) -> Tensor:
    """Return dx summed over the axes along which x was broadcast."""
    return dx if dx.shape == x.shape else dx.sum_to_size(x.shape)
