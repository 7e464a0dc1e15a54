"""What `train` and `demo` print when they are done."""

from collections.abc import Sequence
from typing import Any

from pellucid.cli.out import emit, percent, say
from pellucid.recipe.job import Run
from pellucid.text import plural


def show(runs: Sequence[Run], as_json: bool) -> None:
    """Print the result of each run; as JSON one object, with the comparison run, if there is one, under "then"."""
    if as_json:
        first, *rest = [as_object(run) for run in runs]
        emit({**first, "then": rest[0]} if rest else first)
        return
    for run in runs:
        found = run.metrics
        accuracy = f"accuracy {percent(found['accuracy'])}, " if "accuracy" in found else ""
        say(f"{run.recipe.name}: {accuracy}loss {found['loss']:.4f} on {found['n']:,} held-out images")
        say(f"  {plural(found['epochs'], 'epoch')} in {found['seconds']:.1f} s ({found['weights']} weights)")
        say(f"  run     {run.path}")
        say(f"  report  {run.report}")


def as_object(run: Run) -> dict[str, Any]:
    """Return what is printed of a run as plain values."""
    return {"recipe": run.recipe.name, "run": str(run.path), "report": str(run.report), **run.metrics}
