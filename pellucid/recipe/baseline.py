"""The metrics of a task's trivial model on the same images as those of a trained model."""

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.data import Batch, Source
from pellucid.data.stream import Stream
from pellucid.model import Model
from pellucid.objective import Objective, Supervised
from pellucid.task import Merit, task_of
from pellucid.training.measures import Measures
from pellucid.training.reading import read_batches

BATCH_SIZE = 16
FEATURE_SHARE = 5  # training steps compute gradients of this many images for each image of the baseline


def baseline_results(model: Model, train: Source, test: Source, seen: int) -> dict[str, Any]:
    """Return {"name": ..., and the model's metrics for its task's baseline on `test`}, {} if the task has none.

    seen: the number of images, with repetitions, on which the model was trained.
    """
    if isinstance(train, Stream) or isinstance(test, Stream):
        return {}
    baseline = task_of(model).baseline(model, train, seen // FEATURE_SHARE - len(test))
    if baseline is None:
        return {}
    measures = Measures(model.metrics)
    measures.set_decisions(model.objective)
    for batch in read_batches(test, None, BATCH_SIZE):
        counted = _counted(model.objective, batch)
        if len(counted.images):
            measures.update(baseline.predict(counted.images), counted)
    return {"name": baseline.name, **measures.compute()}


def _counted(objective: Objective, batch: Batch) -> Batch:
    """Return the examples of a batch that metrics count: those that the loss does not ignore."""
    counted = objective.loss.valid_mask(batch.targets) if isinstance(objective, Supervised) else None
    return batch if counted is None else Batch(batch.images[counted], batch.targets[counted])


def baseline_text(merits: Sequence[Merit], results: Mapping[str, Any]) -> str:
    """Return the results of a run's baseline as a sentence, which says if the model is not above it; "" without one.

    merits: of the task. results: of the run, with those of `baseline_results` as "baseline".
    """
    baseline = results.get("baseline", {})
    merit = next((merit for merit in merits if merit.name in baseline), None)
    if merit is None:
        return ""
    own, trivial = results[merit.name], baseline[merit.name]
    is_above = own < trivial if merit.is_error else own > trivial
    warning = "" if is_above else "; the model is NOT BETTER than that: run `pellucid doctor` on it"
    return f"{merit.label} {merit.text(trivial)} by {baseline['name']}{warning}"
