"""PyTorch's optimizers, schedules and clipping beside ours: what passes, what is skipped, and what would be seen."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from conformance.case import Case, Mismatch, SkipCase
from conformance.optimizers import cases, clipping, regularizers, schedules, steps, walks
from conformance.optimizers.schedules import LR
from conformance.optimizers.walks import TREES, Walker, walk
from conformance.tally import count
from pellucid.optim import Adam, Momentum, Nesterov, Schedule, clip_by_norm, foreach
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Constant, Cosine, InverseTime, Step

pytestmark = pytest.mark.slow


def test_the_cases_of_a_row_stand_together_and_have_names_of_their_own() -> None:
    seen: list[tuple[str, Any]] = []
    names: set[tuple[str, Any, str]] = set()
    for case in cases():
        if (case.suite, case.subject) not in seen[-1:]:
            assert (case.suite, case.subject) not in seen
            seen.append((case.suite, case.subject))
        assert (case.suite, case.subject, case.name) not in names
        names.add((case.suite, case.subject, case.name))
        assert case.suite.startswith("torch")


def test_all_options_that_pytorch_tests_with_are_there() -> None:
    from torch.testing._internal.common_optimizers import optim_db

    theirs = [info for info in optim_db if info.optim_cls.__name__ in steps.ADOPTERS]
    inputs = sum(len(info.optim_inputs_func(device="cpu")) for info in theirs)
    assert len(theirs) == 5
    from_torch = [case for case in steps.cases() if case.name.startswith("OptimizerInfo")]
    assert len(from_torch) == inputs * (len(TREES) + 1)


def test_options_become_those_of_our_optimizers() -> None:
    assert steps.adopt(torch.optim.SGD, {"lr": 0.3, "momentum": 0.5, "nesterov": True, "weight_decay": 0.1}) == Walker(
        Nesterov(0.3, 0.5), L2(0.1)
    )
    assert steps.adopt(torch.optim.SGD, {"momentum": 0.9, "foreach": True}) == Walker(Momentum(0.001, 0.9), L2(0))
    assert steps.adopt(torch.optim.Adagrad, {"lr_decay": 0.5}).schedule == InverseTime(2.0, 2.0, "steps")
    assert steps.adopt(torch.optim.Adam, {"amsgrad": True}).optimizer == Adam(0.001, amsgrad=True)


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}, "option dampening"),
        (torch.optim.Adam, {"maximize": True}, "option maximize"),
        (torch.optim.Adam, {"decoupled_weight_decay": True}, "option decoupled_weight_decay"),
    ],
)
def test_a_missing_option_is_named(kind: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(SkipCase, match=named):
        steps.adopt(kind, options)


@dataclass(frozen=True)
class LateMomentum(Momentum):
    """Momentum that takes its step before the gradient has come into the velocity."""

    def update(self, params: Any, grads: Any, state: Any, lr: float) -> None:
        before = [velocity.clone() for velocity in state["velocity"]]
        super().update(params, grads, state, lr)
        foreach.add_(params, state["velocity"], alpha=lr)
        foreach.add_(params, before, alpha=-lr)


@pytest.mark.parametrize("tree", TREES)
def test_a_wrong_step_or_a_slightly_wrong_rate_is_a_large_error(tree: str) -> None:
    def torchs(params: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, 0.1, 0.5)

    assert walk(Walker(Momentum(0.1, 0.5)), torchs, tree) <= walks.TOLERANCE
    assert walk(Walker(LateMomentum(0.1, 0.5)), torchs, tree) > 1e-3
    assert walk(Walker(Momentum(0.1 + 1e-9, 0.5)), torchs, tree) > walks.TOLERANCE
    assert walk(Walker(Momentum(0.1, 0.5), L2(1e-8)), torchs, tree) > walks.TOLERANCE


def test_a_wrong_epsilon_fails() -> None:
    def torchs(params: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, 0.1, eps=1e-8)

    assert walk(Walker(Adam(0.1, epsilon=1e-8)), torchs, "dense") <= walks.TOLERANCE
    assert walk(Walker(Adam(0.1, epsilon=1.001e-8)), torchs, "dense") > walks.TOLERANCE


def test_a_changed_learning_rate_is_applied() -> None:
    def torchs(params: list[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, 0.1)

    assert walk(Walker(Adam(0.1)), torchs, "dense", lambda step: 1 / (1 + step)) <= walks.TOLERANCE
    changing = walk(Walker(Adam(0.1), schedule=Step(0.5, every=1, unit="steps")), torchs, "dense")
    assert changing > 1e-2


@dataclass(frozen=True)
class OffByOne(Cosine):
    """The rates of the step after."""

    def at(self, now: Any) -> float:
        return super().at(replace(now, step=now.step + 1))


@pytest.mark.parametrize("wrong", [OffByOne(), Cosine(minimum=1e-9), Constant()], ids=repr)
def test_a_wrong_schedule_fails(wrong: Schedule) -> None:
    def torchs(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)

    assert schedules.compare(Cosine(), torchs) <= walks.TOLERANCE
    assert schedules.compare(wrong, torchs) > walks.TOLERANCE


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda o: lr_scheduler.LinearLR(o, end_factor=0.5), "end_factor"),
        (lambda o: lr_scheduler.ConstantLR(o, factor=0.5), "option factor"),
        (lambda o: lr_scheduler.ReduceLROnPlateau(o, mode="max"), "option mode"),
        (lr_scheduler.PolynomialLR, "PolynomialLR"),
    ],
)
def test_a_missing_scheduler_is_named(make: Callable[[Any], Any], named: str) -> None:
    with pytest.raises(SkipCase, match=named):
        schedules.adopt(make(torch.optim.SGD([torch.zeros(1)], lr=LR)))


def failing(part: Iterator[Case], suite: str) -> list[str]:
    return [failure for row in count(case for case in part if case.suite == suite) for failure in row.failures]


def test_clipping_each_gradient_separately_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def each(grads: list[Any], limit: float) -> Any:
        return torch.stack([clip_by_norm([grad], limit) for grad in grads]).norm()

    assert failing(clipping.cases(), "torch.nn.utils clip_grad_norm_") == []
    monkeypatch.setattr(clipping, "clip_by_norm", each)
    assert len(failing(clipping.cases(), "torch.nn.utils clip_grad_norm_")) >= 3


@pytest.mark.parametrize(
    ("method", "suite"),
    [
        ("add_gradient", "torch.optim SGD weight_decay"),
        ("add_gradient", "torch.nn.functional mse_loss"),
        ("shrink", "torch.optim AdamW weight_decay"),
    ],
)
def test_a_regularizer_without_effect_fails(monkeypatch: pytest.MonkeyPatch, method: str, suite: str) -> None:
    assert failing(regularizers.cases(), suite) == []
    monkeypatch.setattr(L2, method, lambda *given: None)
    failures = failing(regularizers.cases(), suite)
    assert len(failures) >= 8
    assert all(Mismatch.__name__ in failure for failure in failures)
