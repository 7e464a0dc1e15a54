"""The doctor: find faults of a network, its data or its training, with measurements as evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known, integer, is_number
from pellucid.base.text import plural
from pellucid.data.source import Arrays
from pellucid.data.stream import Stream
from pellucid.doctor.case import Case
from pellucid.doctor.checks import CHECKS, leakage
from pellucid.doctor.diagnosis import Diagnosis
from pellucid.doctor.examination import examine
from pellucid.doctor.experiments import with_causes
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.inputs import drawn_indices, select
from pellucid.doctor.rehearsal import model_on, reinitialized, with_copied_weights
from pellucid.doctor.training_case import ExaminedCase
from pellucid.objective import Supervised
from pellucid.run.history import History
from pellucid.task import Task, task_of
from pellucid.training.device import CPU
from pellucid.training.examples import examples, is_batchwise, source_of
from pellucid.training.model import BaseModel
from pellucid.training.reading import read_batches

__all__ = ["Case", "Check", "Diagnosis", "Finding", "Remedy", "case_of", "diagnose", "examined"]

# The maximum number of examples that are read from a source that is not in memory, and the number in each batch.
MAX_EXAMPLES_READ, READ_BATCH_SIZE = 5_000, 64


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
    resampled: bool = False,
    redrawn: tuple[Tensor, Tensor] | None = None,
    plain: Any = None,
    redrawn_pairs: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    redrawn_validation: Sequence[Any] = (),
    plain_validation: Any = None,
) -> Case:
    """Return a `Case` of a model and its training data, for `diagnose`; the model is not changed.

    x, y, validation, batch_size, epochs, augment: the arguments of `fit`; validation is a Dataset, a pair (x, y) or
    another source, and checks that need validation data are skipped without it. If x or validation is a source that is
    not in memory, at most about MAX_EXAMPLES_READ examples are read: a random subset drawn with the model's seed, or
    the first ones of a stream of batches. history: the result of `fit`. begin: returns the model before its first
    step; by default, a model whose weights are newly drawn from its seed. stopped: the error that ended the training,
    as an exception (which contains more detail) or as text. resampled: whether x has examples more than once because
    the training draws them with replacement, as for rare classes. redrawn: two draws of the same training inputs, if x
    changes them at random. plain: the training data without that. redrawn_pairs: two draws of the same inputs and two
    of their targets, if both change. redrawn_validation: several readings of the same validation examples, if they
    change at random. plain_validation: these without that. Short trainings and predictions run on the model's device.
    Raises PellucidError for data that do not fit the model, and for invalid values of batch_size and epochs.
    """
    integer(epochs, "epochs", 0)
    integer(batch_size, "batch_size", 1)
    check(history is None or isinstance(history, History), "the doctor's history", "the result of fit", history)
    for name, function in (("augment", augment), ("begin", begin)):
        is_model = isinstance(function, BaseModel)
        check(function is None or (callable(function) and not is_model), f"the doctor's {name}", "a function", function)
    train, held_out = arrays_of(x, y, "x", model.classes, model.seed), None
    if validation is not None:
        held_out = _validation_arrays(validation, model.classes or train.classes, model.seed)
    plain = None if plain is None else arrays_of(plain, None, "plain", model.classes, model.seed)
    readings = [_validation_arrays(one, model.classes or train.classes, model.seed) for one in redrawn_validation]
    if plain_validation is not None:
        plain_validation = _validation_arrays(plain_validation, model.classes or train.classes, model.seed)
    if not model.built:
        model.build(train.x.shape[1:])
    model.fitting(train)
    if held_out is not None:
        model.fitting(held_out, "validation")
    initial = cache(begin or (lambda: reinitialized(model)))  # reading or drawing weights may take seconds
    train, held_out = _labelled(train, model), held_out and _labelled(held_out, model)
    return Case(
        model_on(model, CPU), train, held_out, lambda: model_on(with_copied_weights(initial()), CPU), batch_size,
        epochs, history, stopped, augment, resampled=resampled, device=model.device, redrawn=redrawn,
        plain=plain and _labelled(plain, model), redrawn_pairs=redrawn_pairs,
        redrawn_validation=tuple(_labelled(one, model) for one in readings),
        plain_validation=plain_validation and _labelled(plain_validation, model),
    )  # fmt: skip


def _labelled(data: Arrays, model: BaseModel) -> Arrays:
    """Return the examples without those whose class the loss ignores, unless these are all; classes become int64."""
    if data.y.dim() == 1 and not data.y.is_floating_point():
        data = replace(data, y=data.y.long())
    is_labelled = model.objective.loss.valid_mask(data.y) if isinstance(model.objective, Supervised) else None
    if is_labelled is None or bool(is_labelled.all()) or not bool(is_labelled.any()):
        return data
    return select(data, is_labelled)


def case_with(model: BaseModel, x: Any, y: Any, options: Mapping[str, Any]) -> Case:
    """Return `case_of` with these options; raises PellucidError for an unknown option."""
    valid = [name for name, option in signature(case_of).parameters.items() if option.kind is option.KEYWORD_ONLY]
    for name in options:
        check_known("doctor has no option", name, [*valid, "attempts", "budget"])
    return case_of(model, x, y, **options)


def examined(
    task: Task,
    case: ExaminedCase,
    attempts: bool,
    device: torch.device,
    show: Callable[[str], object] | None = None,
    budget: float | None = None,
) -> Diagnosis:
    """Return the diagnosis of a case by the task's own checks, or else by all checks, with causes found by experiments.

    attempts: whether to measure the remedies of the findings too. device: for short trainings and predictions. show:
    called with a sentence about the effect that each experiment measured. budget: the limit for the multiply-adds of
    all trainings together, divided by those of the case's training; see `PairedTrainings`. Raises PellucidError for a
    budget below 0, and UnansweredError if `attempts` is True and the settings of the training are unknown.
    """
    check(
        budget is None or (is_number(budget) and budget >= 0), "the doctor's budget", "a number of at least 0", budget
    )
    diagnosis = task.diagnose(case, attempts, device)
    if diagnosis is None:
        case = replace(case, device=device)
        diagnosis = examine(case, CHECKS)
    return with_causes(_noted(diagnosis, case), task, case, show, budget, attempts)


def diagnose(case: Case, attempts: bool = False, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Return the diagnosis of a case by some checks, with causes found by experiments.

    attempts: whether to measure the remedies of the findings too. Checks that do not apply are skipped. Raises
    UnansweredError if `attempts` is True and the settings of the training are unknown.
    """
    return with_causes(_noted(examine(case, checks), case), task_of(case.model), case, attempts=attempts, checks=checks)


