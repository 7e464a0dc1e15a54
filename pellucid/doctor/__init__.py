"""The doctor: what is wrong with a network, its data or its training, with the evidence in numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.diagnosis import Diagnosis, diagnose
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.remade import remade
from pellucid.errors import PellucidError
from pellucid.train.examples import examples
from pellucid.train.history import History
from pellucid.train.model import Model

__all__ = ["Case", "Check", "Diagnosis", "Finding", "Remedy", "case_of", "diagnose"]


def case_of(
    model: Model,
    x: Any,
    y: Any = None,
    *,
    validation: Any = None,
    history: History | None = None,
    batch_size: int = 32,
    epochs: int = 0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    begin: Callable[[], Model] | None = None,
    stopped: PellucidError | str = "",
) -> Case:
    """Return the case of a model with the data that it learns from, for `diagnose`; the model stays as it is.

    x, y: as `fit` takes them, and so are validation (a Dataset or a pair; without it what needs unseen examples is not
    asked), batch_size, epochs and augment. history: what `fit` returned, if it did. begin: makes the model as it was
    before its first step, if not from its seed. stopped: the error that ended the training, which tells more than its
    words alone. Raises PellucidError for data that do not fit the model.
    """
    train = examples(x, y)
    pair = validation if isinstance(validation, tuple) else (validation,)
    held = None if validation is None else examples(*pair, what="validation")
    if not model.built:
        model.build(train.x.shape[1:])
    model.fitting(train)
    if held is not None:
        model.fitting(held, "validation")
    return Case(
        model, train, held, begin or (lambda: remade(model)), batch_size, epochs, history, stopped, augment
    )  # fmt: skip
