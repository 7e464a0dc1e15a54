"""Random changes of the training inputs are named where they destroy labels, and labels are not accused for them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import pellucid
from pellucid.data import float_images
from pellucid.data.source import Arrays
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks import confused_labels, label_noise, shuffled_labels
from pellucid.doctor.examination import examine
from pellucid.doctor.inputs import own_nearest, random_moves
from pellucid.doctor.redrawn import moved_classes, redrawn_suspects
from tests.doctor.checks.test_shuffled_labels import shuffled_corners, with_shuffled_labels
from tests.doctor.small_cases import make_model
from tests.doctor.test_failing_trainings import split_digits

FLIPS: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda x: x.flip(3), "upside-down": lambda x: x.flip(2), "half-turn": lambda x: x.flip(2, 3),
}  # fmt: skip


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 8, 8), (20,), (2, 30)])
@pytest.mark.parametrize(("noise", "low", "high"), [(0.05, 1.0, 1.0), (30.0, 0.0, 0.3)])
def test_examples_survive_small_changes_and_no_large_ones(
    shape: tuple[int, ...], noise: float, low: float, high: float
) -> None:
    x = random(60, *shape)
    assert low <= own_nearest(x, x + noise * random(60, *shape, seed=1)) <= high
    assert own_nearest(x[:, :1], x[:, :1]) == 1.0  # also of a single feature or channel


@pytest.mark.parametrize("names", [[], ["mirrored"], ["upside-down"], ["mirrored", "upside-down", "half-turn"]])
def test_flips_are_recognized_beside_other_changes(names: list[str]) -> None:
    x = random(90, 1, 12, 12)
    changes = [lambda x: x, *(FLIPS[name] for name in names)]
    second = torch.cat([changes[k % len(changes)](x[k : k + 1]) for k in range(90)])
    second = second * (0.5 + random(90, 1, 1, 1, seed=1)) + 0.2 * random(*x.shape, seed=2)
    assert [*random_moves(x, second)] == names


def sides(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noise images (count, 1, 12, 12) with a bright left, lower, right or upper side, the class of each."""
    y = torch.arange(count) % 4
    x = 0.4 * random(count, 1, 12, 12, seed=seed)
    for k, label in enumerate(y.tolist()):
        x[k] = (x[k] + 0.6 * (torch.arange(12) < 4)).rot90(label, (1, 2))
    return x, y


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(("name", "pairs"), [("mirrored", [(0, 2), (2, 0)]), ("upside-down", [(1, 3), (3, 1)])])
def test_classes_that_are_each_others_mirror_images_are_named(
    name: str, pairs: list[tuple[int, int]], is_plain: bool
) -> None:
    x, y = sides(240, 0)
    is_flipped = torch.arange(240) % 3 == 0
    draws = [torch.where((is_flipped == k)[:, None, None, None], FLIPS[name](x), x) for k in (False, True)]
    model = make_model(input_shape=(1, 12, 12))
    plain = Arrays(x, y) if is_plain else None
    case = case_of(model, draws[0], y, validation=sides(120, 1), redrawn=(draws[0], draws[1]), plain=plain)
    text = moved_classes(case)
    assert [f"{k} looks like {j}" in text for k in range(4) for j in range(4)] == [
        (k, j) in pairs for k in range(4) for j in range(4)
    ]
    found = [*redrawn_suspects(case)]
    assert [text in one.finding.fix for one in found] == [True] * is_plain
    for one in found:
        assert torch.equal(one.apply(case).train.x, x)


def hidden_case(is_plain: bool, y: Tensor | None = None, noise: float = 30.0, n: int = 600) -> Case:
    """Return a case of bright corners whose training images are hidden by noise that is drawn anew."""
    x, own_y = shuffled_corners(n)
    y = own_y if y is None else y
    first, second = (x + noise * random(*x.shape, seed=seed) for seed in (1, 2))
    return case_of(
        make_model(), first, y, validation=shuffled_corners(300, seed=1), redrawn=(first[:200], second[:200]),
        plain=Arrays(x, y) if is_plain else None,
    )  # fmt: skip


def test_hidden_labels_are_not_called_shuffled() -> None:
    (finding,) = shuffled_labels.CHECK.find(hidden_case(is_plain=False))
    assert (finding.check, finding.is_fault) == ("augmentation-destroys", True)
    assert shuffled_labels.CHECK.find(hidden_case(is_plain=False, noise=0.1)) == []
    assert shuffled_labels.CHECK.find(hidden_case(is_plain=True)) == []


@pytest.mark.parametrize("noise", [0.1, 30.0])
def test_shuffled_labels_are_found_by_inputs_without_random_changes(noise: float) -> None:
    y = with_shuffled_labels(shuffled_corners(600)[1])
    (finding,) = shuffled_labels.CHECK.find(hidden_case(True, y, noise))
    assert finding.check == "shuffled-labels"


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize(("n_colours", "is_hidden"), [(3, True), (1, False)])
def test_labels_are_hidden_by_changes_that_keep_shapes_but_not_what_shows_the_class(
    n_colours: int, is_hidden: bool, is_plain: bool
) -> None:
    """Each image has a pattern of its own, and the class is the channel that has it most."""

    def images(count: int, seed: int) -> tuple[Tensor, Tensor]:
        y = torch.arange(count) % 3
        patterns = random(count, 1, 12, 12, seed=seed)
        return patterns * (0.4 + 0.6 * torch.nn.functional.one_hot(y, 3)[:, :, None, None]), y

    x, y = images(200, 0)
    first, second = (
        torch.stack([image.roll(int(k), 0) for image, k in zip(x, shifts, strict=True)])
        for shifts in (3 * random(2, 200, seed=5)).long() % n_colours
    )
    plain = Arrays(x, y) if is_plain else None
    model = make_model(input_shape=(3, 12, 12))
    case = case_of(model, first, y, validation=images(200, 1), redrawn=(first, second), plain=plain)
    assert (case.changes_much, case.hides_labels) == (is_hidden, is_hidden and not is_plain)
    assert len([*redrawn_suspects(case)]) == (is_hidden and is_plain)
    assert [one.check for one in shuffled_labels.CHECK.find(case)] == (
        ["augmentation-destroys"] if is_hidden and not is_plain else []
    )


