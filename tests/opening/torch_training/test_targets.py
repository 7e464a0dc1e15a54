"""Targets in dicts and tuples, and losses of the outputs alone, for criteria of a user's own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from tests.opening.torch_training.loops import Parts, assert_equal, check_equal

N = 10
BATCH = 4  # so that the last batch of an epoch is smaller


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images() -> Tensor:
    return torch.rand(N, 1, 4, 4, dtype=torch.float64, generator=rng(1))


def values() -> dict[str, Tensor]:
    """Return targets of several shapes and dtypes."""
    return {
        "kind": torch.randint(0, 3, (N,), generator=rng(2)),
        "age": torch.rand(N, 1, dtype=torch.float64, generator=rng(3)),
        "mask": torch.rand(N, 4, 4, generator=rng(4)) > 0.5,
        "box": torch.rand(N, 2, 2, dtype=torch.float64, generator=rng(5)),
    }


class Heads(nn.Module):
    """A network with one output for each target."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(16, 8)
        self.heads = nn.ModuleDict(
            {"kind": nn.Linear(8, 3), "age": nn.Linear(8, 1), "mask": nn.Linear(8, 16), "box": nn.Linear(8, 4)}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(x.flatten(1)).tanh()
        return {name: head(y) for name, head in self.heads.items()}


def total(outputs: dict[str, Tensor], kind: Tensor, age: Tensor, mask: Tensor, box: Tensor) -> Tensor:
    assert kind.dtype == torch.int64
    assert mask.dtype == torch.bool
    parts = [
        F.cross_entropy(outputs["kind"], kind),
        F.l1_loss(outputs["age"], age),
        F.binary_cross_entropy_with_logits(outputs["mask"].view(-1, 4, 4), mask.double()),
        F.mse_loss(outputs["box"].view(-1, 2, 2), box),
    ]
    return parts[0] + 2.5 * parts[1] + parts[2] + parts[3]


def of_nested(outputs: Any, targets: Any) -> Tensor:
    first, (second, absent) = targets
    assert absent is None
    return total(outputs, first["kind"], first["age"], *second)


STRUCTURES: dict[str, tuple[Callable[[dict[str, Tensor]], Any], Callable[[Any, Any], Tensor]]] = {
    "dict": (lambda y: y, lambda outputs, targets: total(outputs, **targets)),
    "tuple": (lambda y: tuple(y.values()), lambda outputs, targets: total(outputs, *targets)),
    "list": (lambda y: list(y.values()), lambda outputs, targets: total(outputs, *targets)),
    "nested": (
        lambda y: ({"kind": y["kind"], "age": y["age"]}, [[y["mask"], y["box"]], None]),
        of_nested,
    ),
}  # fmt: skip


def batches(structure: Callable[[dict[str, Tensor]], Any]) -> list[Any]:
    chosen = [slice(start, start + BATCH) for start in range(0, N, BATCH)]
    return [(images()[rows], structure({name: y[rows] for name, y in values().items()})) for rows in chosen]


@pytest.mark.parametrize("name", STRUCTURES)
def test_20_steps_with_nested_targets_equal_pytorch(name: str) -> None:
    structure, criterion = STRUCTURES[name]

    def made() -> Parts:
        network = Heads().double()
        return Parts(network, criterion, torch.optim.NAdam(network.parameters(), lr=0.01))

    training = check_equal(made, lambda: (batches(structure), batches(structure)), 7)
    assert training.verify(2).ok
    assert training.trace().loss > 0
    if name == "dict":
        training.doctor(epochs=2)


class Views(nn.Module):
    """A network of two views of an image, as for contrastive learning."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(first), self.encoder(second)


def contrastive(outputs: tuple[Tensor, Tensor], targets: None) -> Tensor:
    assert targets is None
    similarity = F.normalize(outputs[0]) @ F.normalize(outputs[1]).T
    return F.cross_entropy(similarity / 0.5, torch.arange(len(similarity)))


def views() -> list[Any]:
    return [(x, x.flip(3)) for x in images().split(BATCH)]


def test_a_loss_of_the_outputs_alone() -> None:
    def made() -> Parts:
        torch.manual_seed(0)
        network = Views().double()
        return Parts(network, contrastive, torch.optim.AdamW(network.parameters(), lr=0.01))

    ours, theirs = made(), made()
    training = ours.taken(views(), views(), batch=lambda item: (item, None))
    history = training.fit(7, verbose=False)
    for _ in range(7):
        for item in views():
            theirs.optimizer.zero_grad()
            contrastive(theirs.network(*item), None).backward()
            theirs.optimizer.step()
    assert_equal(ours, theirs)
    with torch.no_grad():
        losses = [float(contrastive(theirs.network(*item), None)) * len(item[0]) for item in views()]
    assert history["val_loss"][-1] == pytest.approx(sum(losses) / N)
    with pytest.raises(PellucidError, match=r"2 inputs, and the loader yields a tuple of 2 \(Tensor, Tensor\), so no"):
        made().taken(views())


class WithoutTargets(nn.Module):
    def forward(self, y: Tensor, target: None) -> Tensor:
        return (y**2).mean()


def test_one_input_without_targets() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).double()
    made = Parts(network, WithoutTargets(), torch.optim.SGD(network.parameters(), lr=0.1))
    before = (network(images()) ** 2).mean()
    made.taken(list(images().split(BATCH)), batch=lambda x: (x, None)).fit(5, verbose=False)
    assert (network(images()) ** 2).mean() < 0.9 * before


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "known criterion": (nn.CrossEntropyLoss(), lambda y: y, "targets are a dict of kind, age, mask, box, and Cross"),
    "no targets": (nn.CrossEntropyLoss(), lambda y: None, "targets are None, and CrossEntropyLoss takes one tensor"),
    "paths": (total, lambda y: {"kind": y["kind"], "path": ["a.png"]}, "a dict of kind, path, with a str among them"),
    "other rows": (total, lambda y: (y["kind"], y["age"][:1]), r"a tensor of shape \(1, 1\) among them"),
    "one number": (total, lambda y: (y["kind"], y["age"].sum()), r"a tensor of shape \(\) among them"),
    "large": (total, lambda y: {"kind": y["kind"] + 2**24}, "whole numbers up to 16777216"),
    "criterion fails": (total, lambda y: {"kind": y["kind"]}, r"total raises TypeError: .*targets: \(4,\) of int64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_targets_are_refused_without_their_numbers(name: str) -> None:
    criterion, structure, message = REFUSED[name]
    network = Heads().double()
    made = Parts(network, criterion, torch.optim.SGD(network.parameters(), lr=0.1))
    with pytest.raises(PellucidError, match=message) as error:
        made.taken(batches(structure))
    assert "0." not in str(error.value)


def test_items_that_are_not_batches_are_refused_without_their_numbers() -> None:
    network = Heads().double()
    made = Parts(network, total, torch.optim.SGD(network.parameters(), lr=0.1))
    item = {"image": images(), **values()}
    with pytest.raises(PellucidError, match="yields a dict of image, kind, age, mask, box, not"):
        made.taken([item])
    with pytest.raises(PellucidError, match=r"yields a tuple of 3 \(Tensor, Tensor, list\), not"):
        made.taken([(images(), images(), ["a"])])


def test_targets_of_another_structure_are_refused() -> None:
    network = Heads().double()
    made = Parts(network, STRUCTURES["dict"][1], torch.optim.SGD(network.parameters(), lr=0.1))
    items = batches(lambda y: y)
    training = made.taken([items[0], (images(), {**values(), "age": values()["age"].expand(N, 2)})])
    with pytest.raises(PellucidError, match="not as those of the first batch"):
        training.fit(1, verbose=False)
    with pytest.raises(PellucidError, match="train and validation are not of one structure"):
        made.taken(items, [(images(), values()["kind"])])
