"""Remedies, tried in short trainings, and the causes that trials establish."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import Augment, load
from pellucid.doctor import Case, case_of, diagnose, trials
from pellucid.doctor.attempts import Attempts
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.finding import Remedy
from pellucid.doctor.remedies import with_rate
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Momentum
from pellucid.optim.regularizers import L1, L2
from pellucid.optim.schedules import Cosine, Step, Warmup
from tests.doctor.small_cases import corners, make_case, make_model


def make_net(units: int = 32, *more_layers: Layer) -> Sequential:
    named = {f"more{index}": layer for index, layer in enumerate(more_layers)}
    return Sequential(flatten=Flatten(), dense1=Dense(units), relu=ReLU(), **named, scores=Dense(10))


def net_with_norm() -> Sequential:
    return Sequential(
        conv=Conv2d(8, 3, padding=1), norm=BatchNorm(), relu=ReLU(), flatten=Flatten(), scores=Dense(10)
    )  # fmt: skip


def trained_case(
    network: Sequential | None = None, frozen: str = "", batch_size: int = 32, epochs: int = 8, augment: Any = None,
    **options: Any,
) -> Case:  # fmt: skip
    """Return the case of a training on digits, which succeeds with the default arguments."""
    x, y, held_out = split_digits()

    def begin() -> Model:
        model = Model(network or make_net(), input_shape=(1, 8, 8), **{"optimizer": Adam(0.01), **options})
        if frozen:
            model.freeze(frozen)
        return model

    model = begin()
    history = model.fit(x, y, epochs=epochs, batch_size=batch_size, validation=held_out, augment=augment, verbose=False)
    return case_of(
        model, x, y, validation=held_out, history=history, batch_size=batch_size, epochs=epochs, augment=augment,
        begin=begin,
    )  # fmt: skip


def split_digits() -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    data = load("digits")
    return data.train.x[:800], data.train.y[:800], (data.test.x, data.test.y)


def noise(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return 0.1 * x + torch.rand(x.shape, generator=rng)


def inverted(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return 1 - x


MISTAKES: list[tuple[str, dict[str, Any]]] = [
    ("regularization-too-strong", {"regularizer": L2(4e4)}),
    ("regularization-too-strong", {"regularizer": [L2(1e-6), L1(4e3)]}),
    ("dropout-too-strong", {"network": make_net(32, Dropout(0.98)), "epochs": 3}),
    ("frozen-too-much", {"network": make_net(4), "frozen": "*weight"}),
    ("clipping-too-tight", {"optimizer": SGD(0.5), "clip": 1e-4}),
    ("augmentation-destroys", {"augment": noise}),
    ("preprocessing-mismatch", {"augment": inverted}),
    ("class-weights", {"loss": SoftmaxCrossEntropy(class_weights=(1e6, *[1e-6] * 9))}),
    ("momentum-too-high", {"optimizer": Momentum(0.3, 0.999)}),
    ("optimizer-settings", {"optimizer": Adam(0.01, epsilon=1e3)}),
    ("rate-decays-too-early", {"optimizer": SGD(0.5), "schedule": Step(0.1, every=4, unit="steps")}),
    ("warmup-too-long", {"optimizer": SGD(0.5), "schedule": Warmup(100_000, start=0.001)}),
    (
        "batch-norm-tiny-batches",
        {"network": net_with_norm(), "batch_size": 1, "epochs": 1, "optimizer": Momentum(0.05)},
    ),
    ("learning-rate-too-low", {"optimizer": Adam(1e-5)}),
    ("network-too-small", {"network": make_net(1)}),
]


@pytest.fixture(scope="module")
def reference() -> float | None:
    """Return the score on the digits of the small network that the doctor trains for comparison."""
    return trials._reference_score(trained_case(epochs=1))


@pytest.fixture
def known_reference(reference: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the training of the small network for comparison by its score, which is computed once for all tests."""
    monkeypatch.setattr(trials, "_reference_score", lambda case: reference)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(("fault", "part"), [("preprocessing-mismatch", "validation"), ("shuffled-labels", "train")])
