"""A trial: the same computation by PyTorch's function and by our layer or loss, forward and backward."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from conformance.case import FLOOR, Mismatch, relative_error
from pellucid.layers import Layer, Mode, Params
from pellucid.verify import pull_back


class ForwardPass(NamedTuple):
    """Our forward pass: its outputs, the differentiable one first, and the backward pass that follows it.

    `backward` takes dy of the first output and returns gradients by the names of the trial's tensors.
    """

    outputs: tuple[Tensor, ...]
    backward: Callable[[Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Trial:
    """One computation, twice.

    `tensors` are the plain tensors that gradients are compared for, by name; `reference` reads them and returns the
    outputs (the first one differentiable, further ones such as running statistics only compared); `forward` returns
    the same outputs and our backward pass. Neither may change what the other reads.
    """

    tensors: dict[str, Tensor]
    reference: Callable[[], tuple[Tensor, ...]]
    forward: Callable[[], ForwardPass]


def run(trial: Trial, seed: int = 0) -> float:
    """Return the worst relative error over all outputs and gradients of the trial, for a dy drawn from `seed`."""
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
    """How a suite's tensor becomes an input of ours, and back: `lift` adds the axes that the suite left out."""

    lift: Callable[[Tensor], Tensor]
    drop: Callable[[Tensor], Tensor]


AS_IS = View(lambda x: x, lambda x: x)
UNBATCHED = View(lambda x: x.unsqueeze(0), lambda x: x.squeeze(0))  # (C, H, W)
ONE_ROW = View(lambda x: x.unsqueeze(-2), lambda x: x.squeeze(-2))  # (N, C, L) as images one row high


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
    """Return the trial of a layer with one input, seen through `view`, and params of flat names: weight, bias ...

    Buffers are given no gradient. `reference` reads `x` and the tensors of `params` themselves.
    """
    parameters = {name: tensor for name, tensor in params.items() if name not in layer.buffers}

    def forward() -> ForwardPass:
        y, cache = layer.forward(params, view.lift(x), mode or Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, view.lift(dy))
            return {"x": view.drop(dx), **dparams}

        return ForwardPass((view.drop(y),), backward)

    return Trial({"x": x, **parameters}, lambda: (reference(),), forward)
