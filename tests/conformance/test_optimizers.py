"""The comparisons with PyTorch's optimizers, schedules and clipping: wrong updates fail, missing options are named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from conformance.case import Case, Mismatch, SkipCase
from conformance.optimizers import cases, clipping, regularizers, schedules, steps, walks
from conformance.optimizers.schedules import LR
from conformance.optimizers.walks import PARAM_SHAPES, TrainingUpdate, compare_updates
from conformance.tally import run_cases
from pellucid.optim import Adam, Momentum, Nesterov, Schedule, clip_by_norm, foreach
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Constant, Cosine, InverseTime, Step

pytestmark = pytest.mark.slow


def test_the_cases_of_a_row_are_consecutive_and_have_unique_names() -> None:
    seen: list[tuple[str, Any]] = []
    names: set[tuple[str, Any, str]] = set()
    for case in cases():
        if (case.suite, case.subject) not in seen[-1:]:
            assert (case.suite, case.subject) not in seen
            seen.append((case.suite, case.subject))
        assert (case.suite, case.subject, case.name) not in names
        names.add((case.suite, case.subject, case.name))
        assert case.suite.startswith("torch")


def test_all_options_of_pytorchs_own_tests_are_included() -> None:
    from torch.testing._internal.common_optimizers import optim_db

    infos = [info for info in optim_db if info.optim_cls.__name__ in steps.CONVERTERS]
    inputs = sum(len(info.optim_inputs_func(device="cpu")) for info in infos)
    assert len(infos) == 5
    from_torch = [case for case in steps.cases() if case.name.startswith("OptimizerInfo")]
    assert len(from_torch) == inputs * (len(PARAM_SHAPES) + 1)


def test_options_are_converted_to_those_of_pellucids_optimizers() -> None:
    assert steps.to_pellucid(
        torch.optim.SGD, {"lr": 0.3, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}
    ) == TrainingUpdate(Nesterov(0.3, 0.5), L2(0.1))
    assert steps.to_pellucid(torch.optim.SGD, {"momentum": 0.9, "foreach": True}) == TrainingUpdate(
        Momentum(0.001, 0.9), L2(0)
    )
    assert steps.to_pellucid(torch.optim.Adagrad, {"lr_decay": 0.5}).schedule == InverseTime(2.0, 2.0, "steps")
    assert steps.to_pellucid(torch.optim.Adam, {"amsgrad": True}).optimizer == Adam(0.001, amsgrad=True)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}, "option dampening"),
        (torch.optim.Adam, {"maximize": True}, "option maximize"),
        (torch.optim.Adam, {"decoupled_weight_decay": True}, "option decoupled_weight_decay"),
    ],
)
def test_a_missing_option_is_named(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SkipCase, match=message):
        steps.to_pellucid(kind, options)


@dataclass(frozen=True)
class LateMomentum(Momentum):
    """Momentum that updates the parameters with the velocity of the previous step."""

    def update(self, params: Any, grads: Any, state: Any, lr: float) -> None:
        before = [velocity.clone() for velocity in state["velocity"]]
        super().update(params, grads, state, lr)
        foreach.add_(params, state["velocity"], alpha=lr)
        foreach.add_(params, before, alpha=-lr)


@pytest.mark.parametrize("tree", PARAM_SHAPES)
def test_a_wrong_step_or_a_slightly_wrong_rate_is_a_large_error(tree: str) -> None:
    def make_reference(params: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, 0.1, 0.5)

    assert compare_updates(TrainingUpdate(Momentum(0.1, 0.5)), make_reference, tree) <= walks.TOLERANCE
    assert compare_updates(TrainingUpdate(LateMomentum(0.1, 0.5)), make_reference, tree) > 1e-3
    assert compare_updates(TrainingUpdate(Momentum(0.1 + 1e-9, 0.5)), make_reference, tree) > walks.TOLERANCE
    assert compare_updates(TrainingUpdate(Momentum(0.1, 0.5), L2(1e-8)), make_reference, tree) > walks.TOLERANCE


def test_a_wrong_epsilon_fails() -> None:
    def make_reference(params: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, 0.1, eps=1e-8)

    assert compare_updates(TrainingUpdate(Adam(0.1, epsilon=1e-8)), make_reference, "dense") <= walks.TOLERANCE
    assert compare_updates(TrainingUpdate(Adam(0.1, epsilon=1.001e-8)), make_reference, "dense") > walks.TOLERANCE


def test_a_changed_learning_rate_is_applied() -> None:
    def make_reference(params: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, 0.1)

    assert (
        compare_updates(TrainingUpdate(Adam(0.1)), make_reference, "dense", lambda step: 1 / (1 + step))
        <= walks.TOLERANCE
    )
    changing = compare_updates(
        TrainingUpdate(Adam(0.1), schedule=Step(0.5, every=1, unit="steps")), make_reference, "dense"
    )
    assert changing > 1e-2


@dataclass(frozen=True)
class OneStepLate(Cosine):
    """A cosine schedule that returns the learning rate of the next step."""

    def at(self, now: Any) -> float:
        return super().at(replace(now, step=now.step + 1))


@pytest.mark.parametrize("wrong", [OneStepLate(), Cosine(minimum=1e-9), Constant()], ids=repr)
def test_a_wrong_schedule_fails(wrong: Schedule) -> None:
    def make_reference(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)

    assert schedules.compare(Cosine(), make_reference) <= walks.TOLERANCE
    assert schedules.compare(wrong, make_reference) > walks.TOLERANCE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda o: lr_scheduler.LinearLR(o, end_factor=0.5), "end_factor"),
        (lambda o: lr_scheduler.ConstantLR(o, factor=0.5), "option factor"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max"), "option mode"),
        (lr_scheduler.PolynomialLR, "PolynomialLR"),
    ],
)
def test_a_missing_scheduler_is_named(make: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(SkipCase, match=message):
        schedules.to_pellucid(make(torch.optim.SGD([torch.zeros(1)], lr=LR)))


def failures_of_suite(part_cases: Iterator[Case], suite: str) -> list[str]:
    return [
        failure for row in run_cases(case for case in part_cases if case.suite == suite) for failure in row.failures
    ]


def test_clipping_each_gradient_separately_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def clip_each(grads: list[Any], limit: float) -> Any:
        return torch.stack([clip_by_norm([grad], limit) for grad in grads]).norm()

    assert failures_of_suite(clipping.cases(), "torch.nn.utils clip_grad_norm_") == []
    monkeypatch.setattr(clipping, "clip_by_norm", clip_each)
    assert len(failures_of_suite(clipping.cases(), "torch.nn.utils clip_grad_norm_")) >= 3


@pytest.mark.parametrize(
    ("method", "suite"),
    [
        ("add_gradient", "torch.optim SGD weight_decay"),
        ("add_gradient", "torch.nn.functional mse_loss"),
        ("shrink", "torch.optim AdamW weight_decay"),
    ],
)
def test_a_regularizer_without_effect_fails(monkeypatch: pytest.MonkeyPatch, method: str, suite: str) -> None:
    assert failures_of_suite(regularizers.cases(), suite) == []
    monkeypatch.setattr(L2, method, lambda *given: None)
    failures = failures_of_suite(regularizers.cases(), suite)
    assert len(failures) >= 8
    assert all(Mismatch.__name__ in failure for failure in failures)
