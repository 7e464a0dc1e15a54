"""Registration of user-defined parts, in a program or by a plugin."""

from pathlib import Path
from typing import Any, TypeVar

from pellucid import shipped_files
from pellucid.extend import registry
from pellucid.task import Command, Task, register_command, register_task
from pellucid.training.user_defined import parts_for_files

T = TypeVar("T")


def register(part: T, *more: Any) -> T:
    """Register user-defined parts: `pellucid.register(Scale, Focal)`, or `@pellucid.register` before a class.

    Layers, combinators, losses, objectives, metrics, and functions that are metrics are then saved and loaded like
    Pellucid's own. Optimizers, schedules, regularizers and callbacks are not part of a weights file, since they are
    passed to each training: registering one of these only checks it. A subclass of pellucid.task.Task becomes a task of
    all commands, and a pellucid.task.Command becomes a new command. For a Path to a folder, the recipes in it can then
    be used by name. Returns the first part.
    Raises PellucidError for anything else, for a name that another part has, and for a class whose constructor has an
    argument that is not a field, because it could not be rebuilt from a file.
    """
    file_parts: list[Any] = []
    for value in (part, *more):
        if isinstance(value, type) and issubclass(value, Task):
            register_task(value())
        elif isinstance(value, Command):
            register_command(value)
        elif isinstance(value, Path):
            shipped_files.add_recipes(value)
        else:
            file_parts.append(value)
    registry.register(*parts_for_files(file_parts))
    return part
