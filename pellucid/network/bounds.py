"""Limits on memory and computation for one input of a network from a file, determined from shapes alone."""

import math
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.base.errors import LayerError, PellucidError
from pellucid.base.limits import (
    BATCH_FACTOR,
    LIMITS_HINT,
    MAX_INPUT_MEMORY,
    MAX_LAYER_RUNS,
    MAX_MULTIPLY_ADDS,
    MAX_OUTPUT_VALUES,
    MAX_PICTURE_MEMORY,
    scaled_limit,
)
from pellucid.combine.base import Combinator, LayerRun, join, shape_of, uses_flow
from pellucid.extend.registry import is_ours
from pellucid.layers import Dense, MaxUnpool2d, RoIAlign, RoIPool
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.objective import ONE_INPUT, InputCount, LayerWrapper, Objective


def init_within_bounds(
    net: Layer,
    shape: Any,
    shapes: dict[str, tuple[Any, Any]] | None = None,
    inputs: InputCount = ONE_INPUT,
    picture: bool = False,
    trusted: bool = False,
    examples: int = 1,
) -> tuple[Params, Any]:
    """Return the network's parameters for inputs of `shape`, on the device "meta", and the shape of its output.

    Every layer runs on tensors of that device, which have a shape but no values. Combinators with a `flow`, also
    user-defined ones, run their children; for other user-defined layers, only the output is counted. shapes: a dict
    that receives (input shape, output shape) of each layer that is run, by path. inputs: the numbers of inputs for one
    image, in total and in one run. picture: check only the memory, against MAX_PICTURE_MEMORY. trusted: run no layer,
    count only outputs; this saves seconds, since PyTorch imports its compiler to run on "meta". examples: the number of
    examples of each input; several may together take BATCH_FACTOR times as much as one. Raises LayerError, with the
    layer's path, for the first layer with which the network exceeds a limit.
    """
    with torch.device("meta"), torch.no_grad():
        tally = Tally({} if shapes is None else shapes, inputs.total / inputs.at_once, picture, trusted, examples)
        with tally:
            x = _empty(shape, examples, inputs.at_once * examples)
        _run_children(tally, "")("", net, {}, x, Mode(keep=False))
        return net.init(shape, torch.Generator())


def init_objective_within_bounds(
    objective: Objective, shape: Any, picture: bool = False, trusted: bool = False
) -> tuple[Params, Any]:
    """Return the parameters of an objective's networks on "meta", and the shape of its predictions for one image.

    The number of each network's inputs follows from the objective's `inputs_of`. Raises LayerError, with the layer's
    path, for a network that exceeds a limit. picture, trusted: see `init_within_bounds`.
    """
    nets = {
        name: _Bounded(net, objective.inputs_of(name, shape), picture, trusted) for name, net in objective.nets.items()
    }
    with torch.device("meta"), torch.no_grad():
        return objective.with_nets(nets).init(shape, torch.Generator())


def check_picture(objective: Objective, shape: tuple[int, ...]) -> Any:
    """Return the shape of the prediction for a picture (C, H, W).

    Raises PellucidError, which names the size, for a picture that needs more than MAX_PICTURE_MEMORY or is too small
    for the networks.
    """
    try:
        return init_objective_within_bounds(objective, shape, picture=True)[1]
    except PellucidError as error:
        raise PellucidError(f"the model takes no pictures of {shape[1]}x{shape[2]}: {error}") from error


