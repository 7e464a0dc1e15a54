"""Every schedule equals torch.optim.lr_scheduler step by step."""

import json
import math
import random
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from pellucid.base.errors import PellucidError
from pellucid.optim.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    InverseTime,
    OneCycle,
    Progress,
    ReduceOnPlateau,
    Schedule,
    Step,
    Warmup,
)

LR = 0.3
STEPS = 100
EPOCH_STEPS = 7


def torch_optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1)], lr=LR)


def torch_warmup_cosine(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    warmup = lr_scheduler.LinearLR(o, start_factor=0.2, total_iters=15)
    return lr_scheduler.SequentialLR(o, [warmup, lr_scheduler.CosineAnnealingLR(o, T_max=STEPS - 15)], milestones=[15])


TORCH_PAIRS: dict[str, tuple[Schedule, Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]]] = {
    "constant": (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "inverse_time": (
        InverseTime(t0=5, t1=20, unit="steps"),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 5 / (t + 20)),
    ),
    "inverse_time epochs": (
        InverseTime(t0=5, t1=5),
        lambda o: lr_scheduler.LambdaLR(o, lambda t: 5 / (t / EPOCH_STEPS + 5)),
    ),
    "step": (Step(0.5, every=13, unit="steps"), lambda o: lr_scheduler.StepLR(o, 13, 0.5)),
    "step epochs": (Step(0.1, every=2), lambda o: lr_scheduler.StepLR(o, 2 * EPOCH_STEPS, 0.1)),
    "step run": (
        Step(0.1, at_times=(0.5, 0.75), unit="run"),
        lambda o: lr_scheduler.MultiStepLR(o, [50, 75], 0.1),
    ),
    "step at epochs": (
        Step(0.2, at_times=(3, 10, 11)),
        lambda o: lr_scheduler.MultiStepLR(o, [3 * EPOCH_STEPS, 10 * EPOCH_STEPS, 11 * EPOCH_STEPS], 0.2),
    ),
    "cosine": (Cosine(), lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS)),
    "cosine minimum": (
        Cosine(minimum=0.1),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1 * LR),
    ),
    "one_cycle": (OneCycle(), lambda o: lr_scheduler.OneCycleLR(o, max_lr=LR, total_steps=STEPS)),
    "one_cycle early": (
        OneCycle(pct_start=0.1, div_factor=10.0, final_div_factor=100.0),
        lambda o: lr_scheduler.OneCycleLR(o, LR, STEPS, pct_start=0.1, div_factor=10.0, final_div_factor=100.0),
    ),
    "warmup": (Warmup(15, start=0.25), lambda o: lr_scheduler.LinearLR(o, start_factor=0.25, total_iters=15)),
    "warmup cosine": (Warmup(15, Cosine(), start=0.2), torch_warmup_cosine),
}
each_pair = pytest.mark.parametrize("name", TORCH_PAIRS)


@each_pair
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # raised by torch's SequentialLR
def test_a_hundred_rates_equal_torch(name: str) -> None:
    schedule, make_scheduler = TORCH_PAIRS[name]
    oracle = torch_optimizer()
    scheduler = make_scheduler(oracle)
    for step in range(STEPS):
        rate = LR * schedule.factor(Progress(step, STEPS, EPOCH_STEPS), schedule.begin())
        assert rate == pytest.approx(oracle.param_groups[0]["lr"], rel=1e-11, abs=1e-15), step
        oracle.step()
        if step < STEPS - 1:
            scheduler.step()


