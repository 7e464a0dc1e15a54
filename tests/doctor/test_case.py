"""Cases: the sample, the initial model, measurements that change no state, and the limits of their work."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.doctor import case_of, diagnose
from pellucid.doctor.case import MAX_SAMPLE, REHEARSAL_STEPS, UnansweredError
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.inputs import subsample
from pellucid.doctor.rehearsal import Rehearsal, step_work
from pellucid.doctor.remedies import rebuilt
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.optim.schedules import Cosine, Warmup
from pellucid.training.examples import examples
from tests.doctor.small_cases import conv_net, corners, make_case, make_model


def test_the_sample_is_drawn_by_the_seed_and_kept_in_order() -> None:
    data = examples(torch.arange(5_000.0)[:, None], torch.zeros(5_000, dtype=torch.int64))
    sample, same_sample, sample_of_other_seed = (
        subsample(data, MAX_SAMPLE, 1),
        subsample(data, MAX_SAMPLE, 1),
        subsample(data, MAX_SAMPLE, 2),
    )
    assert len(sample) == MAX_SAMPLE
    assert torch.equal(sample.x, same_sample.x)
    assert not torch.equal(sample.x, sample_of_other_seed.x)
    assert torch.equal(sample.x, sample.x.unique()[:, None])
    assert subsample(data, 10_000, 1) is data


def test_a_case_is_trained_if_weights_differ_from_the_initial_ones() -> None:
    assert not make_case().trained
    assert make_case(epochs=1).trained
    assert torch.equal(make_case(epochs=1).initial.weights["dense1.weight"], make_case().model.weights["dense1.weight"])


def test_classes_are_distinguished_from_regression_targets() -> None:
    assert make_case().classifies
    x, y = corners()
    model = make_model(Sequential(flatten=Flatten(), out=Dense(1)), loss=Quadratic(), metrics=())
    assert not case_of(model, x, y[:, None].float()).classifies
    assert not case_of(model, x, y * 1_000).classifies
    assert not case_of(model, x, -(y % 2)).classifies
    assert case_of(model, x, y % 2).classifies
    assert case_of(make_model(loss=Quadratic()), x, y).classifies  # one output per class


def test_inputs_are_scaled_as_the_model_scales_them() -> None:
    case = make_case(preprocess={"mean": [0.5], "std": [0.25]})
    torch.testing.assert_close(case.inputs(case.train), (case.train.x - 0.5) / 0.25)


@pytest.mark.parametrize("net", [None, conv_net])
def test_measuring_changes_no_state_and_repeats_exactly(net) -> None:
    case, same_case = (make_case(net and net(), epochs=1) for _ in range(2))
    hash_before, rng_state = case.model.sha256(), torch.get_rng_state()
    x, y = case.train.x.clone(), case.train.y.clone()
    measured = [
        (
            one.train_predictions,
            one.rehearsal,
            one.validation_predictions,
        )
        for one in (case, same_case)
    ]
    assert case.model.sha256() == hash_before
    assert case.initial.sha256() == make_case(net and net()).model.sha256()
    assert torch.equal(rng_state, torch.get_rng_state())
    assert torch.equal(x, case.train.x)
    assert torch.equal(y, case.train.y)
    (
        (predictions, rehearsal, *_),
        (predictions2, rehearsal2, *_),
    ) = measured
    assert torch.equal(predictions.y, predictions2.y)
    assert len(rehearsal.losses) == REHEARSAL_STEPS
    assert rehearsal.losses == rehearsal2.losses


def test_the_rehearsal_has_the_losses_of_the_training() -> None:
    x, y = corners()
    model = make_model()
    history = model.fit(x, y, epochs=1, batch_size=16, verbose=False)  # 4 steps
    losses = case_of(model, x, y, batch_size=16).rehearsal.losses
    assert sum(losses[:4]) / 4 == pytest.approx(history["train_loss"][0], rel=1e-5)


def test_the_schedule_goes_over_the_whole_training() -> None:
    assert make_case(epochs=3).steps_planned == replace(make_case(epochs=3), epochs=0).steps_planned == 12
    assert make_case().steps_planned == 0
    options = {"schedule": Warmup(3, Cosine()), "epochs": 3}
    rehearsed, history = make_case(**options).rehearsal.losses, make_case(**options).history
    assert history is not None
    assert sum(rehearsed[8:12]) / 4 == pytest.approx(history["train_loss"][2], rel=1e-5)
    assert rebuilt(replace(make_case(**options), epochs=0)).steps_planned == 12


def test_steps_made_and_steps_planned_are_distinguished() -> None:
    ended = replace(make_case(epochs=3), epochs=10)  # 64 examples in batches of 16
    assert (ended.steps_per_epoch, ended.steps_made, ended.steps_planned) == (4, 12, 40)
    assert (make_case().steps_made, replace(make_case(), epochs=10).steps_planned) == (0, 40)


STEP_WORK = 3 * 16 * (16 + 16 * 12 + 12 + 12 + 12 * 4 + 4)  # batches of 16: output values and multiply-adds


def test_the_work_of_a_step_is_that_of_its_layers() -> None:
    """Flatten, Dense(12), ReLU, Dense(4): multiply-adds and output values, three times for forward and backward."""
    assert step_work(make_case().model, make_case().train, 16) == STEP_WORK
    assert step_work(make_case().model, make_case().train, 1_000) == STEP_WORK * 64 / 16


@pytest.mark.slow
def test_trainings_end_at_the_limit_of_their_work(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(epochs=20, optimizer=SGD(1e-4))
    diagnosis = diagnose(case)
    assert (diagnosis.causes, diagnosis.kind(0)) == (("learning-rate-too-low",), "cause")
    for limit in ("paired.DEFAULT_BUDGET", "exchanged_parts.PART_BUDGET", "exchanged_parts.N_RESERVED_PAIRS"):
        monkeypatch.setattr(f"pellucid.doctor.{limit}", 0)
    diagnosis = diagnose(case)
    assert (diagnosis.causes, diagnosis.kind(0)) == ((), "symptom")
    assert "not within the rest of the budget" in diagnosis.left_out["unchanged"]


def test_trainings_of_too_few_steps_prove_no_cause() -> None:
    diagnosis = diagnose(make_case(epochs=2, batch_size=32, optimizer=SGD(100.0)))
    assert diagnosis.causes == ()
    assert "underfitting" in diagnosis.names  # a symptom
    reason = "could not be tried: too few steps (4, at least 10 are needed)"
    assert diagnosis.left_out["unchanged"] == reason


@pytest.mark.parametrize("attempts", [False, True])
def test_short_trainings_prove_no_cause(attempts: bool) -> None:
    case = make_case(epochs=2, optimizer=SGD(0.003))  # 8 steps
    x, y = corners(12, seed=1)
    diagnosis = diagnose(replace(case, validation=examples(x, y)), attempts)
    assert (diagnosis.causes, diagnosis.attempts) == ((), {})
    assert "underfitting" in diagnosis.names
    reason = "could not be tried: too few steps (8, at least 10 are needed)"
    assert reason in diagnosis.left_out.values()


def test_remedies_are_not_tried_for_too_few_steps() -> None:
    applied: list[str] = []
    remedy = Remedy("slower", lambda case: applied.append("slower") or case)
    check = Check("fault", lambda case: [Finding("fault", "train", {}, "a", "b", remedy)], finds_faults=True)
    diagnosis = diagnose(make_case(epochs=2), attempts=True, checks=[check])
    assert (applied, diagnosis.attempts) == ([], {})
    assert diagnosis.left_out["fault"] == "could not be tried: too few steps (8, at least 10 are needed)"


def test_frozen_pretrained_weights_are_kept_as_initial_weights() -> None:
    net = Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), flatten=Flatten(), head=Dense(4))
    x, y = corners()
    model = make_model(net)
    model.fit(x, y, epochs=2, batch_size=16, verbose=False)
    model.freeze("conv.*", "norm.*")
    redrawn_head = make_model(net).weights["head.weight"]
    model.weights["head.weight"].copy_(redrawn_head)
    model.weights["head.bias"].zero_()
    case = case_of(model, x, y)
    assert case.initial.sha256() == model.sha256()
    assert not case.trained
    assert case.initial.frozen == model.frozen
    rebuilt_model = rebuilt(case, net=net.rebuild({**net.layers, "head": Dense(4, init_weight="xavier")})).model
    assert torch.equal(rebuilt_model.weights["norm.running_mean"], model.weights["norm.running_mean"])
    assert not torch.equal(rebuilt_model.weights["head.weight"], model.weights["head.weight"])


def test_the_initial_model_is_made_once_and_copied() -> None:
    """Reading weights may take longer than the training."""
    made: list[Model] = []

    def begin() -> Model:
        made.append(make_model())
        return made[-1]

    case = case_of(make_model(), *corners(), begin=begin)
    for weight in case.begin().weights.values():
        weight.zero_()
    assert case.begin().sha256() == make_model().sha256()
    assert len(made) == 1


def test_without_training_settings_a_rehearsal_raises() -> None:
    case = replace(make_case(), trainable=False)
    with pytest.raises(UnansweredError, match="give the run folder"):
        _ = case.rehearsal


def test_data_that_do_not_fit_are_refused() -> None:
    x, y = corners()
    with pytest.raises(PellucidError, match="the network takes"):
        case_of(make_model(), x[..., :3], y)
    with pytest.raises(PellucidError, match="validation"):
        case_of(make_model(), x, y, validation=(x[..., :3], y))


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PellucidError) as error:
        make_model().doctor(*corners(), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_models_are_trained_and_predict_on_the_device_and_return_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(make_case(), device=torch.device("meta"))
    used_devices: list[set[torch.device]] = []

    def devices(model: Any) -> set[torch.device]:
        return {model.device, *(value.device for value in model.weights.values())}

    def train(model: Any, *arguments: Any) -> Rehearsal:
        used_devices.append(devices(model))
        return Rehearsal((1.0,), False, model)

    def predict(model: Any, part: Any) -> None:
        used_devices.append(devices(model))

    monkeypatch.setattr("pellucid.doctor.case.rehearse", train)
    monkeypatch.setattr("pellucid.doctor.case.predictions", predict)
    monkeypatch.setattr("pellucid.doctor.case.CPU", torch.device("meta"))  # its tensors cannot be copied back
    assert case.rehearsal.losses == (1.0,)
    assert case.train_predictions is case.validation_predictions is None
    assert used_devices == [{torch.device("meta")}] * 3
    assert devices(case.model) == {torch.device("cpu")}


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_the_diagnosis_of_a_model_on_a_gpu_is_that_of_the_cpu(kind: str) -> None:
    if not (torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()):
        pytest.skip(f"this machine has no {kind} device")
    options = {"optimizer": SGD(1e4)}
    gpu_case = make_case(conv_net(), device=kind, **options)
    assert gpu_case.device.type == kind
    assert {value.device.type for value in gpu_case.model.weights.values()} == {"cpu"}
    assert {value.device.type for value in gpu_case.rehearsal.model.weights.values()} == {"cpu"}
    assert diagnose(gpu_case).names == diagnose(make_case(conv_net(), **options)).names
