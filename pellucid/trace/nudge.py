"""Change one element of a tensor, and compare the change of the loss with the change that the derivative predicts."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import aligned
from pellucid.layers.base import Params
from pellucid.nested import flatten, nest
from pellucid.trace.passes import ValueChange
from pellucid.trace.record import TracedElement, TraceRecord, resolve
from pellucid.trace.text import TIMES, bar, brief, unravel_index
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
    if target.argument in trace.penalties and target.call is None:
        gradient += float(trace.penalties[target.argument].flatten()[element.index])
    after = sum(settings.cost(passes, params))
    epsilon = torch.finfo(element.target.tensor.dtype).eps
    note = _image_note(trace, element, h)
    return Nudge(element.label, element.value, float(h), gradient, trace.cost, after, epsilon, note)


def _image_note(trace: TraceRecord, element: TracedElement, h: float) -> str:
    """Return the change of the image for an element of a standardized input; "" for other elements."""
    target = element.target
    stats = trace.settings.stats
    value = target.value
    if target.call is not None and target.argument.startswith("x."):
        value = target.call.inputs[int(target.argument[2:])]
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
    value = element.target.value
    call = element.target.call
    source = (value.producer, "y", value.number) if value is not None else (call, "x", int(element.target.argument[2:]))
    assert source[0] is not None
    changed_index = (source[0].index, *source[1:])
    return lambda call_index, kind, tensor_number, x: (
        _shift_element(x, element.index, h) if (call_index, kind, tensor_number) == changed_index else x
    )
