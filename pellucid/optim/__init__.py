"""Optimizers, schedules and regularizers: one per file."""

from pellucid.optim.adagrad import Adagrad
from pellucid.optim.adam import Adam
from pellucid.optim.adamw import AdamW
from pellucid.optim.base import Optimizer, State, pack, unpack
from pellucid.optim.clip import clip_by_norm, clip_by_value
from pellucid.optim.momentum import Momentum
from pellucid.optim.nesterov import Nesterov
from pellucid.optim.regularizers import REGULARIZERS, MaxNorm, Regularizer
from pellucid.optim.rmsprop import RMSprop
from pellucid.optim.schedules import SCHEDULES, Progress, Schedule
from pellucid.optim.sgd import SGD

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