def _noted(diagnosis: Diagnosis, case: ExaminedCase) -> Diagnosis:
    """Return the diagnosis with a note on a model that is not trained, or that may know the validation examples."""
    if not isinstance(case, Case):
        return diagnosis
    losses = case.first_losses
    if not case.trained:
        note = "the weights are those before the first step, so the model is examined as not trained yet"
    elif losses is not None and losses.lower_before > -leakage.MIN_LOWER and leakage.NAME not in diagnosis.names:
        note = (
            f"before its first step, the network predicts the validation examples already (mean loss "
            f"{losses.validation:.2g}, and {losses.train:.2g} of training examples): if an earlier training had some "
            "of them, as in another fold or split, make the network anew; otherwise this is no fault"
        )
    else:
        return diagnosis
    return replace(diagnosis, notes=(note, *diagnosis.notes))


def arrays_of(x: Any, y: Any, argument: str, classes: Sequence[str] | None, seed: int) -> Arrays:
    """Return data as arrays, with at most about MAX_EXAMPLES_READ examples if x is a source or a stream."""
    if not is_batchwise(x):
        return examples(x, y, argument, classes)
    source = source_of(x, y, argument, classes)
    indices = drawn_indices(len(source), MAX_EXAMPLES_READ, seed).tolist()
    batches = source.epoch(0) if isinstance(source, Stream) else read_batches(source, indices, READ_BATCH_SIZE)
    images, targets = list[Tensor](), list[Any]()
    for batch in batches:
        if isinstance(source, Stream) and images and torch.equal(batch.images, images[0]):
            break  # a stream without an end, which begins anew
        images.append(batch.images)
        targets.append(batch.targets)
        if sum(map(len, images)) >= MAX_EXAMPLES_READ:
            break
    has_one_size = len({batch_images.shape[1:] for batch_images in images}) == 1
    if not has_one_size or not all(isinstance(target, Tensor) for target in targets):
        raise PellucidError(
            f"{argument}: the doctor needs images of one size, and targets that are numbers; resize them"
        )
    return Arrays(torch.cat(images), torch.cat(targets), source.classes)


def _validation_arrays(validation: Any, classes: Sequence[str] | None, seed: int) -> Arrays:
    if isinstance(validation, int | float):
        raise PellucidError(
            f"validation is {validation!r}; the doctor needs the validation data, a Dataset or a pair (x, y), "
            "not a fraction"
        )
    pair = validation if isinstance(validation, tuple) else (validation, None)
    if len(pair) != 2:
        raise PellucidError(f"validation has {plural(len(pair), 'element')}; give a Dataset or a pair (x, y)")
    return arrays_of(*pair, "validation", classes, seed)
