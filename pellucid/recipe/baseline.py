"""The metrics of a task's trivial model on the same images as those of a trained model."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.data import Batch, Source
from pellucid.data.stream import Stream
from pellucid.model import Model
from pellucid.objective import Objective, Supervised
from pellucid.task import Merit, task_of
from pellucid.training.measures import Measures
from pellucid.training.reading import read_batches

ADVICE = "run `pellucid doctor` on it"  # for a model that is not above its baseline, in a terminal
BATCH_SIZE = 16
FEATURE_SHARE = 5  # training steps compute gradients of this many images for each image of the baseline


def baseline_results(model: Model, train: Source, test: Source, n_seen: int) -> dict[str, Any]:
    """Return {"name": ..., and the model's metrics for its task's baseline on `test`}, {} if the task has none.

    n_seen: the number of images, with repetitions, on which the model was trained.
    """
    if isinstance(train, Stream) or isinstance(test, Stream):
        return {}
    # a baseline that takes as long as a short training would be left out
    baseline = task_of(model).baseline(model, train, n_seen // FEATURE_SHARE - len(test))
    if baseline is None:
        return {}
    measures = Measures(model.metrics)
    measures.set_decisions(model.objective)
    try:
        for batch in read_batches(test, None, BATCH_SIZE):
            scored_batch = _scored_examples(model.objective, batch)
            if len(scored_batch.images):
                measures.update(baseline.predict(scored_batch.images), scored_batch)
        return {"name": baseline.name, **measures.compute()}
    except PellucidError as error:  # a metric of a user may accept the outputs of the model alone
        note(f"no comparison with {baseline.name}: {error}")
        return {}


def _scored_examples(objective: Objective, batch: Batch) -> Batch:
    """Return the examples of a batch that metrics count: those that the loss does not ignore."""
    is_scored = objective.loss.valid_mask(batch.targets) if isinstance(objective, Supervised) else None
    return batch if is_scored is None else Batch(batch.images[is_scored], batch.targets[is_scored])


def baseline_text(merits: Sequence[Merit], results: Mapping[str, Any], advice: str = ADVICE) -> str:
    """Return the results of a run's baseline as a sentence, which says if the model is not above it; "" without one.

    merits: of the task. results: of the run, with those of `baseline_results` as "baseline".
    advice: for a model that is not above it.
    """
    merit = compared_merit(merits, results)
    if merit is None:
        return ""
    baseline = results["baseline"]
    warning_text = "" if is_above_baseline(merit, results) else f"; the model is NOT BETTER than that: {advice}"
    return f"{merit.label} {merit.text(baseline[merit.name])} by {baseline['name']}{warning_text}"


def figure_text(merits: Sequence[Merit], results: Mapping[str, Any], advice: str = ADVICE) -> str:
    """Return a sentence with a run's main figure on test data and that of its baseline; see `baseline_text`."""
    merit = compared_merit(merits, results)
    if merit is None:
        return ""
    comparison = baseline_text(merits, results, advice)
    return f"Test {merit.label} {merit.text(results[merit.name])}; baseline: {comparison}."


def compared_merit(merits: Sequence[Merit], results: Mapping[str, Any]) -> Merit | None:
    """Return the figure by which a run is compared with its baseline, None without one; see `baseline_text`."""
    baseline = results.get("baseline", {})
    return next((merit for merit in merits if merit.name in baseline), None)


def is_above_baseline(merit: Merit, results: Mapping[str, Any]) -> bool:
    """Return whether a run's figure is better than that of its baseline; results: see `baseline_text`."""
    model_value = results[merit.name]
    baseline_value = results["baseline"][merit.name]
    return model_value < baseline_value if merit.is_error else model_value > baseline_value
