"""Trainings that fail for classes: the part that is the cause, found by trainings without it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import Augment, load
from pellucid.doctor import Case, case_of, diagnose, replaced_parts
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.examination import examine
from pellucid.doctor.experiments import with_causes
from pellucid.doctor.finding import Remedy, suspect
from pellucid.doctor.held_out import HeldOutScorer
from pellucid.doctor.paired import PairedTrainings
from pellucid.doctor.rehearsal import step_work
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import Loss, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Momentum
from pellucid.optim.regularizers import L1, L2
from pellucid.optim.schedules import Cosine, Step, Warmup
from pellucid.task import task_of
from tests.doctor.small_cases import corners, make_case, make_model, with_rate


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
    ("augmentation-destroys", {"augment": inverted}),
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
]


@pytest.fixture(scope="module")
def reference() -> torch.Tensor | None:
    """Return the scores on the digits of the small network that the doctor trains for comparison."""
    case = trained_case(epochs=1)
    return replaced_parts._reference_scores(case, HeldOutScorer(task_of(case.model), case))


@pytest.fixture
def known_reference(reference: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the training of the small network for comparison by its scores, which are computed once for all tests."""
    monkeypatch.setattr(replaced_parts, "_reference_scores", lambda case, score: reference)


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


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
@pytest.mark.parametrize(("name", "options"), MISTAKES)
def test_a_mistake_is_the_cause_and_its_symptoms_follow(name: str, options: dict[str, Any]) -> None:
    diagnosis = diagnose(trained_case(**options))
    assert diagnosis.causes == (name,)
    assert diagnosis.findings[0].proven
    evidence = diagnosis.findings[0].evidence
    assert float(evidence["score_without_it"]) > float(evidence["score_as_set"]) + 0.05
    assert float(evidence["lowest_gain"]) > 0


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
    assert "underfitting" in {diagnosis.findings[index].check for index in diagnosis.cause_by_consequence}


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


