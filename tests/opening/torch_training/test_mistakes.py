"""Mistakes in trainings of PyTorch that the doctor names, or that from_torch refuses by name."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.optim import Progress

N_TRAIN = 1400


@dataclass
class Script:
    """The parts of a training of digits that a mistake changes."""

    lr: float = 0.05
    weight_decay: float = 0.0
    momentum: float = 0.9
    clip_norm: float | None = None
    shuffle: bool = True
    class_weights: Tensor | None = None
    ending: list[nn.Module] = field(default_factory=list)
    network: type[nn.Module] | None = None
    first_trained: int = 0  # the first of the parameters that the optimizer is given
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = lambda x, y: (x, y)


def training_of(script: Script) -> Any:
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    torch.manual_seed(0)
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))  # others wrote the last ones
    x = torch.tensor(digits.images / 16, dtype=torch.float32)[order, None]
    y = torch.tensor(digits.target)[order]
    network: nn.Module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(128, 10), *script.ending,
    )  # fmt: skip
    if script.network is not None:
        network = script.network()
    optimizer = torch.optim.SGD(
        [*network.parameters()][script.first_trained :], lr=script.lr, momentum=script.momentum,
        weight_decay=script.weight_decay,
    )  # fmt: skip
    train = TensorDataset(*script.change(x[:N_TRAIN], y[:N_TRAIN]))
    return pellucid.from_torch(
        network,
        loss=nn.CrossEntropyLoss(weight=script.class_weights),
        optimizer=optimizer,
        clip_norm=script.clip_norm,
        train=DataLoader(train, batch_size=32, shuffle=script.shuffle),
        validation=DataLoader(TensorDataset(x[N_TRAIN:], y[N_TRAIN:]), batch_size=64),
    )


def shuffled_labels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]


def by_class(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x[y.argsort()], y.sort().values


MISTAKES = {
    "learning-rate-too-high": Script(lr=8.0),
    "learning-rate-too-low": Script(lr=1e-6),
    "shuffled-labels": Script(change=shuffled_labels),
    "examples-in-order": Script(change=by_class, shuffle=False),
    "wrong-output": Script(ending=[nn.Sigmoid()]),
    "class-weights": Script(class_weights=torch.tensor([1000.0] + [1.0] * 9)),
    "clipping-too-tight": Script(clip_norm=1e-4),
    "momentum-too-high": Script(lr=0.2, momentum=0.997),
    "optimizer-settings": Script(weight_decay=0.5),
    "untrained-frozen": Script(first_trained=-1),  # the last bias alone
}


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("name", MISTAKES)
def test_the_doctor_names_the_mistake_first(name: str) -> None:
    training = training_of(MISTAKES[name])
    training.fit(4, verbose=False)
    diagnosis = training.doctor()
    assert diagnosis.names[0] == name


@pytest.mark.slow
@pytest.mark.heavy
def test_no_mistake_is_found_in_the_training_without_one() -> None:
    training = training_of(Script())
    training.fit(4, verbose=False)
    assert training.doctor().healthy


@pytest.mark.slow
@pytest.mark.heavy
def test_inputs_up_to_255_are_a_finding_before_the_first_step() -> None:
    training = training_of(Script(change=lambda x, y: (x * 255, y)))
    assert "unnormalised-inputs" in training.doctor(epochs=4).names


def test_a_softmax_before_the_loss_is_refused_by_name() -> None:
    with pytest.raises(PellucidError, match="Softmax is followed by SoftmaxCrossEntropy"):
        training_of(Script(ending=[nn.Softmax(1)]))


def from_torch_with(loss: Any, n_maps: int, y: torch.Tensor) -> Any:
    """Return a training whose outputs are (N, n_maps, ...), as targets y (N, ...) of numbers or maps."""
    network: nn.Module = nn.Linear(3, n_maps) if y.dim() < 3 else nn.Conv2d(3, n_maps, 1)
    x = torch.rand(8, 3) if y.dim() < 3 else torch.rand(8, 3, *y.shape[-2:])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    train = DataLoader(TensorDataset(x, y), batch_size=4)
    return pellucid.from_torch(network, loss=loss, optimizer=optimizer, train=train)


@pytest.mark.parametrize("shape", [(8,), (8, 5, 5)])
@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        lambda y, t: ((y - t) ** 2).mean(),
        lambda y, t: (y - t).abs().sum(),
        lambda y, t: F.binary_cross_entropy_with_logits(*torch.broadcast_tensors(y, t)),
    ],
)
def test_targets_that_pytorch_would_repeat_are_refused(loss: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(PellucidError, match=r"\(4, 1.*\) and targets of shape \(4,"):
        from_torch_with(loss, 1, torch.rand(shape))


def overlap(y: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return 1 - Dice over a batch."""
    probabilities = y.sigmoid().flatten()
    return 1 - 2 * (probabilities * target.flatten()).sum() / (probabilities.sum() + target.sum())


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 5, 5), (8, 1, 5, 5)])
@pytest.mark.parametrize(
    "loss",
    [
        lambda y, t: F.mse_loss(y.flatten(), t.flatten()),
        lambda y, t: F.mse_loss(y.squeeze(), t.squeeze()),
        lambda y, t: (y.view_as(t) - t).abs().sum(),
        lambda y, t: F.softplus((y.flatten()[:, None] - y.flatten()) * (t.flatten() - t.flatten()[:, None])).mean(),
        overlap,
    ],
)
def test_own_losses_that_bring_targets_into_one_form_are_accepted(loss: Any, shape: tuple[int, ...]) -> None:
    from_torch_with(loss, 1, torch.rand(shape))


