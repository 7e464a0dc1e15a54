"""Masks and heat maps of other images, or flipped and turned without their images."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pellucid
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.unpaired_targets import CHECK
from pellucid.layers import Conv2d
from pellucid.losses import BinaryCrossEntropy, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.training.model import BaseModel

KINDS = ("mask", "classes", "heat")


def images_and_maps(n: int, seed: int, size: tuple[int, int] = (40, 40), kind: str = "mask"):
    """Return noisy images (n, 1, H, W) with bright, smooth regions of any form, and their maps."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 1, 6, 6, generator=rng)
    region = (F.interpolate(coarse, size, mode="bicubic") > 0.65).float()
    x = 0.3 + 0.3 * region + 0.2 * torch.rand(n, 1, *size, generator=rng)
    if kind == "classes":
        return x, region[:, 0].long()
    return x, 10 * F.avg_pool2d(region, 2) if kind == "heat" else region


def case_with(
    train: tuple[torch.Tensor, torch.Tensor], validation: tuple[torch.Tensor, torch.Tensor], kind: str
) -> Case:
    """Return the case of a network that has learned nothing."""
    stride = 2 if kind == "heat" else 1
    filters = 2 if kind == "classes" else 1
    losses = {"mask": BinaryCrossEntropy(), "classes": SoftmaxCrossEntropy(), "heat": Quadratic()}
    net = Conv2d(filters, 3, stride=stride, padding=1)
    model = Model(net, losses[kind], metrics=(), input_shape=tuple(train[0].shape[1:]), seed=3)
    model.weights["weight"].zero_()
    return case_of(model, *train, validation=validation)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(40, 40), (32, 48)])
@pytest.mark.parametrize("n", [30, 150])
def test_maps_of_their_own_images_have_no_finding(kind: str, size: tuple[int, int], n: int) -> None:
    train, validation = (images_and_maps(count, seed, size, kind) for seed, count in enumerate((n, 30)))
    assert CHECK.find(case_with(train, validation, kind)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(40, 40), (32, 48)])
@pytest.mark.parametrize("are_both_wrong", [False, True])
def test_maps_of_other_images_are_found(kind: str, size: tuple[int, int], are_both_wrong: bool) -> None:
    (x, y), (other_x, other_y) = (images_and_maps(count, seed, size, kind) for seed, count in enumerate((100, 40)))
    y = y.roll(7, 0)
    other_y = other_y.roll(3, 0) if are_both_wrong else other_y
    (finding,) = CHECK.find(case_with((x, y), (other_x, other_y), kind))
    assert finding.path == "train"
    assert float(finding.evidence["rank_of_own_targets_in_training"]) == pytest.approx(0.5, abs=0.12)
    rank = float(finding.evidence["in_validation"])
    assert rank == pytest.approx(0.5, abs=0.18) if are_both_wrong else rank > 0.8


@pytest.mark.parametrize("n", [60, 120])
def test_masks_in_the_order_of_their_names_as_text_are_found(n: int) -> None:
    train, (x, y) = (images_and_maps(n, seed) for seed in (0, 1))
    by_text = torch.tensor(sorted(range(n), key=str))
    (finding,) = CHECK.find(case_with((train[0], train[1][by_text]), (x, y[by_text]), "mask"))
    assert finding.path == "train"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(40, 40), (32, 48)])
@pytest.mark.parametrize("are_together", [False, True])
def test_separate_flips_and_turns_are_found(kind: str, size: tuple[int, int], are_together: bool) -> None:
    (x, y), validation = (images_and_maps(count, seed, size, kind) for seed, count in enumerate((120, 30)))
    rng = torch.Generator().manual_seed(5)
    turns = range(4) if size[0] == size[1] else (0, 2)

    def transformed(image: torch.Tensor, turn: int, flip: int) -> torch.Tensor:
        image = image.rot90(turn, (-2, -1))
        return image.flip(-1) if flip else image

    drawn = [
        [(turns[int(torch.randint(len(turns), (), generator=rng))], int(torch.randint(2, (), generator=rng)))
         for _ in range(120)]
        for _ in range(2)
    ]  # fmt: skip
    x = torch.stack([transformed(image, *draw) for image, draw in zip(x, drawn[0], strict=True)])
    y = torch.stack([transformed(image, *draw) for image, draw in zip(y, drawn[not are_together], strict=True)])
    found = CHECK.find(case_with((x, y), validation, kind))
    assert [one.path for one in found] == ["train"] * (not are_together)
    for one in found:
        expected = 1 - sum(a == b for a, b in zip(*drawn, strict=True)) / 120
        assert float(one.evidence["flipped_or_turned_otherwise"]) == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("turn", "text", "part"), [
    (lambda y: y.transpose(-2, -1), "transposed (rows and columns", "exchange rows and columns"),
    (lambda y: y.rot90(1, (-2, -1)), "turned by 90 degrees to the right", "EXIF"),
    (lambda y: y.rot90(-1, (-2, -1)), "turned by 90 degrees to the left", "EXIF"),
    (lambda y: y.flip(-2), "top and bottom", "rows are counted from the top"),
    (lambda y: y.flip(-1), "left and right", "turn the targets back"),
    (lambda y: y.flip(-2, -1), "by 180 degrees", "EXIF"),
    (lambda y: y.transpose(-2, -1).flip(-2, -1), "along the other diagonal", "EXIF"),
])  # fmt: skip
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_one_flip_or_turn_of_all_targets_is_named(
    kind: str, turn: Callable[[torch.Tensor], torch.Tensor], text: str, part: str, fraction: float
) -> None:
    (x, y), validation = (images_and_maps(count, seed, kind=kind) for seed, count in enumerate((120, 30)))
    count = int(fraction * 120)
    y[:count] = turn(y[:count]).clone()
    (finding,) = CHECK.find(case_with((x, y), validation, kind))
    is_one = fraction == 1
    assert (text in finding.cause, "all in the same way" in finding.cause) == (is_one, is_one)
    assert (part in finding.fix, "draw each random flip" in finding.fix) == (is_one, not is_one)


