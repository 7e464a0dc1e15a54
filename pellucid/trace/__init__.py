"""Trace: every number of one forward and one backward pass, and what it does to the loss."""

from typing import TYPE_CHECKING, Any

import torch

from pellucid.data.augment.standardise import scaled
from pellucid.errors import PellucidError, nearest
from pellucid.trace.explanation import Explanation, Factor, Link, Made, Part, Term
from pellucid.trace.nudge import Nudge
from pellucid.trace.record import Named, Trace
from pellucid.trace.settings import Settings, check_dtype, prepared
from pellucid.trace.step import Stepped
from pellucid.training.arguments import whole
from pellucid.training.examples import examples

if TYPE_CHECKING:
    from pellucid.training.model import BaseModel


OPTIONS = ("train", "seed", "dtype", "n")


def trace(
    model: "BaseModel",
    x: Any,
    target: Any,
    *,
    train: bool = False,
    seed: int | None = None,
    dtype: torch.dtype = torch.float64,
    n: int | None = None,
    **others: Any,
) -> Trace:
    """Run one batch forward and backward through a model, and keep every tensor by its name.

    x, target: inputs (N, ...) as `predict` takes them, and what the loss compares with. train: in training mode,
    dropout drawing from `seed` (the model's, unless given); the model itself stays as it is. dtype:
    float64, so that every explanation is exact to the last bits; torch.float32 gives the numbers of training. n: by
    how many examples the regularizers' part is divided, the batch's unless given.
    Raises PellucidError for a model without weights, for data that do not fit it, and for `others`.
    """
    for name in others:
        raise PellucidError(f"trace has no option {name!r}{nearest(name, OPTIONS)}; known: {', '.join(OPTIONS)}")
    check_dtype(dtype)
    if not model.built:
        raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
    data = examples(x, target, classes=model.classes)
    model.fitting(data, "trace: x")
    return Trace(
        Settings(
            net=model.net,
            params=prepared(model.params, dtype),
            x=prepared(scaled(data.x, model.stats), dtype),
            target=prepared(data.y, dtype),
            loss=model.loss,
            train=train,
            seed=model.seed if seed is None else seed,
            regularizers=model.regularizers,
            examples=len(data) if n is None else whole(n, "trace: n", 1),
            optimizer=model.optimizer,
            clip=model.clip,
            frozen=frozenset(model.frozen),
            rates=model.rates,
            classes=tuple(model.classes or ()),
        )
    )


__all__ = [
    "Explanation",
    "Factor",
    "Link",
    "Made",
    "Named",
    "Nudge",
    "Part",
    "Settings",
    "Stepped",
    "Term",
    "Trace",
    "prepared",
    "trace",
]
