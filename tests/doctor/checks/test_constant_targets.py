"""Targets of one value are found, in either part and of each kind; rare labels and unread targets are not."""

from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.constant_targets import CHECK
from pellucid.layers import Conv2d, Dense
from pellucid.losses import BinaryCrossEntropy, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model

KINDS = ["classes", "two classes", "labels", "numbers", "masks", "maps"]


def targets(kind: str, n: int, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    shape = {"labels": (n, 3), "numbers": (n, 2), "masks": (n, 6, 6), "maps": (n, 1, 6, 6)}.get(kind, (n,))
    if kind == "numbers":
        return torch.randn(shape, generator=rng)
    y = torch.randint(0, 3 if kind == "classes" else 2, shape, generator=rng)
    return y.float() if kind in ("labels", "maps") else y


def model_of(kind: str) -> Model:
    if kind in ("masks", "maps"):
        n_maps, loss = (2, SoftmaxCrossEntropy()) if kind == "masks" else (1, BinaryCrossEntropy())
        return Model(Conv2d(n_maps, 1), loss, metrics=(), input_shape=(1, 6, 6))
    loss = {"labels": BinaryCrossEntropy(), "numbers": Quadratic()}.get(kind, SoftmaxCrossEntropy())
    return Model(Dense(2 if kind in ("numbers", "two classes") else 3), loss, metrics=(), input_shape=(5,))


def make_case(kind: str, y: torch.Tensor, held_out_y: torch.Tensor | None) -> Case:
    model, rng = model_of(kind), torch.Generator().manual_seed(1)
    x, held_out_x = (torch.rand(len(y), *model.nominal_shape, generator=rng) for _ in range(2))
    validation = None if held_out_y is None else (held_out_x[: len(held_out_y)], held_out_y)
    return case_of(model, x, y, validation=validation)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constant", [(), ("train",), ("validation",), ("train", "validation")])
@pytest.mark.parametrize("number", [0, 1])
def test_targets_that_are_all_the_same_are_found(kind: str, constant: tuple[str, ...], number: int) -> None:
    parts = {"train": targets(kind, 120), "validation": targets(kind, 60, seed=1)}
    for path in constant:
        parts[path] = parts[path][:1].expand(parts[path].shape).clone() if number else torch.zeros_like(parts[path])
    case = make_case(kind, parts["train"], parts["validation"])
    found = CHECK.find(case)
    assert [(one.path, one.proven) for one in found] == [(path, True) for path in constant[:1]]
    for one in found:
        assert f"all {len(parts[one.path])} " in one.fix
        other = parts["validation" if one.path == "train" else "train"]
        assert one.fix.startswith("shuffle before splitting") is bool((other != parts[one.path][:1]).any())
        assert diagnose(case).causes == ("constant-targets",)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-3])
@pytest.mark.parametrize("mean", [3.0, -2000.0])
@pytest.mark.parametrize("has_validation", [True, False])
def test_numbers_that_differ_by_rounding_are_the_same(spread: float, mean: float, has_validation: bool) -> None:
    y = mean * (1 + spread * torch.rand(80, 2, generator=torch.Generator().manual_seed(0)))
    case = make_case("numbers", y, targets("numbers", 40) if has_validation else None)
    assert [one.evidence["all_of_them"] for one in CHECK.find(case)] == [f"{float(y[0, 0]):g}"] * (spread < 1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize(("path", "n", "share", "is_found"), [
    ("train", 400, 0.5, True), ("train", 400, 0.05, True), ("train", 60, 0.05, False), ("validation", 400, 0.05, True),
    ("validation", 60, 0.05, False), ("validation", 60, 0.5, True),
])  # fmt: skip
def test_a_label_of_one_value_is_found_unless_it_may_be_rare(
    path: str, n: int, share: float, is_found: bool, value: float
) -> None:
    rng = torch.Generator().manual_seed(0)
    is_rarer = {name: (torch.rand(n, 3, generator=rng) < share).float() for name in ("train", "validation")}
    for is_other in is_rarer.values():
        is_other[:2] = torch.tensor([[0.0], [1.0]])  # so that each label has both values
    parts = {name: is_other if value == 0 else 1 - is_other for name, is_other in is_rarer.items()}
    parts[path][:, 1] = value
    found = CHECK.find(make_case("labels", parts["train"], parts["validation"]))
    assert [(one.path, one.proven) for one in found] == [(path, False)] * is_found
    assert all(f"label 1 is {value:g} in all {n}" in one.cause for one in found)


def test_a_constant_column_of_numbers_and_few_targets_have_no_finding() -> None:
    y = targets("numbers", 120)
    y[:, 1] = 1.0
    assert CHECK.find(make_case("numbers", y, None)) == []
    assert CHECK.find(make_case("classes", torch.zeros(12, dtype=torch.int64), None)) == []
    assert CHECK.find(make_case("two classes", (torch.arange(400) < 30).long(), torch.zeros(30).long())) == []


class Spread(nn.Module):
    """A loss of the outputs alone, which may also read the targets."""

    def __init__(self, reads_targets: bool) -> None:
        super().__init__()
        self.reads_targets = reads_targets

    def forward(self, outputs: Any, targets: Any) -> torch.Tensor:
        return (outputs.std(0) - 1).square().sum() + self.reads_targets * (outputs.mean(1) - targets).square().sum()


@pytest.mark.parametrize("reads_targets", [True, False])
def test_targets_that_the_loss_does_not_read_are_no_fault(reads_targets: bool) -> None:
    x, y = torch.rand(60, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(60)
    network = nn.Sequential(nn.Linear(4, 3))
    training = pellucid.from_torch(
        network, loss=Spread(reads_targets), optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        train=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 20),
    )  # fmt: skip
    assert bool(CHECK.find(case_of(training.model, x, y))) is reads_targets
