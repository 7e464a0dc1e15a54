"""Parts of a network that stay in evaluation mode while a loop trains the others."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.torch_training.loops import Parts, check_equal


def frozen_norm(norm: nn.Module) -> nn.Module:
    return norm.requires_grad_(False)


class Attention(nn.Module):
    """The rows of an image, which attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, 0]
        return self.attention(rows, rows, rows)[0].unsqueeze(1)


class Recurrence(nn.Module):
    """The rows of an image, read by a recurrent layer with dropout between its levels."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.GRU(6, 6, 2, dropout=0.5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows(x[:, 0])[0].unsqueeze(1)


# Bodies that keep the shape of (n, 1, 6, 6)
BODIES: dict[str, Callable[[], list[nn.Module]]] = {
    "frozen": lambda: [
        nn.Conv2d(1, 3, 3, padding=1).requires_grad_(False),
        frozen_norm(nn.BatchNorm2d(3)),
        nn.Tanh(),
        nn.Conv2d(3, 1, 1).requires_grad_(False),
    ],
    "frozen norms": lambda: [nn.Conv2d(1, 3, 3, padding=1), frozen_norm(nn.BatchNorm2d(3)), nn.Conv2d(3, 1, 1)],
    "norm of all batches": lambda: [nn.Conv2d(1, 1, 1), frozen_norm(nn.BatchNorm2d(1, momentum=None))],
    "dropout": lambda: [nn.Conv2d(1, 3, 3, padding=1), nn.Dropout2d(0.5), nn.Conv2d(3, 1, 1), nn.Dropout(0.3)],
    "alpha dropout": lambda: [nn.Conv2d(1, 1, 1), nn.SELU(), nn.AlphaDropout(0.3)],
    "random slopes": lambda: [nn.Conv2d(1, 1, 1), nn.RReLU()],
    "attention": lambda: [Attention()],
    "recurrence": lambda: [Recurrence()],
}


class Kept(nn.Sequential):
    """A part that is never in training mode."""

    def train(self, mode: bool = True) -> "Kept":
        return super().train(False)


class KeepsBody(nn.Module):
    """A network that keeps its first part in evaluation mode."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body, self.norm, self.head = body, nn.BatchNorm2d(1), nn.Linear(36, 4)

    def train(self, mode: bool = True) -> "KeepsBody":
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(x)).flatten(1))


class KeepsDropouts(nn.Sequential):
    """A network that keeps all but its other norms in evaluation mode."""

    def train(self, mode: bool = True) -> "KeepsDropouts":
        for module in super().train(mode).modules():
            if not isinstance(module, nn.BatchNorm2d) or not module.weight.requires_grad:
                module.training = False
        self.training = mode
        return self


NETWORKS: dict[str, Callable[[list[nn.Module]], nn.Module]] = {
    "part": lambda body: nn.Sequential(Kept(*body), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 4)),
    "network": lambda body: KeepsBody(nn.Sequential(*body)),
    "loop over modules": lambda body: KeepsDropouts(*body, nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 4)),
}


def loader() -> DataLoader[Any]:
    x = torch.rand(24, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, torch.arange(24) % 4), batch_size=6)


def parts(kind: str, body: str) -> Parts:
    network = NETWORKS[kind](BODIES[body]()).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as of a pretrained network
            statistics = dict(module.named_buffers())
            statistics["running_mean"].uniform_(-1, 1)
            statistics["running_var"].uniform_(1, 3)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return Parts(network, nn.CrossEntropyLoss(), torch.optim.SGD(trained, lr=0.1, momentum=0.9))


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_parts_kept_in_evaluation_mode_train_as_in_pytorch(kind: str, body: str, is_training: bool) -> None:
    def made() -> Parts:
        result = parts(kind, body)
        result.network.train(is_training)
        return result

    modes = [module.training for module in made().network.modules()]
    training = check_equal(made, lambda: (loader(), None), 3)
    training.doctor(epochs=1)
    network = made()
    network.taken(loader())
    assert [module.training for module in network.network.modules()] == modes