def test_a_mistake_beside_a_fault_of_the_data_is_found_too(fault: str, part: str) -> None:
    case = trained_case(network=make_net(32, Dropout(0.98)), epochs=3)
    data = getattr(case, part)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    changed = replace(data, x=1 - data.x) if part == "validation" else replace(data, y=data.y[order])
    diagnosis = diagnose(replace(case, **{part: changed}))
    assert diagnosis.causes == ("dropout-too-strong", fault)
    assert diagnosis.kind(0) == "cause"
    assert diagnosis.attempts[0].measured_on == ("train" if part == "validation" else "validation")


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
@pytest.mark.parametrize(("name", "options"), MISTAKES)
def test_a_mistake_is_the_cause_and_its_symptoms_follow(name: str, options: dict[str, Any]) -> None:
    diagnosis = diagnose(trained_case(**options))
    assert diagnosis.causes == (name,)
    assert diagnosis.findings[0].proven == (0 in diagnosis.attempts)
    check_by_name = {check.name: check for check in CHECKS}
    for index in diagnosis.resolved:  # the findings that the trial without the cause removes
        assert diagnosis.attempts[0].mended_case is not None
        assert not check_by_name[diagnosis.findings[index].check].find(diagnosis.attempts[0].mended_case)
    if 0 in diagnosis.attempts:  # a preprocessing mismatch may be found without a trial
        before, after = diagnosis.attempts[0].score
        assert diagnosis.findings[0].evidence["score_as_set"] == before
        assert diagnosis.findings[0].evidence["score_without_it"] == after > before + 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_a_good_training_has_no_trial_findings() -> None:
    options = {"regularizer": L2(0.01), "optimizer": Momentum(0.1), "clip": 5.0, "augment": Augment(shift=0.05)}
    diagnosis = diagnose(trained_case(make_net(48, Dropout(0.1)), epochs=15, **options))
    assert diagnosis.causes == ()


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_examples_sorted_by_class_are_the_cause() -> None:
    x, y, held_out = split_digits()
    model = Model(make_net(), optimizer=Momentum(0.05), input_shape=(1, 8, 8))
    history = None
    for label in range(10):
        history = model.fit(x[y == label], y[y == label], epochs=8, batch_size=32, verbose=False)
    diagnosis = diagnose(case_of(model, x, y, validation=held_out, history=history, batch_size=32, epochs=8))
    assert diagnosis.causes == ("examples-in-order",)
    assert diagnosis.kind(0) == "likely cause"  # shuffling helps; the order itself is not measured
    assert diagnosis.symptoms == frozenset()
    assert "collapsed-predictions" in {diagnosis.findings[index].check for index in diagnosis.cause_by_consequence}


@pytest.mark.usefixtures("known_reference")
def test_examples_of_one_class_after_the_other_are_the_cause() -> None:
    """The class that was trained last does not have the highest index."""
    x, y, held_out = split_digits()
    model = Model(make_net(), optimizer=Momentum(0.05), input_shape=(1, 8, 8))
    for label in (7, 2, 9, 0, 5, 8, 1, 6, 3, 4):
        model.fit(x[y == label], y[y == label], epochs=6, batch_size=32, verbose=False)
    diagnosis = diagnose(case_of(model, x, y, validation=held_out, batch_size=32, epochs=6))
    assert diagnosis.causes == ("examples-in-order",)
    assert diagnosis.findings[0].evidence["commonest_answer"] in {"4", "3", "6"}


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_an_augmentation_with_little_harm_is_found() -> None:
    """Mirroring costs a few percent, too little to show beside the small network that the doctor trains."""
    diagnosis = diagnose(trained_case(make_net(64), augment=Augment(flip=True, vertical_flip=True), epochs=12))
    assert diagnosis.causes == ("augmentation-destroys",)
    assert diagnosis.findings[0].evidence["vertical_flip"]


