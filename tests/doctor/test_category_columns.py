"""Columns of numbers that name categories are found and proven, and numbers with an order are not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.combine import Sequential
from pellucid.data import load
from pellucid.data.source import Arrays
from pellucid.doctor import Case
from pellucid.doctor.category_columns import CATEGORY_AS_NUMBER, category_columns
from pellucid.doctor.diagnosis import sentences
from pellucid.layers import Dense, ReLU
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model

N = 1_500


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table_case(x: Tensor, y: Tensor) -> Case:
    """Return the case of an untrained network; y: classes, or values (N,)."""
    classifies = not y.is_floating_point()
    net = Sequential(Dense(8), ReLU(), Dense(int(y.max()) + 1 if classifies else 1))
    model = Model(net, SoftmaxCrossEntropy() if classifies else Quadratic(), input_shape=(x.shape[1],), metrics=())
    return Case(model, Arrays(x, y if classifies else y[:, None]), None, lambda: model)


def as_classes(values: Tensor) -> Tensor:
    """Return three classes of equal size, by the order of the values."""
    return torch.bucketize(values, values.quantile(torch.tensor([1 / 3, 2 / 3])))


def as_two(values: Tensor) -> Tensor:
    return (values > values.median()).long()


def targets_of(effect: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return other columns (N, 3), and values that depend on them and on the effect of another column (N,)."""
    other = torch.randn(N, 3, generator=rng(seed + 10))
    y = effect / effect.std() + 0.5 * other[:, 0] - 0.3 * other[:, 1].abs()
    return other, y + 0.3 * torch.randn(N, generator=rng(seed + 20))


CODINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "numbers": lambda code: code,
    "from 1": lambda code: code + 1,
    "with gaps": lambda code: 10 * code + code % 3,
    "standardized": lambda code: (code - code.mean()) / code.std(),
    "from 0 to 1": lambda code: code / code.max(),
    "in uneven steps": lambda code: (code + 1).sqrt() + (3 * code).sin(),
}


@pytest.mark.parametrize("as_targets", [lambda values: values, as_classes, as_two], ids=["values", "three", "two"])
@pytest.mark.parametrize("coding", CODINGS.values(), ids=[*CODINGS])
@pytest.mark.parametrize("count", [12, 30, 60])
def test_categories_are_told_from_numbers(count: int, coding: Any, as_targets: Any) -> None:
    for seed in range(3):
        category = torch.randint(count, (N,), generator=rng(seed))
        other, y = targets_of(torch.randn(count, generator=rng(seed + 1))[category], seed)
        x = torch.cat([other[:, :2], coding(category.float())[:, None], other[:, 2:]], 1)
        (column,) = category_columns(table_case(x, as_targets(y)))
        assert (column.column, len(column.values)) == (2, count)
        assert column.explained - column.smooth > 0.1


def ages(seed: int) -> Tensor:
    return torch.randint(18, 90, (N,), generator=rng(seed)).float()


def grades(count: int) -> Callable[[int], Tensor]:
    return lambda seed: torch.randint(1, count + 1, (N,), generator=rng(seed)).float()


def counts(rate: float) -> Callable[[int], Tensor]:
    return lambda seed: torch.poisson(torch.full((N,), rate), generator=rng(seed))


ORDERED: dict[str, tuple[Callable[[int], Tensor], Callable[[Tensor], Tensor]]] = {
    "ages, in a line": (ages, lambda age: age),
    "ages, the highest in the middle": (ages, lambda age: -((age - 45).abs() ** 1.5)),
    "adults from 30": (ages, lambda age: (age >= 30).float()),
    "years with a trend and a cycle": (lambda seed: ages(seed) + 1930, lambda year: year / 20 + (year / 4).sin()),
    "grades": (grades(6), lambda grade: grade),
    "grades that count more and more": (grades(6), lambda grade: 1.8**grade),
    "five grades": (grades(5), lambda grade: grade.square()),
    "ten grades, rising in steps": (grades(10), lambda grade: (grade / 3).floor()),
    "counts": (counts(4.0), lambda count: count.sqrt()),
    "counts, saturated": (counts(8.0), lambda count: count.clamp(max=9)),
    "hours with two peaks": (
        grades(24),
        lambda hour: (-(((hour - 8) / 3) ** 2)).exp() + (-(((hour - 18) / 3) ** 2)).exp(),
    ),
    "days of a year in weeks": (grades(52), lambda week: (week / 52 * 6.28).cos()),
    "nothing": (grades(50), lambda number: torch.randn(len(number), generator=rng(5))),
    "bytes": (grades(90), lambda value: (value / 90).tanh()),
}


