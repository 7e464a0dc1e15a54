"""Change one element of a tensor, and compare the change of the loss with the change that the derivative predicts."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.nested import flatten, nest
from pellucid.text import aligned
from pellucid.trace.passes import ValueChange
from pellucid.trace.record import TracedNumber, TraceRecord, resolve
from pellucid.trace.text import TIMES, bar, brief
from pellucid.verify.probe import like, tensors

NONLINEAR = "nonlinearity: curvature and kinks of the loss"


@dataclass(frozen=True)
class Nudge:
    """The predicted and the actual change of the loss when h is added to one element of a tensor.

    name, value: the element. gradient: the derivative of the loss. before, after: the loss, including the
    regularization term; both passes use the trace's dtype and the same random numbers. epsilon: of that dtype, see
    torch.finfo.
    """

    name: str
    value: float
    h: float
    gradient: float
    before: float
    after: float
    epsilon: float

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
        """Whether the predicted change is below epsilon times the loss, and the actual one at most eight times that."""
        bit = self.epsilon * abs(self.before)
        return 0 < abs(self.predicted) < bit < math.inf and abs(self.actual) <= 8 * bit

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
        return f"{head}\n{aligned(table, right=(1,))}"

    def _repr_html_(self) -> str:
        from pellucid.report.page import render

        return render("nudge", it=self, brief=brief, bar=bar)


def nudge(trace: TraceRecord, what: str, h: float) -> Nudge:
    """Run the network again with one element changed; see Trace.nudge."""
    if isinstance(h, bool) or not isinstance(h, int | float) or not math.isfinite(h) or h == 0:
        raise PellucidError(f"trace.nudge: h must be a finite number other than 0, not {h!r}")
    number = resolve(trace, what)
    _check_changes(number, h)
    settings, target = trace.settings, number.target
    params: Params | None = None
    if target.value is not None and target.value.maker is None:  # an input of the network
        xs = tensors(settings.x)
        xs[target.value.part] = _shifted(xs[target.value.part], number.index, h)
        passes = settings.run(x=like(settings.x, xs))
    elif target.value is not None or target.what.startswith("x."):  # a layer's output or input
        passes = settings.run(change=_change(number, h))
    elif target.call is not None:  # in a single call of its layer
        raise PellucidError(f"trace.nudge: {target.name} is one use of a shared parameter; change the parameter itself")
    else:  # a parameter
        flat = flatten(settings.params)
        flat[target.what] = _shifted(flat[target.what], number.index, h)
        params = nest(settings.params, flat)
        passes = settings.run(params)
    gradient = number.gradient
    if target.what in trace.penalties and target.call is None:
        gradient += float(trace.penalties[target.what].flatten()[number.index])
    after, epsilon = sum(settings.cost(passes, params)), torch.finfo(number.target.tensor.dtype).eps
    return Nudge(number.label, number.number, float(h), gradient, trace.cost, after, epsilon)


def _check_changes(number: TracedNumber, h: float) -> None:
    """Raise PellucidError unless adding h changes the element in its dtype."""
    tensor = number.target.tensor
    value = tensor.flatten()[number.index]
    if math.isfinite(number.number) and bool(value + h == value):
        dtype, limits = str(tensor.dtype).removeprefix("torch."), torch.finfo(tensor.dtype)
        raise PellucidError(
            f"trace.nudge: h = {h:g} is below the rounding of {number.label} = {number.number:.6g} in {dtype}, so "
            f"nothing changes; use at least {max(limits.eps * abs(number.number), limits.tiny):.1g}"
        )


def _shifted(tensor: Tensor, index: int, h: float) -> Tensor:
    """Return a copy of the tensor with h added at a flat index."""
    copy = tensor.clone(memory_format=torch.contiguous_format)
    copy.view(-1)[index] += h
    return copy


def _change(number: TracedNumber, h: float) -> ValueChange:
    """Return the function that adds h to the element during the pass, where a call returns or receives it.

    The `index` of a call is its index in the pass, the `index` of an element its index in the flat tensor.
    """
    value, call = number.target.value, number.target.call
    source = (value.maker, "y", value.part) if value is not None else (call, "x", int(number.target.what[2:]))
    assert source[0] is not None
    changed_index = (source[0].index, *source[1:])
    return lambda call_index, kind, part, x: (
        _shifted(x, number.index, h) if (call_index, kind, part) == changed_index else x
    )
