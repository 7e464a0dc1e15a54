"""The output of commands: one JSON object, or text with command lines to copy."""

import argparse
import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.base.text import note, printable

PROGRAM = "pellucid"  # the name of the program
# What computed the predictions: the value of the key "engine" of `--json`. Only `gestures predict` of frames chooses
# the faster engine, and may print "onnxruntime".
OWN_ENGINE = "pellucid"


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object in ASCII; NaN and infinity become null."""
    print_lines(json.dumps(to_json_types(value), allow_nan=False))


def print_result(args: argparse.Namespace, value: Mapping[str, Any], *lines: str) -> None:
    """Print `value` as one JSON object if `--json` is given, otherwise print the lines."""
    if args.json:
        print_json(value)
    else:
        print_lines(*lines)


def to_json_types(value: Any) -> Any:
    """Return `value` converted to JSON types; NaN and infinity become None, objects of other types their `str`."""
    if isinstance(value, Mapping):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_types(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def print_result_with_files(
    args: argparse.Namespace, value: Mapping[str, Any], lines: Sequence[str], folder: Path, files: Sequence[Path]
) -> None:
    """Print `value` with the model, the image and the files if `--json` is given, otherwise lines and file names."""
    print_result(
        args,
        {"model": args.model, "image": args.image, **value, "files": [str(file) for file in files]},
        *lines,
        "",
        f"wrote {len(files)} files into {folder}: {', '.join(file.name for file in files)}",
    )


def note_skipped(faults: Mapping[str, Any], is_silent: bool = False) -> list[dict[str, str]]:
    """Print on stderr why images were skipped, each different message once; return all names and reasons for JSON.

    is_silent: whether to print nothing.
    """
    for message in dict.fromkeys(map(str, faults.values())):
        if not is_silent:
            note(message)
    return [{"image": name, "reason": str(error)} for name, error in faults.items()]


def print_lines(*lines: str) -> None:
    """Print lines, if any, and flush; unprintable characters are escaped, since file names may contain them.

    If stdout is closed, no error is raised, so the exit code still reports the result.
    """
    if lines:
        _write("\n".join(map(printable, lines)))


def print_text(text: str) -> None:
    """Print a text that may have line breaks, such as a table; otherwise like `print_lines`."""
    _write(printable(text, keep="\n"))


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence_stdout()


def silence_stdout() -> None:
    """Redirect stdout to os.devnull, so the flush at the interpreter's exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def repeat_command(words: Sequence[str], options: Mapping[str, Any], settings: Sequence[str]) -> str:
    """Return the command line that repeats this call.

    words: the command and its positional arguments. options: the values of options by their names, such as "--out";
    None and "" are left out. settings: values of the recipe, such as "train.epochs=3".
    """
    option_words = [word for name, value in options.items() if value not in (None, "") for word in (name, str(value))]
    return shlex.join([PROGRAM, *words, *option_words, *settings])


def program_command() -> str:
    """Return the command that runs this program: its name if on PATH, otherwise its path or `python -m pellucid`."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0])} -m {PROGRAM}"
    if script.stem != PROGRAM:  # called from other code
        return PROGRAM
    program = shutil.which(PROGRAM)
    is_this_program = program is not None and Path(program).resolve() == script.resolve()
    return PROGRAM if is_this_program else shlex.quote(sys.argv[0])
