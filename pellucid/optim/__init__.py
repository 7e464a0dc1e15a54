"""Optimizers, schedules and regularizers."""

from pellucid.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from pellucid.optim.base import Optimizer, State, clip_by_norm, clip_by_value, pack, unpack
from pellucid.optim.regularizers import REGULARIZERS, MaxNorm, Regularizer
from pellucid.optim.schedules import SCHEDULES, Progress, Schedule
from pellucid.optim.sgd import SGD, Momentum, Nesterov

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}

__all__ = [
    "OPTIMIZERS",
    "REGULARIZERS",
    "SCHEDULES",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "MaxNorm",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "Progress",
    "RMSprop",
    "Regularizer",
    "Schedule",
    "State",
    "clip_by_norm",
    "clip_by_value",
    "pack",
    "unpack",
]
