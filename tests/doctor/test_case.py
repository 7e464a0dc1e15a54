"""What a case offers to checks: the sample, the beginning, measurements that are made once and change nothing."""

import time
from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of, diagnose
from pellucid.doctor.attempts import Attempts
from pellucid.doctor.case import FACTORS, MAX_SAMPLE, RANGE_TEST_STEPS, REHEARSAL_STEPS
from pellucid.doctor.finding import Finding, Remedy, Suspect
from pellucid.doctor.inputs import subsample
from pellucid.doctor.predictions import UnansweredError
from pellucid.doctor.rehearsal import Rehearsal
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.trials import establish
from pellucid.errors import PellucidError
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten
from pellucid.losses import Quadratic
from pellucid.optim import SGD
from pellucid.optim.schedules import Cosine, Warmup
from pellucid.run.history import History
from pellucid.training.examples import examples
from tests.doctor.examined import case, conv_net, corners, model


def test_the_sample_is_drawn_by_the_seed_and_kept_in_order() -> None:
    whole = examples(torch.arange(5_000.0)[:, None], torch.zeros(5_000, dtype=torch.int64))
    one, again, other = (
        subsample(whole, MAX_SAMPLE, 1),
        subsample(whole, MAX_SAMPLE, 1),
        subsample(whole, MAX_SAMPLE, 2),
    )
    assert len(one) == MAX_SAMPLE
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, other.x)
    assert torch.equal(one.x, one.x.unique()[:, None])
    assert subsample(whole, 10_000, 1) is whole


def test_trained_or_not() -> None:
    assert not case().trained
    assert case(epochs=1).trained
    assert torch.equal(case(epochs=1).initial.weights["dense1.weight"], case().model.weights["dense1.weight"])


def test_what_classifies() -> None:
    assert case().classifies
    x, y = corners()
    it = model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=())
    assert not case_of(it, x, y[:, None].float()).classifies
    assert not case_of(it, x, y * 1_000).classifies
    assert not case_of(it, x, -(y % 2)).classifies
    assert case_of(it, x, y % 2).classifies
    assert case_of(model(loss=Quadratic()), x, y).classifies  # one output for each


def test_inputs_are_scaled_as_the_model_scales_them() -> None:
    it = case(preprocess={"mean": [0.5], "std": [0.25]})
    torch.testing.assert_close(it.inputs(it.train), (it.train.x - 0.5) / 0.25)


def test_the_range_test_goes_over_all_factors() -> None:
    rates = case().range_test
    assert [factor for factor, _ in rates] == list(FACTORS)
    assert all(len(done.losses) == RANGE_TEST_STEPS or done.broke for _, done in rates)


@pytest.mark.parametrize("net", [None, conv_net])
def test_measuring_changes_no_state_and_repeats_exactly(net) -> None:
    it, other = (case(net and net(), epochs=1) for _ in range(2))
    before, drawn = it.model.sha256(), torch.get_rng_state()
    x, y = it.train.x.clone(), it.train.y.clone()
    measured = [
        (
            one.activity,
            one.initial_activity,
            one.gradients,
            one.train_predictions,
            one.rehearsal,
            one.range_test,
            one.initial_gradients,
            one.validation_predictions,
        )
        for one in (it, other)
    ]
    assert it.model.sha256() == before
    assert it.initial.sha256() == case(net and net()).model.sha256()
    assert torch.equal(drawn, torch.get_rng_state())
    assert torch.equal(x, it.train.x)
    assert torch.equal(y, it.train.y)
    (seen, first, found, answers, rehearsal, rates, *_), (seen2, first2, found2, answers2, rehearsal2, rates2, *_) = (
        measured
    )
    assert all(torch.equal(seen[path].y, seen2[path].y) for path in seen)
    assert all(torch.equal(first[path].y, first2[path].y) for path in first)
    assert (found.loss, found.dy) == (found2.loss, found2.dy)
    assert torch.equal(answers.y, answers2.y)
    assert len(rehearsal.losses) == REHEARSAL_STEPS
    assert (rehearsal.losses, rehearsal.ratios) == (rehearsal2.losses, rehearsal2.ratios)
    assert [done.losses for _, done in rates] == [done.losses for _, done in rates2]


