"""A pooling that removes positions is tried without, and named before the scale of the targets if it gains more."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.doctor import case_of
from pellucid.doctor.suspects.layers import POOLED_POSITIONS, layer_suspects

SIDE = 22


def boxes(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images with one bright rectangle, and its corners from 0 to 1."""
    rng = torch.Generator().manual_seed(seed)
    x, y = 0.2 * torch.rand(n, 1, SIDE, SIDE, generator=rng), torch.zeros(n, 4)
    for image, box in zip(x, y, strict=True):
        width, height = torch.randint(3, 6, (2,), generator=rng).tolist()
        left, top = (torch.rand(2, generator=rng) * torch.tensor([SIDE - width, SIDE - height])).int().tolist()
        image[0, top : top + height, left : left + width] += 0.8
        box.copy_(torch.tensor([left, top, left + width, top + height]) / SIDE)
    return x, y


class Network(nn.Module):
    def __init__(self, end: Callable[[Tensor], Tensor], n_features: int, has_gate: bool = False) -> None:
        super().__init__()
        self.maps, self.more = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 3)
        self.gate = nn.Conv2d(16, 16, 1)
        self.values = nn.Sequential(nn.Linear(n_features, 32), nn.ReLU(), nn.Linear(32, 4))
        self.end, self.has_gate = end, has_gate

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.maps(x)), 2)
        x = F.max_pool2d(F.relu(self.more(x)), 2)  # 4 x 4
        if self.has_gate:
            x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        return self.values(self.end(x))


def training_of(network: nn.Module, x: Tensor, y: Tensor, n_train: int = 32) -> pellucid.TorchTraining:
    data = [TensorDataset(one, two) for one, two in ((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]))]
    loss = nn.MSELoss() if y.is_floating_point() else nn.CrossEntropyLoss()
    return pellucid.from_torch(
        network, loss=loss, optimizer=torch.optim.Adam(network.parameters(), 2e-3),
        train=DataLoader(data[0], 16, shuffle=True, generator=torch.Generator().manual_seed(0)),
        validation=DataLoader(data[1], 16),
    )  # fmt: skip


@pytest.mark.parametrize("end", [
    lambda x: x.mean((2, 3)),
    lambda x: x.amax((-2, -1)),
    lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1),
    lambda x: F.adaptive_max_pool2d(x, 1).view(x.size(0), -1),
    lambda x: torch.flatten(F.avg_pool2d(x, 4), 1),
])  # fmt: skip
@pytest.mark.parametrize("has_gate", [False, True])
def test_the_last_pooling_over_all_positions_is_a_suspect(end: Callable[[Tensor], Tensor], has_gate: bool) -> None:
    x, y = boxes(48)
    case = case_of(training_of(Network(end, 16, has_gate), x, y).model, x, y, epochs=1)
    (found,) = layer_suspects(case)
    assert found.finding.check == POOLED_POSITIONS
    changed = found.apply(case)
    assert changed.model.predict(x[:2]).shape == (2, 4)
    assert sum(weight.numel() for weight in changed.model.weights.values()) == sum(
        weight.numel() for weight in case.model.weights.values()
    ) + 32 * 16 * (4 * 4 - 1)
    assert list(layer_suspects(changed)) == []


@pytest.mark.parametrize("has_gate", [False, True])
def test_networks_that_keep_positions_and_classifiers_have_no_such_suspect(has_gate: bool) -> None:
    x, y = boxes(48)
    flat = case_of(training_of(Network(lambda x: x.flatten(1), 256, has_gate), x, y).model, x, y, epochs=1)
    coarse = Network(lambda x: F.adaptive_avg_pool2d(x, 2).flatten(1), 64, has_gate)
    labels = (4 * y[:, 0]).long().clamp(0, 3)
    classifier = training_of(Network(lambda x: x.mean((2, 3)), 16, has_gate), x, labels)
    cases = [flat, case_of(training_of(coarse, x, y).model, x, y), case_of(classifier.model, x, labels)]
    assert [list(layer_suspects(case)) for case in cases] == [[], [], []]


@pytest.mark.slow
@pytest.mark.parametrize("is_pooled", [True, False])
def test_lost_positions_are_named_rather_than_the_scale_of_targets(is_pooled: bool) -> None:
    torch.manual_seed(0)
    x, y = boxes(500)
    network = Network((lambda x: x.mean((2, 3))) if is_pooled else (lambda x: x.flatten(1)), 16 if is_pooled else 256)
    training = training_of(network, x, y, 400)
    training.fit(10, verbose=False)
    assert (POOLED_POSITIONS in training.doctor().causes) == is_pooled
