"""The schedules of torch.optim.lr_scheduler that we also have, with PyTorch's test options and with our own."""

import inspect
import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.optim import lr_scheduler

from conformance.case import FLOOR, Case, Mismatch, SkipCase, torch_version
from conformance.optimizers.walks import N_STEPS, TOLERANCE
from pellucid.optim.schedules import (
    Constant,
    Cosine,
    InverseTime,
    OneCycle,
    Progress,
    ReduceOnPlateau,
    Schedule,
    Step,
    Warmup,
)

LR = 0.3
STEPS_PER_EPOCH = 7

MakeScheduler = Callable[[torch.optim.Optimizer], Any]  # returns PyTorch's scheduler

CHAINED = "ChainedScheduler"


def _warm_cosine(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    warm = lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=15)
    return lr_scheduler.SequentialLR(o, [warm, lr_scheduler.CosineAnnealingLR(o, T_max=N_STEPS - 15)], milestones=[15])


def _warm_steps(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    warm = lr_scheduler.LinearLR(o, start_factor=0.01, total_iters=5)
    return lr_scheduler.SequentialLR(o, [warm, lr_scheduler.StepLR(o, 20, 0.5)], milestones=[5])


SCHEDULE_PAIRS: list[tuple[str, Schedule, MakeScheduler]] = [
    ("ConstantLR", Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    ("StepLR", Step(0.5, every=13, unit="steps"), lambda o: lr_scheduler.StepLR(o, 13, 0.5)),
    ("StepLR", Step(0.1, every=2), lambda o: lr_scheduler.StepLR(o, 2 * STEPS_PER_EPOCH, 0.1)),
    ("StepLR", Step(0.3, every=0.25, unit="run"), lambda o: lr_scheduler.StepLR(o, N_STEPS // 4, 0.3)),
    ("MultiStepLR", Step(0.1, at_times=(0.5, 0.75), unit="run"), lambda o: lr_scheduler.MultiStepLR(o, [50, 75], 0.1)),
    (
        "MultiStepLR",
        Step(0.2, at_times=(3, 10, 11)),
        lambda o: lr_scheduler.MultiStepLR(o, [3 * STEPS_PER_EPOCH, 10 * STEPS_PER_EPOCH, 11 * STEPS_PER_EPOCH], 0.2),
    ),
    ("MultiStepLR", Step(0.5, at_times=(4, 4, 9), unit="steps"), lambda o: lr_scheduler.MultiStepLR(o, [4, 4, 9], 0.5)),
    ("ExponentialLR", Step(0.97, every=1, unit="steps"), lambda o: lr_scheduler.ExponentialLR(o, 0.97)),
    ("LinearLR", Warmup(15, start=0.25), lambda o: lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=15)),
    (
        "LinearLR",
        Warmup(N_STEPS, start=0.01),
        lambda o: lr_scheduler.LinearLR(o, start_factor=0.01, total_iters=N_STEPS),
    ),
    ("SequentialLR", Warmup(15, Cosine(), start=0.2), _warm_cosine),
    ("SequentialLR", Warmup(5, Step(0.5, every=20, unit="steps")), _warm_steps),
    ("CosineAnnealingLR", Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=N_STEPS)),
    ("CosineAnnealingLR", Cosine(minimum=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, N_STEPS, eta_min=0.1 * LR)),
    ("OneCycleLR", OneCycle(), lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, total_steps=N_STEPS)),
    (
        "OneCycleLR",
        OneCycle(pct_start=0.1, div_factor=10.0, final_div_factor=100.0),
        lambda o: lr_scheduler.OneCycleLR(o, LR, N_STEPS, pct_start=0.1, div_factor=10.0, final_div_factor=100.0),
    ),
    (
        "LambdaLR",
        InverseTime(t0=5, t1=20, unit="steps"),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: 5 / (step + 20)),
    ),
    (
        "LambdaLR",
        InverseTime(t0=5, t1=5),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: 5 / (step / STEPS_PER_EPOCH + 5)),
    ),
    ("ReduceLROnPlateau", ReduceOnPlateau(patience=2), lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=2, eps=0)),
    (
        "ReduceLROnPlateau",
        ReduceOnPlateau(drop=0.5, patience=0, minimum=0.1),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0, min_lr=0.1 * LR, eps=0),
    ),
    (
        "ReduceLROnPlateau",
        ReduceOnPlateau(drop=0.7, patience=3, threshold=0.02, cooldown=4),
        lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.7, patience=3, threshold=0.02, cooldown=4, eps=0),
    ),
]