def test_the_rehearsal_is_the_training() -> None:
    x, y = corners()
    it = model()
    history = it.fit(x, y, epochs=1, batch_size=16, verbose=False)  # 4 steps
    losses = case_of(it, x, y, batch_size=16).rehearsal.losses
    assert sum(losses[:4]) / 4 == pytest.approx(history["train_loss"][0], rel=1e-5)


def test_the_schedule_goes_over_the_whole_training() -> None:
    assert case(epochs=3).steps_planned == replace(case(epochs=3), epochs=0).steps_planned == 12
    assert case().steps_planned == 0
    plan = {"schedule": Warmup(3, Cosine()), "epochs": 3}
    rehearsed, history = case(**plan).rehearsal.losses, case(**plan).history
    assert history is not None
    assert sum(rehearsed[8:12]) / 4 == pytest.approx(history["train_loss"][2], rel=1e-5)
    assert rebuilt(replace(case(**plan), epochs=0)).steps_planned == 12


def test_steps_made_are_not_those_planned() -> None:
    ended = replace(case(epochs=3), epochs=10)  # 64 examples in batches of 16
    assert (ended.steps_per_epoch, ended.steps_made, ended.steps_planned) == (4, 12, 40)
    assert (case().steps_made, replace(case(), epochs=10).steps_planned) == (0, 40)


STEP = 3 * 16 * (16 + 16 * 12 + 12 + 12 + 12 * 4 + 4)  # batches of 16; output values, and two products


def test_the_work_of_a_step_is_that_of_its_layers() -> None:
    """Flatten, Dense(12), ReLU, Dense(4): multiply-adds and output values, three times for forward and backward."""
    assert case().step_work == STEP
    assert replace(case(), batch_size=1_000).step_work == STEP * 64 / 16


@pytest.mark.slow
def test_expensive_steps_are_left_out_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        time.sleep(0.005)
        return x

    it = replace(case(), augment=slow)
    monkeypatch.setattr("pellucid.doctor.case.MAX_RANGE_TEST_WORK", 25 * STEP)
    monkeypatch.setattr("pellucid.doctor.case.MAX_TRIAL_WORK", 100 * STEP - 1)
    assert len(it.range_test) == len(FACTORS)  # slow, but not too much work
    with pytest.raises(UnansweredError, match=r"100 steps take 1\.4e\+06 multiply-adds, more than the limit"):
        it.loss_at(1.0, 100)
    monkeypatch.setattr("pellucid.doctor.case.MAX_RANGE_TEST_WORK", 25 * STEP - 1)
    left_out = diagnose(case()).left_out
    assert {"learning-rate-too-high", "learning-rate-too-low"} <= set(left_out)
    assert diagnose(case()).left_out == left_out
    monkeypatch.setattr("pellucid.doctor.attempts.MAX_BASELINE_WORK", 7.5 * STEP)
    assert Attempts(case())(Remedy("nothing", lambda it: it)).steps == 7


@pytest.mark.slow
def test_trials_end_with_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Attempts(case(), steps=4)
    tries(Remedy("nothing", lambda it: it))
    assert tries.work == 2 * (4 * STEP + 2 * 40 * STEP / 3 / 16)  # two trainings, each with two predictions of 40
    it = case(epochs=20, optimizer=SGD(1e-4))
    assert diagnose(it).causes == ("learning-rate-too-low",)
    monkeypatch.setattr("pellucid.doctor.trials.MAX_TOTAL_WORK", 0.0)
    found = diagnose(it)
    assert found.causes == ()
    assert found.left_out["learning-rate-too-low"] == "not tried: the trials before it used up their multiply-adds"


def test_unusual_suspects_beyond_the_work_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    it = case(epochs=1, optimizer=SGD(1e-4))
    nothing = Remedy("nothing", lambda it: it)
    unusual = Suspect(Finding("momentum", "training", {}, "", "", remedy=nothing), unusual=True)
    monkeypatch.setattr("pellucid.doctor.trials.suspects", lambda case, more: [unusual])
    monkeypatch.setattr("pellucid.doctor.trials.MAX_TOTAL_WORK", -1.0)
    assert establish(it, [], Attempts(it), explained=True).untried == ("momentum",)


