"""Trainings as people post them, each in a file of its own; see posts/README.md."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.cli.main import main as run_command

Ask = Callable[[], dict[str, Any]]


def train(path: Path, seed: int, mistake: bool) -> Ask:
    """Train as the file says, and return the function that asks the doctor for its diagnosis as JSON values."""
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), namespace)
    if "make" in namespace:
        return train_recipe(namespace["make"], seed, mistake)
    parts = namespace["training"](seed, mistake)
    options = {key: parts[key] for key in ("loss", "optimizer", "scheduler", "train", "validation")}
    training = pellucid.from_torch(parts["network"], **options)
    training.fit(parts["epochs"], verbose=False)
    return lambda: training.doctor().to_json()


def train_recipe(make: Callable[[Path, int, bool], list[str]], seed: int, mistake: bool) -> Ask:
    """Train on a data set by the command line; the diagnosis has what the training printed as "printed"."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        status, printed, errors = command("train", *make(folder, seed, mistake), "--out", f"{folder}/runs")
        if status:
            raise PellucidError(last_line(errors))
        until_answered = stack.pop_all()

    def ask() -> dict[str, Any]:
        with until_answered:
            run = next((folder / "runs").iterdir())
            _, answer, trouble = command("doctor", str(run), "--json")
        if not answer:
            raise PellucidError(last_line(trouble))
        return {**json.loads(answer), "printed": printed + errors}

    return ask


def command(*arguments: str) -> tuple[int, str, str]:
    """Return the exit status of a command of Pellucid, and what it has printed on stdout and stderr."""
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        status = run_command(arguments)
    return status, printed.getvalue(), errors.getvalue()


def last_line(text: str) -> str:
    """Return the last line of a text."""
    return text.strip().rpartition("\n")[2]
