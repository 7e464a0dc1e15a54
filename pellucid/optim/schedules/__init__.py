"""Schedules: one per file, each a factor by step on the learning rate."""

from pellucid.optim.schedules.base import Memory, Plan, Progress, Schedule
from pellucid.optim.schedules.constant import Constant
from pellucid.optim.schedules.cosine import Cosine
from pellucid.optim.schedules.inverse_time import InverseTime
from pellucid.optim.schedules.one_cycle import OneCycle
from pellucid.optim.schedules.reduce_on_plateau import ReduceOnPlateau
from pellucid.optim.schedules.step import Step
from pellucid.optim.schedules.warmup import Warmup

SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "inverse_time": InverseTime,
    "step": Step,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "warmup": Warmup,
    "reduce_on_plateau": ReduceOnPlateau,
}

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "InverseTime",
    "Memory",
    "OneCycle",
    "Plan",
    "Progress",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "Warmup",
]
