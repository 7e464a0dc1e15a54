"""Tasks, such as classification and detection: their interface, its arguments and results, and the registered tasks."""

from pellucid.task.base import Task
from pellucid.task.registered import commands, register_command, register_task, task_for, task_of, tasks
from pellucid.task.values import (
    Baseline,
    Command,
    DataTrait,
    Evaluation,
    Example,
    Explained,
    HeldOutScores,
    Merit,
    Option,
    OwnRecipe,
    Reported,
    Request,
    TargetChange,
    Traced,
)

__all__ = [
    "Baseline",
    "Command",
    "DataTrait",
    "Evaluation",
    "Example",
    "Explained",
    "HeldOutScores",
    "Merit",
    "Option",
    "OwnRecipe",
    "Reported",
    "Request",
    "TargetChange",
    "Task",
    "Traced",
    "commands",
    "register_command",
    "register_task",
    "task_for",
    "task_of",
    "tasks",
]
