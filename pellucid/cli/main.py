"""The entry point: find the command, run it, and report every failure as one line and an exit code."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from pellucid.base.errors import PellucidError, is_out_of_memory, nearest
from pellucid.base.plugins import missing_text, run_file
from pellucid.base.text import note
from pellucid.cli import INTERRUPTED
from pellucid.command.out import print_lines, print_text, silence_stdout
from pellucid.task import Command
from pellucid.task import commands as task_commands

# The commands that do not belong to one task. Each is a module with parser() and, unless the command has actions,
# handle(args) -> exit code: pellucid.cli.NAME, or for what is plugged into the library one of PLUGGED_IN.
GENERAL_COMMANDS = {
    "demo": "train, explain, detect and colour with what is bundled, on one page",
    "train": "train with a recipe, or on your own data: pellucid train RECIPE|TASK DATA [key=value ...]",
    "find-lr": "find a good learning rate for a recipe by a short training",
    "sweep": "train a recipe with many settings, as a grid or a search, and compare them on one page",
    "compare-runs": "compare two or more runs on one page",
    "evaluate": "evaluate a trained model on a data set",
    "predict": "classify images, or predict what else a model predicts",
    "serve": "serve a model on this machine: a page, and predictions as JSON",
    "studio": "draw a digit in the browser, and see a network compute, explain itself and learn",
    "trace": "show one forward and backward pass, and explain a derivative by the chain rule",
    "explain": "show which parts of an image determine a prediction or a unit",
    "doctor": "diagnose a model, its data and its training",
    "summary": "show the layers, shapes and sizes of a model, recipe or network",
    "verify": "compare every gradient with independent derivatives",
    "scorecard": "run test suites of other projects against the library",
    "data": "list, download and check data sets; show, check and convert annotations",
    "samples": "write sample pictures, and small annotated folders to train on",
    "open": "open an ONNX file or a .pt2 file of PyTorch, and save it as a model for all commands",
    "export": "write a model as an ONNX file or a PyTorch module, checked against it",
    "weights": "list, download and inspect files of pretrained weights",
    "lesson": "run a lesson: numbers, figures, and a notebook",
    "calc": "calculate output sizes, counts, receptive fields, IoU and average precision",
    "recipes": "list the recipes, print one, or explain their keys",
    "completion": "complete commands, options, recipes and models in bash, zsh or fish",
}
# The commands of folders without which the others work. A table, and no registration by an import: the help must not
# wait for PyTorch, which the doctor imports.
PLUGGED_IN = {
    "sweep": "pellucid.tuning.command",
    "serve": "pellucid.studio.serve.command",
    "studio": "pellucid.studio.command",
}
REMOVABLE = ("doctor", "estimators", "lessons", "studio", "tasks", "tuning")  # folders that may be left out

SUCCESS, INTERNAL_ERROR, USER_ERROR = 0, 1, 2  # exit codes


def run_command() -> int:
    """Run the command line of this process, and return its exit code."""
    if "--debug" not in sys.argv:
        import warnings

        warnings.simplefilter("ignore")  # warnings of libraries do not help users of the command line
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may contain any character
    exit_code = main(sys.argv[1:])
    try:
        if sys.stdout is not None:  # None if stdout was closed before the program started
            sys.stdout.flush()
    except OSError:
        silence_stdout()
    return exit_code


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; a failure prints one line on stderr."""
    words, is_debug = _remove_debug(list(argv))
    try:
        command = _parse_command(_run_custom_files(words))
        return SUCCESS if command is None else command()
    except BrokenPipeError:  # the program that reads stdout has closed the pipe
        silence_stdout()
        return SUCCESS
    except (Exception, KeyboardInterrupt) as error:  # every failure becomes one line
        # CPython notes whether KeyboardInterrupt ended the last code that was run from a string, such as that of
        # dataclass() (`unhandled_keyboard_interrupt` in Python/pythonrun.c). If so, the process ends by SIGINT and not
        # with its exit code, even if the exception was caught. Code that ends without it clears the note.
        exec("")
        message, exit_code = _message_and_code(error, is_debug)
        return _report_failure(message, exit_code, is_debug)


USAGE = """\
usage: pellucid COMMAND ...

Neural networks for vision that you can see through.

{general}

commands of one kind of model:

{tasks}

pellucid COMMAND --help explains one command; --version prints the version;
--custom FILE.py runs a file of yours first, which registers your own layers, losses and metrics;
--debug shows where an error came from. Start with: pellucid demo"""


def usage() -> str:
    """Return the text of `pellucid --help`."""
    commands_by_name = commands()
    width = max(map(len, commands_by_name))
    rows = {name: f"  {name:<{width}}  {command.about}" for name, command in commands_by_name.items()}
    general_rows, task_rows = (
        "\n".join(row for name, row in rows.items() if (name in GENERAL_COMMANDS) is is_general)
        for is_general in (True, False)
    )
    return USAGE.format(general=general_rows, tasks=task_rows)


