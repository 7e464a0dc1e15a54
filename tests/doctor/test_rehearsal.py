"""Rehearsals of a few steps, compared with PyTorch's optimizers, reinitialized models, and repeated trainings."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose, replaced_parts
from pellucid.doctor.evaluations import Evaluations
from pellucid.doctor.paired import PairedTrainings, ScoredModel
from pellucid.doctor.rehearsal import (
    RehearsalSettings,
    rehearse,
    reinitialized,
    step_work,
    with_copied_weights,
)
from pellucid.doctor.remedies import rebuilt
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.layers.base import Layer, Mode, Params
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Momentum, Optimizer
from pellucid.optim.base import State
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Cosine, OneCycle, Warmup
from pellucid.task import task_of
from pellucid.training.examples import examples
from tests.doctor.small_cases import conv_net, corners, dense_net, make_case, make_model, with_rate

DATA = examples(*corners())
ALL_EXAMPLES = len(DATA)  # one batch, so the order of the examples has no effect


def losses_by_torch(model: Model, steps: int, lr: float, kind: str = "SGD") -> list[float]:
    """Return the loss of each step."""
    p = {path: value.clone().requires_grad_() for path, value in model.weights.items()}
    optimizer = getattr(torch.optim, kind)(p.values(), lr=lr)
    losses = []
    for _ in range(steps):
        hidden = F.relu(F.linear(DATA.x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
        loss = F.cross_entropy(F.linear(hidden, p["dense2.weight"], p["dense2.bias"]), DATA.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("kind", "optimizer"), [("SGD", SGD(0.5)), ("SGD", SGD(0.05)), ("Adam", Adam(0.01))])
def test_losses_are_those_of_pytorch(kind: str, optimizer: SGD | Adam) -> None:
    model = make_model(optimizer=optimizer)
    losses = losses_by_torch(model, 9, optimizer.lr, kind)
    rehearsal = rehearse(model, DATA, ALL_EXAMPLES, None, RehearsalSettings(9))
    assert rehearsal.losses == pytest.approx(losses, rel=1e-4)
    assert not rehearsal.has_failed


def test_a_rehearsal_continues_over_epochs_and_with_few_examples() -> None:
    rehearsal = rehearse(make_model(), DATA, 1_000, None, RehearsalSettings(5))
    assert len(rehearsal.losses) == 5
    assert len(rehearse(make_model(), DATA, 24, None, RehearsalSettings(8)).losses) == 8  # three batches an epoch


def test_a_rehearsal_ends_at_an_infinite_loss() -> None:
    rehearsal = rehearse(make_model(optimizer=SGD(1e30)), DATA, 16, None, RehearsalSettings(20))
    assert rehearsal.has_failed
    assert len(rehearsal.losses) < 20


def test_the_schedule_and_dropout_draws_are_those_of_the_training() -> None:
    net = Sequential(flatten=Flatten(), dense1=Dense(12), relu=ReLU(), dropout=Dropout(0.5), dense2=Dense(4))
    options = {"net": net, "schedule": Warmup(5, Cosine())}
    history = make_model(**options).fit(*corners(), epochs=3, batch_size=16, verbose=False)  # 4 steps each
    losses = rehearse(make_model(**options), DATA, 16, None, RehearsalSettings(12), steps_planned=12).losses
    assert [sum(losses[step : step + 4]) / 4 for step in (0, 4, 8)] == pytest.approx(history["train_loss"], rel=1e-5)
    assert losses[:2] == rehearse(make_model(**options), DATA, 16, None, RehearsalSettings(2), steps_planned=12).losses


def test_the_last_rate_is_used_after_the_end_of_a_schedule() -> None:
    model = make_model(schedule=Warmup(4, OneCycle()))
    assert len(rehearse(model, DATA, 16, None, RehearsalSettings(9), steps_planned=4).losses) == 9


def test_an_error_in_a_step_is_reported() -> None:
    x, y = corners(17)
    model = make_model(Sequential(flatten=Flatten(), dense=Dense(4), norm=BatchNorm()))
    rehearsal = rehearse(model, examples(x, y), 1, None, RehearsalSettings(5))
    assert (len(rehearsal.losses), rehearsal.has_failed) == (0, True)
    assert "one value per channel" in rehearsal.stopped
    assert rehearse(make_model(optimizer=SGD(1e30)), DATA, 16, None, RehearsalSettings(20)).stopped == ""


def test_steps_end_at_the_limit_of_the_work() -> None:
    work = step_work(make_model(), DATA, 16)
    for limit, steps in ((0.0, 1), (3.9 * work, 3), (5 * work, 5)):
        rehearsal = rehearse(make_model(), DATA, 16, None, RehearsalSettings(5, work=limit))
        assert (len(rehearsal.losses), rehearsal.has_failed) == (steps, False)


class ChannelMatrix(Layer):
    """A user-defined layer that multiplies the channels at each position by a 2 x 2 matrix."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"matrix": torch.eye(2)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return torch.einsum("oi,nihw->nohw", params["matrix"], x), (x,)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        raise NotImplementedError