@pytest.mark.usefixtures("known_reference")
def test_epochs_that_begin_with_the_same_batches_are_the_cause() -> None:
    x, y, held_out = split_digits()

    def batches() -> Iterator[Any]:
        return ((x[k : k + 32], y[k : k + 32]) for k in range(0, len(x), 32))

    model = Model(make_net(), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    history = model.fit(batches, epochs=60, steps_per_epoch=2, validation=held_out, verbose=False)
    diagnosis = model.doctor(batches, validation=held_out, history=history, epochs=60, batch_size=32)
    assert diagnosis.causes == ("short-epochs",)
    assert diagnosis.findings[0].cause.startswith("an epoch has 2 of ")


@pytest.mark.slow
@pytest.mark.usefixtures("known_reference")
def test_an_augmentation_with_little_harm_is_found() -> None:
    """Mirroring costs a few percent, too little to show beside the small network that the doctor trains."""
    case = trained_case(make_net(64), augment=Augment(flip=True, vertical_flip=True), epochs=12)
    diagnosis = with_causes(examine(case, CHECKS), task_of(case.model), case, budget=18)
    assert diagnosis.causes == ("augmentation-destroys",)
    assert diagnosis.findings[0].evidence["vertical_flip"]


@pytest.mark.usefixtures("known_reference")
def test_a_finding_that_no_trial_explains_is_a_symptom() -> None:
    trained = trained_case()
    case = replace(trained, history=None)
    for path, value in case.model.weights.items():
        if path.startswith("scores"):
            value.copy_(value[[3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])  # as if the classes of a file had another order
    assert "replaced-weights" in diagnose(trained).causes  # the history shows that the weights are others
    diagnosis = diagnose(case)
    assert "underfitting" in {diagnosis.findings[index].check for index in diagnosis.symptoms}
    assert diagnosis.causes == ()
    findings = json.loads(json.dumps(diagnosis.to_json()))["findings"]
    assert {finding["kind"] for finding in findings} == {"symptom"}
    assert all(finding["cause"] is None and finding["fix"] is None for finding in findings)
    assert "the fault is rather in the settings" in " ".join(str(diagnosis).split())
    assert "Try in this order: a learning rate" in diagnosis._repr_html_()


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


TENFOLD = suspect("slow", "", "", "ten times the learning rate", lambda case: with_rate(case, 10))


@pytest.mark.parametrize("options", [{}, {"schedule": Warmup(6, Cosine())}])
def test_both_trainings_of_a_pair_are_those_of_fit(options: dict[str, Any]) -> None:
    case = replace(make_case(optimizer=SGD(0.01), **options), epochs=3)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    assert (trainings.steps, trainings.max_steps) == (12, 12)
    for lr, changed in ((0.01, case), (0.1, TENFOLD.apply(case))):
        trained = make_model(optimizer=SGD(lr), **options)
        trained.fit(*corners(), epochs=3, batch_size=16, verbose=False)  # 12 steps
        in_pair = trainings.train(changed, 0, 12)
        torch.testing.assert_close(in_pair.model.weights, trained.weights, rtol=1e-5, atol=1e-7)
        x, y = corners(40, seed=1)
        recalls = [float((trained.predict(x).argmax(1) == y)[y == label].float().mean()) for label in y.unique()]
        assert float(in_pair.scores.mean()) == pytest.approx(sum(recalls) / len(recalls))


def test_a_training_that_diverges_has_the_score_0() -> None:
    case = make_case(optimizer=SGD(1e30))
    assert not PairedTrainings(task_of(case.model), case, lambda line: None).train(case, 0, 5).scores.any()


def test_fixes_of_the_data_are_not_tried_with_other_data() -> None:
    """Fixes of copies have indices of the training data, a part of which is held out without validation data."""
    x, y, _ = split_digits()
    x, y = torch.cat([x[:200], x[:60]]), torch.cat([y[:200], y[:60]])
    model = Model(make_net(), optimizer=SGD(1e-4), input_shape=(1, 8, 8))
    model.fit(x, y, epochs=8, batch_size=16, verbose=False)
    diagnosis = diagnose(case_of(model, x, y, batch_size=16, epochs=8), attempts=True)
    assert "duplicated-inputs" in diagnosis.causes
    assert diagnosis.left_out["duplicated-inputs"].startswith("its fix cannot be tried")
    assert "learning-rate-too-low" in diagnosis.causes


@pytest.mark.slow
def test_faults_of_the_validation_data_are_not_refuted_by_trainings_on_other_data() -> None:
    x, y, (held_out_x, held_out_y) = split_digits()
    model = Model(make_net(), optimizer=SGD(1e-3), input_shape=(1, 8, 8))
    model.fit(x, y, epochs=12, batch_size=32, verbose=False)
    case = case_of(model, x, y, validation=(held_out_x, (held_out_y + 1) % 10), batch_size=32, epochs=12)
    diagnosis = diagnose(case)
    assert diagnosis.causes == ("confused-labels",)
    assert "number their classes in different orders" in diagnosis.findings[0].cause


def test_features_of_very_different_scales_are_standardised_by_feature() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=rng)
    y = (x[:, 1] * x[:, 2] > 0).long()
    x[:, 0] *= 1e4
    model = Model(Sequential(hidden=Dense(64), relu=ReLU(), scores=Dense(2)), optimizer=Adam(0.003), input_shape=(8,))
    model.fit(x[:400], y[:400], epochs=24, batch_size=32, verbose=False)
    case = case_of(model, x[:400], y[:400], validation=(x[400:], y[400:]), batch_size=32, epochs=24)
    diagnosis = diagnose(case)
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("unnormalised-inputs", "cause")


def test_a_healthy_model_that_is_not_trained_has_no_cause_without_a_number_of_epochs() -> None:
    x, y, held_out = split_digits()
    assert diagnose(case_of(Model(make_net(), input_shape=(1, 8, 8)), x, y, validation=held_out)).causes == ()


def test_a_loss_of_ones_own_for_other_targets_has_no_reference() -> None:
    """The task has no score for two outputs and one target, and the small network has another loss."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(120, 4, generator=rng)
    y = x[:, :1] + 0.1 * torch.randn(120, 1, generator=rng)
    model = Model(Sequential(out=Dense(2)), NormalLikelihood(), SGD(1e-5), metrics=(), input_shape=(4,))
    model.fit(x[:80], y[:80], epochs=4, batch_size=8, verbose=False)
    case = case_of(model, x[:80], y[:80], validation=(x[80:], y[80:]), batch_size=8, epochs=4)
    assert replaced_parts._reference_scores(case, HeldOutScorer(task_of(model), case)) is None
    assert diagnose(case).checks


@dataclass(frozen=True)
class NormalLikelihood(Loss):
    """The negative log-likelihood of a normal distribution whose mean and log variance are the outputs."""

    def compute(self, y: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = y.split(1, 1)
        error = target - mean
        precision = (-log_variance).exp()
        value = (log_variance + error.square() * precision).mean() / 2
        dy = torch.cat([-error * precision, (1 - error.square() * precision) / 2], 1) / len(y)
        return value, dy

    def check(self, outputs: Any, targets: torch.Tensor) -> None:
        pass

    def predict(self, y: torch.Tensor) -> torch.Tensor:
        return y


def remedy(description: str) -> Remedy:
    return Remedy(description, lambda case: case)


def test_trainings_are_charged_by_their_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the examples in a batch are four times the work of a step."""
    monkeypatch.setattr("pellucid.doctor.paired.STEP_OVERHEAD", 0.0)
    case = make_case(optimizer=SGD(0.01), epochs=4)
    work = step_work(case.model, case.train, case.batch_size)
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None, budget=1)
    larger = replace(case, batch_size=4 * case.batch_size)
    assert trainings._limit == work * case.steps_planned
    assert not trainings.spend(remedy("larger batches"), (larger, case.steps_planned // 2))
    assert trainings.untried["larger batches"].startswith("not within the rest of the budget")
    assert trainings.spend(remedy("a quarter of the steps"), (larger, case.steps_planned // 4))
    assert not trainings.spend(remedy("once more"), (case, 1))
