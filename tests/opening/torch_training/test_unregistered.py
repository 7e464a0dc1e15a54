"""Layers in plain lists, tuples and dicts, which PyTorch does not register, and so no optimizer trains."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.doctor.checks.untrained_frozen import CHECK


def block(n: int, m: int, has_norm: bool = False) -> nn.Module:
    return nn.Sequential(nn.Linear(n, m), nn.BatchNorm1d(m) if has_norm else nn.Identity(), nn.Tanh())


class Kept(nn.Module):
    """A network that keeps its inner blocks in a container."""

    def __init__(self, keep: Callable[[list[nn.Module]], Any], has_norm: bool = False, without_grad: bool = False):
        super().__init__()
        self.blocks = keep([block(6, 8, has_norm), block(8, 8, has_norm), block(8, 8)])
        self.head = nn.Linear(8, 3)
        self.without_grad = without_grad

    def forward(self, x: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.without_grad):
            for layer in flat(self.blocks):
                x = layer(x)
        return self.head(x)


def flat(blocks: Any) -> list[nn.Module]:
    values = list(blocks.values() if hasattr(blocks, "values") else blocks)
    return [layer for value in values for layer in ([value] if isinstance(value, nn.Sequential) else flat(value))]


LISTS: dict[str, Callable[[list[nn.Module]], Any]] = {
    "list": list,
    "tuple": tuple,
    "dict": lambda blocks: {f"block{k}": one for k, one in enumerate(blocks)},
    "nested": lambda blocks: [blocks[:1], {"rest": blocks[1:]}],
}


def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(48, 6, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 1).long()), batch_size=8)


def taken(network: nn.Module, parameters: Any = None, **options: Any) -> Any:
    optimizer = torch.optim.SGD(parameters or [*network.parameters()], 0.05, momentum=0.9)
    return pellucid.from_torch(network, loss=nn.CrossEntropyLoss(), optimizer=optimizer, train=loader(), **options)


def findings(training: Any) -> list[str]:
    return [one.cause for one in training.doctor().findings if one.check == CHECK.name]


@pytest.mark.parametrize("is_inner", [False, True])
@pytest.mark.parametrize("has_norm", [False, True])
@pytest.mark.parametrize("kind", LISTS)
def test_unregistered_layers_keep_their_weights_and_are_named(kind: str, has_norm: bool, is_inner: bool) -> None:
    torch.manual_seed(0)
    network: nn.Module = Kept(LISTS[kind], has_norm)
    network = nn.Sequential(network, nn.Linear(3, 3)) if is_inner else network
    expected = copy.deepcopy(network)
    keeper: Any = network[0] if isinstance(network, nn.Sequential) else network
    blocks = keeper.blocks
    weight = next(flat(blocks)[0].parameters())
    before = weight.detach().clone()
    optimizer = torch.optim.SGD(expected.parameters(), 0.05, momentum=0.9)
    for _ in range(2):
        for x, y in loader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(expected(x), y).backward()
            if not has_norm:
                nn.utils.clip_grad_norm_(expected.parameters(), 0.5)
            optimizer.step()
    training = taken(network, clip_norm=None if has_norm else 0.5)
    training.fit(2, verbose=False)
    assert keeper.blocks is blocks
    assert torch.equal(weight, before)
    torch.testing.assert_close(network.state_dict(), expected.state_dict(), rtol=0, atol=1e-6)
    (cause,) = findings(training)
    assert "are not registered" in cause


class Aliased(Kept):
    """A network that has its layers in a list, too, and calls them by it."""

    def __init__(self) -> None:
        super().__init__(list)
        self.first, self.second, self.third = self.blocks


def frozen(network: nn.Module) -> nn.Module:
    for layer in flat(network.blocks):
        layer.requires_grad_(False)
    return network


def with_values(network: nn.Module) -> nn.Module:
    values: dict[str, Any] = {
        "a": torch.arange(3),
        "b": [torch.ones(2), 3],
        "c": {1: "one"},
        "d": {},
        "e": [nn.ReLU(), 1],
    }
    vars(network).update(values)
    return network


HEALTHY: dict[str, Callable[[], nn.Module]] = {
    "ModuleList": lambda: Kept(nn.ModuleList),
    "registered elsewhere": Aliased,
    "without gradients": lambda: Kept(list, without_grad=True),
    "frozen": lambda: frozen(Kept(list)),
    "other values": lambda: with_values(Kept(nn.ModuleList)),
    "no list": lambda: nn.Sequential(*Kept(list).blocks, nn.Linear(8, 3)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_other_lists_of_layers_are_no_fault(name: str) -> None:
    training = taken(HEALTHY[name]())
    training.fit(1, verbose=False)
    assert findings(training) == []


def test_unregistered_layers_of_the_optimizer_are_trained() -> None:
    network = Kept(list)
    layers = [*network.blocks, network.head]
    weight = network.blocks[0][0].weight
    before = weight.detach().clone()
    training = taken(network, [one for layer in layers for one in layer.parameters()])
    training.fit(1, verbose=False)
    assert not torch.equal(weight, before)
    assert findings(training) == []


def test_clipping_with_unregistered_norms_is_refused_by_name() -> None:
    with pytest.raises(PellucidError, match=r"clip_norm: blocks\.0\.1\.bias is in a Python list.*ModuleList"):
        taken(Kept(list, has_norm=True), clip_norm=0.5)


def test_pretrained_layers_in_a_list_are_no_fault() -> None:
    network = Kept(list, has_norm=True)
    for layer in network.blocks[:2]:
        layer[1].running_mean += 0.5
    training = taken(network)
    training.fit(1, verbose=False)
    assert findings(training) == []
