"""Comparison of N_STEPS updates of our optimizer with those of PyTorch's, for the same gradients."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from conformance.case import relative_error
from pellucid.optim import Optimizer, Progress, Regularizer, Schedule, State
from pellucid.optim.regularizers import add_penalties, shrink_weights
from pellucid.optim.schedules import Constant

N_STEPS = 100
TOLERANCE = 1e-12  # relative to each parameter's largest entry, after every step

# Shapes of sets of parameters; those of "layouts" are not contiguous in memory.
PARAM_SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "dense": ((3, 4), (3,)),
    "conv": ((4, 3, 3, 3), (4,), (4,), (2, 36), (2,)),
    "odd": ((), (1, 1), (2, 0), (7,)),
    "layouts": ((5, 7), (6, 3, 2, 2)),
}


@dataclass(frozen=True)
class TrainingUpdate:
    """An optimizer of ours with the regularizer and the schedule of a training step for one example."""

    optimizer: Optimizer
    regularizer: Regularizer | None = None
    schedule: Schedule = field(default_factory=Constant)

    def step(self, params: list[Tensor], grads: list[Tensor], state: State, rate: float) -> None:
        """Update `params` and `state` in place; all parameters are regularized, as by PyTorch's optimizers."""
        if self.regularizer is not None:
            add_penalties([self.regularizer], params, grads, 1)
            shrink_weights([self.regularizer], params, rate)
        self.optimizer.decay(params, rate)
        self.optimizer.update(params, grads, state, rate)


def compare_updates(
    update: TrainingUpdate,
    make_reference: Callable[[list[Tensor]], torch.optim.Optimizer],
    tree: str,
    rates: Callable[[int], float] | None = None,
) -> float:
    """Return the worst relative error of any parameter after any step, on the same gradients.

    rates: returns, for the index of a step, a factor of both learning rates. tree: a key of PARAM_SHAPES.
    """
    params, reference_params = initial_params(tree), initial_params(tree)
    reference_optimizer = make_reference(reference_params)
    base_rates = [float(group["lr"]) for group in reference_optimizer.param_groups]
    state = update.optimizer.init(params)
    max_error = 0.0
    for step, grads in enumerate(_gradients_of_all_steps(tree)):
        factor = 1.0
        if rates is not None:
            factor = rates(step)
            for group, lr in zip(reference_optimizer.param_groups, base_rates, strict=True):
                group["lr"] = lr * factor
        for param, grad in zip(reference_params, grads, strict=True):
            param.grad = grad.clone()
        reference_optimizer.step()
        factor *= update.schedule.factor(Progress(step, N_STEPS, 1), {})
        update.step(params, [grad.clone() for grad in grads], state, update.optimizer.lr * factor)
        for index, (actual, expected) in enumerate(zip(params, reference_params, strict=True)):
            max_error = max(max_error, relative_error(f"parameter {index} after {step + 1} steps", actual, expected))
    return max_error


def initial_params(tree: str) -> list[Tensor]:
    """Return the parameters before the first step: entries of order 1, of which about one in ten is 0."""
    rng = torch.Generator().manual_seed(0)
    params = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in PARAM_SHAPES[tree]]
    for param in params:
        param[torch.rand(param.shape, generator=rng) < 0.1] = 0.0
    if tree == "layouts":
        return [params[0].t(), params[1].to(memory_format=torch.channels_last)]
    return params


def gradients(params: list[Tensor], step: int) -> list[Tensor]:
    """Return the gradients of a step, of order 0.001 to 10.

    One in five entries is 0, and always the first entry of a matrix.
    """
    rng = torch.Generator().manual_seed(step)
    grads = []
    for param in params:
        size = 10 ** (4 * torch.rand((), generator=rng, dtype=torch.float64) - 3)
        grad = size * torch.randn(param.shape, generator=rng, dtype=torch.float64)
        grad[torch.rand(param.shape, generator=rng) < 0.2] = 0.0
        if param.dim() > 1:
            grad.view(-1)[:1] = 0.0
        grads.append(grad)
    return grads


@cache
def _gradients_of_all_steps(tree: str) -> list[list[Tensor]]:
    return [gradients(initial_params(tree), step) for step in range(N_STEPS)]
