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


def several_labels(n_labels: int, shape: tuple[int, ...] = (), fraction: float = 0.4) -> Tensor:
    """Return whether each label holds, with at least one for each example and position."""
    rng = torch.Generator().manual_seed(3)
    y = (torch.rand(N, n_labels, *shape, generator=rng) < fraction).float()
    return y.scatter(1, torch.randint(0, n_labels, (N, 1, *shape), generator=rng), 1.0)


def last_of(y: Tensor) -> Tensor:
    return y.shape[1] - 1 - y.flip(1).argmax(1)


def first_of_each(y: Tensor) -> Tensor:
    return torch.stack([row.nonzero()[0, 0] for row in y])


def focal(outputs: Tensor, labels: Tensor) -> Tensor:
    entropy = F.cross_entropy(outputs, labels, reduction="none")
    return ((1 - (-entropy).exp()) ** 2 * entropy).mean()


ONE_LABEL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "first": lambda outputs, y: F.cross_entropy(outputs, y.argmax(1)),
    "largest": lambda outputs, y: F.cross_entropy(outputs, y.max(1).indices, label_smoothing=0.1),
    "last": lambda outputs, y: F.cross_entropy(outputs, last_of(y)),
    "log-probabilities": lambda outputs, y: F.nll_loss(outputs.log_softmax(1), y.argmax(1), reduction="sum"),
    "focal": lambda outputs, y: focal(outputs, y.argmax(1)),
    "squares": lambda outputs, y: (outputs - torch.zeros_like(y).scatter(1, y.argmax(1, True), 1)).square().mean(),
}
ONE_LABEL_OF_VECTORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rows": lambda outputs, y: F.cross_entropy(outputs, first_of_each(y)),
    "margin": lambda outputs, y: F.multi_margin_loss(outputs, y.argmax(1)),
}


def random_network(n_outputs: int, has_maps: bool = False) -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(4, n_outputs, 1) if has_maps else nn.Linear(4, n_outputs))


@pytest.mark.parametrize("name", [*ONE_LABEL, *ONE_LABEL_OF_VECTORS])
@pytest.mark.parametrize("n_labels", [3, 6, 20])
def test_labels_that_argmax_leaves_out_are_found(name: str, n_labels: int) -> None:
    y, x = several_labels(n_labels), torch.rand(N, 4, generator=torch.Generator().manual_seed(4))
    (found,) = findings(random_network(n_labels), (ONE_LABEL | ONE_LABEL_OF_VECTORS)[name], x, y)
    assert (found.path, found.proven) == ("loss", True)
    assert found.evidence["share_with_several_labels"] == pytest.approx(float((y.sum(1) > 1).float().mean()))
    assert float(found.evidence["labels_read"]) < 0.6
    assert not findings(random_network(n_labels), F.binary_cross_entropy_with_logits, x, y)


@pytest.mark.parametrize("name", ONE_LABEL)
@pytest.mark.parametrize("side", [3, 12])
def test_overlapping_masks_that_argmax_leaves_out_are_found(name: str, side: int) -> None:
    y, x = several_labels(4, (side, side)), torch.rand(N, 4, side, side, generator=torch.Generator().manual_seed(4))
    (found,) = findings(random_network(4, True), ONE_LABEL[name], x, y)
    assert found.proven
    assert "of the positions with labels" in found.cause


def own_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, y)


def asymmetric(outputs: Tensor, y: Tensor) -> Tensor:
    """Return the loss of Ridnik et al. 2021, in which easy negative labels count nothing."""
    p = outputs.sigmoid()
    return -(y * p.log() + (1 - y) * (p - 0.05).clamp_min(0) ** 4 * (1.05 - p).clamp_max(1).log()).sum()


def pairs(outputs: Tensor, y: Tensor) -> Tensor:
    gaps = 1 - (outputs[:, :, None] - outputs[:, None])
    return (gaps.clamp_min(0) * y[:, :, None] * (1 - y[:, None])).mean()


