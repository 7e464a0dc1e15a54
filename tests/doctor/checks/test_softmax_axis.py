"""A softmax over a wrong axis is found in losses of one's own and in networks; sound losses like it are not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.doctor import Finding, case_of
from pellucid.doctor.checks.softmax_axis import CHECK

N, SIDE = 40, 6
bce, bce_with_logits = F.binary_cross_entropy, F.binary_cross_entropy_with_logits


class Ending(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def targets(kind: str, n_outputs: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    if kind == "mask":
        return (torch.rand(N, SIDE, SIDE, generator=rng) < 0.3).float()
    if kind == "classes of pixels":
        return torch.randint(n_outputs, (N, SIDE, SIDE), generator=rng)
    if kind == "heat maps":
        places = torch.rand(N, n_outputs, 2, 1, 1, generator=rng) * SIDE
        rows, columns = torch.arange(SIDE)[:, None], torch.arange(SIDE)
        return torch.exp(-((rows - places[:, :, 0]) ** 2 + (columns - places[:, :, 1]) ** 2) / 2)
    if kind == "classes":
        return torch.randint(n_outputs, (N,), generator=rng)
    if kind == "labels":
        return (torch.rand(N, n_outputs, generator=rng) < 0.5).float()
    return torch.rand(N, n_outputs, generator=rng) / n_outputs


def findings(
    kind: str, n_outputs: int, loss: Callable[[Tensor, Tensor], Tensor], end: nn.Module | None = None, seed: int = 0
) -> list[Finding]:
    y = targets(kind, n_outputs, seed)
    torch.manual_seed(seed)
    is_dense = kind in ("mask", "classes of pixels", "heat maps")
    x = torch.randn(N, 3, SIDE, SIDE) if is_dense else torch.randn(N, 5)
    layer = nn.Conv2d(3, n_outputs, 3, padding=1) if is_dense else nn.Linear(5, n_outputs)
    network = nn.Sequential(layer, end or nn.Identity())
    training = pellucid.from_torch(
        network, loss=loss, optimizer=torch.optim.SGD(network.parameters(), 0.1),
        train=DataLoader(TensorDataset(x, y), N),
    )  # fmt: skip
    return list(CHECK.find(case_of(training.model, x, y)))


def one_softmax(o: Tensor) -> Tensor:
    return torch.softmax(o, 1).squeeze(1)


@pytest.mark.parametrize(("kind", "loss", "end"), [
    ("mask", lambda o, t: bce(F.softmax(o, 1).squeeze(1), t), None),
    ("mask", lambda o, t: F.cross_entropy(o, t[:, None]), None),
    ("mask", F.mse_loss, Ending(one_softmax)),
    ("mask", nn.BCELoss(), Ending(one_softmax)),
    ("mask", lambda o, t: 1 - (F.softmax(o, 1)[:, 0] * t).sum() / t.sum(), None),
    ("heat maps", lambda o, t: F.mse_loss(F.softmax(o, 1), t), None),
    ("labels", lambda o, t: bce(F.softmax(o, -1), t), None),
    ("classes", lambda o, t: 2 * F.cross_entropy(o, t), None),
    ("values", lambda o, t: F.mse_loss(F.softmax(o, 1), t), None),
])  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_a_softmax_over_one_output_is_found(
    kind: str, loss: Callable[[Tensor, Tensor], Tensor], end: nn.Module | None, seed: int
) -> None:
    (found,) = findings(kind, 1, loss, end, seed)
    assert "always 0" in found.cause


@pytest.mark.parametrize(("kind", "n_outputs", "axis", "loss", "end"), [
    ("mask", 1, 0, lambda o, t: bce(F.softmax(o, 0).squeeze(1), t), None),
    ("mask", 1, 3, lambda o, t: bce(F.softmax(o, -1).squeeze(1), t), None),
    ("mask", 1, 2, lambda o, t: F.mse_loss(F.softmax(o.squeeze(1), 1), t), None),
    ("mask", 1, 1, bce, Ending(lambda x: torch.softmax(x.squeeze(1), 1))),
    ("classes of pixels", 3, 3, lambda o, t: F.nll_loss(F.log_softmax(o, 3), t), None),
    ("classes of pixels", 3, 0, lambda o, t: F.nll_loss(F.log_softmax(o, 0), t), None),
    ("classes of pixels", 3, 2, nn.NLLLoss(), nn.LogSoftmax(2)),
    ("heat maps", 4, 1, lambda o, t: F.mse_loss(F.softmax(o, 1), t), None),
    ("heat maps", 4, 3, lambda o, t: F.mse_loss(F.softmax(o, 3), t), None),
    ("heat maps", 4, 1, nn.MSELoss(), nn.Softmax(1)),
    ("labels", 4, 1, lambda o, t: bce(F.softmax(o, 1), t), None),
    ("labels", 4, 0, lambda o, t: bce(F.softmax(o, 0), t), None),
    ("labels", 4, 1, nn.BCELoss(), nn.Softmax(1)),
    ("labels", 1, 0, lambda o, t: F.cross_entropy(o.squeeze(1), t.squeeze(1)), None),
    ("classes", 4, 0, lambda o, t: F.nll_loss(F.log_softmax(o, 0), t), None),
])  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_a_softmax_over_a_wrong_axis_is_found(
    kind: str, n_outputs: int, axis: int, loss: Callable[[Tensor, Tensor], Tensor], end: nn.Module | None, seed: int
) -> None:
    (found,) = findings(kind, n_outputs, loss, end, seed)
    assert found.evidence["axis"] == axis


def triplet(o: Tensor, t: Tensor) -> Tensor:
    distances, is_same = torch.cdist(o, o), t[:, None] == t
    return (F.relu(distances[:, :, None] - distances[:, None] + 0.5) * (is_same[:, :, None] & ~is_same[:, None])).mean()


def ranks_of_labels(o: Tensor, t: Tensor) -> Tensor:
    return (F.softplus(o[:, None] - o[:, :, None]) * (t[:, :, None] * (1 - t[:, None]))).mean()


def correlation(o: Tensor, t: Tensor) -> Tensor:
    return 1 - ((o - o.mean(0)) * (t - t.mean(0))).mean() / (o.std() * t.std() + 1e-6)


def overlap(o: Tensor, t: Tensor) -> Tensor:
    p = F.softmax(o, 1)[:, 1]
    return 1 - 2 * (p * t).sum() / (p.sum() + t.sum())


def spatial(o: Tensor, t: Tensor) -> Tensor:
    return -(t.flatten(2) * F.log_softmax(o.flatten(2), 2)).mean()


@pytest.mark.parametrize(("kind", "n_outputs", "loss", "end"), [
    ("mask", 1, lambda o, t: bce(o.sigmoid().squeeze(1), t), None),
    ("mask", 1, lambda o, t: bce(o.squeeze(1), t), nn.Sigmoid()),
    ("mask", 2, overlap, None),
    ("mask", 2, lambda o, t: F.cross_entropy(o, t.long()), None),
    ("classes of pixels", 3, nn.CrossEntropyLoss(), None),
    ("classes of pixels", 6, lambda o, t: F.nll_loss(F.log_softmax(o, 1), t), None),
    ("classes of pixels", 3, nn.NLLLoss(), nn.LogSoftmax(1)),
    ("heat maps", 4, F.mse_loss, None),
    ("heat maps", 4, spatial, None),
    ("heat maps", 1, spatial, None),
    ("labels", 4, bce_with_logits, None),
    ("labels", 4, ranks_of_labels, None),
    ("labels", 1, lambda o, t: F.softplus(o[t < 0.5][:, None] - o[t > 0.5]).mean(), None),
    ("labels", 1, correlation, None),
    ("classes", 4, F.cross_entropy, None),
    ("classes", 4, lambda o, t: F.multi_margin_loss(o, t, p=2), None),
    ("classes", 4, triplet, None),
    ("classes", 2, nn.NLLLoss(), nn.LogSoftmax(1)),
    ("values", 3, correlation, None),
    ("values", 3, nn.MSELoss(), nn.Softmax(1)),
])  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
def test_sound_losses_are_not_accused(
    kind: str, n_outputs: int, loss: Callable[[Tensor, Tensor], Tensor], end: nn.Module | None, seed: int
) -> None:
    assert findings(kind, n_outputs, loss, end, seed) == []
