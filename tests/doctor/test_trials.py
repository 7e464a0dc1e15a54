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
from tests.doctor.examined import case, corners, model


def net(units: int = 32, *more: Layer) -> Sequential:
    named = {f"more{place}": layer for place, layer in enumerate(more)}
    return Sequential(flatten=Flatten(), dense1=Dense(units), relu=ReLU(), **named, scores=Dense(10))


def normed() -> Sequential:
    return Sequential(
        conv=Conv2d(8, 3, padding=1), norm=BatchNorm(), relu=ReLU(), flatten=Flatten(), scores=Dense(10)
    )  # fmt: skip


def taught(
    network: Sequential | None = None, frozen: str = "", batch_size: int = 32, epochs: int = 8, augment: Any = None,
    **options: Any,
) -> Case:  # fmt: skip
    """A training on digits that goes well as it stands."""
    x, y, held = digits()

    def begin() -> Model:
        made = Model(network or net(), input_shape=(1, 8, 8), **{"optimizer": Adam(0.01), **options})
        if frozen:
            made.freeze(frozen)
        return made

    it = begin()
    history = it.fit(x, y, epochs=epochs, batch_size=batch_size, validation=held, augment=augment, verbose=False)
    return case_of(
        it, x, y, validation=held, history=history, batch_size=batch_size, epochs=epochs, augment=augment, begin=begin
    )  # fmt: skip


def digits() -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    data = load("digits")
    return data.train.x[:800], data.train.y[:800], (data.test.x, data.test.y)


