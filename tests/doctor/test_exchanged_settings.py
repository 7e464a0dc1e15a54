"""The setting with the fault, found after other settings of the optimizer are proven better."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, Diagnosis, case_of, exchanged_parts
from pellucid.doctor.diagnosis import sentences
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.intervention import MeasuredEffect
from pellucid.doctor.paired import PairedTrainings, ProvenCause
from pellucid.doctor.suspects.settings import end_of_rate, schedule_suspects
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Momentum, Optimizer, Progress, Schedule
from pellucid.optim.schedules import Constant, Cosine, InverseTime, OneCycle, Plan, Step, Warmup
from pellucid.task import task_of
from tests.doctor.small_cases import corners, dense_net
from tests.doctor.test_failing_trainings import split_digits


@pytest.mark.parametrize(
    ("optimizer", "change"),
    [
        (Adam(0.01), "lower the learning rate from 0.01 to about 0.001 (it is 10 times the usual one)"),
        (Adam(0.3), "lower the learning rate from 0.3 to about 0.001 (it is 300 times the usual one)"),
        (Adam(1e-5), "raise the learning rate from 1e-05 to about 0.001 (it is 0.01 times the usual one)"),
        (SGD(1e-3), "raise the learning rate from 0.001 to about 0.1 (it is 0.01 times the usual one)"),
        (Adam(0.003), ""),
        (Adam(3e-4), ""),
        (SGD(0.1), ""),
    ],
)
@pytest.mark.parametrize("verdict", ["cause", "unclear"])
def test_a_rate_far_from_the_usual_one_is_told_first(optimizer: Any, change: str, verdict: str) -> None:
    x, y = corners(64)
    case = case_of(Model(dense_net(), optimizer=optimizer, input_shape=(1, 4, 4)), x, y, batch_size=16, epochs=3)
    exchange = next(exchanged_parts._exchanges(case))
    effect = MeasuredEffect("faulty-settings", "others", "recall", (0.5,), (0.75,), 0.2, 0.3, verdict, 40, 100)
    first, second = sentences(Diagnosis((exchange.finding,), ("a",), {}, {0: effect}))
    assert first.startswith(f"Probably {change}: with others, the recall is 0.75") is bool(change)
    assert (f"(yours is {optimizer.lr:g}, " in second) == (not change)


@pytest.mark.parametrize(
    ("lr", "verdicts", "name", "is_rate_first"),
    [
        (0.02, ("cause",), "learning-rate-too-high", False),
        (0.02, ("no effect", "cause"), "learning-rate-too-high", False),
        (1e-5, ("no effect", "unclear", "cause"), "learning-rate-too-low", False),
        (0.02, ("unclear", "no effect"), "faulty-settings", True),
        (0.02, ("no effect",) * 2, "faulty-settings", False),
        (1e-5, ("no effect",) * 3, "faulty-settings", False),
        (1e-5, ("no effect", "no effect", "not tried"), "faulty-settings", True),
    ],
)
def test_the_rate_alone_is_tried_if_other_settings_are_better(
    lr: float, verdicts: tuple[str, ...], name: str, is_rate_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = corners(64)
    model = Model(dense_net(), optimizer=Adam(lr), input_shape=(1, 4, 4))
    case = case_of(model, x, y, validation=corners(40, seed=1), batch_size=16, epochs=3)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    evaluations = Evaluations(trainings, [], False)
    evaluations.base_scores[trainings.max_steps] = {}
    monkeypatch.setattr(evaluations, "score", lambda *values: torch.full((40,), 0.5))
    tried = list[float]()

    def measure(self: PairedTrainings, base: Any, change: Any, *values: Any) -> ProvenCause | None:
        verdict = verdicts[len(tried)]
        tried.append(change.apply(base).model.optimizer.lr)
        effect = MeasuredEffect(change.finding.check, "", "recall", (0.5,), (0.8,), 0.2, 0.3, verdict, 40, 100)
        trainings.effects += [] if verdict == "not tried" else [effect]
        return ProvenCause(change, effect, case) if verdict == "cause" else None

    monkeypatch.setattr(PairedTrainings, "measure", measure)
    exchange = next(exchanged_parts._exchanges(case))
    effect = MeasuredEffect("faulty-settings", "", "recall", (0.5,), (0.9,), 0.2, 0.4, "cause", 40, 100)
    found = exchanged_parts._narrowed_to_setting(
        evaluations, ProvenCause(exchange, effect, case), exchanged_parts._other_rates(case)
    )
    assert tried == pytest.approx([0.001 * (0.1 if lr > 0.001 else 10) ** k for k in range(len(verdicts))])
    assert found.finding.check == name
    if name == "faulty-settings":
        assert (found.finding.kind == "rate-first") is is_rate_first


@dataclass(frozen=True)
class Restarts(Plan):
    """A rate that falls to a thousandth in each quarter of the training."""

    def at(self, now: Progress) -> float:
        return 1e-3 ** ((4 * now.step / now.steps) % 1)


SCHEDULES: list[tuple[Schedule, float]] = [
    (Step(0.05, every=1), 2 / 16),
    (Step(0.3, every=1), 4 / 16),
    (Step(0.005, every=4), 4 / 16),
    (Step(0.1, every=11), 1.0),
    (Step(0.005, every=8), 8 / 16),
    (Cosine(), 0.94),
    (OneCycle(), 0.95),
    (InverseTime(1, 1), 1.0),
    (Warmup(4, Step(0.05, every=1)), 3 / 16),
    (Restarts(), 0.92),
    (Constant(), 1.0),
]


def scheduled_case(schedule: Schedule, optimizer: Optimizer, batch_size: int = 16) -> Case:
    x, y = corners(64)
    model = Model(dense_net(), optimizer=optimizer, schedule=schedule, input_shape=(1, 4, 4))
    return case_of(model, x, y, validation=corners(40, seed=1), batch_size=batch_size, epochs=16)


@pytest.mark.parametrize(("schedule", "fraction"), SCHEDULES)
@pytest.mark.parametrize("optimizer", [Adam(), SGD(0.9)])
def test_a_rate_that_ends_early_is_told_before_a_far_rate(schedule: Schedule, fraction: float, optimizer: Any) -> None:
    case = scheduled_case(schedule, optimizer)
    assert end_of_rate(case) == pytest.approx(fraction, abs=0.02)
    exchange = next(exchanged_parts._exchanges(case))
    effect = MeasuredEffect("faulty-settings", "others", "recall", (0.5,), (0.75,), 0.2, 0.3, "cause", 40, 100)
    first, second = sentences(Diagnosis((exchange.finding,), ("a",), {}, {0: effect}))
    ends_early = fraction < 1 / 3
    assert first.startswith("Probably let the learning rate fall later and less (it is below a hundredth") is ends_early
    assert (f"after {end_of_rate(case):.0%} of the steps): with others, the recall is 0.75" in first) is ends_early
    assert ("The schedule alone is not proven" in second) is ends_early
    assert exchange.is_likely is (exchange.finding.kind != "")


@pytest.mark.parametrize(
    ("lr", "batch_size", "verdicts", "keys", "name", "kind"),
    [
        (0.1, 16, ["cause"], ["cosine-from-0.1"], "rate-decays-too-early", "schedule-first"),
        (0.9, 16, ["no effect", "cause"], ["cosine-from-0.9", "cosine-from-0.1"], "rate-decays-too-early", None),
        (0.1, 16, ["no effect", "cause"], ["cosine-from-0.1", "usual-optimizer"], "optimizer-settings", ""),
        (0.1, 16, ["no effect"] * 2, ["cosine-from-0.1", "usual-optimizer"], "faulty-settings", ""),
        (
            0.1,
            16,
            ["unclear", "no effect"],
            ["cosine-from-0.1", "usual-optimizer"],
            "faulty-settings",
            "schedule-first",
        ),
        (0.1, 2, ["no effect", "cause"], ["cosine-from-0.1", "usual-batch-size"], "unsuitable-batch-size", ""),
    ],
)
def test_one_setting_at_a_time_is_exchanged(
    lr: float, batch_size: int, verdicts: list[str], keys: list[str], name: str, kind: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    case = scheduled_case(Step(0.05, every=1), SGD(lr), batch_size)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    evaluations = Evaluations(trainings, [], False)
    evaluations.base_scores[trainings.max_steps] = {}
    monkeypatch.setattr(evaluations, "score", lambda *values: torch.full((40,), 0.5))
    tried = dict[str, Case]()

    def measure(self: PairedTrainings, base: Any, change: Any, *values: Any) -> ProvenCause | None:
        verdict = verdicts[len(tried)]
        assert change.min_gain == pytest.approx(0.2)
        tried[change.remedy.key] = change.apply(base)
        effect = MeasuredEffect(change.finding.check, "", "recall", (0.5,), (0.8,), 0.2, 0.3, verdict, 40, 100)
        trainings.effects.append(effect)
        return ProvenCause(change, effect, case) if verdict == "cause" else None

    monkeypatch.setattr(PairedTrainings, "measure", measure)
    exchange = next(exchanged_parts._exchanges(case))
    effect = MeasuredEffect("faulty-settings", "", "recall", (0.5,), (0.9,), 0.2, 0.4, "cause", 40, 100)
    exchanges = exchanged_parts._exchanges_of_one_setting(case)
    found = exchanged_parts._narrowed_to_setting(evaluations, ProvenCause(exchange, effect, case), exchanges)
    assert [*tried] == keys
    assert found.finding.check == name
    assert kind is None or found.finding.kind == kind
    for key, changed in tried.items():
        other_schedule = key.startswith("cosine")
        assert (changed.model.schedule == Cosine()) is other_schedule
        assert (changed.model.optimizer == Adam(2e-3)) is (key == "usual-optimizer")
        assert not other_schedule or key == f"cosine-from-{changed.model.optimizer.lr:g}"
        assert changed.batch_size == (32 if key == "usual-batch-size" else batch_size)


def test_a_constant_rate_is_no_schedule_to_exchange() -> None:
    keys = [one.remedy.key for one in exchanged_parts._exchanges_of_one_setting(scheduled_case(Constant(), SGD(0.9)))]
    assert keys == ["usual-optimizer"]


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize(
    ("schedule", "is_fault"),
    [
        (Step(0.05, every=1), True),
        (Step(0.3, every=1), True),
        (Step(0.005, every=2), True),
        (Step(0.1, every=15), False),
        (Cosine(), False),
        (OneCycle(), False),
    ],
)
@pytest.mark.parametrize("optimizer", [Momentum(0.02, 0.9), Adam(3e-3)])
def test_a_rate_that_ends_early_is_the_cause(schedule: Schedule, is_fault: bool, optimizer: Any) -> None:
    x, y, held_out = split_digits()
    net = Sequential(
        Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), Conv2d(16, 3, padding=1), BatchNorm(), ReLU(),
        AdaptiveAvgPool2d(2), Flatten(), Dense(10),
    )  # fmt: skip
    model = Model(net, optimizer=optimizer, schedule=schedule, input_shape=(1, 8, 8), metrics=())
    history = model.fit(x, y, epochs=20, batch_size=64, validation=held_out, verbose=False)
    diagnosis = model.doctor(x, y, validation=held_out, history=history, epochs=20, batch_size=64)
    names = [name for index, name in enumerate(diagnosis.names) if diagnosis.kind(index) in ("cause", "part")]
    assert names[:1] == ["rate-decays-too-early"] * is_fault


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        (Adam(0.001), ", the usual one"),
        (Adam(0.01), ", 10 times the usual one"),
        (Adam(1e-4), ", 0.1 times the usual one"),
    ],
)
def test_a_rate_is_compared_with_the_usual_one(optimizer: Adam, text: str) -> None:
    assert exchanged_parts._usual_rate(optimizer) == text


@pytest.mark.parametrize(("schedule", "fraction"), SCHEDULES[:-1])
def test_a_rate_that_vanishes_early_is_a_fault_of_the_schedule(schedule: Schedule, fraction: float) -> None:
    (found,) = schedule_suspects(scheduled_case(schedule, Adam()))
    assert found.finding.is_fault is (fraction < 1 / 3)