@dataclass(frozen=True)
class _Bounded(LayerWrapper):
    """A network whose `init` raises LayerError if the network exceeds a limit."""

    inputs: InputCount
    picture: bool
    trusted: bool

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Return the parameters, on "meta", and the output shape."""
        return init_within_bounds(self.layer, shape, None, self.inputs, self.picture, self.trusted)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network."""
        return self.layer.forward(params, x, mode)

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Propagate back through the network."""
        return self.layer.backward(params, cache, dy)


def _run_children(tally: "Tally", parent_path: str) -> LayerRun:
    """Return the function that runs the children of the combinator at the path `parent_path`."""

    def run_child(name: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, None]:
        path = join(parent_path, name) if name else parent_path
        tally.n_layer_runs += 1
        try:
            tally.check()
            if uses_flow(layer):
                return layer.flow(_LazyParams(layer, shape_of(x)), x, mode, _run_children(tally, path))[0], None
            if Trait.ANY_AXES in layer.traits and not layer.buffers and Trait.LEARNS not in layer.traits:
                own_params = {}
                out_shape = None  # the output shape follows from the run
            else:
                own_params, out_shape = layer.init(shape_of(x), torch.Generator())
            has_inputs = not isinstance(x, tuple) or len(x) > 0  # parameters and constants in a graph have none
            with tally:
                runs = _can_run_on_meta(layer) and not tally.trusted
                if out_shape is None or not has_inputs or runs:
                    y = layer.forward(own_params, x, mode)[0]
                else:
                    y = _empty(out_shape, tally.examples, _n_inputs(x))
                    if type(layer) is Dense and isinstance(x, Tensor):
                        # The empty tensor has counted as one for each value.
                        tally.n_multiply_adds += y.numel() * (x.shape[-1] - 1)
            tally.check()
            tally.shapes[path] = shape_of(x), shape_of(y) if out_shape is None else out_shape
        except LayerError:
            raise
        except PellucidError as error:
            raise LayerError(path or type(layer).__name__, shape_of(x), str(error)) from error
        return y, None

    return run_child


class _LazyParams(dict[str, Any]):
    """Parameters of a combinator, drawn by `init` when they are read; its children draw their own when they run.

    The entry of a child is this object itself, which the child does not read.
    """

    def __init__(self, layer: Combinator, shape: Any) -> None:
        super().__init__()
        self._layer = layer
        self._children = layer.layers  # read once: a graph collects them anew each time
        self._shape = shape

    def __missing__(self, name: str) -> Any:
        return self if name in self._children else self._layer.init(self._shape, torch.Generator())[0][name]


class Tally(TorchDispatchMode):
    """Counter of the memory in use, the values in the outputs of operations, and multiply-adds."""

    def __init__(
        self,
        shapes: dict[str, tuple[Any, Any]],
        n_passes: float = 1,
        picture: bool = False,
        trusted: bool = False,
        examples: int = 1,
    ) -> None:
        super().__init__()
        self.shapes = shapes
        self.n_passes = n_passes
        self.picture = picture
        self.trusted = trusted
        self.examples = examples
        self.n_layer_runs = self.memory_in_use = self.peak_memory = self.n_output_values = self.n_multiply_adds = 0
        self._users: dict[int, int] = {}  # number of tensors that use a storage, by the storage's address

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False, since nothing is compiled here: True would import torch._dynamo, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and count its outputs."""
        result = None if kwargs else _known_result(func, args)
        if result is None:
            result = func(*args, **(kwargs or {}))
        results = result if isinstance(result, tuple | list) else (result,)
        outputs = [value for value in results if isinstance(value, Tensor)]
        is_view = any(value.alias_info for value in func._schema.returns)  # outputs that share memory with an input
        for tensor in outputs:
            self._add(tensor, is_view)
        if outputs and not is_view:
            n_outputs = sum(tensor.numel() for tensor in outputs)
            self.n_output_values += max(n_outputs, _expanded_values(args))
            self.n_multiply_adds += int(n_outputs * _multiply_adds_per_output(func, args))
            self.peak_memory = max(self.peak_memory, self.memory_in_use + _workspace(func, args, outputs[0]))
        return result

    def _add(self, tensor: Tensor, is_view: bool) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        size = storage.nbytes()
        if key not in self._users:
            if is_view:  # a view of a parameter, whose memory is not counted
                return
            self._users[key] = 0
            self.memory_in_use += size
            self.peak_memory = max(self.peak_memory, self.memory_in_use)
        self._users[key] += 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self.memory_in_use -= size

    def check(self) -> None:
        """Raise PellucidError if a count exceeds its limit; see BATCH_FACTOR for several examples."""
        if self.picture:
            self._check_limit("bytes of memory for one input", self.peak_memory, MAX_PICTURE_MEMORY)
            return
        factor = 1
        owner = "one input"
        if self.examples > 1:
            factor = BATCH_FACTOR
            owner = f"{self.examples:,} examples"
        self._check_limit("runs of layers", self.n_layer_runs, MAX_LAYER_RUNS)
        self._check_limit(f"bytes of memory for {owner}", self.peak_memory, factor * MAX_INPUT_MEMORY)
        self._check_limit(
            f"output values for {owner}", int(self.n_output_values * self.n_passes), factor * MAX_OUTPUT_VALUES
        )
        self._check_limit(
            f"multiply-adds for {owner}", int(self.n_multiply_adds * self.n_passes), factor * MAX_MULTIPLY_ADDS
        )

    def _check_limit(self, quantity: str, count: int, limit: int) -> None:
        if count > scaled_limit(limit):
            raise PellucidError(
                f"takes the network to {count:,} {quantity}, above {scaled_limit(limit):,}; {LIMITS_HINT}"
            )


