"""How good a model is: its outputs, its mean loss and its metrics."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.data.augment import FeatureStats
from pellucid.data.augment.standardise import scaled
from pellucid.errors import PellucidError, nearest
from pellucid.fuse.inference import AsWritten, inference
from pellucid.layers.base import Layer, Params
from pellucid.losses.base import Loss
from pellucid.metrics import accuracy, top_k
from pellucid.train.arguments import shown
from pellucid.train.diagnose import diagnose_output
from pellucid.train.examples import Examples

MANY = 16  # inputs for which it pays to lay out the network's weights anew

# Metrics by name: (classes (n,), scores (n, C)) -> a number that is better when larger
METRICS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": lambda target, scores: accuracy(target, classes_of(scores)),
    "top5": lambda target, scores: top_k(target, scores, 5),
}


def check_metrics(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names, or the one name, as a tuple; PellucidError for one that does not exist."""
    names = (metrics,) if isinstance(metrics, str) else metrics
    if not isinstance(names, Sequence):
        raise PellucidError(f"metrics must be a list of names, not {shown(metrics)}; known: {', '.join(METRICS)}")
    for name in names:
        if not isinstance(name, str) or name not in METRICS:
            hint = nearest(name, METRICS) if isinstance(name, str) else ""
            raise PellucidError(f"no metric {shown(name)}; known: {', '.join(METRICS)}{hint}")
    return tuple(names)


def outputs(
    net: Layer, params: Params, x: Tensor, batch_size: int, stats: FeatureStats | None = None
) -> Iterator[tuple[Tensor, Any]]:
    """Yield (inputs, the network's outputs) in evaluation mode, batch by batch; `params` must stay meanwhile."""
    run = inference(net, params) if len(x) >= MANY else AsWritten(net, params)
    for part in x.split(batch_size):
        batch = scaled(part, stats)
        yield batch, run(batch)


def evaluate(
    net: Layer,
    params: Params,
    loss: Loss,
    metrics: Sequence[str],
    data: Examples,
    batch_size: int,
    stats: FeatureStats | None = None,
) -> dict[str, float]:
    """Return {"loss": the mean over the examples, one entry for each metric}, of the outputs that the loss judges.

    Where the loss weighs or leaves out examples, the mean does so too, whatever batches they come in.
    Raises PellucidError that names the layer when an output is not finite.
    """
    value, scores = judge(net, params, loss, data, batch_size, stats, keep=bool(metrics))
    found = {"loss": value}
    if metrics:
        target = target_classes(data.y, scores)
        found.update({name: METRICS[name](target, scores) for name in metrics})
    return found


def judge(
    net: Layer,
    params: Params,
    loss: Loss,
    data: Examples,
    batch_size: int,
    stats: FeatureStats | None = None,
    keep: bool = True,
) -> tuple[float, Tensor]:
    """Return the mean loss as `evaluate` does, and what the network says of all examples: none unless `keep`."""
    total, counted = 0.0, 0.0
    scores: list[Tensor] = []
    for (x, raw), target in zip(outputs(net, params, data.x, batch_size, stats), data.y.split(batch_size), strict=True):
        y = loss.judged(raw)
        value = loss(y, target)[0].item()
        if value - value != 0.0:  # NaN or infinity
            fault = diagnose_output(net, params, x) or "the loss is not finite"
            raise PellucidError(f"evaluation: {fault}; look at the data and the weights")
        count = loss.counted(target)
        total, counted = total + value * count, counted + count
        if keep:
            scores.append(loss.predict(y))
    mean = total / counted if counted else 0.0  # what is left out costs nothing
    return mean, torch.cat(scores) if keep else torch.empty(0)


def class_scores(scores: Tensor) -> Tensor:
    """Return outputs (N, 1), the score of the second of two classes, as one for each (N, 2); others as they are."""
    return torch.cat([1 - scores, scores], 1) if scores.dim() == 2 and scores.shape[1] == 1 else scores


def classes_of(scores: Tensor) -> Tensor:
    """Return the predicted classes (n,): the largest of several scores, or whether one reaches 1/2."""
    return scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] >= 0.5).long()


def target_classes(target: Tensor, scores: Tensor) -> Tensor:
    """Return targets as classes (n,): integers as they are, numbers for each output as `classes_of` reads scores."""
    if scores.dim() != 2:
        raise PellucidError(f"metrics are for outputs (n, classes), not {tuple(scores.shape)}; give metrics=()")
    if not target.is_floating_point():
        return target.reshape(len(target))
    return classes_of(target.reshape(len(target), -1))
