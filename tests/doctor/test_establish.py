"""Causes are what a trial without them establishes; all else is a symptom."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import Augment
from pellucid.doctor import Case, case_of, diagnose
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.optim import SGD, Adam, Momentum
from pellucid.optim.regularizers import L1, L2, MaxNorm
from pellucid.optim.schedules import Step, Warmup
from pellucid.train.model import Model
from tests.doctor.examined import corners


def net(units: int = 12, *more: Layer) -> Sequential:
    return Sequential(flatten=Flatten(), dense1=Dense(units), relu=ReLU(), **_named(more), scores=Dense(4))


def _named(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    return {f"more{place}": layer for place, layer in enumerate(layers)}


def normed() -> Sequential:
    return Sequential(
        conv=Conv2d(8, 3, padding=1), norm=BatchNorm(), relu=ReLU(), flatten=Flatten(), scores=Dense(4)
    )  # fmt: skip


def taught(
    network: Sequential | None = None, frozen: str = "", batch_size: int = 16, epochs: int = 8, augment: Any = None,
    **options: Any,
) -> Case:  # fmt: skip
    """A training on the four corners that goes well as it stands."""
    x, y = corners(400)
    held = corners(120, seed=1)

    def begin() -> Model:
        made = Model(network or net(), input_shape=(1, 4, 4), **{"optimizer": Adam(0.01), **options})
        if frozen:
            made.freeze(frozen)
        return made

    it = begin()
    history = it.fit(x, y, epochs=epochs, batch_size=batch_size, validation=held, augment=augment, verbose=False)
    return case_of(
        it, x, y, validation=held, history=history, batch_size=batch_size, epochs=epochs, augment=augment, begin=begin
    )  # fmt: skip


def scrambled(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return x.flatten(1)[:, torch.randperm(x[0].numel(), generator=rng)].reshape(x.shape)


def inverted(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    return 1 - x


MISTAKES: list[tuple[str, dict[str, Any]]] = [
    ("regularization-too-strong", {"regularizer": L2(4e4)}),
    ("regularization-too-strong", {"regularizer": [L2(1e-6), L1(4e3)]}),
    ("regularization-too-strong", {"regularizer": MaxNorm(0.01)}),
    ("dropout-too-strong", {"network": net(12, Dropout(0.97)), "epochs": 4}),
    ("frozen-too-much", {"network": net(), "frozen": "*weight"}),
    ("clipping-too-tight", {"optimizer": SGD(0.3), "clip": 1e-4}),
    ("augmentation-destroys", {"augment": scrambled}),
    ("augmentation-destroys", {"augment": Augment(shift=1.0)}),
    ("preprocessing-mismatch", {"augment": inverted}),
    ("class-weights", {"loss": SoftmaxCrossEntropy(class_weights=(1e6, 1e-6, 1e-6, 1e-6))}),
    ("label-smoothing-too-strong", {"loss": SoftmaxCrossEntropy(label_smoothing=1.0)}),
    ("momentum-too-high", {"optimizer": Momentum(0.1, 0.999)}),
    ("optimizer-settings", {"optimizer": Adam(0.01, epsilon=1e3)}),
    ("rate-decays-too-early", {"optimizer": SGD(0.3), "schedule": Step(0.1, every=4, unit="steps")}),
    ("warmup-too-long", {"optimizer": SGD(0.3), "schedule": Warmup(100_000, start=0.001)}),
    ("batch-norm-tiny-batches", {"network": normed(), "batch_size": 1, "epochs": 1, "optimizer": Momentum(0.1)}),
    ("learning-rate-too-low", {"optimizer": SGD(1e-4)}),
    ("network-too-small", {"network": net(1)}),
]


@pytest.mark.parametrize(("name", "options"), MISTAKES)
def test_a_mistake_is_the_cause_and_its_symptoms_follow(name: str, options: dict[str, Any]) -> None:
    found = diagnose(taught(**options))
    assert found.causes == (name,)
    told = found.findings[0]
    assert told.evidence["score_without_it"] > told.evidence["score_as_set"] + 0.05
    assert found.attempts[0].score[0] == told.evidence["score_as_set"]


def test_none_of_this_is_said_of_a_training_that_goes_well() -> None:
    options = {"regularizer": L2(0.01), "optimizer": Momentum(0.1), "clip": 5.0, "augment": Augment(shift=0.05)}
    found = diagnose(taught(net(24, Dropout(0.1)), epochs=20, **options))
    assert found.causes == ()


def test_examples_that_came_class_after_class() -> None:
    (x, y), held = corners(400), corners(120, seed=1)
    it = Model(net(), optimizer=Adam(0.01), input_shape=(1, 4, 4))
    for label in range(4):
        history = it.fit(x[y == label], y[y == label], epochs=8, batch_size=16, verbose=False)
    found = diagnose(case_of(it, x, y, validation=held, history=history, batch_size=16, epochs=8))
    assert found.causes == ("examples-in-order",)
    assert found.symptoms == frozenset()
    assert "collapsed-predictions" in {found.findings[place].check for place in found.follows}


def test_what_no_trial_explains_is_a_symptom() -> None:
    it = taught()
    for path, value in it.model.weights.items():
        if path.startswith("scores"):
            value.copy_(value.flip(0))  # whoever read the file mixed up the rows
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


def test_a_second_cause_is_found_without_the_first() -> None:
    both = {"regularizer": L2(4e4), "clip": 1e-5, "optimizer": SGD(0.3)}
    found = diagnose(taught(**both))
    assert len(found.causes) <= 2
    assert set(found.causes) <= {"regularization-too-strong", "clipping-too-tight"}