_aten = torch.ops.aten
_ELEMENTWISE = {
    _aten.abs,
    _aten.add,
    _aten.div,
    _aten.elu,
    _aten.gelu,
    _aten.hardsigmoid,
    _aten.hardswish,
    _aten.hardtanh,
    _aten.leaky_relu,
    _aten.mul,
    _aten.relu,
    _aten.sigmoid,
    _aten.tanh,
    _aten._log_softmax,
}
_NORMALIZATIONS = {_aten.native_batch_norm, _aten.native_group_norm, _aten.native_layer_norm}
_SLOW_FACTOR = 16  # duration of a multiply-add in kernels without vectorized sums, relative to kernels with them
_MIN_CHANNEL_PRODUCT = 64  # least product of input and output channels per group for vectorized sums in convolutions


def _known_result(func: Any, args: tuple[Any, ...]) -> Any:
    """Return uninitialized outputs of an operation whose shapes are plain to see; None for other operations.

    To run these on "meta", PyTorch would import its compiler, which takes a second.
    """
    operation = func.overloadpacket
    tensors = args[0] if operation is _aten.cat else [arg for arg in args if isinstance(arg, Tensor)]
    kinds = {(each.dtype, each.device) for each in tensors}
    if len(kinds) != 1 or not tensors[0].is_floating_point() or not tensors[0].is_meta:
        return None
    x = tensors[0]
    if operation in _NORMALIZATIONS:
        # The statistics of a batch or a group are small; those of layers are many if the layers are small.
        n_statistics = x.numel() // math.prod(args[1]) if operation is _aten.native_layer_norm else 0
        return torch.empty_like(x), x.new_empty(n_statistics), x.new_empty(n_statistics)
    shape = _known_shape(operation, tensors, args)
    return None if shape is None else x.new_empty(shape)


def _known_shape(operation: Any, tensors: list[Tensor], args: tuple[Any, ...]) -> list[int] | None:
    """Return the shape of the output of an operation with one output, if it is plain to see."""
    shape = [*tensors[0].shape]
    if operation in _ELEMENTWISE:
        shape = [*torch.broadcast_tensors(*tensors)[0].shape]
    elif operation is _aten.cat:
        axis = args[1] if len(args) > 1 else 0
        if not -len(shape) <= axis < len(shape) or any(each.dim() != len(shape) for each in tensors):
            return None
        shape[axis] = sum(each.shape[axis] for each in tensors)
        if any([*each.shape[:axis], shape[axis], *each.shape[axis:][1:]] != shape for each in tensors):
            return None  # PyTorch's own operation says what does not fit
    elif operation is _aten.mean and len(args) == 3 and args[1] and shape:  # over axes
        axes = {axis % len(shape) for axis in args[1]}
        if len(axes) < len(args[1]) or not all(-len(shape) <= axis < len(shape) for axis in args[1]):
            return None
        shape = [1 if k in axes else side for k, side in enumerate(shape) if args[2] or k not in axes]
    elif operation in (_aten.mm, _aten.addmm):
        left, right = tensors[-2:]
        if left.shape[1] != right.shape[0]:
            return None
        shape = [left.shape[0], right.shape[1]]
    elif operation is _aten.upsample_bilinear2d and args[1] is not None:
        shape = [*shape[:2], *args[1]]
    else:
        return None
    return shape


