"""Print the results of finished runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.command.out import emit, say
from pellucid.task import task_of
from pellucid.text import plural

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
        metrics = run.metrics
        merits = [merit for merit in task_of(run.model).merits if metrics.get(merit.name) is not None]
        figures = "".join(f"{merit.label} {merit.text(metrics[merit.name])}, " for merit in merits)
        say(f"{run.recipe.name}: {figures}loss {metrics['loss']:.4f} on {metrics['n']:,} test examples")
        say(f"  {plural(metrics['epochs'], 'epoch')} in {metrics['seconds']:.1f} s ({metrics['weights']} weights)")
        say(f"  run     {run.path}")
        say(f"  report  {run.report}")


def as_object(run: "Run") -> dict[str, Any]:
    """Return the recipe's name, the paths and the test results of a run as one dict."""
    return {"recipe": run.recipe.name, "run": str(run.path), "report": str(run.report), **run.metrics}
