"""Every optimizer of torch.optim that we have too: on the options that PyTorch tests it with, and on a grid of ours."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from conformance.case import Case, SkipCase, torch_version
from conformance.optimizers.walks import TOLERANCE, TREES, Walker, walk
from pellucid.optim import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Constant, InverseTime

Options = Mapping[str, Any]  # as torch.optim takes them

# How PyTorch computes, not what.
IMPLEMENTATION = ("params", "foreach", "fused", "capturable", "differentiable")

# Beside the options that PyTorch's own tests set.
GRID: dict[str, list[Options]] = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 1.0},
        {"lr": 1e-4, "weight_decay": 0.01},
        *({"lr": lr, "momentum": m} for lr in (0.01, 0.1) for m in (0.5, 0.9, 0.99)),
        {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.3},
        *({"lr": lr, "momentum": m, "nesterov": True} for lr in (0.01, 0.1) for m in (0.5, 0.9, 0.99)),
        {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.3},
    ],
    "Adagrad": [
        {"lr": 0.5},
        {"lr": 0.1, "eps": 0.01},
        {"lr": 0.1, "eps": 1e-7, "weight_decay": 0.01},
        {"lr": 0.1, "initial_accumulator_value": 1.0},
        {"lr": 0.3, "lr_decay": 0.01},
    ],
    "RMSprop": [
        {"lr": 0.1},
        {"alpha": 0.9, "eps": 1e-3},
        {"alpha": 0.0},
        {"momentum": 0.9},
        {"alpha": 0.9, "momentum": 0.5, "weight_decay": 0.01},
        {"centered": True},
        {"centered": True, "alpha": 0.9, "eps": 1e-4},
    ],
    "Adam": [
        {"lr": 0.1},
        {"betas": (0.5, 0.9), "eps": 1e-4},
        {"betas": (0.0, 0.99)},
        {"betas": (0.9, 0.0)},
        {"betas": (0.9, 0.9999), "eps": 1e-12, "weight_decay": 0.01},
        {"lr": 0.02, "betas": (0.9, 0.9), "amsgrad": True},
    ],
    "AdamW": [
        {"lr": 0.1, "weight_decay": 0.0},
        {"lr": 0.02, "weight_decay": 0.3},
        {"betas": (0.5, 0.9), "eps": 1e-4},
        {"betas": (0.0, 0.99), "weight_decay": 1.0},
        {"lr": 0.02, "betas": (0.9, 0.9), "amsgrad": True},
    ],
}


def cases() -> Iterator[Case]:
    """Yield every set of options on every tree of parameters, and once with a rate that changes in each step."""
    for subject, kind, name, options in sorted(_settings(), key=lambda setting: _ORDER.index(setting[0])):
        suite = f"torch.optim {kind.__name__}"
        for tree in TREES:
            check = partial(_check, kind, options, tree)
            yield Case(suite, torch_version(), f"{name}, {tree}", subject, check, TOLERANCE)
        check = partial(_check, kind, options, "conv", _rising)
        yield Case(suite, torch_version(), f"{name}, changing rate", subject, check, TOLERANCE)


def adopt(kind: type[torch.optim.Optimizer], options: Options) -> Walker:
    """Return our optimizer, with what stands beside it, for options of a PyTorch optimizer; defaults are PyTorch's.

    Raises SkipCase for options that we do not have.
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    given = {**defaults, **options}
    adopter = ADOPTERS[kind.__name__]
    for name, value in options.items():
        if name not in (*adopter.reads, *IMPLEMENTATION) and value != defaults[name]:
            raise SkipCase(f"option {name}")
    return adopter.build(given, float(given["lr"]))


def subject_of(kind: type[torch.optim.Optimizer], options: Options) -> type[Optimizer]:
    """Return our class that has the part of a PyTorch optimizer with these options."""
    if kind is torch.optim.SGD:
        return Nesterov if options.get("nesterov") else Momentum if options.get("momentum") else SGD
    return {"Adagrad": Adagrad, "RMSprop": RMSprop, "Adam": Adam, "AdamW": AdamW}[kind.__name__]


_ORDER = (SGD, Momentum, Nesterov, Adagrad, RMSprop, Adam, AdamW)


def _settings() -> Iterator[tuple[type[Optimizer], type[torch.optim.Optimizer], str, Options]]:
    from torch.testing._internal.common_optimizers import optim_db

    for info in optim_db:
        kind: Any = info.optim_cls  # a class, though annotated as an object
        if kind.__name__ in ADOPTERS:
            for given in info.optim_inputs_func(device="cpu"):
                yield subject_of(kind, given.kwargs), kind, f"OptimizerInfo {given.desc}", given.kwargs
    for name, grid in GRID.items():
        kind = getattr(torch.optim, name)
        for options in grid:
            yield subject_of(kind, options), kind, " ".join(f"{key} {value}" for key, value in options.items()), options


def _check(
    kind: type[torch.optim.Optimizer], options: Options, tree: str, rates: Callable[[int], float] | None = None
) -> float:
    return walk(adopt(kind, options), lambda params: kind(params, **options), tree, rates)


def _rising(step: int) -> float:
    return 1.5 + math.sin(step)


def _sgd(given: Options, lr: float) -> Walker:
    if given["momentum"] == 0:
        return Walker(SGD(lr), L2(given["weight_decay"]))
    kind = Nesterov if given["nesterov"] else Momentum
    return Walker(kind(lr, given["momentum"]), L2(given["weight_decay"]))


def _adagrad(given: Options, lr: float) -> Walker:
    decay = given["lr_decay"]
    schedule = Constant() if decay == 0 else InverseTime(1 / decay, 1 / decay, "steps")
    optimizer = Adagrad(lr, given["eps"], given["initial_accumulator_value"])
    return Walker(optimizer, L2(given["weight_decay"]), schedule)


def _rmsprop(given: Options, lr: float) -> Walker:
    optimizer = RMSprop(lr, given["alpha"], given["eps"], given["momentum"], given["centered"])
    return Walker(optimizer, L2(given["weight_decay"]))


def _adam(given: Options, lr: float) -> Walker:
    beta1, beta2 = given["betas"]
    return Walker(Adam(lr, beta1, beta2, given["eps"], given["amsgrad"]), L2(given["weight_decay"]))


def _adamw(given: Options, lr: float) -> Walker:
    beta1, beta2 = given["betas"]
    return Walker(AdamW(lr, beta1, beta2, given["eps"], given["weight_decay"], given["amsgrad"]))


class Adopter(NamedTuple):
    """What makes ours from all options and the rate of an optimizer of PyTorch, and the options that it reads."""

    build: Callable[[Options, float], Walker]
    reads: tuple[str, ...]


ADOPTERS: dict[str, Adopter] = {
    "SGD": Adopter(_sgd, ("lr", "momentum", "nesterov", "weight_decay")),
    "Adagrad": Adopter(_adagrad, ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")),
    "RMSprop": Adopter(_rmsprop, ("lr", "alpha", "eps", "weight_decay", "momentum", "centered")),
    "Adam": Adopter(_adam, ("lr", "betas", "eps", "weight_decay", "amsgrad")),
    "AdamW": Adopter(_adamw, ("lr", "betas", "eps", "weight_decay", "amsgrad")),
}