@pytest.mark.parametrize("way", ["not in the optimizer", "without gradients"])
@pytest.mark.parametrize("body", ["frozen", "frozen norms", "norm of all batches"])
def test_norms_outside_of_the_optimizer_are_frozen(body: str, way: str) -> None:
    """The optimizer alone decides whether weights that require a gradient change."""

    def made() -> Parts:
        result = parts("network", body)
        kept: Any = result.network.get_submodule("body")
        trained = [one for name in ("norm", "head") for one in result.network.get_submodule(name).parameters()]
        kept.requires_grad_(True)
        if way == "without gradients":
            kept.forward = torch.no_grad()(kept.forward)
        return Parts(result.network, nn.CrossEntropyLoss(), torch.optim.SGD(trained, lr=0.1, momentum=0.9))

    check_equal(made, lambda: (loader(), None), 3)


def test_dropout_returns_with_training_mode() -> None:
    made = parts("part", "dropout")
    made.taken(loader())
    assert [module.p for module in made.network.modules() if isinstance(module, nn.Dropout | nn.Dropout2d)] == [
        0.5,
        0.3,
    ]


class Dropping(nn.Module):
    """Dropout by a function."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


TRAINED_NORM = "is in evaluation mode while the network trains, and its weight and bias are not frozen"
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a norm that is trained": (lambda: nn.BatchNorm2d(1), TRAINED_NORM),
    "a norm without weights": (lambda: nn.BatchNorm2d(1, affine=False), TRAINED_NORM),
    "dropout by a function": (Dropping, r"0.0 .Dropping. is in evaluation mode and calls dropout by a function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_such_mode_here_is_refused_by_name(name: str) -> None:
    make, message = REFUSED[name]
    network = nn.Sequential(Kept(make()), nn.Flatten(), nn.Linear(36, 4)).double()
    with pytest.raises(PellucidError, match=message):
        Parts(network, nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), lr=0.1)).taken(loader())


class PartWithoutGradient(nn.Module):
    """A network whose first part is computed without gradients, by a way of writing that."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "detach":
            return self.head(self.features(x).detach())
        if self.way == "two outputs":
            with torch.no_grad():
                maps = self.features(x)
                means = maps.mean((2, 3))
            return self.head(maps) + means[:, :3]
        if self.way == "gradients again":
            with torch.no_grad():
                maps = self.features(x)
                with torch.enable_grad():
                    maps = self.head[0](maps)
            return self.head[1:](maps)
        with torch.no_grad() if self.way == "no_grad" else torch.set_grad_enabled(False):
            maps = self.features(x)
        return self.head(maps)


@pytest.mark.parametrize("make_optimizer", [
    lambda params: torch.optim.SGD(params, 0.05, momentum=0.9, weight_decay=0.01),
    lambda params: torch.optim.AdamW(params, 1e-2, weight_decay=0.1),
])  # fmt: skip
@pytest.mark.parametrize("way", ["no_grad", "set_grad_enabled", "detach", "two outputs", "gradients again"])
def test_a_part_without_gradients_is_trained_as_in_pytorch(way: str, make_optimizer: Any) -> None:
    torch.manual_seed(0)
    network = PartWithoutGradient(way)
    expected = copy.deepcopy(network)
    x, y = torch.randn(64, 1, 8, 8), torch.randint(0, 3, (64,))
    loader = DataLoader(TensorDataset(x, y), 16)
    optimizer = make_optimizer(expected.parameters())
    for inputs, targets in [*loader, *loader]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(expected(inputs), targets).backward()
        optimizer.step()
    training = pellucid.from_torch(
        network, loss=nn.CrossEntropyLoss(), optimizer=make_optimizer(network.parameters()), train=loader
    )
    training.fit(2, verbose=False)
    torch.testing.assert_close(network.state_dict(), expected.state_dict(), rtol=0, atol=1e-6)
