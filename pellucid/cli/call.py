"""Command lines for hints that users copy."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAME = "pellucid"


def again(words: Sequence[str], options: Mapping[str, Any], settings: Sequence[str]) -> str:
    """Return the command line that repeats this call; options that are None or "" were not given."""
    named = [word for name, value in options.items() if value not in (None, "") for word in (name, str(value))]
    return shlex.join([NAME, *words, *named, *settings])


def command() -> str:
    """Return what starts pellucid here: its name where the shell finds it, else its path, or `python -m pellucid`."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0])} -m {NAME}"
    if script.stem != NAME:  # called from other code
        return NAME
    found = shutil.which(NAME)
    same = found is not None and Path(found).resolve() == script.resolve()
    return NAME if same else shlex.quote(sys.argv[0])