@pytest.mark.parametrize("as_targets", [lambda values: values, as_classes, as_two], ids=["values", "three", "two"])
@pytest.mark.parametrize(("numbers", "effect"), ORDERED.values(), ids=[*ORDERED])
def test_numbers_with_an_order_are_no_categories(numbers: Any, effect: Any, as_targets: Any) -> None:
    for seed in range(5):
        number = numbers(seed)
        other, y = targets_of(effect(number), seed)
        assert category_columns(table_case(torch.cat([number[:, None], other], 1), as_targets(y))) == []


def test_pixels_are_no_categories() -> None:
    digits = load("digits")
    x = (digits.train.x.flatten(1) * 16).round()
    assert len(x.unique()) == 17
    assert category_columns(table_case(x, digits.train.y)) == []


def test_other_columns_are_not_examined() -> None:
    category = torch.randint(20, (N,), generator=rng())
    effect = torch.randn(20, generator=rng(1))[category]
    other, y = targets_of(effect)
    few, missing = category % 4, category.float().where(category > 0, torch.nan)
    x = torch.stack([few, missing, *other.T], 1)
    assert category_columns(table_case(x, y)) == []
    identity = torch.arange(N).float()[:, None]
    assert category_columns(table_case(torch.cat([identity, other], 1), y)) == []


class Shops(nn.Module):
    """A network of a table whose first column is the number of a shop, or of a city with so many inhabitants."""

    def __init__(self, count: int, has_embedding: bool, outputs: int) -> None:
        super().__init__()
        self.count = count
        self.table = nn.Embedding(count, 6) if has_embedding else None
        self.layers = nn.Sequential(
            nn.Linear(9 if has_embedding else 4, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        shop = x[:, :1] / self.count * 3.4 - 1.7 if self.table is None else self.table(x[:, 0].long())
        return self.layers(torch.cat([shop, x[:, 1:]], 1))


def diagnosis_of(count: int, has_embedding: bool, is_ordered: bool, outputs: int, seed: int) -> Any:
    torch.manual_seed(seed)
    category = torch.randint(count, (N,), generator=rng(seed))
    sizes = torch.randn(count, generator=rng(seed + 1))
    other, values = targets_of((sizes.sort().values if is_ordered else sizes)[category], seed)
    y = as_classes(values) if outputs == 3 else as_two(values).float()[:, None] if outputs == 2 else values[:, None]
    x = torch.cat([category.float()[:, None], other], 1)
    network = Shops(count, has_embedding, max(outputs, 1) if outputs != 2 else 1)
    loss = {1: nn.MSELoss(), 2: nn.BCEWithLogitsLoss(), 3: nn.CrossEntropyLoss()}[outputs]
    split = 1_100
    training = pellucid.from_torch(
        network, loss=loss, optimizer=torch.optim.Adam(network.parameters(), lr=2e-3),
        train=DataLoader(TensorDataset(x[:split], y[:split]), 32, shuffle=True),
        validation=DataLoader(TensorDataset(x[split:], y[split:]), 100),
    )  # fmt: skip
    training.fit(15, verbose=False)
    return training.doctor()


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("count", [30, 50])
def test_a_category_as_a_number_is_the_cause(count: int, outputs: int) -> None:
    diagnosis = diagnosis_of(count, False, False, outputs, seed=outputs)
    assert (diagnosis.names[0], diagnosis.kind(0)) == (CATEGORY_AS_NUMBER, "cause")
    assert sentences(diagnosis)[0].startswith(
        f"Give column 0 ({count} different values), counted from 0, as one-hot columns or through an embedding"
    )


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize(("has_embedding", "is_ordered"), [(True, False), (True, True), (False, True)])
def test_an_embedding_or_an_order_is_no_fault(has_embedding: bool, is_ordered: bool, outputs: int) -> None:
    diagnosis = diagnosis_of(30, has_embedding, is_ordered, outputs, seed=outputs)
    assert diagnosis.causes == ()
    assert all(effect.name != CATEGORY_AS_NUMBER for effect in diagnosis.intervention_effects)