def test_a_pretrained_part_begins_as_it_is() -> None:
    net = Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), flatten=Flatten(), head=Dense(4))
    x, y = corners()
    it = model(net)
    it.fit(x, y, epochs=2, batch_size=16, verbose=False)
    it.freeze("conv.*", "norm.*")
    drawn = model(net).weights["head.weight"]
    it.weights["head.weight"].copy_(drawn)
    it.weights["head.bias"].zero_()
    examined = case_of(it, x, y)
    assert examined.initial.sha256() == it.sha256()
    assert not examined.trained
    assert examined.initial.frozen == it.frozen
    mended = rebuilt(examined, net=net.rebuild({**net.layers, "head": Dense(4, init_weight="xavier")})).model
    assert torch.equal(mended.weights["norm.running_mean"], it.weights["norm.running_mean"])
    assert not torch.equal(mended.weights["head.weight"], it.weights["head.weight"])


def test_without_a_known_training_nothing_is_rehearsed() -> None:
    it = replace(case(), trainable=False)
    with pytest.raises(UnansweredError, match="give the run folder"):
        _ = it.rehearsal
    assert it.gradients.loss > 0


def test_data_that_do_not_fit_are_refused() -> None:
    x, y = corners()
    with pytest.raises(PellucidError, match="the network takes"):
        case_of(model(), x[..., :3], y)
    with pytest.raises(PellucidError, match="validation"):
        case_of(model(), x, y, validation=(x[..., :3], y))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": -1}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"validation": 0.2}, "not a fraction"),
        ({"validation": 3.5}, "not a fraction"),
        ({"validation": (*corners(), None)}, "has 3 elements"),
        ({"bogus": 1}, "doctor has no option 'bogus'; known: validation, history"),
        ({"epoch": 1}, "did you mean 'epochs'?"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PellucidError) as error:
        model().doctor(*corners(), **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("losses", "still"),
    [
        ([], False),
        ([2.0], True),
        ([2.0, 1.0], True),
        ([2.0, 2.0], False),
        ([4.0, 1.0, 1.0, 1.0, 1.0], False),
        ([4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.99, 0.97], True),  # over the last fourth, not the last epoch alone
        ([4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.99], False),
        ([1.0, 2.0], False),
    ],
)
def test_whether_the_loss_falls_is_seen_in_the_last_fourth_of_the_epochs(losses: list[float], still: bool) -> None:
    rows = [{"epoch": k + 1, "train_loss": loss} for k, loss in enumerate(losses)]
    assert replace(case(), history=History(rows)).loss_falls == still


def test_without_a_history_no_loss_falls() -> None:
    assert not case().loss_falls


def test_the_default_rate_is_tried_only_where_the_range_test_ends_above_it() -> None:
    it = case(optimizer=SGD(0.5))
    assert it.lower_range_losses == it.range_losses
    far = case(optimizer=SGD(1e30))
    (more,) = far.lower_range_losses.keys() - far.range_losses.keys()
    assert more == pytest.approx(1e-31)
    assert far.lower_range_losses[more] < min(far.range_losses.values())


def test_models_are_trained_and_predict_on_the_device_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    it = replace(case(), device=torch.device("meta"))
    used: list[set[torch.device]] = []

    def devices(made: Any) -> set[torch.device]:
        return {made.device, *(value.device for value in made.weights.values())}

    def train(made: Any, *others: Any) -> Rehearsal:
        used.append(devices(made))
        return Rehearsal((1.0,), False, {}, made)

    def predict(made: Any, part: Any) -> None:
        used.append(devices(made))

    monkeypatch.setattr("pellucid.doctor.case.rehearse", train)
    monkeypatch.setattr("pellucid.doctor.case.predictions", predict)
    monkeypatch.setattr("pellucid.doctor.case.CPU", torch.device("meta"))  # from where no tensor comes back
    assert it.rehearsal.losses == (1.0,)
    assert it.train_predictions is it.validation_predictions is None
    assert used == [{torch.device("meta")}] * 3
    assert devices(it.model) == {torch.device("cpu")}


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_diagnosis_of_a_model_on_a_gpu_is_that_of_the_cpu(kind: str) -> None:
    if not (torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"this machine has no {kind} device")
    options = {"optimizer": SGD(1e4)}
    there = case(conv_net(), device=kind, **options)
    assert there.device.type == kind
    assert {value.device.type for value in there.model.weights.values()} == {"cpu"}
    assert {value.device.type for value in there.rehearsal.model.weights.values()} == {"cpu"}
    assert diagnose(there).names == diagnose(case(conv_net(), **options)).names
