"""Models that predict their training examples much better than validation examples."""

from dataclasses import replace

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.overfitting import CHECK
from pellucid.doctor.suspects import found_suspects
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.small_cases import corners, make_case


def memorizing_case(epochs: int = 60) -> Case:
    """Return a case that overfits forty points with random labels."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(240, 20, generator=rng), torch.randint(2, (240,), generator=rng)
    model = Model(Sequential(Dense(64), ReLU(), Dense(2)), optimizer=Adam(0.01), input_shape=(20,))
    validation = (x[40:], y[40:])
    history = model.fit(x[:40], y[:40], epochs=epochs, batch_size=10, validation=validation, verbose=False)
    return case_of(model, x[:40], y[:40], validation=validation, history=history, epochs=epochs, batch_size=10)


def test_a_gap_is_found_and_measured() -> None:
    case = memorizing_case()
    (finding,) = CHECK.find(case)
    assert (finding.check, finding.path) == ("overfitting", "validation")
    assert case.history is not None
    assert case.validation is not None
    accuracy = case.model.evaluate(case.validation.x, case.validation.y)["accuracy"]
    assert abs(finding.evidence["validation_accuracy"] - accuracy) < 1e-6
    assert finding.evidence["train_accuracy"] == 1
    losses = case.history["val_loss"]
    assert finding.evidence["epoch_of_the_minimum"] == losses.index(min(losses)) + 1
    assert abs(finding.evidence["validation_loss_over_its_minimum"] - losses[-1] / min(losses)) < 1e-5


def test_a_gap_is_found_without_a_history() -> None:
    assert CHECK.find(replace(memorizing_case(), history=None))


def test_a_gap_that_may_be_chance_has_no_finding() -> None:
    case = memorizing_case()
    assert case.validation is not None
    five_examples = replace(case.validation, x=case.validation.x[:5], y=case.validation.y[:5])
    assert not CHECK.find(replace(case, validation=five_examples))


def test_a_model_that_generalises_has_no_finding() -> None:
    assert not CHECK.find(make_case(epochs=20))


def test_without_training_or_validation_there_is_no_finding() -> None:
    assert not CHECK.find(make_case())
    assert not CHECK.find(replace(memorizing_case(), validation=None))
    assert not CHECK.find(case_of(make_case().model, *corners(10)))


def test_a_low_training_accuracy_has_no_finding() -> None:
    case = memorizing_case(epochs=60)
    wrong_labels = case.train.y.clone()
    wrong_labels[:25] = 1 - wrong_labels[:25]  # 15 of 40 remain right, far above none in validation
    all_wrong = (case.train.x, case.model.predict(case.train.x).argmin(1))
    poor_case = case_of(case.model, case.train.x, wrong_labels, validation=all_wrong)
    assert poor_case.train_predictions.accuracy == pytest.approx(15 / 40)
    assert poor_case.validation_predictions is not None
    assert poor_case.validation_predictions.accuracy == 0
    assert not CHECK.find(poor_case)


@pytest.mark.parametrize("shape", [(20,), (1, 4, 5)])
@pytest.mark.parametrize("is_augmented", [False, True])
def test_what_to_try_depends_on_the_training(shape: tuple[int, ...], is_augmented: bool) -> None:
    case = memorizing_case()
    assert case.validation is not None
    net = Sequential(Flatten(), Dense(64), ReLU(), Dense(2))
    model = Model(net, optimizer=Adam(0.01), input_shape=shape)
    parts = [replace(data, x=data.x.reshape(-1, *shape)) for data in (case.train, case.validation)]
    model.fit(parts[0], epochs=60, batch_size=10, verbose=False)
    augment = (lambda x, rng: x) if is_augmented else None
    (finding,) = CHECK.find(replace(case, model=model, train=parts[0], validation=parts[1], augment=augment))
    assert len(finding.fix.split("; ")) == 2 + (finding.remedy is not None)
    assert (finding.remedy is not None) == (len(shape) == 3 and not is_augmented)
    (symptom,) = found_suspects([finding])[1] if finding.remedy else (None,)
    assert symptom is None or (symptom.general and symptom.unusual)  # tried last, at full length
