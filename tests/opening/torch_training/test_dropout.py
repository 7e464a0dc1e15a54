"""Dropout in trainings of from_torch: masks that go on from fit to fit, and follow torch.manual_seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.opening.torch_training import TorchTraining
from tests.opening.torch_training.test_given_back import Interrupt, RowAttention, loader


class Functional(nn.Module):
    """A network that calls F.dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.dropout(x.flatten(1), 0.3, training=self.training))


def of_layer(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.Flatten(), nn.Linear(64, 4))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "values": lambda: of_layer(nn.Dropout(0.5)),
    "channels": lambda: of_layer(nn.Dropout2d(0.3)),
    "in place": lambda: of_layer(nn.Dropout(0.2, inplace=True)),
    "functional": Functional,
    "attention weights": RowAttention,
    "attention weights that are not needed": lambda: RowAttention(need_weights=False),
}
OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "SGD": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
    "AdamW": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr),
}


def training_of(
    make: Callable[[], nn.Module], lr: float = 0.01, optimizer: str = "AdamW", seed: int = 0, **options: Any
) -> TorchTraining:
    torch.manual_seed(0)  # equal weights
    network = make().double()
    torch.manual_seed(seed)
    made = OPTIMIZERS[optimizer](network.parameters(), lr)
    return pellucid.from_torch(network, loss=nn.CrossEntropyLoss(), optimizer=made, train=loader(), **options)


def weights_after(training: TorchTraining, *epochs: int) -> Tensor:
    for number in epochs:
        training.fit(number, verbose=False)
    return torch.cat([weight.flatten() for weight in training.model.state_dict().values()])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_two_fits_have_the_masks_of_one(name: str, optimizer: str) -> None:
    parts = [
        weights_after(training_of(NETWORKS[name], optimizer=optimizer), *epochs) for epochs in [(4,), (2, 2), (1, 3)]
    ]
    assert torch.equal(parts[0], parts[1])
    assert torch.equal(parts[0], parts[2])


def test_steps_of_several_batches_have_the_masks_of_one_fit() -> None:
    parts = [
        weights_after(training_of(NETWORKS["values"], gradient_accumulation_steps=3), *epochs)
        for epochs in [(2,), (1, 1)]
    ]
    assert torch.equal(parts[0], parts[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_each_fit_and_each_seed_has_other_masks(name: str) -> None:
    losses = []
    for seed in (0, 1):
        training = training_of(NETWORKS[name], lr=1e-200, seed=seed)
        losses += [training.fit(1, verbose=False)["train_loss"][0] for _ in range(3)]
    assert len(set(losses)) == 6
    again = training_of(NETWORKS[name], lr=1e-200, seed=1)
    assert again.fit(1, verbose=False)["train_loss"][0] == losses[3]


@pytest.mark.parametrize("name", ["values", "attention weights", "attention weights that are not needed"])
def test_the_mean_loss_over_masks_is_that_of_pytorch(name: str) -> None:
    training = training_of(NETWORKS[name], lr=1e-200)
    ours = torch.tensor(training.fit(300, verbose=False)["train_loss"])
    network = NETWORKS[name]().double()
    network.load_state_dict(training.model.state_dict())
    with torch.no_grad():
        theirs = torch.stack(
            [nn.functional.cross_entropy(network(x), y) for _ in range(300) for x, y in loader()]
        ).view(300, -1).mean(1)  # fmt: skip
    error = (ours.var() / 300 + theirs.var() / 300).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.3)


def test_a_note_says_that_masks_are_not_those_of_pytorch(capsys: pytest.CaptureFixture[str]) -> None:
    for make in NETWORKS.values():
        training_of(make)
        assert "not bit by bit" in capsys.readouterr().err
    training_of(lambda: of_layer(nn.Dropout(0.0)))
    assert "not bit by bit" not in capsys.readouterr().err


@pytest.mark.parametrize("same_objects", [True, False])
def test_a_resumed_run_has_the_masks_of_the_uninterrupted_one(tmp_path: Path, same_objects: bool) -> None:
    training = training_of(NETWORKS["values"])
    training.fit(1, verbose=False)
    with pytest.raises(KeyboardInterrupt):
        training.fit(3, callbacks=[Interrupt(6)], run=tmp_path, checkpoint_seconds=0, verbose=False)
    if not same_objects:
        training = training_of(NETWORKS["values"])
        training.fit(1, verbose=False)
    training.fit(3, run=tmp_path, resume=True, verbose=False)
    resumed = weights_after(training, 1)
    assert torch.equal(resumed, weights_after(training_of(NETWORKS["values"]), 1, 3, 1))