def commands() -> dict[str, Command]:
    """Return all commands by name; raise PellucidError if a plugin's command has the name of a general command."""
    general_commands = {
        name: Command(name, about, PLUGGED_IN.get(name, f"pellucid.cli.{name.replace('-', '_')}"))
        for name, about in GENERAL_COMMANDS.items()
    }
    commands_of_tasks = {command.name: command for command in task_commands()}
    conflict = next((command for name, command in commands_of_tasks.items() if name in general_commands), None)
    if conflict is not None:
        raise PellucidError(f"pellucid has a command {conflict.name!r} already; rename that of {conflict.module}")
    return commands_of_tasks | general_commands


def _parse_command(words: list[str]) -> Callable[[], int] | None:
    """Return a function that runs the command with its arguments; for help and the version, print them, return None."""
    if not words or words[0] in ("--help", "-h", "help"):
        print_text(usage())
        return None
    name, arguments = words[0], words[1:]
    if name == "--version":
        from pellucid.base.version import __version__

        print_lines(f"pellucid {__version__}")
        return None
    known_commands = commands()
    if name not in known_commands:
        noun = "option" if name.startswith("-") else "command"
        known_words = ["--help", "--version", "--debug", "--custom"] if name.startswith("-") else list(known_commands)
        hint = nearest(name, known_words) or f"; known: {', '.join(known_words)}"
        raise PellucidError(f"no {noun} {name!r}{hint}")
    try:
        os.getcwd()
    except OSError as error:
        raise PellucidError("the current folder no longer exists; change to one that does, and try again") from error
    command = import_module(known_commands[name].module)
    args = command.parser().read(arguments)
    if args is None:
        return None
    run = partial(args.handle if "handle" in args else command.handle, args)
    return partial(_run_skipping, run) if "skip" in args and args.skip else run


def _run_skipping(run: Callable[[], int]) -> int:
    """Run a command that leaves out images that are missing or cannot be read."""
    from pellucid.data.skipping import skipping

    with skipping():
        return run()


def _remove_debug(words: list[str]) -> tuple[list[str], bool]:
    """Return the words without `--debug`, which may be anywhere before `--`, and whether it was given."""
    options_end = words.index("--") if "--" in words else len(words)
    options = [word for word in words[:options_end] if word != "--debug"]
    return options + words[options_end:], len(options) != options_end


def _run_custom_files(words: list[str]) -> list[str]:
    """Run the file of each option `--custom FILE.py`, and return the other words.

    Models with parts that FILE.py registers can then be loaded. Only the user names code to run; a weights file never
    does. Raises PellucidError for a file that is not FILE.py.
    """
    options_end = words.index("--") if "--" in words else len(words)
    other_words: list[str] = []
    options = iter(words[:options_end])
    for word in options:
        name, equals_sign, file = word.partition("=")
        if name != "--custom":
            other_words.append(word)
            continue
        file = file if equals_sign else next(options, "")
        if not file.endswith(".py"):
            raise PellucidError(f"--custom takes a file of Python code, FILE.py, not {file!r}")
        run_file(Path(file))
    return other_words + words[options_end:]


def _message_and_code(error: BaseException, is_debug: bool) -> tuple[str, int]:
    """Return the message and the exit code for an error."""
    if isinstance(error, PellucidError):
        return str(error), USER_ERROR
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "stopped by Ctrl-C", INTERRUPTED
    if isinstance(error, ImportError) and (message_and_code := _import_message(error)):
        return message_and_code
    if is_out_of_memory(error):
        return "not enough memory; make the network or the images smaller", USER_ERROR
    if isinstance(error, OSError):
        return _os_error_message(error), USER_ERROR
    hint = "" if is_debug else "; this is a fault in pellucid: run again with --debug to see where"
    return f"{type(error).__name__}: {error}{hint}", INTERNAL_ERROR


def _import_message(error: ImportError) -> tuple[str, int] | None:
    """Return the message and the exit code for an import that Ctrl-C ended, or that an installation lacks."""
    if _is_interrupted(error):
        return "stopped by Ctrl-C", INTERRUPTED
    package, _, module = (error.name or "").partition(".")
    if isinstance(error, ModuleNotFoundError) and package == "pellucid" and module.partition(".")[0] in REMOVABLE:
        return missing_text(f"{error.name}"), USER_ERROR
    return None


def _report_failure(message: str, exit_code: int, is_debug: bool) -> int:
    if is_debug:
        import traceback

        traceback.print_exc()
    note(" ".join(message.split()))
    return exit_code


def _os_error_message(error: OSError) -> str:
    path_text = f"{os.fspath(error.filename)!r}: " if isinstance(error.filename, (str, os.PathLike)) else ""
    if isinstance(error, FileExistsError) and path_text:
        return f"{path_text}is already a file; choose another path, or remove it"
    reason = error.strerror or str(error) or type(error).__name__
    return (
        f"{path_text}{reason[:1].lower()}{reason[1:]}; check the path, its permissions and the free space of the disk"
    )


def _is_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C caused an error: an interrupted import raises another error than KeyboardInterrupt."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
