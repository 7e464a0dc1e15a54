"""Inputs in numbers: parts of the data, sizes, copies, how parts differ, and a linear regression to compare with."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.augment.standardise import FeatureStats
from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.data.source import Arrays

SMALL_SIDE = 12  # pixels: enough for digits and hands
CHUNK = 4_096  # examples at a time
# Changes of scale and mean only.
SCALE_CHANGES = (
    "not divided by 255", "divided by 255 once more", "standardised otherwise", "standardised twice",
    "standardised not at all",
)  # fmt: skip
MAX_SAMPLED, MAX_NEIGHBOURS = 500, 10_000  # images whose nearest neighbours are searched for, and among how many
SHIFT = 1  # pixels by which an image may be moved
RANK, FAR_RANK = 5, 30  # of the neighbours that the nearest one is compared with
RIDGE = 0.1  # of the mean squared length of an example; enough where there are more values than examples
TINY = 1e-12  # for inputs that are all the same, whose ridge would be 0

Change = Callable[[Tensor], Tensor]


def select(part: Arrays, which: Tensor) -> Arrays:
    """Return some examples; which: their indices, or a mask (N,)."""
    return Arrays(part.x[which], part.y[which], part.classes, "")


def subsample(part: Arrays, count: int, seed: int) -> Arrays:
    """Return at most `count` examples, drawn by the seed, in their order."""
    if len(part) <= count:
        return part
    return select(part, torch.randperm(len(part), generator=generator(seed))[:count].sort().values)


def is_image(x: Tensor) -> bool:
    """Return whether inputs (N, ...) are images of more than one pixel."""
    return x.dim() == 4 and x.shape[2] * x.shape[3] > 1


def small(x: Tensor) -> Tensor:
    """Return inputs (N, ...) as features (N, D): images of at most SMALL_SIDE x SMALL_SIDE pixels."""
    x = float_images(x)
    if x.dim() == 4:
        x = F.adaptive_avg_pool2d(x, (min(x.shape[2], SMALL_SIDE), min(x.shape[3], SMALL_SIDE)))
    return x.flatten(1)


@dataclass(frozen=True, eq=False)
class Sizes:
    """mean, std: of all values; channels: the root mean square of each; low, high: their extremes, (C,) all."""

    mean: float
    std: float
    channels: Tensor
    low: Tensor
    high: Tensor

    @property
    def rms(self) -> float:
        """The root mean square of all values."""
        return sqrt(self.mean**2 + self.std**2)


def sizes(batches: Iterable[Tensor]) -> Sizes:
    """Measure inputs (N, C, ...) that come in batches, each of which is summed in float64."""
    found: list[Tensor] = []
    count = 0
    for batch in batches:
        x = batch.double()
        x = x.transpose(0, 1).flatten(1) if x.dim() > 1 else x[None]  # (C, N ...)
        found.append(torch.stack([x.sum(1), x.square().sum(1), x.amin(1), x.amax(1)]))
        count += x.shape[1]
    total, squares, low, high = torch.stack(found).unbind(1)  # (batches, C) each
    mean, square = float(total.sum(0).mean()) / count, squares.sum(0) / count
    low, high = low.amin(0), high.amax(0)
    varies = bool(low.min() < high.max())  # what is constant differs from its mean by rounding
    std = float((square.mean() - mean**2).clamp_min(0).sqrt()) if varies else 0.0
    return Sizes(mean, std, square.sqrt(), low, high)


@dataclass(frozen=True, eq=False)
class Ranges:
    """low, high: the extremes of each value over all examples, of an input's shape; blank: (N,), which have one value.

    In images with channels an example is blank where each channel has one value.
    """

    low: Tensor
    high: Tensor
    blank: Tensor


def ranges(x: Tensor) -> Ranges:
    """Measure inputs (N, ...)."""
    low, high = (torch.stack([getattr(part, name)(0) for part in x.split(CHUNK)]) for name in ("amin", "amax"))
    flat = x.flatten(2 if is_image(x) else 1)
    blank = flat.amin(-1) == flat.amax(-1)
    return Ranges(low.amin(0), high.amax(0), blank.reshape(len(x), -1).all(1))


def traits(x: Tensor) -> Tensor:
    """Return a few numbers that describe each input, (N, F).

    Of images the mean and the standard deviation of each channel, and the differences of these means; of others the
    features themselves, or their mean and standard deviation where they are more than 64.
    """
    x = float_images(x)
    if is_image(x):
        mean = x.mean((2, 3))
        return torch.cat([mean, x.std((2, 3), correction=0), mean.diff(dim=1)], 1)
    x = x.flatten(1)
    return x if x.shape[1] <= 64 else torch.stack([x.mean(1), x.std(1, correction=0)], 1)


def changes(x: Tensor, like: Tensor, stats: FeatureStats | None) -> dict[str, Change]:
    """Return functions that may make inputs such as x similar to `like`, by what would then be wrong with x.

    x, like: (N, ...), floats. stats: the model's own standardisation. Only images can be flipped or rotated.
    """
    found: dict[str, Change] = {"not divided by 255": lambda x: x / 255, "divided by 255 once more": lambda x: x * 255}
    if x.dim() != 4:
        return found
    channels, height, width = x.shape[1:]
    low, high = like.amin(), like.amax()
    mean, std = _moments(x)
    like_mean, like_std = _moments(like)
    found |= {
        "inverted": lambda x: low + high - x,
        "standardised otherwise": lambda x: (x - mean) / std * like_std + like_mean,
    }
    if stats is not None:
        found["standardised twice"] = lambda x: x * stats.std + stats.mean
        found["standardised not at all"] = lambda x: (x - stats.mean) / stats.std
    if channels > 1:
        found["with channels in reverse order, BGR for RGB"] = lambda x: x.flip(1)
        found["reshaped where axes should be exchanged"] = lambda x: (
            x.reshape(len(x), height, width, channels).movedim(-1, 1)
        )  # fmt: skip
    if min(height, width) > 1:
        found |= {"mirrored": lambda x: x.flip(3), "upside down": lambda x: x.flip(2)}
        found["turned by 180 degrees"] = lambda x: x.flip(2, 3)
        if height == width:
            found["with rows and columns exchanged"] = lambda x: x.transpose(2, 3)
            found["turned by 90 degrees anticlockwise"] = lambda x: x.rot90(-1, (2, 3))
            found["turned by 90 degrees clockwise"] = lambda x: x.rot90(1, (2, 3))
    return found


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), correction=0, keepdim=True)
    return mean, torch.where(std > 0, std, 1.0)


def digests(x: Tensor) -> list[bytes]:
    """Return a hash of each example, N of 16 bytes."""
    rows = x.detach().cpu().contiguous().flatten(1).numpy()
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def closeness(x: Tensor, among: Tensor, seed: int, same: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for at most MAX_SAMPLED images of x (N, C, H, W) how much nearer the nearest is than the RANK-th nearest.

    Returns (indices in x, indices in among of the nearest, quotients of the distances: 1 for no nearer, 0 for a copy,
    and the same by the FAR_RANK-th nearest, for images with many copies).
    Images are compared small, without brightness and contrast, and moved by up to SHIFT pixels. same: x is `among`, and
    an image is not a neighbour of itself.
    """
    rng = generator(seed)
    sampled = torch.randperm(len(x), generator=rng)[:MAX_SAMPLED].sort().values
    others = torch.randperm(len(among), generator=rng)
    if len(others) > MAX_NEIGHBOURS:
        others = others[:MAX_NEIGHBOURS].sort().values
    known = _plain(among[others])
    height, width = x.shape[2:]
    padded = F.pad(float_images(x[sampled]), (SHIFT,) * 4, mode="replicate")
    distance = torch.full((len(sampled), len(others)), float("inf"))
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            view = _plain(padded[:, :, top : top + height, left : left + width])
            distance = torch.minimum(distance, torch.cdist(view, known))
    if same:
        distance[sampled[:, None] == others] = float("inf")
    nearest = distance.topk(min(FAR_RANK, len(others)), largest=False)
    first, ranked = nearest.values[:, 0], nearest.values.clamp_min(1e-12)
    return sampled, others[nearest.indices[:, 0]], first / ranked[:, RANK - 1], first / ranked[:, -1]


def _plain(x: Tensor) -> Tensor:
    flat = small(x)
    return F.normalize(flat - flat.mean(1, keepdim=True))


def linear_error(x: Tensor, y: Tensor) -> float:
    """Return the mean squared error of a linear regression, fitted to the first half of examples, on the second.

    x, y: (N, ...), N at least 2. Ridge regression in its dual form: Rasmussen, Williams 2006, section 2.1.
    """
    half = len(x) // 2
    rows = x.reshape(len(x), -1).double()
    rows = rows - rows[:half].mean(0)
    target = y.reshape(len(y), -1).double()
    mean = target[:half].mean(0)
    kernel = rows[:half] @ rows[:half].t()
    ridge = RIDGE * kernel.diagonal().mean().clamp_min(TINY) * torch.eye(half, dtype=kernel.dtype)
    weights = torch.linalg.solve(kernel + ridge, target[:half] - mean)
    predicted = rows[half:] @ (rows[:half].t() @ weights) + mean
    return (predicted - target[half:]).square().mean().item()
