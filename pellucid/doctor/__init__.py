"""The doctor: find faults of a network, its data or its training, with measurements as evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.examination import diagnose
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.rehearsal import moved, reinitialized
from pellucid.errors import PellucidError
from pellucid.run.history import History
from pellucid.settings.checks import check_known, integer
from pellucid.task import Task
from pellucid.training.device import CPU
from pellucid.training.examples import examples
from pellucid.training.model import BaseModel

__all__ = ["Case", "Check", "Diagnosis", "Finding", "Remedy", "case_of", "diagnose", "examined"]


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
    """Return the case of a model with its training data, for `diagnose`; the model is not changed.

    x, y, validation, batch_size, epochs, augment: the arguments of `fit`; validation is a Dataset or a pair (x, y), and
    checks that need validation data are skipped without it. history: the result of `fit`. begin: returns the model
    before its first step; by default, a model whose weights are newly drawn from its seed. stopped: the error that
    ended the training, as an exception (which gives more detail) or as text. Short trainings and predictions run on
    the model's device. Raises PellucidError for data that do not fit the model, and for invalid counts.
    """
    integer(epochs, "epochs", 0)
    integer(batch_size, "batch_size", 1)
    train = examples(x, y, classes=model.classes)
    held_out = None if validation is None else _validation(validation, model.classes or train.classes)
    if not model.built:
        model.build(train.x.shape[1:])
    model.fitting(train)
    if held_out is not None:
        model.fitting(held_out, "validation")
    first = begin or (lambda: reinitialized(model))
    return Case(
        moved(model, CPU), train, held_out, lambda: moved(first(), CPU), batch_size, epochs, history, stopped, augment,
        device=model.device,
    )  # fmt: skip


def case_with(model: BaseModel, x: Any, y: Any, options: Mapping[str, Any]) -> Case:
    """Return `case_of` with these options; raises PellucidError for an unknown option."""
    valid = [name for name, option in signature(case_of).parameters.items() if option.kind is option.KEYWORD_ONLY]
    for name in options:
        check_known("doctor has no option", name, valid)
    return case_of(model, x, y, **options)


def examined(task: Task, case: Any, attempts: bool, device: torch.device) -> Diagnosis:
    """Return a task's diagnosis of its case, or that by the general checks; see `diagnose`.

    device: for short trainings and predictions.
    """
    found = task.diagnose(case, attempts, device)
    return diagnose(replace(case, device=device), attempts) if found is None else found


def _validation(validation: Any, classes: Sequence[str] | None) -> Arrays:
    if isinstance(validation, int | float):
        raise PellucidError(
            f"validation is {validation!r}; the doctor needs the validation data, a Dataset or a pair (x, y), "
            "not a fraction"
        )
    pair = validation if isinstance(validation, tuple) else (validation,)
    if len(pair) > 2:
        raise PellucidError(f"validation has {len(pair)} elements; give a Dataset or a pair (x, y)")
    return examples(*pair, what="validation", classes=classes)