def one_disk(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (n, 3, 32, 32) and masks of a disk that no linear function of local features finds."""
    rng = torch.Generator().manual_seed(seed)
    centres = 6 + 20 * torch.rand(n, 2, 1, 1, generator=rng)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    y = (((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2) < 20).float()[:, None]
    x = torch.rand(n, 3, 32, 32, generator=rng)
    return x + 0.1 * y, y


class Disks(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images and masks, flipped at random: "together", also "moved" a little, "separately", only the "masks"."""

    def __init__(self, n: int, flips: str) -> None:
        (self.x, self.y), self.flips = one_disk(n, 0), flips

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        draws = (torch.rand(2, 2) < 0.5).tolist()
        axes = [[axis for axis, is_flipped in zip((1, 2), one, strict=True) if is_flipped] for one in draws]
        if self.flips in ("together", "moved"):
            axes[1] = axes[0]
        elif self.flips == "masks":
            axes[0] = []
        brightness = 0.7 + 0.6 * torch.rand(()) + 0.05 * torch.randn(3, 32, 32)
        shift = int(torch.randint(-2, 3, ())) * (self.flips == "moved")
        return (self.x[index].flip(axes[0]) * brightness).roll(shift, 2), self.y[index].flip(axes[1]).roll(shift, 2)


@pytest.mark.parametrize(("flips", "is_found"), [
    ("together", False), ("moved", False), ("separately", True), ("masks", True),
])  # fmt: skip
@pytest.mark.parametrize("n", [60, 200])
def test_flips_of_a_data_set_are_compared_by_drawing_examples_twice(flips: str, is_found: bool, n: int) -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 1, 3, padding=1)
    training = pellucid.from_torch(
        network, loss=nn.BCEWithLogitsLoss(), optimizer=torch.optim.SGD(network.parameters(), lr=0.01),
        train=DataLoader(Disks(n, flips), 20, shuffle=True), validation=DataLoader(TensorDataset(*one_disk(40, 1)), 20),
    )  # fmt: skip
    options = training.train.redrawn(training.validation)
    assert [*options] == ["redrawn_pairs"]
    x, y = Disks(n, flips).x, Disks(n, flips).y
    found = CHECK.find(case_of(training.model, x, y, validation=one_disk(40, 1), **options))
    assert [one.path for one in found] == ["train"] * is_found
    for one in found:  # of four equally likely turns, the same one by chance
        assert float(one.evidence["turned_otherwise_than_inputs"]) == pytest.approx(0.75, abs=0.15)


def test_a_network_whose_outputs_fit_clears_the_targets() -> None:
    """Targets that depend on distant pixels fit no local features, but the outputs show that they fit."""
    (x, y), (other_x, other_y) = (images_and_maps(60, seed) for seed in (0, 1))
    far_y, far_other_y = y.roll(20, 3), other_y.roll(20, 3)
    case = case_with((x, far_y), (other_x, far_other_y), "mask")
    assert CHECK.find(case) != []
    object.__setattr__(case, "model", _Shifting(case.model))
    assert CHECK.find(case) == []


class _Shifting:
    """A model that predicts the mask of a place from the pixels that are 20 columns away."""

    def __init__(self, model: BaseModel) -> None:
        self.model = model

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x.roll(20, 3), 3, 1, 1)

    def __getattr__(self, name: str):
        return getattr(self.model, name)