def test_the_work_of_a_user_defined_layer_counts_its_weights_at_each_position() -> None:
    layer_work = 2 * 2 * 9 + 2 * 9
    net = Sequential(mixed=ChannelMatrix(), flatten=Flatten(), scores=Dense(4))
    data = examples(torch.zeros(5, 2, 3, 3), torch.zeros(5, dtype=torch.int64))
    model = make_model(net, input_shape=(2, 3, 3))
    assert step_work(model, data, 4) == 3 * 4 * (layer_work + 18 + (18 * 4 + 4))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 20)])
def test_the_work_of_a_network_for_images_of_any_size_is_that_of_the_data(height: int, width: int) -> None:
    """A 3x3 convolution from 3 to 2 channels, the mean over the pixels, and Dense(4)."""
    net = Sequential(conv=Conv2d(2, 3, padding=1), pool=AdaptiveAvgPool2d(1), flatten=Flatten(), scores=Dense(4))
    pixels, x = height * width, torch.rand(6, 3, height, width)
    data = examples(x, torch.arange(6) % 4)
    work = pixels * (3 * 3 * 3 * 2 + 2) + 2 + 2 + (2 * 4 + 4)
    model = make_model(net, input_shape=(3, None, None))
    assert step_work(model, data, 4) == 3 * 4 * work


def test_frozen_weights_are_unchanged_and_augmentation_is_applied() -> None:
    model = make_model()
    model.freeze("dense1.*")
    weight_before = model.weights["dense1.weight"].clone()
    rehearsal = rehearse(model, DATA, 16, lambda x, rng: torch.zeros_like(x), RehearsalSettings(3))
    assert torch.equal(weight_before, rehearsal.model.weights["dense1.weight"])
    assert rehearsal.losses[0] == pytest.approx(torch.tensor(4.0).log().item(), rel=1e-5)  # inputs and biases are 0


@pytest.mark.parametrize(("steps", "size"), [(3, 16), (40, 8)])
def test_a_rehearsal_with_a_frozen_front_has_the_losses_and_weights_of_the_whole_network(steps: int, size: int) -> None:
    """With an augmentation that changes nothing, the frozen layers run in every step."""
    models = make_model(), make_model()
    for model in models:
        model.freeze("dense1.*")
    settings = RehearsalSettings(steps)
    cached = rehearse(models[0], DATA, size, None, settings)
    whole = rehearse(models[1], DATA, size, lambda x, rng: x, settings)
    assert cached.losses == pytest.approx(whole.losses, rel=1e-6)
    assert cached.model is models[0]
    torch.testing.assert_close(models[0].weights, models[1].weights, rtol=1e-5, atol=1e-7)


OPTIONS = {
    "optimizer": Adam(0.02), "regularizer": L2(1e-3), "schedule": OneCycle(), "clip": 1.0, "seed": 7,
    "classes": ("a", "b", "c", "d"), "preprocess": {"mean": [0.1], "std": [0.5]},
}  # fmt: skip


def test_a_reinitialized_model_is_the_model_before_its_first_step() -> None:
    model = make_model(**OPTIONS)
    model.freeze("dense1.bias")
    model.scale_rate("dense2.*", 0.5)
    initial_hash = model.sha256()
    model.weights["dense1.weight"].zero_()
    new = reinitialized(model)
    assert new.sha256() == initial_hash
    for name in ("optimizer", "regularizers", "schedule", "clip", "classes", "preprocess", "frozen", "rates", "seed"):
        assert getattr(new, name) == getattr(model, name)


def test_a_reinitialized_model_has_the_changed_settings() -> None:
    new = reinitialized(make_model(**OPTIONS), optimizer=SGD(0.3), net=conv_net())
    assert new.optimizer == SGD(0.3)
    assert "conv1.weight" in new.weights


def test_a_copy_has_weights_of_its_own() -> None:
    model = make_model()
    new = with_copied_weights(model)
    new.weights["dense1.weight"].zero_()
    assert model.weights["dense1.weight"].abs().sum() > 0
    assert new.net is model.net


def test_a_case_with_another_rate_has_the_same_initial_weights() -> None:
    case = make_case(epochs=2)
    new = with_rate(case, 0.1)
    assert new.model.optimizer.lr == case.model.optimizer.lr * 0.1
    assert new.model.sha256() == case.initial.sha256() != case.model.sha256()
    assert new.begin().sha256() == case.initial.sha256()
    assert (new.history, new.stopped) == (None, "")
    assert (new.batch_size, new.train) == (case.batch_size, case.train)


