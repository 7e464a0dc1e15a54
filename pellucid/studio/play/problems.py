"""Problems for the playground: points in the plane with a class or a value, their inputs, and images of digits."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.base.settings.checks import check, check_known

MAX_COORDINATE = 3.0  # the plane shows coordinates from -MAX_COORDINATE to MAX_COORDINATE
MAX_POINTS = 500
NOISE_SCALE = 0.6  # standard deviation of the coordinates at noise 1


def _uniform(count: int, rng: torch.Generator) -> Tensor:
    """Return points (count, 2), uniform in the square that the noise leaves free."""
    return (torch.rand(count, 2, generator=rng, dtype=torch.float64) * 2 - 1) * 0.85 * MAX_COORDINATE


def _on_curve(radius: Tensor, angle: Tensor) -> Tensor:
    """Return the points (n, 2) with these polar coordinates."""
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def _xor(target: Tensor, rng: torch.Generator) -> Tensor:
    points = _uniform(len(target), rng).abs()
    points[:, 0] *= torch.where(torch.rand(len(target), generator=rng) < 0.5, -1, 1)
    points[:, 1] = points[:, 1] * points[:, 0].sign() * torch.where(target == 1, 1, -1)
    return points


def _moons(target: Tensor, rng: torch.Generator) -> Tensor:
    angle = torch.rand(len(target), generator=rng, dtype=torch.float64) * math.pi
    points = _on_curve(torch.full_like(angle, 1.6), angle)
    flipped = torch.stack([1.6 - points[:, 0], 0.7 - points[:, 1]], 1)
    return torch.where(target[:, None] == 1, flipped, points) - torch.tensor([0.8, 0.35], dtype=torch.float64)


def _circles(target: Tensor, rng: torch.Generator) -> Tensor:
    fraction = torch.rand(len(target), generator=rng, dtype=torch.float64)
    radius = torch.where(target == 1, 1.1 * fraction.sqrt(), 1.8 + 0.7 * fraction)
    return _on_curve(radius, torch.rand(len(target), generator=rng, dtype=torch.float64) * 2 * math.pi)


def _spirals(target: Tensor, rng: torch.Generator) -> Tensor:
    fraction = torch.rand(len(target), generator=rng, dtype=torch.float64).sqrt()
    return _on_curve(2.6 * fraction, fraction * 1.75 * 2 * math.pi + math.pi * target)


def _clusters(target: Tensor, rng: torch.Generator) -> Tensor:
    centre = torch.where(target == 1, 1.3, -1.3)[:, None]
    return centre + 0.5 * torch.randn(len(target), 2, generator=rng, dtype=torch.float64)


def _slope(points: Tensor) -> Tensor:
    return points.sum(1) / (2 * MAX_COORDINATE)


def _hills(points: Tensor) -> Tensor:
    """Return a hill at (1, 1) and a hollow at (-1, -1)."""
    hill, hollow = (torch.exp(-(points - centre).square().sum(1)) for centre in (1.0, -1.0))
    return hill - hollow


CLASS_PROBLEMS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "circles": _circles,
    "xor": _xor,
    "moons": _moons,
    "spirals": _spirals,
    "clusters": _clusters,
}
VALUE_PROBLEMS: dict[str, Callable[[Tensor], Tensor]] = {"slope": _slope, "hills": _hills}
PICTURE_PROBLEMS = ("digits",)
PICTURE_SIDE = 8  # pixels
DIGIT_CLASSES = tuple("0123456789")
INPUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x1": lambda x1, x2: x1,
    "x2": lambda x1, x2: x2,
    "x1²": lambda x1, x2: x1.square(),
    "x2²": lambda x1, x2: x2.square(),
    "x1·x2": lambda x1, x2: x1 * x2,
    "sin x1": lambda x1, x2: x1.sin(),
    "sin x2": lambda x1, x2: x2.sin(),
}


def problem(name: str, count: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the points (count, 2) of a problem, and their classes (count,) or values (count, 1).

    name: one of `CLASS_PROBLEMS` or `VALUE_PROBLEMS`. noise: 0 to 1, of the coordinates, or of the values. Points are
    float64; the second half is for testing. Raises PellucidError for other names and numbers.
    """
    check_known("no problem", name, [*CLASS_PROBLEMS, *VALUE_PROBLEMS])
    rng = _generator(count, noise, seed)
    if name in VALUE_PROBLEMS:
        points = _uniform(count, rng)
        values = VALUE_PROBLEMS[name](points) + noise * torch.randn(count, generator=rng, dtype=torch.float64)
        return points, values[:, None]
    target = torch.arange(count) % 2
    points = CLASS_PROBLEMS[name](target, rng)
    return points + NOISE_SCALE * noise * torch.randn(count, 2, generator=rng, dtype=torch.float64), target


def digits(count: int = 200, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return handwritten digits (count, 1, 8, 8), drawn from the bundled ones, and their classes (count,).

    noise: 0 to 1, standard deviation that is added to pixels from 0 to 1. Images are float64; the second half is for
    testing. Raises PellucidError for other numbers.
    """
    from pellucid.data import load

    rng = _generator(count, noise, seed)
    splits = load("digits")
    images, classes = [], []
    for part, size in ((splits.train, count // 2), (splits.test, count - count // 2)):
        chosen = torch.randperm(len(part), generator=rng)[:size]
        images.append(part.x[chosen].double())
        classes.append(part.y[chosen])
    x = torch.cat(images)
    return x + noise * torch.randn(x.shape, generator=rng, dtype=torch.float64), torch.cat(classes)


def _generator(count: int, noise: float, seed: int) -> torch.Generator:
    """Return a generator of random numbers; raises PellucidError for numbers of a problem beyond their limits."""
    check(4 <= count <= MAX_POINTS, "count", f"from 4 to {MAX_POINTS}", count)
    check(0 <= noise <= 1, "noise", "from 0 to 1", noise)
    check(0 <= seed < 2**31, "seed", "from 0 to 2**31 - 1", seed)
    return torch.Generator().manual_seed(seed)


def inputs(points: Tensor, names: tuple[str, ...]) -> Tensor:
    """Return the inputs (N, len(names)) of a network for points (N, 2); names: of `INPUTS`."""
    return torch.stack([INPUTS[name](points[:, 0], points[:, 1]) for name in names], 1)
