"""The registered tasks and commands, of the library and of plugins."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.plugins import load_plugins, missing_text
from pellucid.task.base import Task
from pellucid.task.values import Command

BUILT_IN_TASKS = "pellucid.tasks"  # registers the tasks of the library when it is imported
_TASKS: dict[str, Task] = {}
_COMMANDS: dict[str, Command] = {}  # commands of plugins that belong to no task


def register_task(task: Task) -> None:
    """Register a task; a model that matches several tasks is assigned to the one that was registered last.

    A class that is defined again, as when a notebook's cell runs twice, replaces its earlier definition. Raises
    PellucidError if another task has its name, one of its commands, or one of its options.
    """
    module, name = type(task).__module__, type(task).__qualname__
    for existing in _TASKS.values():
        if (type(existing).__module__, type(existing).__qualname__) == (module, name):
            continue
        if existing.name == task.name:
            raise PellucidError(f"a task {task.name!r} is registered already; give {type(task).__name__} another name")
        shared_names = {command.name for command in existing.commands} & {command.name for command in task.commands}
        if shared_names:
            raise PellucidError(
                f"{task.name}: the task {existing.name!r} has the command {shared_names.pop()!r}; rename it"
            )
        for command, options in task.options.items():
            shared_names = {option.name for option in existing.options.get(command, ())} & {
                option.name for option in options
            }
            if shared_names:
                raise PellucidError(
                    f"{task.name}: the task {existing.name!r} has the option {shared_names.pop()!r}; rename it"
                )
    _TASKS[task.name] = task


def register_command(command: Command) -> None:
    """Register a command of no particular task; raises PellucidError if another command has its name."""
    other = {existing.name: existing for existing in commands()}.get(command.name, command)
    if other.module != command.module:
        raise PellucidError(f"a command {command.name!r} is registered already; rename that of {command.module}")
    _COMMANDS[command.name] = command


def tasks() -> tuple[Task, ...]:
    """Return the registered tasks, the last registered first: a model is assigned to the first that it matches."""
    if find_spec(BUILT_IN_TASKS) is not None:
        import_module(BUILT_IN_TASKS)
    load_plugins()
    return tuple(reversed(_TASKS.values()))


def commands() -> tuple[Command, ...]:
    """Return the commands of all tasks, in the order of their registration, then the commands of no task."""
    task_commands = [command for task in reversed(tasks()) for command in task.commands]
    return *task_commands, *_COMMANDS.values()


def task_for(objective: Any) -> Task:
    """Return the first task whose models this objective trains; classification, the last, accepts any objective."""
    return _first([task for task in tasks() if task.trains(objective)])


def task_of(model: Any) -> Task:
    """Return the first task that a model matches; classification, the last, matches any model."""
    return _first([task for task in tasks() if task.matches(model)])


def _first(matching_tasks: list[Task]) -> Task:
    if not matching_tasks:
        raise PellucidError(missing_text(BUILT_IN_TASKS))
    return matching_tasks[0]
