"""Command options that only apply to the models of one task."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.command.args import Parser
from pellucid.command.files import check_output_path

if TYPE_CHECKING:
    from pellucid.task import Option, Task


def options_of(command: str) -> "list[tuple[Task, Option]]":
    """Return the options of all tasks for a command, in the order of their registration."""
    from pellucid.task import tasks

    return [(task, option) for task in reversed(tasks()) for option in task.options.get(command, ())]


def add_options(parser: Parser, command: str) -> None:
    """Add the options of all tasks for a command to its parser."""
    for task, option in options_of(command):
        help_text = f"for a {task.model}: {option.help}"
        if option.kind is bool:
            parser.add_argument(f"--{option.name}", action="store_true", default=None, help=help_text)
        else:
            value_type = str if option.kind is Path else option.kind
            parser.add_argument(f"--{option.name}", metavar=option.metavar, type=value_type, help=help_text)


def given_options(args: argparse.Namespace, command: str, task: "Task") -> dict[str, Any]:
    """Return the values of a task's options that were given, by name; raise PellucidError for other tasks' options."""
    values: dict[str, Any] = {}
    for option_task, option in options_of(command):
        value = getattr(args, option.name)
        if value is None:
            continue
        if option_task is not task:
            raise PellucidError(f"{args.model} is not a {option_task.model}; leave --{option.name} out")
        values[option.name] = check_output_path(value, f"--{option.name}") if option.kind is Path else value
    return values
