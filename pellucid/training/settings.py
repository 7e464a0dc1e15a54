"""What decides the bits of a training, hashed: a resumed training must share it with the one that was begun."""

from dataclasses import is_dataclass
from typing import Any

from pellucid.data import Source
from pellucid.metrics import Metric, MetricLike, function_name
from pellucid.objective import Objective, Supervised
from pellucid.training.checkpoint import digest
from pellucid.training.learner import Learner
from pellucid.training.precision import usable_precision


def settings(
    model: Learner, preprocess: object, data: Source, held: Source | None, epochs: int, batch_size: int, augment: object
) -> dict[str, str]:
    """Return the hash of each setting of a training, by name."""
    values = {
        "data": data.checksum,
        "validation data": "" if held is None else held.checksum,
        **_objective(model.objective),
        "optimizer": model.optimizers or model.optimizer,
        "schedule": model.schedule,
        "regularizer": model.regularizers,
        "augmentation": augment if is_dataclass(augment) else getattr(augment, "__qualname__", type(augment)),
        "preprocessing": preprocess,
        "number of epochs": epochs,
        "batch size": batch_size,
        "clipping": model.clip,
        "precision": usable_precision(model.precision, model.device)[0],
        "seed": model.seed,
        "metrics": tuple(map(_metric, model.metrics)),
        "frozen parameters": sorted(model.frozen),
        "rates by path": sorted(model.rates.items()),
    }
    if model.device.type != "cpu":
        values["device"] = model.device.type
    return {name: digest(value) for name, value in values.items()}


def _objective(objective: Objective) -> dict[str, object]:
    """Return what a training makes small; what decides the bits of a Supervised one has two names."""
    if isinstance(objective, Supervised):
        return {"network": objective.net, "loss": objective.loss}
    return {"objective": objective}


def _metric(metric: MetricLike) -> Any:
    """Return what tells a metric from others, the same in every process."""
    if isinstance(metric, str):
        return metric
    return (type(metric).__qualname__, vars(metric)) if isinstance(metric, Metric) else function_name(metric)
