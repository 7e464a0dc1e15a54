"""Change one element of a tensor, and compare the change of the loss with the change that the derivative predicts.

Or take one optimizer step on copies of the weights.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import screen_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import instance_by_name
from pellucid.base.text import aligned
from pellucid.layers import Conv2d, Dense
from pellucid.layers.base import Params
from pellucid.nested import flatten, nest
from pellucid.optim import OPTIMIZERS, Optimizer, clip_by_norm
from pellucid.optim.regularizers import in_order, max_norms
from pellucid.trace.passes import ValueChange
from pellucid.trace.record import TracedElement, TraceRecord, resolve
from pellucid.trace.text import TIMES, bar, brief, format_signed, unravel_index
from pellucid.training.parameter_groups import parameter_groups, penalize, update_groups
from pellucid.training.step import decayed_paths
from pellucid.verify.probe import like, tensors

NONLINEAR = "nonlinearity: curvature and kinks of the loss"


@dataclass(frozen=True)
class Nudge:
    """The predicted and the actual change of the loss when h is added to one element of a tensor.

    name: the name of the element.
    value: the value of the element.
    gradient: the derivative of the loss.
    before: the loss without h, including the regularization term.
    after: the loss with h, in the same dtype and with the same random numbers.
    epsilon: machine epsilon of that dtype, see torch.finfo.
    note: a sentence about the image, for an element of a standardized input.
    """

    name: str
    value: float
    h: float
    gradient: float
    before: float
    after: float
    epsilon: float
    note: str = ""

    @property
    def predicted(self) -> float:
        """The linear prediction of the change of the loss: gradient times h."""
        return self.gradient * self.h

    @property
    def actual(self) -> float:
        """The change of the loss."""
        return self.after - self.before

    @property
    def curvature(self) -> float:
        """The second derivative, estimated as 2 (actual - predicted) / h²; NaN if h² is rounded to 0."""
        return 2 * (self.actual - self.predicted) / self.h**2 if self.h**2 else math.nan

    @property
    def rounded(self) -> bool:
        """Whether the predicted change is below epsilon times the loss, and the actual one at most 8 times this."""
        last_bit = self.epsilon * abs(self.before)
        return 0 < abs(self.predicted) < last_bit < math.inf and abs(self.actual) <= 8 * last_bit

    def to_json(self) -> dict[str, Any]:
        """Return the fields and the changes as JSON values."""
        values = {"predicted": self.predicted, "actual": self.actual, "curvature": self.curvature}
        return {**asdict(self), **values}

    def __str__(self) -> str:
        """Return the comparison as text for a terminal."""
        reason = (
            "rounding: the predicted change is smaller than the last bit of the loss" if self.rounded else NONLINEAR
        )
        product = f"∂C/∂{self.name} {TIMES} h = {brief(self.gradient)} {TIMES} {brief(self.h)}"
        table = [
            ("predicted", brief(self.predicted), product),
            ("actual", brief(self.actual), f"the loss changed from {brief(self.before)} to {brief(self.after)}"),
            ("difference", brief(self.actual - self.predicted), reason),
        ]
        head = f"{self.name}: {brief(self.value)} → {brief(self.value + self.h)}  (h = {brief(self.h)})"
        note = f"\n{self.note}" if self.note else ""
        return f"{head}{note}\n{aligned(table, right=(1,))}"

    def _repr_html_(self) -> str:
        from pellucid.report.page import render

        return render("nudge", it=self, brief=brief, bar=bar)


def nudge(trace: TraceRecord, element_name: str, h: float) -> Nudge:
    """Repeat the forward pass with one element changed; see Trace.nudge."""
    if isinstance(h, bool) or not isinstance(h, int | float) or not math.isfinite(h) or h == 0:
        raise PellucidError(f"trace.nudge: h must be a finite number other than 0, not {h!r}")
    element = resolve(trace, element_name)
    _check_changes(element, h)
    settings = trace.settings
    target = element.target
    params: Params | None = None
    if target.value is not None and target.value.producer is None:  # an input of the network
        xs = tensors(settings.x)
        xs[target.value.number] = _shift_element(xs[target.value.number], element.index, h)
        passes = settings.run(x=like(settings.x, xs))
    elif target.value is not None or target.argument.startswith("x."):  # a layer's output or input
        passes = settings.run(change=_value_change(element, h))
    elif target.call is not None:  # a parameter in a single call of its layer
        raise PellucidError(f"trace.nudge: {target.name} is one use of a shared parameter; change the parameter itself")
    else:  # a parameter
        flat = flatten(settings.params)
        flat[target.argument] = _shift_element(flat[target.argument], element.index, h)
        params = nest(settings.params, flat)
        passes = settings.run(params)
    gradient = element.gradient
    if target.argument in trace.penalty_gradients and target.call is None:
        gradient += float(trace.penalty_gradients[target.argument].flatten()[element.index])
    return Nudge(
        name=element.label,
        value=element.value,
        h=float(h),
        gradient=gradient,
        before=trace.cost,
        after=sum(settings.cost(passes, params)),
        epsilon=torch.finfo(target.tensor.dtype).eps,
        note=_image_note(trace, element, h),
    )


def _image_note(trace: TraceRecord, element: TracedElement, h: float) -> str:
    """Return the change of the image for an element of a standardized input; "" for other elements."""
    target = element.target
    stats = trace.settings.stats
    value = target.value
    if target.call is not None and target.argument.startswith("x."):
        value = target.call.inputs[int(target.argument.removeprefix("x."))]
    if stats is None or value is None or value.producer is not None:
        return ""
    channel = unravel_index(element.index, target.tensor.shape)[1]
    mean, std = float(stats.mean[channel]), float(stats.std[channel])
    before = element.value * std + mean
    return f"{trace.input_note}: the image changes from {brief(before)} to {brief(before + h * std)}"


def _check_changes(element: TracedElement, h: float) -> None:
    """Raise PellucidError unless adding h changes the element in its dtype."""
    tensor = element.target.tensor
    value = tensor.flatten()[element.index]
    if math.isfinite(element.value) and bool(value + h == value):
        dtype = str(tensor.dtype).removeprefix("torch.")
        finfo = torch.finfo(tensor.dtype)
        raise PellucidError(
            f"trace.nudge: h = {h:g} is below the rounding of {element.label} = {element.value:.6g} in {dtype}, so "
            f"nothing changes; use at least {max(finfo.eps * abs(element.value), finfo.tiny):.1g}"
        )


def _shift_element(tensor: Tensor, index: int, h: float) -> Tensor:
    """Return a copy of the tensor with h added at a flat index."""
    copy = tensor.clone(memory_format=torch.contiguous_format)
    copy.view(-1)[index] += h
    return copy


def _value_change(element: TracedElement, h: float) -> ValueChange:
    """Return the function that adds h to the element during the pass, where a call returns or receives it.

    The `index` of a call is its index in the pass, the `index` of an element its index in the flat tensor.
    """
    target = element.target
    if target.value is not None:
        call, kind, number = target.value.producer, "y", target.value.number
    else:
        call, kind, number = target.call, "x", int(target.argument.removeprefix("x."))
    assert call is not None
    changed_tensor = (call.index, kind, number)
    return lambda call_index, kind, number, x: (
        _shift_element(x, element.index, h) if (call_index, kind, number) == changed_tensor else x
    )


@dataclass(frozen=True, eq=False)
class Stepped:
    """The weights after one step, by path, and the loss on the same batch with the same random numbers.

    before: the loss before the step, including the regularization term.
    after: the loss after the step, including the regularization term.
    changes: the update of each weight, by path.
    predicted: the linear prediction of the change of the loss, Σ gradient times change.
    """

    optimizer: Optimizer
    lr: float
    weights: dict[str, Tensor]
    changes: dict[str, Tensor]
    before: float
    after: float
    predicted: float
    __repr__ = screen_repr

    def __getitem__(self, path: str) -> Tensor:
        """Return a weight after the step."""
        if path not in self.weights:
            raise PellucidError(f"trace.step: no weight {path!r}; there are {', '.join(self.weights):.80}")
        return self.weights[path]

    def to_json(self) -> dict[str, Any]:
        """Return the losses, and the norm of each weight's change, as JSON values."""
        norms = {path: float(change.norm()) for path, change in self.changes.items()}
        values = {"before": self.before, "after": self.after, "predicted": self.predicted}
        return {"optimizer": repr(self.optimizer), "lr": self.lr, **values, "changes": norms}

    def __str__(self) -> str:
        """Return the losses, and a table with the norm of each weight's change."""
        rows = [("weight", "‖change‖", "‖weight‖", "ratio")]
        for path, change in self.changes.items():
            change_norm, weight_norm = float(change.norm()), float(self.weights[path].norm())
            rows.append(
                (
                    path,
                    brief(change_norm, 3),
                    brief(weight_norm, 3),
                    brief(change_norm / weight_norm, 2) if weight_norm else "-",
                )
            )
        rate_text = "" if self.lr == self.optimizer.lr else f" at learning rate {brief(self.lr)}"
        head = f"one step of {self.optimizer!r}{rate_text}: loss {brief(self.before)} → {brief(self.after)}"
        tail = f" ({format_signed(self.after - self.before, 3)}; linear prediction {format_signed(self.predicted, 3)})"
        return f"{head}{tail}\n\n{aligned(rows, right=(1, 2, 3))}"