def easiest(outputs: Tensor, y: Tensor) -> Tensor:
    return torch.where(y > 0, -outputs.log_softmax(1), torch.inf).amin(1).mean()


def any_of(outputs: Tensor, y: Tensor) -> Tensor:
    return -torch.where(y > 0, outputs.log_softmax(1), -torch.inf).logsumexp(1).mean()


def hardest(outputs: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, y, reduction="none").flatten().topk(120).values.mean()


def of_some_labels(outputs: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, y, torch.tensor([1.0, 0, 0, 1, 0, 0]))


def random_label(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, torch.multinomial(y, 1)[:, 0])


def presence(outputs: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs.mean(1), y.amax(1))


def overlap(outputs: Tensor, y: Tensor) -> Tensor:
    p = outputs.sigmoid()
    return 1 - 2 * (p * y).sum() / (p + y).sum()


@pytest.mark.parametrize(
    "loss",
    [own_entropy, asymmetric, pairs, easiest, any_of, hardest, of_some_labels, random_label, presence, overlap],
)
def test_losses_of_all_labels_are_not_accused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    for seed in range(4):
        torch.manual_seed(seed)
        network, x = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 6)), torch.rand(N, 4)
        found = findings(network, loss, x, several_labels(6))
        assert not any("several" in one.cause for one in found)


def one_hot(classes: Tensor, n_classes: int) -> Tensor:
    return F.one_hot(classes, n_classes).float()


CLASSES = torch.randint(0, 6, (N,), generator=torch.Generator().manual_seed(6))
FEW = several_labels(6, fraction=0.004)
TIMES, STARTS = torch.arange(30), torch.randint(0, 10, (N, 2, 1), generator=torch.Generator().manual_seed(7))


def events(delays: list[int]) -> Tensor:
    """Return at which time steps some events of 5 steps last that begin at random."""
    runs = [(STARTS[:, k] + delay <= TIMES) & (STARTS[:, k] + delay + 5 > TIMES) for k, delay in enumerate(delays)]
    return torch.stack(runs).any(0).float()


# Targets, and the class by which a loss takes them.
DECODED: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
    "one-hot": (one_hot(CLASSES, 6), lambda y: y.argmax(1)),
    "ranks": ((torch.arange(6) <= CLASSES[:, None]).float(), last_of),
    "number of ranks": ((torch.arange(6) <= CLASSES[:, None]).float(), lambda y: y.sum(1).long() - 1),
    "hierarchy": (torch.cat([one_hot(CLASSES // 3, 2), one_hot(CLASSES, 6)], 1), last_of),
    "group": (torch.cat([one_hot(CLASSES, 6), several_labels(4)], 1), lambda y: y[:, :6].argmax(1)),
    "rare": (FEW, lambda y: y.argmax(1)),
    "onset": ((STARTS[:, 0] <= TIMES).float(), lambda y: y.argmax(1)),
    "onset of an event": (events([0]), lambda y: y.argmax(1)),
    "onset of the first event": (events([0, 14]), lambda y: y.argmax(1)),
}


@pytest.mark.parametrize("name", DECODED)
def test_classes_that_several_ones_mean_are_not_accused(name: str) -> None:
    y, classes_of = DECODED[name]
    x = torch.rand(N, 4, generator=torch.Generator().manual_seed(4))
    network = random_network(y.shape[1])
    assert not findings(network, lambda outputs, targets: F.cross_entropy(outputs, classes_of(targets)), x, y)


def test_labels_left_out_are_the_first_sentence_of_the_diagnosis() -> None:
    network, x, y = random_network(6), torch.rand(N, 4), several_labels(6)
    training = pellucid.from_torch(
        network, loss=ONE_LABEL["first"], optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        train=DataLoader(TensorDataset(x, y), 10),
    )  # fmt: skip
    diagnosis = diagnose(case_of(training.model, x, y, epochs=1))
    assert (diagnosis.causes[0], diagnosis.kind(0)) == ("outputs-without-loss", "cause")
    assert str(diagnosis).startswith("Use BCEWithLogitsLoss on all labels")
