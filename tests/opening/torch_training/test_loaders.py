"""Random changes of training examples are recognized, and left out by the settings of the validation data."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from pellucid.opening.torch_training.loaders import LoaderBatches

X, Y = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
PARTS = {"train": slice(0, 30), "validation": slice(30, 40)}


def noisy(x: Tensor) -> Tensor:
    return x + torch.rand(x.shape)


def halved(x: Tensor) -> Tensor:
    return x / 2


class Images(Dataset[Any]):
    """Images of a part of the data, with noise if a setting says so."""

    def __init__(self, part: str, setting: Any) -> None:
        self.part, self.x, self.y, self.setting = part, X[PARTS[part]], Y[PARTS[part]], setting
        self.limits = [float(row.min()) for row in self.x]  # data, though numbers

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x: Any = X[PARTS[self.part]][index]
        assert float(x.min()) == self.limits[index]
        if self.setting == "noisy":
            return noisy(x), self.y[index]
        functions: list[Any] = self.setting if isinstance(self.setting, list) else [self.setting]
        for function in functions:
            x = function(x) if callable(function) else x + bool(function) * torch.rand(x.shape)
        return x, self.y[index]


class Drawn(Dataset[Any]):
    """Images that are drawn by their numbers and a seed."""

    def __init__(self, seed: int, noise: float) -> None:
        self.seed, self.noise = seed, noise

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(self.seed + index))
        return x + self.noise * torch.rand(1, 4, 4), index % 2


class Augmented(Dataset[Any]):
    """Another data set with noise."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.change = inner, noisy

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.inner[index]
        return self.change(x), y


class Relabelled(Images):
    """Images whose targets change with them."""

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        x, _ = super().__getitem__(index)
        return x, x.mean()


def noisy_batch(items: list[Any]) -> tuple[Tensor, Tensor]:
    return noisy(torch.stack([item[0] for item in items])), torch.stack([item[1] for item in items])


def options(train: Any, validation: Any, **settings: Any) -> dict[str, Any]:
    loaders = DataLoader(train, 8, shuffle=True, **settings), DataLoader(validation, 5)
    train_batches, validation_batches = (LoaderBatches(loader, None) for loader in loaders)
    return train_batches.redrawn(validation_batches)


def check_plain(found: dict[str, Any], x: Tensor, y: Tensor) -> None:
    """Check that the plain examples are these in another order."""
    batches = [*found["plain"]()]
    plain, labels = (torch.cat([batch[k] for batch in batches]) for k in (0, 1))
    order = (plain[:, None] == x).flatten(2).all(2).double().argmax(1)
    assert sorted(order.tolist()) == [*range(len(x))]
    assert torch.equal(labels, y[order])


@pytest.mark.parametrize(
    ("setting", "other"),
    [(True, False), (1.5, 0.0), (3, None), ((1, 2), ()), (noisy, None), ([noisy, abs], []), (noisy, abs)],
)
def test_settings_of_the_validation_data_leave_random_changes_out(setting: Any, other: Any) -> None:
    found = options(Images("train", setting), Images("validation", other))
    assert [tuple(draw.shape) for draw in found["redrawn"]] == [(30, 1, 4, 4)] * 2
    assert not torch.equal(*found["redrawn"])
    check_plain(found, X[:30], Y[:30])


def test_parts_of_data_sets_and_functions_of_batches_are_read_as_those_of_the_validation_data() -> None:
    subsets = Subset(Images("train", noisy), range(4, 20)), Subset(Images("validation", None), range(9))
    check_plain(options(*subsets), X[4:20], Y[4:20])
    tensors = TensorDataset(X[:30], Y[:30]), TensorDataset(X[30:], Y[30:])
    check_plain(options(*tensors, collate_fn=noisy_batch), X[:30], Y[:30])
    check_plain(options(Augmented(tensors[0]), tensors[1]), X[:30], Y[:30])


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        (Drawn(0, 1.0), Drawn(1000, 0.0)),  # with the other seed, they are the validation examples
        (Images("train", "noisy"), Images("validation", "")),  # texts may be folders
        (Images("train", noisy), Images("validation", noisy)),
        (Images("train", noisy), TensorDataset(X[30:], Y[30:])),
    ],
)
def test_without_a_way_to_leave_changes_out_only_two_draws_are_known(train: Any, validation: Any) -> None:
    assert {*options(train, validation)} == {"redrawn"}


@pytest.mark.parametrize("train", [Images("train", None), Drawn(0, 0.0), Relabelled("train", noisy)])
def test_nothing_is_known_of_the_same_draws_and_of_targets_that_change_too(train: Any) -> None:
    assert not options(train, Images("validation", None)).keys() & {"redrawn", "plain"}
    batches = [(X[:4], Y[:4])]
    assert LoaderBatches(batches, None).redrawn(None) == {}


class Compose:
    """Transforms one after another, as torchvision composes them."""

    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms

    def __call__(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x


@pytest.mark.parametrize("setting", [noisy, True, 0.5, [noisy], [noisy, halved], Compose([noisy, halved])])
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: Subset(one, range(3, 10))])
def test_validation_examples_without_random_changes_are_read_by_a_setting_that_is_off(setting: Any, wrap: Any) -> None:
    found = LoaderBatches(DataLoader(wrap(Images("validation", setting)), 4), None).redrawn_validation()
    readings, (x, y) = found["redrawn_validation"], found["plain_validation"]
    expected = X[PARTS["validation"]][10 - len(x) :]
    is_halved = (isinstance(setting, list) and len(setting) == 2) or hasattr(setting, "transforms")
    torch.testing.assert_close(x, halved(expected) if is_halved else expected)
    assert all(torch.equal(reading[1], y) for reading in readings)
    assert not torch.equal(readings[0][0], readings[1][0])


def test_validation_examples_are_read_without_a_data_set_that_changes_another() -> None:
    found = LoaderBatches(DataLoader(Augmented(Images("validation", None)), 4), None).redrawn_validation()
    torch.testing.assert_close(found["plain_validation"][0], X[PARTS["validation"]])


@pytest.mark.parametrize(
    ("dataset", "keys"),
    [
        (Images("validation", "noisy"), ["redrawn_validation"]),  # by a setting that cannot be off
        (Relabelled("validation", noisy), []),
        (Images("validation", None), []),
        (TensorDataset(X, Y), []),
    ],
)
def test_validation_examples_of_other_data_sets(dataset: Any, keys: list[str]) -> None:
    assert [*LoaderBatches(DataLoader(dataset, 4, shuffle=True), None).redrawn_validation()] == keys
    assert LoaderBatches([(X, Y)], None).redrawn_validation() == {}
