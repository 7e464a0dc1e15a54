"""One forward and one backward pass, recorded for each call of a layer."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.combine.base import Combinator, buffer_paths, join, walk
from pellucid.data import FeatureStats
from pellucid.extend.user_defined import try_loss
from pellucid.fuse import kernel_gradient
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.nested import flatten, map_tree
from pellucid.objective import seeded_generator
from pellucid.optim import MaxNorm, Optimizer, Regularizer
from pellucid.training.device import CPU, on_device
from pellucid.verify.probe import like, tensors

# Function of (index of the call in forward order, "x" or "y", index of the input or output, tensor) that returns the
# tensor to use instead during the pass.
ValueChange = Callable[[int, str, int, Tensor], Tensor]


@dataclass(eq=False)
class PassValue:
    """A tensor between calls: an output of a call, or an input of the network."""

    tensor: Tensor
    producer: "LayerCall | None"  # the call that outputs the tensor, None for an input of the network
    number: int  # the index among the outputs of the call, or among the inputs of the network
    # the calls that receive the tensor, each with the index of the input
    consumers: list[tuple["LayerCall", int]] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)  # indices of the network outputs that are this tensor


@dataclass(eq=False)
class LayerCall:
    """One run of a layer other than a combinator: its inputs and outputs, and their gradients."""

    index: int  # the index of the call in forward order
    path: str
    layer: Layer
    nested_params: Params  # nested, as the layer receives them
    inputs: list[PassValue]
    has_tuple_input: bool  # whether the layer's input is a tuple
    outputs: list[PassValue] = field(default_factory=list)
    cache: Cache = None
    # the layer's path, or path:1, path:2 ... if the layer runs several times
    name: str = ""
    # gradients with respect to the outputs, None if the loss does not depend on the call
    dys: list[Tensor] | None = None
    # gradients with respect to the inputs, None if the loss does not depend on the call
    dxs: list[Tensor | None] | None = None
    dparams: dict[str, Tensor] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Tensor]:
        """The parameters, by path within the layer."""
        return flatten(self.nested_params)

    @property
    def x(self) -> Tensor:
        """The only input, or the first."""
        return self.inputs[0].tensor

    @property
    def y(self) -> Tensor:
        """The only output, or the first."""
        return self.outputs[0].tensor

    @property
    def title(self) -> str:
        """The layer's type and options: `Dense(10)`."""
        return title(self.layer)


@dataclass(eq=False)
class CombinatorRun:
    """One run of a combinator: its input and output, and their gradients."""

    path: str
    x: Any
    y: Any = None
    value: PassValue | None = None  # the output, if it is one tensor
    name: str = ""  # the path, or path:1, path:2 ... if the combinator runs several times
    dy: Any = None
    dx: Any = None


