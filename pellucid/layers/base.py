"""The contract of every layer: hyperparameters in a frozen value, learned values in `params`, five signatures."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.errors import PellucidError

Params = dict[str, Any]  # nested: names to tensors or to further dicts; its paths are `block1.conv.weight`
Shape = tuple[int, ...]  # without the batch axis
Cache = Any  # a NamedTuple of tensors for a layer, a dict of caches for a combinator


@dataclass(frozen=True)
class Mode:
    """How a forward pass runs.

    `train` switches dropout and batch statistics on, `rng` is the generator that dropout draws from, and
    `keep=False` lets combinators drop each cache at once, for a pass that no backward pass will follow.
    """

    train: bool = False
    rng: torch.Generator | None = None
    keep: bool = True


@dataclass(frozen=True)
class Layer(metaclass=Checked):
    """One step of a network: a frozen value that holds hyperparameters only, stored as given.

    `buffers` names the entries of its params that are running statistics: updated in place by a forward pass in
    training mode, and absent from dparams. `decayed` names those that regularizers act on: weights that multiply
    inputs, no biases and no scales.
    """

    buffers: ClassVar[tuple[str, ...]] = ()
    decayed: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a subclass with a `backward` of its own not inherit the `pull` of another one."""
        super().__init_subclass__(**options)
        if "backward" in vars(cls) and "pull" not in vars(cls):
            cls.pull = Layer.pull

    @abstractmethod
    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters for inputs of `shape` (no batch axis) and return them with the output's shape."""

    @abstractmethod
    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Return the output, and the cache: what `backward` needs, named for people."""

    @abstractmethod
    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return the loss's gradient with respect to the input and to the parameters, given that by the output."""

    def pull(self, params: Params, cache: Cache, dy: Any) -> Any:
        """Return the dx of `backward` alone; layers whose parameters' gradients cost as much leave those out."""
        return self.backward(params, cache, dy)[0]

    def onnx(self, nodes: Any) -> None:
        """Write a user-defined layer as nodes of ONNX, by the builder `pellucid.export.Nodes`.

        `nodes.last("Mul", nodes.x, nodes.param("scale"))` writes the node whose output is the layer's. Pellucid's own
        layers are written by the exporter; without this method a layer has no form in ONNX.
        """
        raise PellucidError(f"{type(self).__name__} does not say how it is written in ONNX; give it a method onnx")


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return `value` as (height, width)."""
    return (value, value) if isinstance(value, int) else value


def like(x: Tensor) -> Tensor:
    """Return zeros of x's shape, dtype and device that take the memory of one number.

    Caches hold only tensors; where a backward pass needs no more than the input's shape, this stands for it.
    """
    return x.new_zeros(()).expand(x.shape)


def memory_format(x: Tensor) -> torch.memory_format:
    """Return how the images x lie in memory: channels last, or else contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
