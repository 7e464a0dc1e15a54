"""Print the results of finished runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.command.out import emit, say
from pellucid.text import percent, plural

if TYPE_CHECKING:
    from pellucid.recipe.job import Run


def show(runs: Sequence["Run"], as_json: bool) -> None:
    """Print the results of the runs.

    As JSON, they are one object: the results of the first run, and those of the second, if the recipe compares two, as
    the value of the key "then".
    """
    if as_json:
        first, *rest = [as_object(run) for run in runs]
        emit({**first, "then": rest[0]} if rest else first)
        return
    for run in runs:
        found = run.metrics
        accuracy = f"accuracy {percent(found['accuracy'])}, " if "accuracy" in found else ""
        say(f"{run.recipe.name}: {accuracy}loss {found['loss']:.4f} on {found['n']:,} test examples")
        say(f"  {plural(found['epochs'], 'epoch')} in {found['seconds']:.1f} s ({found['weights']} weights)")
        say(f"  run     {run.path}")
        say(f"  report  {run.report}")


def as_object(run: "Run") -> dict[str, Any]:
    """Return the recipe's name, the paths and the test results of a run as one dict."""
    return {"recipe": run.recipe.name, "run": str(run.path), "report": str(run.report), **run.metrics}
