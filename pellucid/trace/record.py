"""Record: all named tensors of one forward and one backward pass, and the elements that have a gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths, join
from pellucid.layers.checks import check_floating
from pellucid.nested import flatten
from pellucid.trace.deltas import LossPieces, loss_pieces
from pellucid.trace.passes import LayerCall, Passes, PassSettings, PassValue
from pellucid.trace.text import flat_index, label, parse_name, unknown_tensor_error
from pellucid.training.device import CPU, on_device
from pellucid.verify.probe import tensors


@dataclass(frozen=True, eq=False)
class Named:
    """One tensor of the trace.

    kind: x, y, cache.FIELD, dy, dx, params, dparams, loss, or regularizer.
    path: the path of the layer, "" for the network.
    """

    name: str
    kind: str
    path: str
    tensor: Tensor
    __repr__ = brief_repr


@dataclass(frozen=True, eq=False)
class GradientTarget:
    """A tensor for which a gradient of the loss can be explained.

    `value` names a value between layers. Otherwise `argument` names an argument of one `call` of a layer, which is its
    input "x.0" or a parameter, or without a call the parameter at this path, for all calls.
    """

    name: str
    tensor: Tensor
    gradient: Tensor | None  # None if the loss does not depend on the tensor
    value: PassValue | None = None
    call: LayerCall | None = None
    argument: str = ""


@dataclass(frozen=True, eq=False)
class TracedElement:
    """One element of a target."""

    target: GradientTarget
    index: int  # flat

    @property
    def label(self) -> str:
        """The name of the target with the element's index."""
        return label(self.target.name, self.index, self.target.tensor.shape)

    @property
    def value(self) -> float:
        """The element's value."""
        return float(self.target.tensor.flatten()[self.index])

    @property
    def gradient(self) -> float:
        """The derivative of the loss with respect to the element."""
        gradient = self.target.gradient
        return 0.0 if gradient is None else float(gradient.flatten()[self.index])


