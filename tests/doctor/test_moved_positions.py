"""Boxes and other points in images that were not changed together with their images."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.doctor import Diagnosis
from pellucid.tasks.classify.doctor import suggest_changes

N = 48
IMAGES = [torch.zeros(3, 8, 8)] * N
XY = torch.Tensor  # points (N, K, 2)
MOVES: dict[str, Callable[[XY], XY]] = {  # of positions in images with sides of 1
    "exchanged": lambda points: points.flip(2),
    "scaled": lambda points: points * torch.tensor([1.6, 0.7]),
    "shifted": lambda points: points + torch.tensor([0.0, 0.2]),
    "mirrored-x": lambda points: torch.stack([1 - points[..., 0], points[..., 1]], 2),
    "mirrored-y": lambda points: torch.stack([points[..., 0], 1 - points[..., 1]], 2),
    "scaled-shifted": lambda points: points * torch.tensor([1.0, 0.6]) + torch.tensor([0.0, 0.2]),
    "exchanged-scaled": lambda points: 2 * points.flip(2),
}
FORMS = ("corners", "sizes", "points")


def boxes(n: int, rng: torch.Generator) -> XY:
    """Return the first and the last corners of boxes, (n, 2, 2)."""
    size = 0.15 + 0.3 * torch.rand(n, 2, generator=rng)
    first = (1 - size) * torch.rand(n, 2, generator=rng)
    return torch.stack([first, first + size], 1)


def written(corners: XY, form: str) -> torch.Tensor:
    """Return corners in any order as targets (n, 4)."""
    first, last = corners.amin(1), corners.amax(1)
    return torch.cat([first, last] if form == "corners" else [(first + last) / 2, last - first], 1)


def moved_and_not(form: str, move: Callable[[XY], XY], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    if form == "points":
        points = torch.rand(N, 1, 2, generator=rng) * 0.6 + 0.4 * torch.rand(N, 4, 2, generator=rng)
        return move(points).flatten(1), points.flatten(1)
    corners = boxes(N, rng)
    return written(move(corners), form), written(corners, form)


def noisy(y: torch.Tensor, deviation: float, seed: int) -> torch.Tensor:
    return y + deviation * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed + 100))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("side", [1.0, 64.0])
@pytest.mark.parametrize("seed", range(3))
def test_moves_of_positions_are_found(form: str, name: str, side: float, seed: int) -> None:
    learned, y = moved_and_not(form, MOVES[name], seed)
    predicted = side * noisy(learned, 0.03, seed)
    (change,) = suggest_changes(IMAGES, [*predicted], [*(side * y)])
    assert change.apply is not None
    assert change.name == "moved-positions"
    assert change.key.partition("-of-")[0] == name
    moved = torch.stack([change.apply(target, (8, 8)) for target in side * y])
    assert float((moved / side - learned).abs().mean()) < 0.03
    assert moved.dtype == y.dtype


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("deviation", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_positions_that_are_learned_badly_are_not_moved(form: str, share: float, deviation: float, seed: int) -> None:
    """A weak model predicts positions near their mean; that is no scale."""
    _, y = moved_and_not(form, MOVES["exchanged"], seed)
    predicted = noisy(share * y + (1 - share) * y.mean(0), deviation, seed)
    assert not any(change.name == "moved-positions" for change in suggest_changes(IMAGES, [*predicted], [*y]))


def diagnosis_with(move: Callable[[XY], XY] | None) -> Diagnosis:
    """Train on boxes that `move` has moved, and validate on boxes as they are."""
    rng = torch.Generator().manual_seed(0)
    corners = boxes(400, rng)
    centres = (torch.arange(16) + 0.5) / 16
    is_inside = [(centres >= corners[:, 0, axis, None]) & (centres <= corners[:, 1, axis, None]) for axis in (0, 1)]
    x = (is_inside[1][:, :, None] & is_inside[0][:, None, :])[:, None] + 0.1 * torch.randn(
        400, 1, 16, 16, generator=rng
    )
    y = written(corners, "corners")
    train_y = written(move(corners), "corners") if move else y
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 4))
    training = pellucid.from_torch(
        net, loss=nn.MSELoss(), optimizer=torch.optim.Adam(net.parameters(), 3e-3),
        train=DataLoader(TensorDataset(x[:280], train_y[:280]), batch_size=28, shuffle=True),
        validation=DataLoader(TensorDataset(x[280:], y[280:]), batch_size=40),
    )  # fmt: skip
    training.fit(15, verbose=False)
    return training.doctor()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["exchanged", "mirrored-x"])
def test_boxes_that_are_moved_in_the_training_data_are_the_cause(name: str) -> None:
    diagnosis = diagnosis_with(MOVES[name])
    assert diagnosis.causes[0] == "moved-positions"
    assert name.partition("-")[0] in diagnosis.findings[0].cause


@pytest.mark.slow
def test_boxes_that_are_learned_have_no_cause() -> None:
    assert "moved-positions" not in diagnosis_with(None).names