@dataclass(eq=False)
class Passes:
    """All calls of layers and runs of combinators of one forward pass, in order; `backward` adds the gradients."""

    net: Layer
    params: Params
    xs: list[PassValue]
    calls: list[LayerCall]
    combinator_runs: list[CombinatorRun]
    y: Any
    cache: Cache
    run_of_cache: dict[int, CombinatorRun]
    ys: list[PassValue]

    def backward(self, dy: Any) -> tuple[Any, Params]:
        """Run the backward pass for `dy`, record the gradients of each call, and return dx and dparams."""

        def visit(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
            if isinstance(cache, LayerCall):
                dx, dparams = kernel_gradient("", layer)(layer, params, cache.cache, dy)
                cache.dys = tensors(dy)
                cache.dxs = [*tensors(dx)]
                cache.dparams = flatten(dparams)
                return dx, dparams
            assert isinstance(layer, Combinator)
            run = self.run_of_cache[id(cache)]
            run.dx, dparams = layer.sweep(params, cache, dy, lambda name, *args: visit(*args))
            run.dy = dy
            return run.dx, dparams

        return visit(self.net, self.params, self.cache, dy)

    def to_cpu(self) -> None:
        """Move everything that was recorded to the CPU."""
        for value in [*self.xs, *(output for call in self.calls for output in call.outputs)]:
            value.tensor = value.tensor.cpu()
        for call in self.calls:
            call.nested_params, call.cache, call.dparams = on_device(
                (call.nested_params, call.cache, call.dparams), CPU
            )
            call.dys, call.dxs = on_device((call.dys, call.dxs), CPU)
        for run in self.combinator_runs:
            run.x, run.y, run.dy, run.dx = on_device((run.x, run.y, run.dy, run.dx), CPU)
        self.y = on_device(self.y, CPU)


def forward(net: Layer, params: Params, x: Any, mode: Mode, change: ValueChange | None = None) -> Passes:
    """Run the network and record every call; `change` may replace the tensors that a call receives or returns.

    Raises PellucidError for a combinator that computes tensors outside its layers.
    """
    values: dict[int, PassValue] = {}  # by id of the tensor
    calls: list[LayerCall] = []
    combinator_runs: list[CombinatorRun] = []
    run_of_cache: dict[int, CombinatorRun] = {}

    def new_value(tensor: Tensor, producer: LayerCall | None, position: int) -> PassValue:
        """Record a new view of a tensor, because layers such as Identity return their input itself."""
        value = PassValue(tensor.view_as(tensor), producer, position)
        values[id(value.tensor)] = value
        return value

    def recorded_value(path: str, tensor: Tensor) -> PassValue:
        if id(tensor) not in values:
            raise PellucidError(
                f"trace: {path or 'the network'} receives a tensor that is not a layer's output; compute it in a layer"
            )
        return values[id(tensor)]

    def visit(path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        if isinstance(layer, Combinator):
            run = CombinatorRun(path, x)
            run.y, cache = layer.flow(params, x, mode, lambda name, *args: visit(join(path, name), *args))
            run.value = values.get(id(run.y))
            combinator_runs.append(run)
            run_of_cache[id(cache)] = run
            return run.y, cache
        call_index = len(calls)
        input_tensors = tensors(x)
        call = LayerCall(
            call_index,
            path,
            layer,
            params,
            [recorded_value(path, tensor) for tensor in input_tensors],
            isinstance(x, tuple),
        )
        calls.append(call)
        for position, value in enumerate(call.inputs):
            value.consumers.append((call, position))
        if change is not None:
            x = like(x, [change(call_index, "x", position, tensor) for position, tensor in enumerate(input_tensors)])
        y, call.cache = layer.forward(params, x, mode)
        outputs = tensors(y)
        if change is not None:
            outputs = [change(call_index, "y", position, tensor) for position, tensor in enumerate(outputs)]
        call.outputs = [new_value(tensor, call, position) for position, tensor in enumerate(outputs)]
        return like(y, [value.tensor for value in call.outputs]), call

    xs = [new_value(tensor, None, position) for position, tensor in enumerate(tensors(x))]
    y, cache = visit("", net, params, like(x, [value.tensor for value in xs]), mode)
    ys = [recorded_value("", tensor) for tensor in tensors(y)]
    for position, value in enumerate(ys):
        value.outputs.append(position)
    for runs in (calls, combinator_runs):
        totals = Counter(run.path for run in runs)
        run_counts = Counter[str]()
        for run in runs:
            run_counts[run.path] += 1
            run.name = f"{run.path}:{run_counts[run.path]}" if totals[run.path] > 1 else run.path
    return Passes(net, params, xs, calls, combinator_runs, y, cache, run_of_cache, ys)


def title(value: Any) -> str:
    """Return the type of a layer or loss with its non-default options: `Conv2d(6, 5)`."""
    if isinstance(value, Combinator):
        return type(value).__name__
    options = []
    for field_ in fields(value):
        option = getattr(value, field_.name)
        if field_.default is MISSING:
            options.append(repr(option))
        elif option != field_.default and not field_.name.startswith("init_"):
            options.append(f"{field_.name}={option!r}")
    return f"{type(value).__name__}({', '.join(options)})"


@dataclass(frozen=True, eq=False)
class PassSettings:
    """All settings of a pass, which `run` repeats exactly.

    params, x and target have the pass's dtype and are on the CPU; the pass runs on `device`.
    train: use training mode.
    seed: seed of the random generator.
    examples: number of training examples n in the regularization term.
    optimizer: the default of a step.
    clip: the default of a step, the largest norm of the gradients.
    frozen: paths of parameters that a step does not change.
    rates: learning rate factors by path.
    classes: names of the network's outputs.
    chosen: how the target was chosen, if it was not given.
    stats: the statistics by which x was standardized, if it was.
    """

    net: Layer
    params: Params
    x: Any
    target: Tensor
    loss: Loss
    train: bool = False
    seed: int = 0
    regularizers: tuple[Regularizer | MaxNorm, ...] = ()
    examples: int = 1
    optimizer: Optimizer | None = None
    clip: float | None = None
    frozen: frozenset[str] = frozenset()
    rates: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    device: torch.device = CPU
    chosen: str = ""
    stats: FeatureStats | None = None
    __repr__ = brief_repr

    def run(self, params: Params | None = None, x: Any = None, change: ValueChange | None = None) -> Passes:
        """Run the forward pass, optionally with other parameters, another input, or changes during the pass.

        In training mode the parameters are copied, because running statistics are updated in place.
        """
        run_params: Params = on_device(self.params if params is None else params, self.device)
        run_params = map_tree(torch.clone, run_params) if self.train else run_params
        x = on_device(self.x if x is None else x, self.device)
        with torch.no_grad():
            return forward(self.net, run_params, x, Mode(self.train, seeded_generator(self.device, self.seed)), change)

    def loss_of(self, y: Any) -> tuple[Tensor, Any]:
        """Return the loss of the outputs y and its gradient; raises the same PellucidErrors as `try_loss`."""
        with torch.no_grad():
            return try_loss(self.loss, y, on_device(self.target, self.device))

    def cost(self, passes: Passes, params: Params | None = None) -> tuple[float, float]:
        """Return the loss of a pass, and the regularization term."""
        penalty = sum(penalty.cost(self.decayed(params), self.examples) for penalty in self.penalties)
        return float(self.loss_of(passes.y)[0]), float(penalty)

    @property
    def penalties(self) -> list[Regularizer]:
        """The regularizers that are added to the loss; decoupled ones are excluded."""
        if not self.decayed_paths:
            return []
        return [penalty for penalty in self.regularizers if isinstance(penalty, Regularizer) and not penalty.decoupled]

    @property
    def decayed_paths(self) -> list[str]:
        """The paths of the weights to which regularizers apply."""
        decayed = {join(path, name) for path, layer in walk(self.net) for name in layer.decayed}
        return [path for path in flatten(self.params) if path in decayed]

    def decayed(self, params: Params | None = None) -> list[Tensor]:
        """Return the weights to which regularizers apply."""
        flat = flatten(self.params if params is None else params)
        return [flat[path] for path in self.decayed_paths]

    @property
    def learned(self) -> list[str]:
        """The paths of the parameters that a step changes."""
        excluded = buffer_paths(self.net) | self.frozen
        return [path for path in flatten(self.params) if path not in excluded]


def prepared(x: Any, dtype: torch.dtype) -> Any:
    """Return a detached copy on the CPU; floating-point tensors are converted to `dtype`."""
    if isinstance(x, tuple):
        return tuple(prepared(item, dtype) for item in x)
    if isinstance(x, dict):
        return {name: prepared(item, dtype) for name, item in x.items()}
    copy = x.detach().cpu()
    copy = copy.to(dtype) if copy.is_floating_point() else copy
    return copy.clone(memory_format=torch.contiguous_format)
