"""The doctor: what is wrong with a network, its data or its training, with the evidence in numbers."""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.diagnosis import Diagnosis, diagnose
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.remade import remade
from pellucid.errors import PellucidError, nearest
from pellucid.run.history import History
from pellucid.training.arguments import whole
from pellucid.training.examples import examples
from pellucid.training.model import BaseModel

__all__ = ["Case", "Check", "Diagnosis", "Finding", "Remedy", "case_of", "diagnose"]


def case_of(
    model: BaseModel,
    x: Any,
    y: Any = None,
    *,
    validation: Any = None,
    history: History | None = None,
    batch_size: int = 32,
    epochs: int = 0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    begin: Callable[[], BaseModel] | None = None,
    stopped: PellucidError | str = "",
) -> Case:
    """Return the case of a model with the data that it learns from, for `diagnose`; the model stays as it is.

    x, y: as `fit` takes them, and so are validation (a Dataset or a pair; without it what needs unseen examples is not
    asked), batch_size, epochs and augment. history: what `fit` returned, if it did. begin: makes the model as it was
    before its first step, if not from its seed. stopped: the error that ended the training, which tells more than its
    words alone. Raises PellucidError for data that do not fit the model, and counts that are none.
    """
    whole(epochs, "epochs", 0)
    whole(batch_size, "batch_size", 1)
    train = examples(x, y, classes=model.classes)
    held = None if validation is None else _held(validation, model.classes or train.classes)
    if not model.built:
        model.build(train.x.shape[1:])
    model.fitting(train)
    if held is not None:
        model.fitting(held, "validation")
    return Case(
        model, train, held, begin or (lambda: remade(model)), batch_size, epochs, history, stopped, augment
    )  # fmt: skip


def case_with(model: BaseModel, x: Any, y: Any, options: Mapping[str, Any]) -> Case:
    """Return `case_of` with these options; PellucidError, with the nearest name, for one that it does not have."""
    known = [name for name, it in signature(case_of).parameters.items() if it.kind is it.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise PellucidError(f"doctor has no option {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return case_of(model, x, y, **options)


def _held(validation: Any, classes: Sequence[str] | None) -> Arrays:
    if isinstance(validation, int | float):
        raise PellucidError(
            f"validation is {validation!r}; the doctor takes the data themselves there, a Dataset or a pair (x, y), "
            "not a fraction of them"
        )
    pair = validation if isinstance(validation, tuple) else (validation,)
    if len(pair) > 2:
        raise PellucidError(f"validation holds {len(pair)} values; give a Dataset or a pair (x, y)")
    return examples(*pair, what="validation", classes=classes)
