"""A few steps of a training, against PyTorch's own optimizer, and models made again."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.doctor.rehearsal import (
    RehearsalSettings,
    copied,
    default_rate,
    example_work,
    rehearse,
    reinitialized,
    step_work,
)
from pellucid.doctor.remedies import rebuilt, with_rate
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.layers.base import Layer, Mode, Params
from pellucid.model import Model
from pellucid.optim import SGD, Adam, Optimizer
from pellucid.optim.base import State
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Cosine, OneCycle, Warmup
from pellucid.training.examples import examples
from tests.doctor.examined import case, conv_net, corners, dense_net, model

DATA = examples(*corners())
WHOLE = len(DATA)  # as one batch, so that no order matters


def by_torch(it: Model, steps: int, lr: float, kind: str = "SGD") -> tuple[list[float], dict[str, list[float]]]:
    """Return the losses, and of each step what rms(update) / rms(weights) was."""
    p = {path: value.clone().requires_grad_() for path, value in it.weights.items()}
    optimizer = getattr(torch.optim, kind)(p.values(), lr=lr)
    losses, ratios = [], {path: [] for path in p}
    for _ in range(steps):
        before = {path: value.detach().clone() for path, value in p.items()}
        hidden = F.relu(F.linear(DATA.x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
        loss = F.cross_entropy(F.linear(hidden, p["dense2.weight"], p["dense2.bias"]), DATA.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        for path, value in p.items():
            ratios[path].append((value.detach() - before[path]).norm().item() / max(before[path].norm().item(), 1e-30))
    return losses, ratios


@pytest.mark.parametrize(
    ("kind", "optimizer", "factor"), [("SGD", SGD(0.5), 1.0), ("SGD", SGD(0.05), 10.0), ("Adam", Adam(0.01), 1.0)]
)
def test_losses_and_updates_are_those_of_pytorch(kind: str, optimizer: SGD | Adam, factor: float) -> None:
    it = model(optimizer=optimizer)
    losses, ratios = by_torch(it, 9, optimizer.lr * factor, kind)
    done = rehearse(it, DATA, WHOLE, None, RehearsalSettings(9, factor))
    assert done.losses == pytest.approx(losses, rel=1e-4)
    assert not done.broke
    assert done.end == pytest.approx(sum(losses[-2:]) / 2, rel=1e-4)
    for path in ("dense1.weight", "dense2.weight"):  # watched in steps 0 and 8; of two the higher is the median
        assert done.ratios[path] == pytest.approx(max(ratios[path][0], ratios[path][8]), rel=1e-3)
    first, last = ratios["dense1.bias"][0], ratios["dense1.bias"][8]
    assert first > 1e20  # a bias of 0 has no ratio
    assert done.ratios["dense1.bias"] == pytest.approx(last, rel=1e-3)


def test_it_goes_on_over_epochs_and_takes_small_data() -> None:
    done = rehearse(model(), DATA, 1_000, None, RehearsalSettings(5))
    assert len(done.losses) == 5
    assert len(rehearse(model(), DATA, 24, None, RehearsalSettings(8)).losses) == 8  # three batches an epoch


def test_a_rate_that_breaks_the_training_ends_it() -> None:
    done = rehearse(model(optimizer=SGD(1e30)), DATA, 16, None, RehearsalSettings(20))
    assert done.broke
    assert len(done.losses) < 20
    assert done.end == float("inf")


def test_the_schedule_and_what_is_drawn_are_those_of_the_training() -> None:
    net = Sequential(flatten=Flatten(), dense1=Dense(12), relu=ReLU(), dropout=Dropout(0.5), dense2=Dense(4))
    options = {"net": net, "schedule": Warmup(5, Cosine())}
    history = model(**options).fit(*corners(), epochs=3, batch_size=16, verbose=False)  # of 4 steps
    losses = rehearse(model(**options), DATA, 16, None, RehearsalSettings(12), planned=12).losses
    assert [sum(losses[at : at + 4]) / 4 for at in (0, 4, 8)] == pytest.approx(history["train_loss"], rel=1e-5)
    assert losses[:2] == rehearse(model(**options), DATA, 16, None, RehearsalSettings(2), planned=12).losses


def test_past_the_end_of_a_schedule_its_last_rate_stays() -> None:
    warm = model(schedule=Warmup(4, OneCycle()))
    assert len(rehearse(warm, DATA, 16, None, RehearsalSettings(9), planned=4).losses) == 9


def test_a_step_that_cannot_be_taken_is_reported() -> None:
    x, y = corners(17)
    it = model(Sequential(flatten=Flatten(), dense=Dense(4), norm=BatchNorm()))
    done = rehearse(it, examples(x, y), 16, None, RehearsalSettings(5))
    assert (len(done.losses), done.broke) == (1, True)
    assert "one value per channel" in done.stopped
    assert rehearse(model(optimizer=SGD(1e30)), DATA, 16, None, RehearsalSettings(20)).stopped == ""


def test_steps_end_with_the_work() -> None:
    work = step_work(model(), DATA, 16)
    for limit, steps in ((0.0, 1), (3.9 * work, 3), (5 * work, 5)):
        done = rehearse(model(), DATA, 16, None, RehearsalSettings(5, work=limit))
        assert (len(done.losses), done.shortened, done.broke) == (steps, steps < 5, False)
        assert done.work == steps * work
    assert not rehearse(model(), DATA, 16, None, RehearsalSettings(5)).shortened


class Mixed(Layer):
    """A user-defined layer: each place's channels times a matrix of 2 x 2."""

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        return {"matrix": torch.eye(2)}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Any]:
        return torch.einsum("oi,nihw->nohw", params["matrix"], x), (x,)

    def backward(self, params: Params, cache: Any, dy: Tensor) -> tuple[Tensor, Params]:
        raise NotImplementedError