# Our class that is equivalent to a PyTorch scheduler; for all others the subject is Schedule.
SUBJECTS: dict[str, type[Schedule]] = {
    "ConstantLR": Constant,
    "StepLR": Step,
    "MultiStepLR": Step,
    "ExponentialLR": Step,
    "LinearLR": Warmup,
    "SequentialLR": Warmup,
    "CosineAnnealingLR": Cosine,
    "OneCycleLR": OneCycle,
    "LambdaLR": InverseTime,
    "ReduceLROnPlateau": ReduceOnPlateau,
}


def cases() -> Iterator[Case]:
    """Yield a case for every pair of schedules, grouped by PyTorch's names."""
    checks = [
        (name, repr(schedule), partial(compare, schedule, make_scheduler))
        for name, schedule, make_scheduler in SCHEDULE_PAIRS
    ]
    checks += [(name, f"OptimizerInfo {text}", check) for name, text, check in _tested_with_optimizers()]
    for name in (*SUBJECTS, *sorted({name for name, _, _ in checks} - SUBJECTS.keys())):
        for title, check in ((title, check) for suite, title, check in checks if suite == name):
            subject = SUBJECTS.get(name, Schedule)
            yield Case(f"torch.optim.lr_scheduler {name}", torch_version(), title, subject, check, TOLERANCE)


def compare(schedule: Schedule, make_scheduler: MakeScheduler) -> float:
    """Return the worst relative error of N_STEPS learning rates; errors are divided by at least FLOOR * LR.

    Raises Mismatch for a learning rate that is not finite.
    """
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    scheduler = make_scheduler(optimizer)
    memory, max_error = schedule.begin(), 0.0
    for step in range(N_STEPS):
        expected = optimizer.param_groups[0]["lr"]
        rate = LR * schedule.factor(Progress(step, N_STEPS, STEPS_PER_EPOCH), memory)
        if not math.isfinite(rate):
            raise Mismatch(f"the learning rate is {rate} after {step} steps")
        max_error = max(max_error, abs(rate - expected) / max(expected, FLOOR * LR))
        optimizer.step()
        if step < N_STEPS - 1:
            memory = schedule.observe(memory, _validation_loss(step))
            scheduler.step(
                *((_validation_loss(step),) if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else ())
            )
    return max_error


def to_pellucid(scheduler: Any) -> Schedule:
    """Return our schedule for a scheduler of PyTorch; raise SkipCase if we have none."""
    match scheduler:
        case lr_scheduler.StepLR():
            return Step(scheduler.gamma, every=scheduler.step_size, unit="steps")
        case lr_scheduler.ExponentialLR():
            return Step(scheduler.gamma, every=1, unit="steps")
        case lr_scheduler.LinearLR():
            if scheduler.end_factor != 1:
                raise SkipCase("option end_factor")
            return Warmup(scheduler.total_iters, start=scheduler.start_factor)
        case lr_scheduler.ConstantLR():
            if scheduler.factor != 1:
                raise SkipCase("option factor")
            return Constant()
        case lr_scheduler.ReduceLROnPlateau():
            if (scheduler.mode, scheduler.threshold_mode) != ("min", "rel"):
                raise SkipCase("option mode")
            minimum = scheduler.min_lrs[0] / LR
            return ReduceOnPlateau(
                scheduler.factor, scheduler.patience, scheduler.threshold, scheduler.cooldown, minimum
            )
        case _:
            raise SkipCase(type(scheduler).__name__)


def _tested_with_optimizers() -> Iterator[tuple[str, str, Callable[[], float]]]:
    """Yield (PyTorch's name, description, check) of each different scheduler in PyTorch's optimizer tests."""
    from torch.testing._internal.common_optimizers import optim_db

    seen: set[str] = set()
    for info in optim_db:
        for makers in info.scheduler_inputs:
            schedulers = [make(torch.optim.SGD([torch.zeros(1)], lr=LR)) for make in makers]
            description = " + ".join(map(_describe, schedulers))
            if description not in seen:
                seen.add(description)
                if len(makers) > 1:
                    yield CHAINED, description, _skip_chain
                else:
                    yield type(schedulers[0]).__name__, description, partial(_compare_made, makers[0])


def _compare_made(make_scheduler: MakeScheduler) -> float:
    return compare(to_pellucid(make_scheduler(torch.optim.SGD([torch.zeros(1)], lr=LR))), make_scheduler)


def _skip_chain() -> float:
    raise SkipCase("several schedulers that multiply")


def _describe(scheduler: Any) -> str:
    option_names = inspect.signature(type(scheduler)).parameters.keys() - {"optimizer", "last_epoch"}
    values = ", ".join(f"{name}={vars(scheduler)[name]}" for name in sorted(option_names & vars(scheduler).keys()))
    return f"{type(scheduler).__name__}({values})"


def _validation_loss(epoch: int) -> float:
    """Return a noisy validation loss that falls every 8 epochs, and is NaN at epoch 60."""
    return math.nan if epoch == 60 else 1 / (1 + epoch // 8) + 0.02 * random.Random(epoch).random()
