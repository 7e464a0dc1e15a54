"""A trial: the same forward and backward pass by PyTorch's function and by our layer or loss, and their comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from conformance.case import FLOOR, Mismatch, relative_error
from pellucid.layers import Layer, Mode, Params
from pellucid.verify import pull_back


class ForwardPass(NamedTuple):
    """The result of our forward pass: `outputs`, the differentiable one first, and the backward pass.

    `backward` takes the gradient with respect to the first output, and returns the gradients of the trial's tensors
    by name.
    """

    outputs: tuple[Tensor, ...]
    backward: Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Trial:
    """One computation by PyTorch (`reference`) and by us (`forward`).

    `tensors` are the inputs and parameters whose gradients are compared, by name. `reference` uses them and returns
    PyTorch's outputs; only the first is differentiated, others are, for example, running statistics. `forward` returns
    our outputs and backward pass. Neither function may change a tensor that the other uses.
    """

    tensors: dict[str, Tensor]
    reference: Callable[[], tuple[Tensor, ...]]
    forward: Callable[[], ForwardPass]


def run(trial: Trial, seed: int = 0) -> float:
    """Return the worst relative error over all outputs and gradients of the trial, for a dy drawn from `seed`.

    Raises Mismatch if our passes change dy or a tensor of the trial, or return other outputs or gradients.
    """
    initial_tensors = {name: x.clone() for name, x in trial.tensors.items()}
    with torch.no_grad():
        forward_pass = trial.forward()
    outputs = trial.reference()
    rng = torch.Generator().manual_seed(seed)
    dy = torch.randn(outputs[0].shape, generator=rng, dtype=torch.float64).to(outputs[0].dtype)
    expected = pull_back(lambda: trial.reference()[0], tuple(trial.tensors.values()), dy)
    with torch.no_grad():
        gradients = forward_pass.backward(passed_dy := dy.clone())
    overwritten = [name for name, x in trial.tensors.items() if not _equal_with_nan(x, initial_tensors[name])]
    if overwritten or not _equal_with_nan(passed_dy, dy):
        raise Mismatch(f"wrote into {', '.join(overwritten) or 'dy'}")
    if gradients.keys() != trial.tensors.keys():
        raise Mismatch(f"gradients for {sorted(gradients)} instead of {sorted(trial.tensors)}")
    if len(forward_pass.outputs) != len(outputs):
        raise Mismatch(f"{len(forward_pass.outputs)} outputs instead of {len(outputs)}")
    floor = FLOOR * float(dy.abs().max()) if dy.numel() else 0.0
    errors = [
        relative_error(f"output {k}", *pair) for k, pair in enumerate(zip(forward_pass.outputs, outputs, strict=True))
    ]
    for name, expected_gradient in zip(trial.tensors, expected, strict=True):
        errors.append(relative_error(f"d{name}", gradients[name], expected_gradient, floor))
    return max(errors)


def _equal_with_nan(x: Tensor, y: Tensor) -> bool:
    return torch.equal(x.nan_to_num(), y.nan_to_num())


@dataclass(frozen=True)
class View:
    """A conversion of a suite's tensor to an input of our layers (`lift`, which may add axes) and back (`drop`)."""

    lift: Callable[[Tensor], Tensor]
    drop: Callable[[Tensor], Tensor]


AS_IS = View(lambda x: x, lambda x: x)
UNBATCHED = View(lambda x: x.unsqueeze(0), lambda x: x.squeeze(0))  # one example, for instance (C, H, W)
ONE_ROW = View(lambda x: x.unsqueeze(-2), lambda x: x.squeeze(-2))  # (N, C, L) as images of one row


def compose_views(outer: View, inner: View) -> View:
    """Return the view that lifts by `inner` and then by `outer`."""
    return View(lambda x: outer.lift(inner.lift(x)), lambda x: inner.drop(outer.drop(x)))


def layer_trial(
    layer: Layer,
    params: Params,
    x: Tensor,
    reference: Callable[[], Tensor],
    mode: Mode | None = None,
    view: View = AS_IS,
) -> Trial:
    """Return the trial of a layer with one input, converted by `view`, and with `params` by name (weight, bias).

    Gradients are compared for x and for all parameters that are not buffers. `reference` uses the tensors `x` and
    `params` of this call, not copies.
    """
    parameters = {name: tensor for name, tensor in params.items() if name not in layer.buffers}

    def forward() -> ForwardPass:
        y, cache = layer.forward(params, view.lift(x), mode or Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, view.lift(dy))
            return {"x": view.drop(dx), **dparams}

        return ForwardPass((view.drop(y),), backward)

    return Trial({"x": x, **parameters}, lambda: (reference(),), forward)