def _multiply_adds_per_output(func: Any, args: tuple[Any, ...]) -> float:
    """Return the number of multiply-adds for each output value of an operation, times _SLOW_FACTOR in slow kernels.

    If the stride of a transposed convolution is larger than its kernel, the time grows with the square of the stride.
    """
    operation = func.overloadpacket
    if operation is _aten.convolution:
        weight, stride, transposed, groups = args[1], args[3], args[6], args[8]
        channels = weight.shape[0] * weight.shape[1] // groups
        ratio = math.prod(max(s / k, 1.0) for s, k in zip(stride, weight.shape[2:], strict=True)) if transposed else 1
        return weight[0].numel() * (1 if channels >= _MIN_CHANNEL_PRODUCT else _SLOW_FACTOR) * ratio
    if operation in (_aten.mm, _aten.addmm, _aten.bmm):
        return args[-1].shape[-2]
    if operation in (_aten.max_pool2d_with_indices, _aten.avg_pool2d):
        return math.prod(args[1]) * _SLOW_FACTOR
    return 1


def _expanded_values(args: tuple[Any, ...]) -> int:
    """Return the number of values of the largest input that repeats the values in its memory, such as an expanded one.

    An operation takes time, and in other libraries memory, for all of them.
    """
    tensors = [arg for each in args for arg in (each if isinstance(each, (list, tuple)) else (each,))]
    sizes = [
        x.numel() for x in tensors if isinstance(x, Tensor) and x.numel() * x.itemsize > x.untyped_storage().nbytes()
    ]
    return max(sizes, default=0)


def _workspace(func: Any, args: tuple[Any, ...], y: Tensor) -> int:
    """Return the bytes that an operation needs in addition to its output.

    Only a convolution whose padding is larger than its kernel needs them: for inputs much smaller than the output,
    PyTorch's kernels copy all windows.
    """
    if func.overloadpacket is not _aten.convolution or args[6]:  # transposed
        return 0
    weight, padding = args[1], args[4]
    has_wide_padding = any(p > k for p, k in zip(padding, weight.shape[2:], strict=True))
    return weight[0].numel() * y[:, 0].numel() * y.itemsize if has_wide_padding else 0


def _can_run_on_meta(layer: Layer) -> bool:
    """Return whether a layer of Pellucid can run on the device "meta", with float inputs that have no values.

    MaxUnpool2d cannot, because its switches are integers. RoIPool, and RoIAlign without a fixed number of samples,
    cannot because they read the values of their regions.
    """
    needs_values = isinstance(layer, MaxUnpool2d | RoIPool) or (isinstance(layer, RoIAlign) and not layer.sampling)
    return is_ours(layer) and not needs_values


def _empty(shape: Any, examples: int, n_inputs: int) -> Any:
    """Return an uninitialized tensor (n_inputs, *shape), or a tuple of tensors for a tuple of shapes.

    In a tuple, the last tensor contains `n_inputs` regions of the images, and the other tensors `examples` images.
    """
    if shape and isinstance(shape[0], tuple):
        return (
            *(_empty(subshape, examples, examples) for subshape in shape[:-1]),
            _empty(shape[-1], examples, n_inputs),
        )
    return torch.empty(n_inputs, *shape)


def _n_inputs(x: Any) -> int:
    """Return the number of inputs in a tensor (N, ...), or in the last tensor of a tuple."""
    return _n_inputs(x[-1]) if isinstance(x, tuple) else len(x)
