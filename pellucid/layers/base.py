"""The interface of layers: hyperparameters in a frozen dataclass, learned parameters in a separate `params` dict."""

from abc import abstractmethod
from dataclasses import MISSING, dataclass, fields
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.foreign import NETWORK_ANSWERS, missing_attribute
from pellucid.base.settings.arguments import Checked

Params = dict[str, Any]  # a nested dict of tensors; a path in it is written `block1.conv.weight`
Shape = tuple[int, ...]  # the shape of one example, without the batch axis
Cache = Any  # a NamedTuple of tensors for a layer, a dict of caches for a combinator


@dataclass(frozen=True)
class Mode:
    """The mode of a forward pass.

    `train` enables dropout and batch statistics, `rng` is the generator that dropout draws from. `keep=False` is for
    forward passes without a backward pass: combinators discard each cache immediately.
    """

    train: bool = False
    rng: torch.Generator | None = None
    keep: bool = True


class Trait(Flag):
    """Properties of a layer, which rules, traces, drawings, exports and fusing check instead of its type.

    A subclass inherits the traits of its base class, but may compute another function. Code that depends on the exact
    function of a class therefore uses `declares`, which ignores inherited traits.
    """

    NONE = 0
    # Each output only depends on the input at the same position, and alike at all positions of an image: occlusion runs
    # such layers on parts of it (explain/incremental.py). A scale per position is not elementwise.
    ELEMENTWISE = auto()
    ACTIVATION = auto()  # a nonlinearity, through which relevance is propagated unchanged
    RECTIFIER = auto()  # max(x, 0), possibly with a slope for negative x or an upper limit
    SMOOTH_RECTIFIER = auto()  # a smooth function close to max(x, 0)
    # Each output is a weighted sum of inputs, plus a constant. The cache begins with the input, which LRP reads.
    LINEAR = auto()
    WEIGHTED = auto()  # linear in one input, with the learned parameter `weight`, and optionally `bias`
    CONVOLUTION = auto()  # applies the same weights at each position of an image
    ADDITIVE = auto()  # several inputs add up to an output, possibly their powers: relevance is shared by contribution
    RESHAPE = auto()  # the values of each example are returned unchanged, in the same order
    RESAMPLE = auto()  # changes the size of an image without learned parameters: pooling and resizing
    # The input is a tuple of tensors, of which the others do not only scale, shift or place the first.
    MULTIPLE_INPUTS = auto()
    NORM = auto()  # subtracts a mean or divides by a standard deviation or norm
    CONTRAST_NORM = auto()  # normalizes across channels around each pixel, without learned parameters
    LEARNS = auto()  # has learned parameters
    NEW_OUTPUT = auto()  # the output is newly allocated, and the cache does not contain it
    NEW_DX = auto()  # dx is newly allocated, and not an expanded tensor
    VIEW = auto()  # the output is a view of the input, and dx is a view of dy
    ANY_AXES = auto()  # acts on tensors with any axes, whose first axis need not be the batch axis
    COPIES_VALUES = auto()  # each output value is a copy of an input value, or a constant
    # names of release 0.2, until 0.4
    SUM = ADDITIVE
    MERGE = MULTIPLE_INPUTS


@dataclass(frozen=True)
class Layer(metaclass=Checked):
    """One layer of a network: a frozen dataclass of hyperparameters, stored unchanged.

    `traits` are its properties. `buffers` names the entries of its params that are running statistics: a forward pass
    in training mode updates them in place, and dparams does not contain them. `decayed` names the parameters that
    regularizers act on: weights that multiply inputs, but not biases or scales. `constants` contains the indices of the
    inputs that the layer, if it has a tuple of inputs, treats as constants; their gradients are 0. In training with
    precision="bf16", x and params are bfloat16, but buffers, and all params of layers with the trait NORM, float32.
    """

    traits: ClassVar[Trait] = Trait.NONE
    buffers: ClassVar[tuple[str, ...]] = ()
    decayed: ClassVar[tuple[str, ...]] = ()
    constants: ClassVar[tuple[int, ...]] = ()

    if not TYPE_CHECKING:  # type checkers report unknown attributes

        def __getattr__(self, name):
            """Raise AttributeError, for an attribute of PyTorch's modules with what replaces it."""
            raise missing_attribute(self, name, NETWORK_ANSWERS)

    def __init_subclass__(cls, **options: Any) -> None:
        """Reset `pull` to the default in a subclass that overrides `backward` but not `pull`."""
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
        """Return (dx, dparams), the gradients of the loss, given dy, the gradient with respect to the output."""

    def pull(self, params: Params, cache: Cache, dy: Any) -> Any:
        """Return dx without dparams; layers override this method if this is faster than `backward`."""
        return self.backward(params, cache, dy)[0]

    def onnx(self, nodes: Any) -> None:
        """Write the layer as ONNX nodes with the builder `pellucid.export.Nodes`.

        `nodes.last("Mul", nodes.x, nodes.param("scale"))` writes the node whose output is the layer's output. For the
        library's layers that do not override this method, `pellucid.opening.onnx_nodes` writes the nodes. Raises
        PellucidError unless overridden.
        """
        raise PellucidError(f"{type(self).__name__} cannot be exported to ONNX; define its method onnx")

    def torch_code(self, shape: Shape) -> str:
        """Return the PyTorch expression of an equivalent module for inputs of `shape`, such as "nn.ReLU()".

        For the library's layers that do not override this method, `pellucid.export.torch_code` writes the code. Raises
        PellucidError unless overridden.
        """
        raise PellucidError(f"{type(self).__name__} cannot be written as PyTorch code; define its method torch_code")


def declares(layer: Layer, *types_or_traits: type[Layer] | Trait) -> bool:
    """Return whether the layer's class is one of these types, or declares (not only inherits) one of these traits."""
    layer_type = type(layer)
    declared = vars(layer_type).get("traits", Trait.NONE)
    return any(entry in declared if isinstance(entry, Trait) else entry is layer_type for entry in types_or_traits)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return `value` as (height, width)."""
    return (value, value) if isinstance(value, int) else value


def expanded_zeros(x: Tensor) -> Tensor:
    """Return zeros of x's shape, dtype and device, expanded from a single stored value.

    Caches may only contain tensors; if a backward pass only needs the input's shape, its cache contains this tensor.
    """
    return x.new_zeros(()).expand(x.shape)


def memory_format(x: Tensor) -> torch.memory_format:
    """Return the memory format of the images x (N, C, H, W): channels last, or contiguous."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def describe(layer: Layer) -> str:
    """Return a layer as its constructor call, without default arguments: `Conv2d(20, 5, padding=2)`."""
    arguments: list[str] = []
    for field in fields(layer):
        value = getattr(layer, field.name)
        if field.default is MISSING and field.default_factory is MISSING:
            arguments.append(repr(value))
        elif not _is_default(value, field.default):
            arguments.append(f"{field.name}={value!r}")
    return f"{type(layer).__name__}({', '.join(arguments)})" if arguments else type(layer).__name__


def _is_default(value: Any, default: Any) -> bool:
    """Return whether a field has its default value; comparisons of arrays, which are no bool, count as different."""
    if value is default:
        return True
    is_equal = value == default
    return is_equal is True