class TraceRecord:
    """All named tensors of one forward and one backward pass, on the CPU; see Trace for the names."""

    def __init__(self, settings: PassSettings) -> None:
        self.settings = settings
        check_floating(settings.x)
        self.passes: Passes = settings.run()
        loss_value, dy = settings.loss_of(self.passes.y)
        with torch.no_grad():
            gradients = self.passes.backward(dy)
            self.passes.to_cpu()
            self.dy, (self.dx, self.dparams) = on_device((dy, gradients), CPU)
            self.loss_pieces: list[LossPieces] = loss_pieces(
                settings.loss, self.passes.y, settings.target, loss_value.cpu(), self.dy
            )
        self.loss = float(loss_value)
        self.gradients: dict[str, Tensor] = flatten(self.dparams)
        self.penalty_gradients: dict[str, Tensor] = {}  # gradients of the regularization term, by path
        self.regularizer = 0.0
        if settings.penalties:
            weights = settings.decayed()
            grads = [torch.zeros_like(weight) for weight in weights]
            for penalty in settings.penalties:
                penalty.add_gradient(weights, grads, settings.examples)
                self.regularizer += float(penalty.cost(weights, settings.examples))
            self.penalty_gradients = dict(zip(settings.decayed_paths, grads, strict=True))
        self.params = flatten(settings.params)
        self.buffers = buffer_paths(settings.net)
        self.tensors: dict[str, Named] = {}
        self.targets: dict[str, GradientTarget] = {}  # by their names and by the names of their gradients
        self._collect(loss_value.cpu())

    @property
    def cost(self) -> float:
        """The loss plus the regularization term."""
        return self.loss + self.regularizer

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the passes."""
        return self.passes.ys[0].tensor.dtype

    @property
    def dtype_name(self) -> str:
        """The dtype without "torch."."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def mode_name(self) -> str:
        """The mode of the passes: "evaluation", the default, or "training" (train=True)."""
        return "training" if self.settings.train else "evaluation"

    @property
    def calls(self) -> list[LayerCall]:
        """The calls of all layers except combinators, in forward order."""
        return self.passes.calls

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor, or one of its elements as a 0-d tensor: `trace["conv1.weight[0, 0, 2, 2]"]`."""
        path, index = parse_name(name)
        tensor = self.named(path).tensor
        return tensor if index is None else tensor.flatten()[flat_index(path, index, tensor.shape)]

    def __contains__(self, name: str) -> bool:
        """Return whether there is a tensor with this name."""
        return name in self.tensors

    def names(self, kind: str | None = None) -> tuple[str, ...]:
        """Return the names of all tensors, or of one kind ("cache" for all cache fields), in forward order."""
        return tuple(
            name
            for name, entry in self.tensors.items()
            if kind is None or kind in (entry.kind, entry.kind.split(".")[0])
        )

    def named(self, name: str) -> Named:
        """Return a tensor with its kind; raises PellucidError, which suggests the nearest name, if there is none."""
        if name not in self.tensors:
            raise unknown_tensor_error(name, self.tensors)
        return self.tensors[name]

    @property
    def input_note(self) -> str:
        """A sentence about the input x if it is standardized, else ""."""
        if self.settings.stats is None:
            return ""
        return "x is the standardized input, (image - mean) / std of each channel"

    def name_of(self, value: PassValue) -> str:
        """Return the name of a value: the output of the call that computed it, or the network's input."""
        if value.producer is None:
            return f"x.{value.number}" if len(self.passes.xs) > 1 else "x"
        suffix = f".{value.number}" if len(value.producer.outputs) > 1 else ""
        return join(value.producer.name, f"y{suffix}")

    def label_of(self, value: PassValue, index: int) -> str:
        """Return the name of one element of a value, with its index."""
        return label(self.name_of(value), index, value.tensor.shape)

    def gradient_of(self, value: PassValue) -> Tensor | None:
        """Return the gradient of the loss with respect to a value, None if the loss does not depend on it."""
        if value.producer is None:
            return tensors(self.dx)[value.number]
        return None if value.producer.dys is None else value.producer.dys[value.number]

    def output_delta(self, output: int) -> Tensor:
        """Return the gradient of the loss with respect to one output of the network."""
        return tensors(self.dy)[output]

    def _add_tensors(self, name: str, kind: str, path: str, tensor: Any) -> None:
        """Add a tensor, or the tensors of a tuple by index, except None and names that exist already."""
        all_tensors: Sequence[Tensor | None] = tensors(tensor)
        for number, one_tensor in enumerate(all_tensors):
            full_name = f"{name}.{number}" if isinstance(tensor, tuple) else name
            if one_tensor is not None:
                self.tensors.setdefault(full_name, Named(full_name, kind, path, one_tensor))

    def _add_target(self, target: GradientTarget, *names: str) -> None:
        """Add a target by its name and by additional names, such as the name of its gradient."""
        for name in (target.name, *names):
            self.targets.setdefault(name, target)

    def _add_value(self, value: PassValue, *names: str) -> None:
        """Add a value as a target, by its name and by additional names."""
        self._add_target(GradientTarget(self.name_of(value), value.tensor, self.gradient_of(value), value), *names)

    def _collect(self, loss_value: Tensor) -> None:
        """Add all tensors and targets."""
        passes = self.passes
        self._add_tensors("x", "x", "", self.settings.x)
        for input_value in passes.xs:
            self._add_value(input_value, f"d{self.name_of(input_value)}")
        for call in passes.calls:
            self._collect_call(call)
        for position, output in enumerate(passes.ys):
            suffix = f".{position}" if isinstance(passes.y, tuple) else ""
            self._add_value(output, f"y{suffix}", f"dy{suffix}")
        for run in passes.combinator_runs:
            for kind, tensor in (("x", run.x), ("y", run.y), ("dy", run.dy), ("dx", run.dx)):
                if tensor is not None:
                    self._add_tensors(join(run.name, kind), kind, run.path, tensor)
            if run.value is not None:
                self._add_value(run.value, join(run.name, "y"), join(run.name, "dy"))
        self._add_tensors("y", "y", "", passes.y)
        self._add_tensors("target", "loss", "", self.settings.target)
        for position, pieces in enumerate(self.loss_pieces):
            suffix = f".{position}" if len(self.loss_pieces) > 1 else ""
            for name, tensor in {**pieces.intermediates, "cost": pieces.cost}.items():
                self._add_tensors(f"loss.{name}{suffix}", "loss", "", tensor)
        self._add_tensors("loss", "loss", "", loss_value)
        if self.penalty_gradients:
            self._add_tensors("loss.regularizer", "loss", "", loss_value.new_tensor(self.regularizer))
            self._add_tensors("cost", "loss", "", loss_value.new_tensor(self.cost))
        self._add_tensors("dy", "dy", "", self.dy)
        self._add_tensors("dx", "dx", "", self.dx)

    def _collect_call(self, call: LayerCall) -> None:
        name_of, path_of = partial(join, call.name), partial(join, call.path)
        self._add_tensors(
            name_of("x"), "x", call.path, _single_or_tuple([v.tensor for v in call.inputs], call.has_tuple_input)
        )
        for position, value in enumerate(call.inputs):
            suffix = f".{position}" if call.has_tuple_input else ""
            gradient = None if call.dxs is None else call.dxs[position]
            target = GradientTarget(name_of(f"x{suffix}"), value.tensor, gradient, call=call, argument=f"x.{position}")
            self._add_target(target, name_of(f"dx{suffix}"))
        for name, tensor in call.params.items():
            path = path_of(name)
            weight = self.params[path]
            self._add_tensors(path, "params", call.path, weight)
            self._add_tensors(path_of(f"d{name}"), "dparams", call.path, self.gradients.get(path))
            self._add_tensors(
                path_of(f"d{name}.regularizer"), "regularizer", call.path, self.penalty_gradients.get(path)
            )
            if path not in self.buffers:
                self._add_target(
                    GradientTarget(path, weight, self.gradients.get(path), argument=path), path_of(f"d{name}")
                )
            if call.name != call.path and name in call.dparams:
                use_in_call = GradientTarget(name_of(name), tensor, call.dparams[name], call=call, argument=name)
                self._add_target(use_in_call, name_of(f"d{name}"))
        for name, gradient in call.dparams.items():
            self._add_tensors(name_of(f"d{name}"), "dparams", call.path, gradient)
        for name in getattr(call.cache, "_fields", ()):
            self._add_tensors(name_of(f"cache.{name}"), f"cache.{name}", call.path, getattr(call.cache, name))
        self._add_tensors(name_of("y"), "y", call.path, _single_or_tuple([v.tensor for v in call.outputs]))
        for position, value in enumerate(call.outputs):
            self._add_value(value, name_of(f"dy.{position}" if len(call.outputs) > 1 else "dy"))
        if call.dys is not None and call.dxs is not None:
            self._add_tensors(name_of("dy"), "dy", call.path, _single_or_tuple(call.dys))
            self._add_tensors(name_of("dx"), "dx", call.path, _single_or_tuple(call.dxs, call.has_tuple_input))


def _single_or_tuple(values: Sequence[Tensor | None], as_tuple: bool = False) -> Any:
    """Return a tuple of the values, or the only value itself unless `as_tuple`."""
    return tuple(values) if as_tuple or len(values) > 1 else values[0]


def resolve(trace: TraceRecord, text: str) -> TracedElement:
    """Return the element with the name `text`; for a tensor without an index, the one with the largest gradient."""
    name, index = parse_name(text)
    targets = trace.targets
    if name not in targets:
        if name not in trace:
            raise unknown_tensor_error(name, targets)
        if name in trace.buffers:
            raise PellucidError(f"trace: {name} is a running statistic, which is not trained; it has no gradient")
        raise PellucidError(
            f"trace: {name} is an intermediate result; give a parameter, an input or an output, such as "
            f"{next(iter(targets))!r}"
        )
    target = targets[name]
    if not target.tensor.is_floating_point():
        raise PellucidError(f"trace: {name} contains indices; it has no gradient")
    if index is not None:
        return TracedElement(target, flat_index(name, index, target.tensor.shape))
    if not target.tensor.numel():
        raise PellucidError(f"trace: {name} is empty")
    largest = 0 if target.gradient is None else int(target.gradient.abs().argmax())
    return TracedElement(target, largest)
