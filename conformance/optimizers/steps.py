"""The optimizers of torch.optim that we also have, with PyTorch's test options and with a grid of options."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from conformance.case import Case, SkipCase, torch_version
from conformance.optimizers.walks import PARAM_SHAPES, TOLERANCE, TrainingUpdate, compare_updates
from pellucid.optim import SGD, Adagrad, Adam, AdamW, Momentum, Nesterov, Optimizer, RMSprop
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Constant, InverseTime

Options = Mapping[str, Any]  # arguments of a class of torch.optim

# Options that select an implementation, without effect on the result.
IMPLEMENTATION_OPTIONS = ("params", "foreach", "fused", "capturable", "differentiable")

# Options in addition to those of PyTorch's tests.
OPTION_GRID: dict[str, list[Options]] = {
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
    """Yield every set of options for all PARAM_SHAPES, and once with a learning rate that changes in each step."""
    for subject, kind, name, options in sorted(_option_sets(), key=lambda setting: _ORDER.index(setting[0])):
        suite = f"torch.optim {kind.__name__}"
        for tree in PARAM_SHAPES:
            check = partial(_check, kind, options, tree)
            yield Case(suite, torch_version(), f"{name}, {tree}", subject, check, TOLERANCE)
        check = partial(_check, kind, options, "conv", _varying_rate)
        yield Case(suite, torch_version(), f"{name}, changing rate", subject, check, TOLERANCE)


def to_pellucid(kind: type[torch.optim.Optimizer], options: Options) -> TrainingUpdate:
    """Return our optimizer, regularizer and schedule for the options of a PyTorch optimizer.

    Missing options have PyTorch's defaults. Raises SkipCase for options that we do not have.
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
    all_options = {**defaults, **options}
    converter = CONVERTERS[kind.__name__]
    for name, value in options.items():
        if name not in (*converter.reads, *IMPLEMENTATION_OPTIONS) and value != defaults[name]:
            raise SkipCase(f"option {name}")
    return converter.build(all_options, float(all_options["lr"]))


def subject_of(kind: type[torch.optim.Optimizer], options: Options) -> type[Optimizer]:
    """Return our class that is equivalent to a PyTorch optimizer with these options."""
    if kind is torch.optim.SGD:
        return Nesterov if options.get("nesterov") else Momentum if options.get("momentum") else SGD
    return {"Adagrad": Adagrad, "RMSprop": RMSprop, "Adam": Adam, "AdamW": AdamW}[kind.__name__]


_ORDER = (SGD, Momentum, Nesterov, Adagrad, RMSprop, Adam, AdamW)


def _option_sets() -> Iterator[tuple[type[Optimizer], type[torch.optim.Optimizer], str, Options]]:
    from torch.testing._internal.common_optimizers import optim_db

    for info in optim_db:
        kind: Any = info.optim_cls  # a class, though annotated as an object
        if kind.__name__ in CONVERTERS:
            for optimizer_input in info.optim_inputs_func(device="cpu"):
                yield (
                    subject_of(kind, optimizer_input.kwargs),
                    kind,
                    f"OptimizerInfo {optimizer_input.desc}",
                    optimizer_input.kwargs,
                )
    for name, grid in OPTION_GRID.items():
        kind = getattr(torch.optim, name)
        for options in grid:
            yield subject_of(kind, options), kind, " ".join(f"{key} {value}" for key, value in options.items()), options


def _check(
    kind: type[torch.optim.Optimizer], options: Options, tree: str, rates: Callable[[int], float] | None = None
) -> float:
    return compare_updates(to_pellucid(kind, options), lambda params: kind(params, **options), tree, rates)


def _varying_rate(step: int) -> float:
    return 1.5 + math.sin(step)


def _sgd(options: Options, lr: float) -> TrainingUpdate:
    if options["momentum"] == 0:
        return TrainingUpdate(SGD(lr), L2(options["weight_decay"]))
    kind = Nesterov if options["nesterov"] else Momentum
    return TrainingUpdate(kind(lr, options["momentum"]), L2(options["weight_decay"]))


def _adagrad(options: Options, lr: float) -> TrainingUpdate:
    decay = options["lr_decay"]
    schedule = Constant() if decay == 0 else InverseTime(1 / decay, 1 / decay, "steps")
    optimizer = Adagrad(lr, options["eps"], options["initial_accumulator_value"])
    return TrainingUpdate(optimizer, L2(options["weight_decay"]), schedule)


def _rmsprop(options: Options, lr: float) -> TrainingUpdate:
    optimizer = RMSprop(lr, options["alpha"], options["eps"], options["momentum"], options["centered"])
    return TrainingUpdate(optimizer, L2(options["weight_decay"]))


def _adam(options: Options, lr: float) -> TrainingUpdate:
    beta1, beta2 = options["betas"]
    return TrainingUpdate(Adam(lr, beta1, beta2, options["eps"], options["amsgrad"]), L2(options["weight_decay"]))


def _adamw(options: Options, lr: float) -> TrainingUpdate:
    beta1, beta2 = options["betas"]
    return TrainingUpdate(AdamW(lr, beta1, beta2, options["eps"], options["weight_decay"], options["amsgrad"]))


class Converter(NamedTuple):
    """`build` makes our update from the options and learning rate of PyTorch's; `reads` has the options it uses."""

    build: Callable[[Options, float], TrainingUpdate]
    reads: tuple[str, ...]


CONVERTERS: dict[str, Converter] = {
    "SGD": Converter(_sgd, ("lr", "momentum", "nesterov", "weight_decay")),
    "Adagrad": Converter(_adagrad, ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")),
    "RMSprop": Converter(_rmsprop, ("lr", "alpha", "eps", "weight_decay", "momentum", "centered")),
    "Adam": Converter(_adam, ("lr", "betas", "eps", "weight_decay", "amsgrad")),
    "AdamW": Converter(_adamw, ("lr", "betas", "eps", "weight_decay", "amsgrad")),
}
