"""Outputs that a loss never teaches are found; what a loss rightly leaves out is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.doctor import Finding, case_of, diagnose
from pellucid.doctor.checks.outputs_without_loss import CHECK

N, GRID = 40, 5


def findings(network: nn.Module, loss: Any, x: Tensor, *targets: Tensor) -> list[Finding]:
    """Return the findings for a network whose weights are those of a trained one."""
    y: Any = targets[0] if len(targets) == 1 else targets
    loader = DataLoader(TensorDataset(x, *targets), len(x), collate_fn=lambda items: (x, y))
    training = pellucid.from_torch(
        network, loss=loss, optimizer=torch.optim.SGD(network.parameters(), lr=0.1), train=loader
    )
    return list(CHECK.find(case_of(training.model, *training.train.first_batch)))


class Grid(nn.Module):
    """A network with constant outputs: the first is `answer`, the logit of that a cell holds an object."""

    def __init__(self, n_outputs: int, answer: float, has_sigmoid: bool, is_last: bool) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, n_outputs, 1)
        assert self.maps.bias is not None
        with torch.no_grad():
            self.maps.weight.mul_(0.01)
            self.maps.bias.fill_(-1.0)[0] = answer
        self.has_sigmoid, self.is_last = has_sigmoid, is_last

    def forward(self, x: Tensor) -> Tensor:
        y = self.maps(x)
        if self.has_sigmoid:
            y = torch.sigmoid(y)
        return y.permute(0, 2, 3, 1) if self.is_last else y


class GridLoss(nn.Module):
    """Squared errors of objectness everywhere, and of boxes and classes in cells that hold an object."""

    def __init__(self, weight_empty: float, is_last: bool) -> None:
        super().__init__()
        self.weight_empty, self.is_last = weight_empty, is_last

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.is_last:
            outputs, targets = outputs.permute(0, 3, 1, 2), targets.permute(0, 3, 1, 2)
        holds = targets[:, 0] > 0.5
        inside = ((outputs[:, 1:] - targets[:, 1:]) ** 2).sum(1)[holds].sum()
        full = ((outputs[:, 0] - 1) ** 2)[holds].sum()
        return inside + full + self.weight_empty * (outputs[:, 0] ** 2)[~holds].sum()


def grid_targets(n_classes: int) -> Tensor:
    """Return whether each cell holds an object, a place in the cell, and its class; 0 in empty cells."""
    rng = torch.Generator().manual_seed(0)
    holds = (torch.rand(N, 1, GRID, GRID, generator=rng) < 0.1).float()
    places = torch.rand(N, 2, GRID, GRID, generator=rng)
    classes = torch.randint(0, max(n_classes, 1), (N, GRID, GRID), generator=rng)
    one_hot = F.one_hot(classes, max(n_classes, 1)).movedim(3, 1)[:, :n_classes]
    return torch.cat([holds, places * holds, one_hot * holds], 1)


@pytest.mark.parametrize("n_classes", [0, 1, 3])
@pytest.mark.parametrize("has_sigmoid", [True, False])
@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize(
    ("weight_empty", "answer", "is_found"), [(0.0, 3.0, True), (0.5, 3.0, False), (0.0, -3.0, False)]
)
def test_cells_without_an_object_that_the_loss_leaves_out_are_found(
    n_classes: int, has_sigmoid: bool, is_last: bool, weight_empty: float, answer: float, is_found: bool
) -> None:
    y = grid_targets(n_classes)
    network = Grid(y.shape[1], answer, has_sigmoid, is_last)
    x = torch.rand(N, 3, GRID, GRID, generator=torch.Generator().manual_seed(1))
    loss = GridLoss(weight_empty, is_last)
    found = findings(network, loss, x, y.permute(0, 2, 3, 1).contiguous() if is_last else y)
    assert [(one.path, one.proven) for one in found] == [("loss", True)] * is_found
    for one in found:
        assert one.evidence["output"] == 0
        assert one.evidence["targets_of_0"] == pytest.approx(float((y[:, 0] == 0).float().mean()))
        assert one.evidence["of_which_answered_with_1"] == 1.0


def positives_only(p: Tensor, y: Tensor) -> Tensor:
    return -(y * p.clamp_min(1e-6).log()).sum()


def both(p: Tensor, y: Tensor) -> Tensor:
    return positives_only(p, y) + positives_only(1 - p, 1 - y)


def hardest_negatives(p: Tensor, y: Tensor) -> Tensor:
    return positives_only(p, y) + p[y == 0].topk(3).values.square().sum()


def where_measured(p: Tensor, y: Tensor) -> Tensor:
    return (p - y)[y > 0].square().mean()


def constant_network(shape: tuple[int, ...], end: nn.Module, first: float) -> nn.Module:
    layer = nn.Conv2d(1, shape[0], 1) if len(shape) == 3 else nn.Linear(4, shape[0])
    with torch.no_grad():
        layer.weight.mul_(0.01)
        assert layer.bias is not None
        layer.bias.fill_(first)[0] += 3.0
    return nn.Sequential(layer, end)


@pytest.mark.parametrize(("shape", "end", "loss", "are_values", "is_found"), [
    ((3,), nn.Sigmoid(), positives_only, False, True),
    ((1,), nn.Sigmoid(), positives_only, False, True),
    ((1, 6, 6), nn.Sigmoid(), positives_only, False, True),
    ((2, 6, 6), nn.Sigmoid(), positives_only, False, True),
    ((3,), nn.Softmax(1), positives_only, False, False),  # the probabilities of a softmax are taught together
    ((3,), nn.Sigmoid(), both, False, False),
    ((1, 6, 6), nn.Sigmoid(), both, False, False),
    ((1, 6, 6), nn.Sigmoid(), hardest_negatives, False, False),
    ((1, 6, 6), nn.Sigmoid(), where_measured, True, False),  # as of a depth that is 0 where it is unknown
])  # fmt: skip
def test_a_loss_without_a_term_for_targets_of_0_is_found(
    shape: tuple[int, ...], end: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], are_values: bool, is_found: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(N, 1, 6, 6, generator=rng) if len(shape) == 3 else torch.rand(N, 4, generator=rng)
    y = (torch.rand(N, *shape, generator=rng) < 0.3).float()
    y = y * torch.rand(y.shape, generator=rng) if are_values else y
    found = findings(constant_network(shape, end, 3.0), loss, x, y)
    assert len(found) == is_found


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.place, self.size = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.place(x), self.size(x)


@pytest.mark.parametrize(("read_size", "are_targets_given", "is_found"), [
    (lambda size: size, True, False), (None, True, True), (None, False, False), (Tensor.detach, True, True),
    (Tensor.detach, False, True), (Tensor.round, True, True),
])  # fmt: skip
def test_a_part_of_the_outputs_that_the_loss_never_teaches_is_found_if_it_matters(
    read_size: Callable[[Tensor], Tensor] | None, are_targets_given: bool, is_found: bool
) -> None:
    def loss(outputs: Any, targets: Any) -> Tensor:
        value = F.mse_loss(outputs[0], targets[0])
        return value if read_size is None else value + F.mse_loss(read_size(8 * outputs[1]), targets[1])

    rng = torch.Generator().manual_seed(0)
    sizes = torch.rand(N, 3, generator=rng) if are_targets_given else torch.zeros(N, 3)
    found = findings(TwoParts(), loss, torch.rand(N, 4, generator=rng), torch.rand(N, 2, generator=rng), sizes)
    assert [one.proven for one in found] == [False] * is_found
    assert all("(2, 3, 4)" in one.cause and ("columns" in one.cause) is (read_size is None) for one in found)


@pytest.mark.parametrize(
    ("n_read", "n_columns", "is_found"), [(5, 5, False), (2, 5, True), (2, 2, False), (3, 4, True)]
)
def test_columns_that_the_loss_forgets_are_found_if_targets_have_them(
    n_read: int, n_columns: int, is_found: bool
) -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs[:, :n_read] - targets[:, :n_read]).abs().sum()

    rng = torch.Generator().manual_seed(0)
    x, y = torch.rand(N, 4, generator=rng), torch.rand(N, n_columns, generator=rng)
    found = findings(nn.Sequential(nn.Linear(4, 5)), loss, x, y)
    assert len(found) == is_found
    numbers = [", ".join(map(str, range(n_read, end))) for end in (5, n_columns)]
    assert all(f"network ({numbers[0]})" in one.cause and f"targets ({numbers[1]})" in one.cause for one in found)


def test_cells_left_out_are_the_first_sentence_of_the_diagnosis() -> None:
    y = grid_targets(0)
    network, x = Grid(3, 3.0, True, False), torch.rand(N, 3, GRID, GRID)
    training = pellucid.from_torch(
        network, loss=GridLoss(0.0, False), optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        train=DataLoader(TensorDataset(x, y), 10),
    )  # fmt: skip
    diagnosis = diagnose(case_of(training.model, x, y, epochs=1))
    assert (diagnosis.causes, diagnosis.kind(0)) == (("outputs-without-loss",), "cause")