def test_own_losses_of_classes_are_accepted() -> None:
    from_torch_with(lambda y, t: 2 * F.cross_entropy(y, t), 3, torch.randint(0, 3, (8,)))


WEIGHTED = {
    "pos_weight": lambda weight: nn.BCEWithLogitsLoss(pos_weight=weight),
    "weight": lambda weight: nn.BCEWithLogitsLoss(weight=weight),
    "probabilities": lambda weight: nn.BCELoss(weight=weight),
    "labels": lambda weight: nn.MultiLabelSoftMarginLoss(weight=weight),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_on_the_last_axis_of_maps_are_refused(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 1), *([nn.Sigmoid()] if name == "probabilities" else []))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    batches = [(torch.rand(4, 1, 3, 3), torch.ones(4, 3, 3, 3))]
    with pytest.raises(PellucidError, match=r"\(4, 3, 3, 3\): PyTorch gives weights to the last axis"):
        pellucid.from_torch(
            network, loss=WEIGHTED[name](torch.tensor([1.0, 2.0, 3.0])), optimizer=optimizer, train=batches
        )


class SkipNetwork(nn.Module):
    """Digits by blocks of several layers and a skip connection, opened under names such as `down.1`."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.inside = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.out = nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        outer = self.down(x)
        inner = nn.functional.interpolate(self.inside(nn.functional.max_pool2d(outer, 2)), scale_factor=2)
        return self.out(nn.functional.avg_pool2d(outer + inner, 2).flatten(1))


@pytest.mark.slow
def test_a_network_of_named_blocks_is_diagnosed() -> None:
    training = training_of(Script(network=SkipNetwork, change=shuffled_labels))
    training.fit(4, verbose=False)
    assert training.doctor().names[0] == "shuffled-labels"


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "one cycle": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=2 * 44),
    "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2),
    "steps": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1),
    "plateau": lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0),
    "none": lambda optimizer: None,
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("replacement", [False, True])
def test_the_short_trainings_of_the_doctor_begin_with_the_first_rate(name: str, replacement: bool, monkeypatch: Any):
    torch.manual_seed(0)
    x, y = torch.rand(1400, 4), torch.arange(1400) % 3
    network = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    scheduler = SCHEDULERS[name](optimizer)
    first_rate = optimizer.param_groups[0]["lr"]
    sampler = WeightedRandomSampler([*torch.ones(1400).tolist()], 1400, replacement)
    training = pellucid.from_torch(
        network,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        scheduler=scheduler,
        train=DataLoader(TensorDataset(x, y), batch_size=32, sampler=sampler),
        validation=DataLoader(TensorDataset(x, y), batch_size=200),
    )
    training.fit(2, verbose=False)
    assert (optimizer.param_groups[0]["lr"] < first_rate) is (name != "none")
    begun = dict[str, Any]()
    monkeypatch.setattr(
        type(training.model), "doctor", lambda model, data, **options: begun.update(options, model=model)
    )
    training.doctor()
    for model in (begun["model"], begun["begin"]()):
        rate = model.optimizer.lr * model.schedule.factor(Progress(0, 88, 44), model.schedule.begin())
        assert float(rate) == pytest.approx(first_rate)
    assert begun["resampled"] == replacement


@pytest.mark.parametrize("n_steps", [0, 3])
@pytest.mark.parametrize("is_fitted", [True, False])
def test_the_doctor_begins_with_the_weights_that_fit_was_given(n_steps: int, is_fitted: bool, monkeypatch: Any) -> None:
    """An optimizer may have made steps before, as one of an earlier fold; without fit, they are the training itself."""
    torch.manual_seed(0)
    x, y = torch.rand(60, 4), torch.arange(60) % 3
    network = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(n_steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    first_weight = network.weight.detach().clone()
    loader = DataLoader(TensorDataset(x, y), batch_size=20)
    training = pellucid.from_torch(network, loss=nn.CrossEntropyLoss(), optimizer=optimizer, train=loader)
    if is_fitted:
        training.fit(1, verbose=False)
    given = dict[str, Any]()
    monkeypatch.setattr(type(training.model), "doctor", lambda model, data, **options: given.update(options))
    training.doctor()
    assert ("begin" in given) is (is_fitted or not n_steps)
    if "begin" in given:
        assert any(torch.equal(weight, first_weight) for weight in given["begin"]().weights.values())


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "NAdam"])
def test_a_changed_eps_makes_the_steps_of_an_optimizer_with_it(name: str) -> None:
    batches = DataLoader(TensorDataset(torch.rand(8, 4), torch.randint(3, (8,))), batch_size=4)
    steps: list[Tensor] = []
    for eps, changes in ((1.0, {"eps": 1e-8}), (1e-8, {})):
        network = nn.Linear(4, 3)
        optimizer = getattr(torch.optim, name)(network.parameters(), lr=0.1, eps=eps)
        training = pellucid.from_torch(network, loss=nn.CrossEntropyLoss(), optimizer=optimizer, train=batches)
        ours: Any = training.model.optimizer
        assert ours.eps == eps
        param = torch.ones(3)
        ours = replace(ours, paths=(), **changes)
        ours.update([param], [torch.tensor([1e-3, 0.5, -2.0])], ours.init([param]), 0.1)
        steps.append(param)
    assert torch.equal(*steps)