def test_a_rebuilt_case_keeps_given_initial_weights() -> None:
    initial_model = make_model()
    initial_model.weights["dense1.weight"].fill_(0.5)
    case = replace(make_case(), begin=lambda: with_copied_weights(initial_model))
    assert bool((rebuilt(case, clip=1.0).model.weights["dense1.weight"] == 0.5).all())


def test_another_network_has_newly_drawn_weights() -> None:
    new = rebuilt(make_case(), net=dense_net()).model
    assert torch.equal(new.weights["dense1.weight"], make_model().weights["dense1.weight"])


@dataclass(frozen=True)
class OwnOptimizer(Optimizer):
    """An optimizer without a default learning rate."""

    def init(self, params: list[Tensor]) -> State:
        return {}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        pass


def test_the_usual_rate_does_not_depend_on_the_rate() -> None:
    assert Adam(5.0).usual_lr == 0.001  # Kingma and Ba 2015, algorithm 1
    assert SGD(5.0).usual_lr == 0.1
    assert OwnOptimizer(5.0).usual_lr == float("inf")


@pytest.mark.parametrize(
    ("y", "is_sorted"),
    [
        (torch.arange(200) // 20, True),
        (torch.arange(200) // 20 * 7 % 10, True),
        (torch.arange(200) % 10, False),
        (torch.randint(10, (200,), generator=torch.Generator().manual_seed(0)), False),
        ((torch.arange(200) < 180).long(), True),
        ((torch.arange(200) % 10 > 0).long(), False),
    ],
)
def test_classes_that_hardly_change_from_example_to_example_are_sorted(y: torch.Tensor, is_sorted: bool) -> None:
    model = Model(Sequential(Dense(10)), input_shape=(3,))
    assert replaced_parts.comes_by_class(case_of(model, torch.rand(200, 3), y)) is is_sorted


def repeated(present: float, y: torch.Tensor, predicted: int | None) -> replaced_parts.ReplacedParts:
    """Return the parts of a training with a present score, for a training on x that are noise."""
    x = torch.rand(len(y), 3)
    model = Model(Sequential(out=Dense(10)), optimizer=Momentum(0.05), input_shape=(3,))
    case = case_of(model, x, y, validation=(x, y), epochs=40)
    if predicted is not None:
        case.model.weights["out.bias"][predicted] = 100.0
    trainings = PairedTrainings(task_of(case.model), case, lambda line: None)
    parts = replaced_parts.ReplacedParts(Evaluations(trainings, [], False))
    parts.present_scores = torch.full((len(y),), present)
    return parts


@pytest.mark.parametrize(
    ("again", "is_sorted", "predicted", "expected"),
    [
        (0.9, True, 3, "examples-in-order"),
        (0.55, True, 3, "examples-in-order"),  # worse than the reference, but clearly better than in order
        (0.55, False, 3, "unstable"),
        (0.55, True, None, "unstable"),
        (0.12, True, 3, ""),
    ],
)
def test_a_training_that_is_better_once_more_is_in_order_or_unstable(
    again: float, is_sorted: bool, predicted: int | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = torch.arange(400) // 40 if is_sorted else torch.arange(400) % 10
    scores = (torch.arange(400) % 100 < 100 * again).double()
    parts = repeated(0.1, y, predicted)
    monkeypatch.setattr(replaced_parts, "_reference_scores", lambda case, score: torch.full((400,), 0.92))
    monkeypatch.setattr(PairedTrainings, "train", lambda self, case, *values: ScoredModel(case.model, scores))
    assert isinstance(parts.base, Case)
    deficit = parts._deficit(parts.base)
    assert [finding.check for finding, _ in parts.evaluations.likely] == ["examples-in-order"] * (
        expected == "examples-in-order"
    )
    assert parts.is_unstable is (expected == "unstable")
    assert bool(deficit) is (expected != "examples-in-order")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rate_at_which_a_training_fails_in_some_orders_is_the_cause(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.randn(700, 1, 16, 16, generator=rng)
    y = torch.rand(700, 2, generator=rng)
    for image, (column, row) in zip(x, (2 + 11 * y).long().tolist(), strict=True):
        image[0, row - 1 : row + 2, column - 1 : column + 2] += 1
    net = Sequential(
        Conv2d(12, 5, stride=2, padding=2), ReLU(), Conv2d(24, 3, stride=2, padding=1), ReLU(), Flatten(),
        Dense(64), ReLU(), Dense(2),
    )  # fmt: skip
    model = Model(net, "quadratic", Adam(0.06), metrics=(), input_shape=(1, 16, 16), seed=seed)
    history = model.fit(x[:500], y[:500], epochs=8, batch_size=32, verbose=False)
    case = case_of(model, x[:500], y[:500], validation=(x[500:], y[500:]), history=history, epochs=8, batch_size=32)
    assert diagnose(case).causes == ("learning-rate-too-high",)