@pytest.mark.usefixtures("known_reference")
def test_a_finding_that_no_trial_explains_is_a_symptom() -> None:
    case = trained_case()
    for path, value in case.model.weights.items():
        if path.startswith("scores"):
            value.copy_(value[[3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])  # as if the classes of a file had another order
    diagnosis = diagnose(case)
    assert "underfitting" in {diagnosis.findings[index].check for index in diagnosis.symptoms}
    assert diagnosis.causes == ()
    findings = json.loads(json.dumps(diagnosis.to_json()))["findings"]
    assert {finding["kind"] for finding in findings} == {"symptom"}
    assert all(finding["cause"] is None and finding["fix"] is None for finding in findings)
    assert "cause not established" in str(diagnosis)
    assert "cause not established" in diagnosis._repr_html_()


def test_without_settings_of_the_training_there_are_symptoms_only() -> None:
    diagnosis = diagnose(replace(trained_case(regularizer=L2(4e4)), trainable=False))
    assert diagnosis.causes == ()
    assert "underfitting" in diagnosis.names


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_with_three_mistakes_no_other_cause_is_found() -> None:
    options = {"regularizer": L2(4e4), "clip": 1e-5, "optimizer": SGD(0.5)}
    diagnosis = diagnose(trained_case(**options))
    assert len(diagnosis.causes) <= 2
    assert set(diagnosis.causes) <= {"regularization-too-strong", "clipping-too-tight"}


TENFOLD = Remedy("ten times the learning rate", lambda case: with_rate(case, 10))


def test_losses_of_attempts_are_those_of_trainings() -> None:
    case = make_case(optimizer=SGD(0.01))
    attempt = Attempts(case, 12)(TENFOLD)
    assert (attempt.description, attempt.steps, attempt.measured_on) == (TENFOLD.description, 12, "validation")
    for index, lr in enumerate((0.01, 0.1)):
        x, y = corners()
        trained = make_model(optimizer=SGD(lr))
        trained.fit(x, y, epochs=3, batch_size=16, verbose=False)  # 12 steps
        measured = trained.evaluate(*corners(40, seed=1))
        assert attempt.loss[index] == pytest.approx(measured["loss"], rel=1e-5)
        assert attempt.accuracy[index] == pytest.approx(measured["accuracy"])
    assert attempt.loss[1] < attempt.loss[0]


def test_both_trials_of_an_attempt_follow_the_schedule() -> None:
    options = {"optimizer": SGD(0.01), "schedule": Warmup(6, Cosine())}
    attempt = Attempts(replace(make_case(**options), epochs=3), 12)(TENFOLD)
    for index, lr in enumerate((0.01, 0.1)):
        trained = make_model(**{**options, "optimizer": SGD(lr)})
        trained.fit(*corners(), epochs=3, batch_size=16, verbose=False)  # 12 steps
        assert attempt.loss[index] == pytest.approx(trained.evaluate(*corners(40, seed=1))["loss"], rel=1e-5)


def test_a_trial_has_no_more_steps_than_the_training() -> None:
    attempt = Attempts(replace(make_case(optimizer=SGD(0.01)), epochs=3))(TENFOLD)
    assert (attempt.steps, attempt.steps_planned) == (12, 12)
    assert attempt.to_json()["steps_of_the_training"] == 12
    attempt_of_unknown_length = Attempts(make_case(), 12)(TENFOLD)
    assert (attempt_of_unknown_length.steps, attempt_of_unknown_length.to_json()["steps_of_the_training"]) == (12, None)


def test_a_diverged_trial_has_no_loss_and_accuracy() -> None:
    attempt = Attempts(make_case(optimizer=SGD(1e30)), 5)(Remedy("a small rate", lambda case: with_rate(case, 1e-31)))
    assert (attempt.loss[0], attempt.accuracy[0]) == (None, None)
    assert attempt.loss[1] is not None
    assert attempt.to_json()["loss"]["before"] is None


def test_without_validation_data_an_attempt_is_measured_on_training_data() -> None:
    assert Attempts(replace(make_case(), validation=None), 2)(TENFOLD).measured_on == "train"


def test_targets_that_are_no_classes_have_no_accuracy() -> None:
    x, y = corners()
    case = case_of(make_model(loss=Quadratic(), metrics=()), x, torch.nn.functional.one_hot(y, 4).float())
    assert Attempts(case, 2)(TENFOLD).accuracy == (None, None)


def test_the_baseline_of_several_remedies_is_trained_once() -> None:
    initial_models = []
    case = replace(make_case(), begin=lambda: initial_models.append(1) or make_model())
    try_out = Attempts(case, steps=2)
    assert not initial_models
    first, second = try_out(Remedy("nothing", lambda case: case)), try_out(Remedy("nothing again", lambda case: case))
    assert len(initial_models) == 3  # once unchanged, once for each remedy
    assert first.loss == second.loss == (first.loss[0], first.loss[0])
