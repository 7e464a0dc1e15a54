"""Print the test results of finished runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pellucid.base.text import plural
from pellucid.command.out import print_json, print_lines
from pellucid.task import task_of

if TYPE_CHECKING:
    from pellucid.recipe.job import Run


def print_runs(runs: Sequence["Run"], as_json: bool) -> None:
    """Print the test results of finished runs as text or, if `as_json`, as one JSON object.

    The object has the results of the first run. If the recipe trains a second run, its results are the value of the key
    "then".
    """
    from pellucid.recipe.baseline import baseline_text

    if as_json:
        first_values, *other_values = [run_values(run) for run in runs]
        print_json({**first_values, "then": other_values[0]} if other_values else first_values)
        return
    for run in runs:
        metrics = run.metrics
        merits = [merit for merit in task_of(run.model).merits if metrics.get(merit.name) is not None]
        merits_text = "".join(f"{merit.label} {merit.text(metrics[merit.name])}, " for merit in merits)
        longest_side = run.model.preprocess.get("size")
        size_text = f" with a longest side of {longest_side} pixels" if isinstance(longest_side, int) else ""
        print_lines(
            f"{run.recipe.name}: {merits_text}loss {metrics['loss']:.4f} on {metrics['n']:,} test examples{size_text}"
        )
        if baseline := baseline_text(task_of(run.model).merits, metrics):
            print_lines(f"  baseline: {baseline}")
        print_lines(
            f"  {plural(metrics['epochs'], 'epoch')} in {metrics['seconds']:.1f} s ({metrics['weights']} weights)"
        )
        print_lines(f"  run     {run.path}")
        print_lines(f"  report  {run.report}")


def run_values(run: "Run") -> dict[str, Any]:
    """Return the recipe's name, the paths and the test results of a run as one dict."""
    return {"recipe": run.recipe.name, "run": str(run.path), "report": str(run.report), **run.metrics}