def test_the_work_of_a_users_layer_counts_its_weights_at_each_place() -> None:
    mixed = 2 * 2 * 9 + 2 * 9
    net = Sequential(mixed=Mixed(), flatten=Flatten(), scores=Dense(4))
    data = examples(torch.zeros(5, 2, 3, 3), torch.zeros(5, dtype=torch.int64))
    assert example_work(model(net, input_shape=(2, 3, 3)), data) == mixed + 18 + (18 * 4 + 4)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 20)])
def test_the_work_of_a_network_for_images_of_any_size_is_that_of_the_data(height: int, width: int) -> None:
    """A 3x3 convolution from 3 to 2 channels, the mean over the pixels, and Dense(4)."""
    net = Sequential(conv=Conv2d(2, 3, padding=1), pool=AdaptiveAvgPool2d(1), flatten=Flatten(), scores=Dense(4))
    pixels, x = height * width, torch.rand(6, 3, height, width)
    data = examples(x, torch.arange(6) % 4)
    work = pixels * (3 * 3 * 3 * 2 + 2) + 2 + 2 + (2 * 4 + 4)
    free = model(net, input_shape=(3, None, None))
    assert example_work(free, data) == work
    assert step_work(free, data, 4) == 3 * 4 * work
    assert rehearse(free, data, 4, None, RehearsalSettings(2)).work == 2 * 3 * 4 * work


def test_frozen_weights_stay_and_augmentation_is_applied() -> None:
    it = model()
    it.freeze("dense1.*")
    before = it.weights["dense1.weight"].clone()
    done = rehearse(it, DATA, 16, lambda x, rng: torch.zeros_like(x), RehearsalSettings(3))
    assert torch.equal(before, done.model.weights["dense1.weight"])
    assert done.losses[0] == pytest.approx(torch.tensor(4.0).log().item(), rel=1e-5)  # nothing to see, no bias yet


OPTIONS = {
    "optimizer": Adam(0.02), "regularizer": L2(1e-3), "schedule": OneCycle(), "clip": 1.0, "seed": 7,
    "classes": ("a", "b", "c", "d"), "preprocess": {"mean": [0.1], "std": [0.5]},
}  # fmt: skip


def test_remade_is_the_model_before_its_first_step() -> None:
    it = model(**OPTIONS)
    it.freeze("dense1.bias")
    it.scale_rate("dense2.*", 0.5)
    begun = it.sha256()
    it.weights["dense1.weight"].zero_()
    new = reinitialized(it)
    assert new.sha256() == begun
    for name in ("optimizer", "regularizers", "schedule", "clip", "classes", "preprocess", "frozen", "rates", "seed"):
        assert getattr(new, name) == getattr(it, name)


def test_changes_are_taken() -> None:
    new = reinitialized(model(**OPTIONS), optimizer=SGD(0.3), net=conv_net())
    assert new.optimizer == SGD(0.3)
    assert "conv1.weight" in new.weights


def test_a_copy_has_weights_of_its_own() -> None:
    it = model()
    new = copied(it)
    new.weights["dense1.weight"].zero_()
    assert it.weights["dense1.weight"].abs().sum() > 0
    assert new.net is it.net


def test_another_rate_begins_with_the_same_weights() -> None:
    it = case(epochs=2)
    new = with_rate(it, 0.1)
    assert new.model.optimizer.lr == it.model.optimizer.lr * 0.1
    assert new.model.sha256() == it.initial.sha256() != it.model.sha256()
    assert new.begin().sha256() == it.initial.sha256()
    assert (new.history, new.stopped) == (None, "")
    assert (new.batch_size, new.train) == (it.batch_size, it.train)


def test_other_weights_at_the_beginning_are_kept() -> None:
    begun = model()
    begun.weights["dense1.weight"].fill_(0.5)
    it = replace(case(), begin=lambda: copied(begun))
    assert bool((rebuilt(it, clip=1.0).model.weights["dense1.weight"] == 0.5).all())


def test_another_network_draws_its_own() -> None:
    new = rebuilt(case(), net=dense_net()).model
    assert torch.equal(new.weights["dense1.weight"], model().weights["dense1.weight"])


@dataclass(frozen=True)
class Own(Optimizer):
    """One without a default."""

    def init(self, params: list[Tensor]) -> State:
        return {}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        pass


def test_the_default_rate_does_not_depend_on_the_rate() -> None:
    assert default_rate(Adam(5.0)) == 0.001  # Kingma and Ba 2015, algorithm 1
    assert default_rate(SGD(5.0)) == 0.1
    assert default_rate(Own(5.0)) == float("inf")
