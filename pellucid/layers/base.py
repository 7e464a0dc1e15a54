"""The interface of layers: hyperparameters in a frozen dataclass, learned values in `params`, five methods."""

from abc import abstractmethod
from dataclasses import dataclass
from enum import Flag, auto
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


class Trait(Flag):
    """Properties of a layer, used instead of types by rules, traces, drawings, exports and fusing.

    A subclass inherits the traits of its class. `states` compares with what a class itself states, for uses that hold
    only if forward and backward compute exactly what the class says.
    """

    NONE = 0
    ELEMENTWISE = auto()  # each output depends on the input at the same position alone
    ACTIVATION = auto()  # a nonlinearity: relevance passes through it unchanged
    RECTIFIER = auto()  # max(x, 0), up to a slope below 0 or a ceiling
    SMOOTH_RECTIFIER = auto()  # near to max(x, 0), and equal to it far from 0
    LINEAR = auto()  # an output is a weighted sum of inputs, plus a constant
    WEIGHTED = auto()  # the weights are learned: `weight`, and perhaps `bias`
    CONVOLUTION = auto()  # the same weights at each position of an image
    SUM = auto()  # an output is a sum of shares, one from each input
    RESHAPE = auto()  # the values of each example are returned unchanged, in the same order
    RESAMPLE = auto()  # an image of another size, without learned values: pooling and resizing
    MERGE = auto()  # takes a tuple of inputs
    NORM = auto()  # subtracts a mean or divides by a deviation or norm
    CONTRAST_NORM = auto()  # a norm across maps at one place, without learned values
    LEARNS = auto()  # has learned values
    NEW_OUTPUT = auto()  # the output is new memory that the cache does not hold
    NEW_DX = auto()  # dx is new memory, each number once
    VIEW = auto()  # the output is a view of the input, dx one of dy


@dataclass(frozen=True)
class Layer(metaclass=Checked):
    """One layer of a network: a frozen dataclass of hyperparameters, stored unchanged.

    `traits` are its properties. `buffers` names the entries of its params that are running statistics:
    updated in place by a forward pass in training mode, and absent from dparams. `decayed` names those that
    regularizers act on: weights that multiply inputs, no biases and no scales. `constants` are the places, among
    several inputs, of those that the layer takes as constants, and returns gradients of 0 for.
    """

    traits: ClassVar[Trait] = Trait.NONE
    buffers: ClassVar[tuple[str, ...]] = ()
    decayed: ClassVar[tuple[str, ...]] = ()
    constants: ClassVar[tuple[int, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Reset `pull` to the default in a subclass that overrides only `backward`."""
        super().__init_subclass__(**options)
        if "backward" in vars(cls) and "pull" not in vars(cls):
            cls.pull = Layer.pull

    @abstractmethod
    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the parameters for inputs of `shape` (no batch axis) and return them with the output's shape."""

    @abstractmethod
    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Return the output and the cache, a named tuple of the values that `backward` needs."""

    @abstractmethod
    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return (dx, dparams), the gradients of the loss, given dy, its gradient with respect to the output."""

    def pull(self, params: Params, cache: Cache, dy: Any) -> Any:
        """Return only dx; layers override this where it is faster than `backward`."""
        return self.backward(params, cache, dy)[0]

    def onnx(self, nodes: Any) -> None:
        """Write the layer as nodes of ONNX, by the builder `pellucid.export.Nodes`.

        `nodes.last("Mul", nodes.x, nodes.param("scale"))` writes the node whose output is the layer's. Layers that take
        more than a node or two are written by `pellucid.export.onnx_nodes`; without either, a layer has no form in
        ONNX.
        """
        raise PellucidError(f"{type(self).__name__} does not say how it is written in ONNX; give it a method onnx")

    def torch_code(self, shape: Shape) -> str:
        """Return the PyTorch expression for a module that computes the same on inputs of `shape`: "nn.ReLU()".

        Layers whose module has many options are written by `pellucid.export.torch_code`; without either, a layer has
        no form in PyTorch.
        """
        raise PellucidError(f"{type(self).__name__} has no form in PyTorch; give it a method torch_code")


def states(layer: Layer, *kinds: type[Layer] | Trait) -> bool:
    """Return whether the layer is of exactly one of these types, or its own class states one of these traits."""
    kind = type(layer)
    stated = vars(kind).get("traits", Trait.NONE)
    return any(one in stated if isinstance(one, Trait) else one is kind for one in kinds)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return `value` as (height, width)."""
    return (value, value) if isinstance(value, int) else value


def like(x: Tensor) -> Tensor:
    """Return zeros of x's shape, dtype and device, expanded from a single number in memory.

    Caches hold only tensors; where a backward pass needs the input's shape alone, they hold this in its place.
    """
    return x.new_zeros(()).expand(x.shape)


def memory_format(x: Tensor) -> torch.memory_format:
    """Return the memory format of the images x: channels last, or contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
