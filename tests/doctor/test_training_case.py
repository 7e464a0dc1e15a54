"""A case of a plugin's own class, which has only the fields that experiments need."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from pellucid.data.source import Arrays
from pellucid.doctor import Check, Finding
from pellucid.doctor.case import UnansweredError
from pellucid.doctor.examination import examine
from pellucid.doctor.experiments import with_causes
from pellucid.doctor.training_case import OptionalFields, optional_fields
from pellucid.optim import SGD
from pellucid.task import task_of
from pellucid.training.device import CPU
from pellucid.training.model import BaseModel
from tests.doctor.small_cases import make_case


@dataclass(frozen=True, eq=False)
class OwnCase:
    model: BaseModel
    train: Arrays
    validation: Arrays | None
    begin: Callable[[], BaseModel]
    batch_size: int = 16
    steps_per_epoch: int = 4
    steps_planned: int = 80
    trained: bool = True
    notes: tuple[str, ...] = ("a note",)
    augment: None = None
    device: torch.device = CPU


@dataclass(frozen=True, eq=False)
class UntrainableCase(OwnCase):
    trainable: bool = False


def own_case(cls: type[OwnCase] = OwnCase) -> OwnCase:
    case = make_case(epochs=20, optimizer=SGD(1e-4))
    return cls(case.model, case.train, case.train, case.begin)


def test_fields_that_a_case_lacks_have_their_defaults() -> None:
    assert optional_fields(own_case()) == OptionalFields("", None, None, 0, None, None)
    assert optional_fields(own_case(UntrainableCase)).trainable is False
    case = replace(make_case(epochs=20), stopped="out of memory")
    stated = optional_fields(case)
    assert stated == OptionalFields("out of memory", True, case.steps_to_repeat, 20, case.history, True)


def test_a_case_without_optional_fields_is_examined_and_its_training_repeated() -> None:
    case = own_case()
    check: Check[Any] = Check("own", lambda case: [Finding("own", "train", {"examples": len(case.train)})])
    diagnosis = with_causes(examine(case, [check]), task_of(case.model), case, checks=[check])
    assert (diagnosis.names[-1], diagnosis.notes) == ("own", ("a note",))
    effects = {effect.key: effect.verdict for effect in diagnosis.intervention_effects}
    assert effects["rate-0.1"] == "cause"  # the rate that is usual for SGD, instead of 1e-4


def test_fixes_are_not_tried_for_a_case_that_is_not_trainable() -> None:
    case = own_case(UntrainableCase)
    with pytest.raises(UnansweredError, match="give the run folder to try a fix"):
        with_causes(examine(case, []), task_of(case.model), case, attempts=True)
    assert with_causes(examine(case, []), task_of(case.model), case).intervention_effects == ()


def test_whether_a_case_is_trained_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case, calls = make_case(), []
    monkeypatch.setattr("pellucid.doctor.case.flatten", lambda params: calls.append(1) or {})
    assert (case.trained, case.trained, len(calls)) == (False, False, 2)
