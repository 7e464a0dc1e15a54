"""Registration of user-defined parts, in a program or by a plugin."""

from pathlib import Path
from typing import Any, TypeVar

from pellucid import registry, shipped_files
from pellucid.task import Command, Task, register_command, register_task
from pellucid.training.user_defined import in_files

T = TypeVar("T")


def register(part: T, *more: Any) -> T:
    """Register user-defined parts: `pellucid.register(Scale, Focal)`, or `@pellucid.register` before a class.

    Layers, combinators, losses, objectives, metrics, and functions that are metrics are then saved and loaded like
    Pellucid's own. Optimizers, schedules, regularizers and callbacks are not part of a weights file, since they are
    passed to each training: registering one of these only checks it. A subclass of pellucid.task.Task becomes a task of
    all commands, a pellucid.task.Command a command of its own, and a Path to a folder makes the recipes in it known by
    name. Returns the first part.
    Raises PellucidError for anything else, for a name that another part has, and for a class whose constructor has an
    argument that is not a field, because it could not be rebuilt from a file.
    """
    of_files: list[Any] = []
    for one in (part, *more):
        if isinstance(one, type) and issubclass(one, Task):
            register_task(one())
        elif isinstance(one, Command):
            register_command(one)
        elif isinstance(one, Path):
            shipped_files.add_recipes(one)
        else:
            of_files.append(one)
    registry.register(*in_files(of_files))
    return part