@each_pair
def test_rates_depend_only_on_the_step(name: str) -> None:
    schedule = TORCH_PAIRS[name][0]
    steps = [Progress(step, STEPS, EPOCH_STEPS) for step in range(STEPS)]
    forward_factors = [schedule.factor(now, {}) for now in steps]
    backward_factors = [schedule.factor(now, {}) for now in reversed(steps)]
    assert forward_factors == backward_factors[::-1]


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (ReduceOnPlateau(patience=2), {"patience": 2}),
        (ReduceOnPlateau(drop=0.5, patience=0, minimum=0.1), {"factor": 0.5, "patience": 0, "min_lr": 0.1 * LR}),
        (
            ReduceOnPlateau(drop=0.7, patience=3, threshold=0.02, cooldown=4),
            {"factor": 0.7, "patience": 3, "threshold": 0.02, "cooldown": 4},
        ),
    ],
)
def test_reduce_on_plateau_equals_torch(schedule: ReduceOnPlateau, options: dict[str, float]) -> None:
    oracle = torch_optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(oracle, eps=0, **options)  # type: ignore[arg-type]
    rng = random.Random(0)
    memory = schedule.begin()
    factors = set()
    for epoch in range(100):
        loss = math.nan if epoch == 60 else 1 / (1 + epoch // 8) + 0.02 * rng.random()
        memory = schedule.observe(memory, loss)
        scheduler.step(loss)
        factor = schedule.factor(Progress(epoch, 100, 1), memory)
        factors.add(factor)
        assert LR * factor == pytest.approx(oracle.param_groups[0]["lr"], rel=1e-11), epoch
    assert len(factors) > 2  # the rate was reduced


def test_the_state_of_a_plateau_is_plain_numbers_and_resumes_exactly() -> None:
    schedule = ReduceOnPlateau(patience=1, cooldown=2)
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    memory = schedule.begin()
    for loss in losses[:5]:
        memory = schedule.observe(memory, loss)
    resumed_memory = {name: float(value) for name, value in memory.items()}
    for loss in losses[5:]:
        memory, resumed_memory = schedule.observe(memory, loss), schedule.observe(resumed_memory, loss)
    assert memory == resumed_memory
    assert memory["factor"] < 1


def test_observe_returns_a_new_state_and_leaves_the_old_one_unchanged() -> None:
    schedule = ReduceOnPlateau(patience=0)
    memory = schedule.begin()
    schedule.observe(memory, math.inf)
    assert memory == schedule.begin()


def test_warm_up_before_a_plateau_warms_up_and_then_drops() -> None:
    schedule = Warmup(10, ReduceOnPlateau(drop=0.5, patience=0), start=0.0)
    memory = schedule.begin()
    assert schedule.factor(Progress(5, 100, 10), memory) == 0.5
    for loss in (1.0, 1.0):
        memory = schedule.observe(memory, loss)
    assert schedule.factor(Progress(20, 100, 10), memory) == 0.5


def test_schedules_declare_whether_they_need_the_validation_loss() -> None:
    assert ReduceOnPlateau().watches
    assert Warmup(3, ReduceOnPlateau()).watches
    assert not any(schedule.watches for schedule, _ in TORCH_PAIRS.values())


@pytest.mark.parametrize("schedule", [*(pair[0] for pair in TORCH_PAIRS.values()), ReduceOnPlateau()], ids=repr)
def test_the_initial_state_is_json(schedule: Schedule) -> None:
    memory = schedule.begin()
    assert json.loads(json.dumps(memory, allow_nan=False)) == memory


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(
    "schedule",
    [*(pair[0] for pair in TORCH_PAIRS.values()), OneCycle(pct_start=0.5), OneCycle(pct_start=0.0)],
    ids=repr,
)
def test_the_shortest_runs_have_factors_from_0_to_1(schedule: Schedule, steps: int) -> None:
    for step in range(steps + 2):  # a run may exceed the planned steps
        factor = schedule.factor(Progress(step, steps, 1), schedule.begin())
        assert 0 <= factor <= 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: InverseTime(t0=0, t1=1),
        lambda: InverseTime(t0=1, t1=1, unit="years"),  # type: ignore[arg-type]
        Step,
        lambda: Step(every=3, at_times=(4,)),
        lambda: Step(every=0),
        lambda: Step(drop=0, every=1),
        lambda: Step(at_times=(-1.0,)),
        lambda: Cosine(minimum=1.0),
        lambda: OneCycle(pct_start=1.0),
        lambda: OneCycle(div_factor=0.5),
        lambda: Warmup(0),
        lambda: Warmup(10, start=1.0),
        lambda: ReduceOnPlateau(drop=1.0),
        lambda: ReduceOnPlateau(patience=-1),
    ],
)
def test_invalid_hyperparameters_are_refused(make: Callable[[], Schedule]) -> None:
    with pytest.raises(PellucidError):
        make()


def test_schedules_maps_names_to_classes() -> None:
    assert {
        "constant": Constant,
        "inverse_time": InverseTime,
        "step": Step,
        "cosine": Cosine,
        "one_cycle": OneCycle,
        "warmup": Warmup,
        "reduce_on_plateau": ReduceOnPlateau,
    } == SCHEDULES