@pytest.mark.parametrize("check", [confused_labels.CHECK, label_noise.CHECK])
def test_checks_of_single_labels_are_skipped_where_inputs_hide_them(check: Any) -> None:
    assert [*examine(hidden_case(is_plain=False), [check]).left_out] == [check.name]
    diagnosis = examine(hidden_case(is_plain=True), [check])
    assert (diagnosis.left_out, diagnosis.findings) == ({}, ())


class Digits(Dataset[Any]):
    """Images with a function that changes them at random."""

    def __init__(self, x: Tensor, y: Tensor, change: Any = None) -> None:
        self.x, self.y, self.change = x, y, change

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = self.x[index]
        return (x if self.change is None else self.change(x)), self.y[index]


def very_noisy(x: Tensor) -> Tensor:
    return x + 2 * torch.randn(x.shape)


def cropped(x: Tensor) -> Tensor:
    """Return the image with zeros outside of three random rows and columns."""
    top, left = torch.randint(6, (2,)).tolist()
    mask = torch.zeros_like(x)
    mask[:, top : top + 3, left : left + 3] = 1
    return x * mask


def turned(x: Tensor) -> Tensor:
    x = x.rot90(int(torch.randint(4, ())), (1, 2))
    return x.flip(2) if torch.rand(()) < 0.5 else x


def shifted(x: Tensor) -> Tensor:
    return x.roll(int(torch.randint(-1, 2, ())), 2) + 0.05 * torch.randn(x.shape)


def redrawn_training(
    change: Any, is_shuffled: bool = False, seed: int = 0, in_order: bool = False, validation_change: Any = None
) -> Any:
    x, y, validation = split_digits()
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    y = with_shuffled_labels(y) if is_shuffled else y
    x, y = (x[y.argsort()], y.sort().values) if in_order else (x, y)
    training = pellucid.from_torch(
        network, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam(network.parameters(), lr=2e-3),
        train=DataLoader(Digits(float_images(x), y, change), 32, shuffle=not in_order),
        validation=DataLoader(Digits(float_images(validation[0]), validation[1], validation_change), 100),
    )  # fmt: skip
    training.fit(8, verbose=False)
    return training.doctor()


@pytest.mark.slow
@pytest.mark.parametrize("change", [very_noisy, cropped, turned])
def test_changes_that_destroy_the_classes_are_the_cause(change: Any) -> None:
    diagnosis = redrawn_training(change)
    assert (diagnosis.causes, diagnosis.kind(0)) == (("augmentation-destroys",), "cause")


@pytest.mark.slow
@pytest.mark.parametrize("change", [shifted, turned])
def test_shuffled_labels_are_named_beside_random_changes(change: Any) -> None:
    assert redrawn_training(change, is_shuffled=True).causes == ("shuffled-labels",)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_small_random_changes_are_not_accused(seed: int) -> None:
    assert redrawn_training(shifted, seed=seed).causes == ()


@pytest.mark.slow
def test_examples_in_order_are_named_beside_random_changes() -> None:
    assert redrawn_training(shifted, in_order=True).causes == ("examples-in-order",)


def noisy(x: Tensor) -> Tensor:
    return x + 0.5 * torch.randn(x.shape)


def slightly_noisy(x: Tensor) -> Tensor:
    return x + 0.05 * torch.randn(x.shape)


def moved(x: Tensor) -> Tensor:
    """Return the image, moved by up to two pixels, as a random crop of a padded image is."""
    top, left = torch.randint(5, (2,)).tolist()
    return torch.nn.functional.pad(x, (2, 2, 2, 2))[:, top : top + 8, left : left + 8]


def noisy_collate(items: list[Any]) -> tuple[Tensor, Tensor]:
    return noisy(torch.stack([x for x, _ in items])), torch.stack([y for _, y in items])


@pytest.mark.slow
@pytest.mark.parametrize("change", [noisy, moved])
def test_validation_examples_that_change_at_random_are_named(change: Any) -> None:
    diagnosis = redrawn_training(change, validation_change=change)
    assert (diagnosis.causes, diagnosis.kind(0)) == (("random-validation",), "cause")
    assert "validate on unchanged examples" in str(diagnosis).lower()


@pytest.mark.slow
@pytest.mark.parametrize(("change", "validation_change"), [(slightly_noisy, slightly_noisy), (shifted, slightly_noisy)])
def test_small_random_changes_of_validation_examples_are_not_accused(change: Any, validation_change: Any) -> None:
    assert redrawn_training(change, validation_change=validation_change).causes == ()