def noise(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return 0.1 * x + torch.rand(x.shape, generator=rng)


def inverted(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return 1 - x


MISTAKES: list[tuple[str, dict[str, Any]]] = [
    ("regularization-too-strong", {"regularizer": L2(4e4)}),
    ("regularization-too-strong", {"regularizer": [L2(1e-6), L1(4e3)]}),
    ("dropout-too-strong", {"network": net(32, Dropout(0.98)), "epochs": 3}),
    ("frozen-too-much", {"network": net(4), "frozen": "*weight"}),
    ("clipping-too-tight", {"optimizer": SGD(0.5), "clip": 1e-4}),
    ("augmentation-destroys", {"augment": noise}),
    ("preprocessing-mismatch", {"augment": inverted}),
    ("class-weights", {"loss": SoftmaxCrossEntropy(class_weights=(1e6, *[1e-6] * 9))}),
    ("momentum-too-high", {"optimizer": Momentum(0.3, 0.999)}),
    ("optimizer-settings", {"optimizer": Adam(0.01, epsilon=1e3)}),
    ("rate-decays-too-early", {"optimizer": SGD(0.5), "schedule": Step(0.1, every=4, unit="steps")}),
    ("warmup-too-long", {"optimizer": SGD(0.5), "schedule": Warmup(100_000, start=0.001)}),
    ("batch-norm-tiny-batches", {"network": normed(), "batch_size": 1, "epochs": 1, "optimizer": Momentum(0.05)}),
    ("learning-rate-too-low", {"optimizer": Adam(1e-5)}),
    ("network-too-small", {"network": net(1)}),
]


@pytest.fixture(scope="module")
def reference() -> float | None:
    """The score of the small network on the digits, which no setting of a training changes."""
    return trials._reference(taught(epochs=1))


@pytest.fixture
def known_reference(reference: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small network be trained once for all tests."""
    monkeypatch.setattr(trials, "_reference", lambda case: reference)


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
@pytest.mark.parametrize(("name", "options"), MISTAKES)
def test_a_mistake_is_the_cause_and_its_symptoms_follow(name: str, options: dict[str, Any]) -> None:
    found = diagnose(taught(**options))
    assert found.causes == (name,)
    assert found.findings[0].proven == (0 in found.attempts)
    mended = {check.name: check for check in CHECKS}
    for index in found.gone:  # the same experiment, made once more
        assert found.attempts[0].mended is not None
        assert not mended[found.findings[index].check].look(found.attempts[0].mended)
    if 0 in found.attempts:  # a mismatch of preprocessing may be plain without a trial
        before, after = found.attempts[0].score
        assert found.findings[0].evidence["score_as_set"] == before
        assert found.findings[0].evidence["score_without_it"] == after > before + 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_a_good_training_has_no_trial_findings() -> None:
    options = {"regularizer": L2(0.01), "optimizer": Momentum(0.1), "clip": 5.0, "augment": Augment(shift=0.05)}
    found = diagnose(taught(net(48, Dropout(0.1)), epochs=15, **options))
    assert found.causes == ()


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_examples_that_came_class_after_class() -> None:
    x, y, held = digits()
    it = Model(net(), optimizer=Momentum(0.05), input_shape=(1, 8, 8))
    history = None
    for label in range(10):
        history = it.fit(x[y == label], y[y == label], epochs=8, batch_size=32, verbose=False)
    found = diagnose(case_of(it, x, y, validation=held, history=history, batch_size=32, epochs=8))
    assert found.causes == ("examples-in-order",)
    assert found.kind(0) == "likely cause"  # another order does well; which order it was, is not measured
    assert found.symptoms == frozenset()
    assert "collapsed-predictions" in {found.findings[place].check for place in found.follows}


@pytest.mark.usefixtures("known_reference")
def test_batches_of_one_class_in_any_order() -> None:
    """The class that came last is not the last one by number."""
    x, y, held = digits()
    it = Model(net(), optimizer=Momentum(0.05), input_shape=(1, 8, 8))
    for label in (7, 2, 9, 0, 5, 8, 1, 6, 3, 4):
        it.fit(x[y == label], y[y == label], epochs=6, batch_size=32, verbose=False)
    found = diagnose(case_of(it, x, y, validation=held, batch_size=32, epochs=6))
    assert found.causes == ("examples-in-order",)
    assert found.findings[0].evidence["commonest_answer"] in {"4", "3", "6"}


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_an_augmentation_with_little_harm_is_found() -> None:
    """Mirrored digits cost a few percent, which the distance to a small network would not show."""
    found = diagnose(taught(net(64), augment=Augment(flip=True, vertical_flip=True), epochs=12))
    assert found.causes == ("augmentation-destroys",)
    assert found.findings[0].evidence["vertical_flip"]


@pytest.mark.usefixtures("known_reference")
def test_what_no_trial_explains_is_a_symptom() -> None:
    it = taught()
    for path, value in it.model.weights.items():
        if path.startswith("scores"):
            value.copy_(value[[3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])  # whoever read the file mixed up the rows
    found = diagnose(it)
    assert "underfitting" in {found.findings[place].check for place in found.symptoms}
    assert found.causes == ()
    said = json.loads(json.dumps(found.to_json()))["findings"]
    assert {one["kind"] for one in said} == {"symptom"}
    assert all(one["cause"] is None and one["fix"] is None for one in said)
    assert "cause not established" in str(found)
    assert "cause not established" in found._repr_html_()


def test_without_a_known_training_there_are_symptoms_only() -> None:
    found = diagnose(replace(taught(regularizer=L2(4e4)), trainable=False))
    assert found.causes == ()
    assert "underfitting" in found.names


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_a_second_cause_is_found_without_the_first() -> None:
    both = {"regularizer": L2(4e4), "clip": 1e-5, "optimizer": SGD(0.5)}
    found = diagnose(taught(**both))
    assert len(found.causes) <= 2
    assert set(found.causes) <= {"regularization-too-strong", "clipping-too-tight"}


TENFOLD = Remedy("ten times the learning rate", lambda it: with_rate(it, 10))


def test_the_outcomes_are_those_of_the_trainings() -> None:
    it = case(optimizer=SGD(0.01))
    found = Attempts(it, 12)(TENFOLD)
    assert (found.does, found.steps, found.measured_on) == (TENFOLD.does, 12, "validation")
    for place, lr in enumerate((0.01, 0.1)):
        x, y = corners()
        trained = model(optimizer=SGD(lr))
        trained.fit(x, y, epochs=3, batch_size=16, verbose=False)  # 12 steps
        measured = trained.evaluate(*corners(40, seed=1))
        assert found.loss[place] == pytest.approx(measured["loss"], rel=1e-5)
        assert found.accuracy[place] == pytest.approx(measured["accuracy"])
    assert found.loss[1] < found.loss[0]


def test_both_go_by_the_schedule() -> None:
    plan = {"optimizer": SGD(0.01), "schedule": Warmup(6, Cosine())}
    found = Attempts(replace(case(**plan), epochs=3), 12)(TENFOLD)
    for place, lr in enumerate((0.01, 0.1)):
        trained = model(**{**plan, "optimizer": SGD(lr)})
        trained.fit(*corners(), epochs=3, batch_size=16, verbose=False)  # 12 steps
        assert found.loss[place] == pytest.approx(trained.evaluate(*corners(40, seed=1))["loss"], rel=1e-5)


def test_it_is_no_longer_than_the_training() -> None:
    found = Attempts(replace(case(optimizer=SGD(0.01)), epochs=3))(TENFOLD)
    assert (found.steps, found.planned) == (12, 12)
    assert found.to_json()["steps_of_the_training"] == 12
    unknown = Attempts(case(), 12)(TENFOLD)
    assert (unknown.steps, unknown.to_json()["steps_of_the_training"]) == (12, None)


def test_a_training_that_breaks_has_no_numbers() -> None:
    found = Attempts(case(optimizer=SGD(1e30)), 5)(Remedy("a small rate", lambda it: with_rate(it, 1e-31)))
    assert (found.loss[0], found.accuracy[0]) == (None, None)
    assert found.loss[1] is not None
    assert found.to_json()["loss"]["before"] is None


def test_without_validation_data_it_is_measured_on_what_was_learned() -> None:
    assert Attempts(replace(case(), validation=None), 2)(TENFOLD).measured_on == "train"


def test_targets_that_are_no_classes_have_no_accuracy() -> None:
    x, y = corners()
    it = case_of(model(loss=Quadratic(), metrics=()), x, torch.nn.functional.one_hot(y, 4).float())
    assert Attempts(it, 2)(TENFOLD).accuracy == (None, None)


def test_what_several_remedies_start_from_is_trained_once() -> None:
    begun = []
    it = replace(case(), begin=lambda: begun.append(1) or model())
    try_out = Attempts(it, steps=2)
    assert not begun
    one, two = try_out(Remedy("nothing", lambda it: it)), try_out(Remedy("nothing again", lambda it: it))
    assert len(begun) == 3  # once as it is set, once for each remedy
    assert one.loss == two.loss == (one.loss[0], one.loss[0])