def step(trace: TraceRecord, optimizer: str | Optimizer | None, lr: float | None) -> Stepped:
    """Update copies of the weights in the same way as the first training step; see Trace.step."""
    settings = trace.settings
    optimizer = settings.optimizer if optimizer is None else optimizer
    if optimizer is None:
        raise PellucidError("trace.step: the model has no optimizer; give one, such as SGD(0.1)")
    optimizer = instance_by_name(optimizer, Optimizer, OPTIMIZERS, "optimizer")
    learning_rate = optimizer.lr if lr is None else lr
    if not isinstance(learning_rate, int | float) or not 0 <= learning_rate < math.inf:
        raise PellucidError(f"trace.step: lr must be a finite number, 0 or more, not {learning_rate!s:.40}")
    flat = flatten(settings.params)
    paths = settings.learned
    weights = {path: flat[path].clone() for path in paths}
    zeros = {path: torch.zeros_like(weight, memory_format=torch.contiguous_format) for path, weight in weights.items()}
    grads = [zeros[path] + trace.gradients.get(path, 0) for path in paths]
    tensors = list(weights.values())
    total_grads = [grad + trace.penalty_gradients.get(path, 0) for path, grad in zip(paths, grads, strict=True)]
    groups = parameter_groups(paths, tensors, settings.decayed_paths, settings.rates)
    regularizers = in_order(settings.regularizers)
    penalize(groups, regularizers, grads, settings.examples)
    if settings.clip is not None and grads:
        clip_by_norm(grads, settings.clip)
    if grads:
        optimizer_for_paths = optimizer.for_paths(paths)
        update_groups(
            groups, optimizer_for_paths, regularizers, grads, optimizer_for_paths.init(tensors), learning_rate
        )
    limited_paths = decayed_paths({"": settings.net}, (Dense, Conv2d))
    for limit in max_norms(settings.regularizers):
        limit.after_update([weights[path] for path in paths if path in limited_paths])
    changes = {path: weights[path] - flat[path] for path in paths}
    params = nest(settings.params, {**flat, **weights})
    return Stepped(
        optimizer=optimizer,
        lr=learning_rate,
        weights=weights,
        changes=changes,
        before=trace.cost,
        after=sum(settings.cost(settings.run(params), params)),
        predicted=sum(float((grad * changes[path]).sum()) for path, grad in zip(paths, total_grads, strict=True)),
    )
