"""Subsets of examples, statistics of inputs, changes that undo other preprocessing, copies, and a linear model."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data import Arrays, float_images
from pellucid.data.seeds import generator
from pellucid.task.traits import is_image
from pellucid.training.reading import drawn_indices

MAX_SIDE = 12  # pixels of a side of reduced images, in which digits and hand signs are still distinguishable
CHUNK_SIZE = 4_096  # examples processed at a time
STANDARDISED_OTHERWISE = "standardised-otherwise"
# The maximum number of images whose nearest neighbours are searched, and of the images among which they are searched.
MAX_SAMPLED, MAX_NEIGHBOURS = 500, 10_000
MAX_SHIFT = 1  # pixels by which an image may be shifted
NEAR_RANK, FAR_RANK = 5, 30  # ranks of the two neighbours with which the nearest one is compared
RIDGE = 0.1  # relative to the mean squared norm of an example; enough if there are more features than examples
MIN_SQUARED_NORM = 1e-12  # avoids a ridge of 0 if all inputs are the same
REVERSED_CHANNELS = "reversed-channels"
# Of two parts whose channels are in another order, neither need be the odd one.
REVERSED_TEXT = "have their channels in reverse order to each other, such as RGB in one and BGR in the other"
# The keys of the changes of `undoing_changes` that move no pixels, so that targets with positions still fit.
VALUE_CHANGES = ("not-divided", "divided-twice", "inverted", STANDARDISED_OTHERWISE, REVERSED_CHANNELS)
MOVES = ("mirrored", "upside-down", "half-turn", "transposed", "turned-left", "turned-right")  # that keep all pixels
MIN_DEVIATION = 1e-3  # of a feature, relative to the largest; others are nearly constant, and not standardised
MIN_ROUGHNESS = 1.4  # relative; it is 2.6 for reshaped photographs, and at most 0.7 for 30 sets of other images
# Of the distance of two draws of an image, that to the mirrored or turned one; fraction of the images of which it is.
MAX_MOVED, MIN_MOVED = 0.85, 0.1
MAX_FARTHER = 0.1  # standard deviations by which a change may increase the distance of the moments from the others'


class InputChange(NamedTuple):
    """A change of inputs (N, ...) that undoes a fault.

    fault: what the fault made of the inputs, such as "mirrored".
    """

    fault: str
    undo: Callable[[Tensor], Tensor]


RESHAPED, RESHAPED_BACK = (
    InputChange("reshaped where axes should be exchanged", undo)
    for undo in (
        lambda x: x.reshape(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1),
        lambda x: x.movedim(1, -1).reshape(x.shape),
    )
)


def scrambling(x: Tensor) -> tuple[InputChange, float] | None:
    """Return how images (N, C, H, W) were reshaped where axes should be exchanged, and how rough they are now.

    The roughness is relative to that without the change. None unless neighbours differ far less without it.
    """
    x = float_images(x[:MAX_SAMPLED]) if is_image(x) else x
    if not is_image(x) or x.shape[1] == 1 or min(x.shape[2:]) < MAX_SIDE:
        return None
    ratios = [_roughness(x) / max(_roughness(change.undo(x)), 1e-12) for change in (RESHAPED, RESHAPED_BACK)]
    ratio, change = max(zip(ratios, (RESHAPED, RESHAPED_BACK), strict=True), key=lambda pair: pair[0])
    return (change, ratio) if ratio > MIN_ROUGHNESS else None


def _roughness(x: Tensor) -> float:
    """Return the mean absolute difference of neighbouring pixels, along both axes."""
    return float(x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean())


def select(data: Arrays, index: Tensor) -> Arrays:
    """Return a subset of the examples; index: their indices, or a mask (N,)."""
    x = data.x[index]
    return Arrays(x, x if data.y is data.x else data.y[index], data.classes, "")


def subsample(data: Arrays, count: int, seed: int) -> Arrays:
    """Return at most `count` examples, drawn with the seed, in their original order."""
    if len(data) <= count:
        return data
    return select(data, drawn_indices(len(data), count, seed))


def small_features(x: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Return inputs (N, ...) as features (N, D); images are first averaged to at most MAX_SIDE x MAX_SIDE pixels.

    size: the height and width of the images to whose features these are compared; None for their own.
    """
    x = float_images(x)
    if x.dim() == 4:
        height, width = size or x.shape[2:]
        x = F.adaptive_avg_pool2d(x, (min(height, MAX_SIDE), min(width, MAX_SIDE)))
    return x.flatten(1)


class InputStatistics(NamedTuple):
    """Statistics of inputs (N, C, ...).

    mean, std: of all values. channels: the root mean square of each channel, (C,). low, high: the minimum and maximum
    of each channel, (C,).
    """

    mean: float
    std: float
    channels: Tensor
    low: Tensor
    high: Tensor


def input_statistics(batches: Iterable[Tensor]) -> InputStatistics:
    """Return the statistics of batches of inputs (N, C, ...), computed in float64."""
    sums: list[Tensor] = []
    count = 0
    for batch in batches:
        x = batch.double()
        x = x.transpose(0, 1).flatten(1) if x.dim() > 1 else x[None]  # (C, N ...)
        sums.append(torch.stack([x.sum(1), x.square().sum(1), x.amin(1), x.amax(1)]))
        count += x.shape[1]
    total, squares, low, high = torch.stack(sums).unbind(1)  # (batches, C) each
    mean, square = float(total.sum(0).mean()) / count, squares.sum(0) / count
    low, high = low.amin(0), high.amax(0)
    varies = bool(low.min() < high.max())  # for constant inputs, rounding errors would give a std above 0
    std = float((square.mean() - mean**2).clamp_min(0).sqrt()) if varies else 0.0
    return InputStatistics(mean, std, square.sqrt(), low, high)


def ranges(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the minimum and the maximum of each feature of inputs (N, ...), and whether each example is blank, (N,).

    All values of a blank example are equal, or for images all values of each channel.
    """
    low, high = (torch.stack([getattr(chunk, name)(0) for chunk in x.split(CHUNK_SIZE)]) for name in ("amin", "amax"))
    flat = x.flatten(2 if is_image(x) else 1)
    blank = flat.amin(-1) == flat.amax(-1)
    return low.amin(0), high.amax(0), blank.reshape(len(x), -1).all(1)


def traits(x: Tensor) -> Tensor:
    """Return a few statistics of each input, (N, F).

    For images, the mean and the standard deviation of each channel, and the differences of consecutive channel means.
    For other inputs, the features themselves, or their mean and standard deviation if there are more than 64.
    """
    x = float_images(x)
    if is_image(x):
        mean = x.mean((2, 3))
        return torch.cat([mean, x.std((2, 3), correction=0), mean.diff(dim=1)], 1)
    x = x.flatten(1)
    return x if x.shape[1] <= 64 else torch.stack([x.mean(1), x.std(1, correction=0)], 1)


def undoing_changes(x: Tensor, reference: Tensor) -> dict[str, InputChange]:
    """Return changes that may make x similar to `reference`, by their keys.

    x, reference: inputs (N, ...), floats. For inputs that are not images, only two changes of scale are returned.
    """
    changes = {
        "not-divided": InputChange("not divided by 255", lambda x: x / 255),
        "divided-twice": InputChange("divided by 255 once more", lambda x: x * 255),
    }
    if x.dim() != 4:
        return changes
    channels, height, width = x.shape[1:]
    low, high = reference.amin(), reference.amax()
    mean, std = _moments(x)
    reference_mean, reference_std = _moments(reference)
    changes |= {
        "inverted": InputChange("inverted", lambda x: low + high - x),
        STANDARDISED_OTHERWISE: InputChange(
            "standardised otherwise", lambda x: (x - mean) / std * reference_std + reference_mean
        ),
    }
    if channels > 1:
        changes |= {
            REVERSED_CHANNELS: InputChange("with channels in reverse order, BGR for RGB", lambda x: x.flip(1)),
            "reshaped": RESHAPED,
        }
    if min(height, width) > 1:
        changes |= {
            "mirrored": InputChange("mirrored", lambda x: x.flip(3)),
            "upside-down": InputChange("upside down", lambda x: x.flip(2)),
            "half-turn": InputChange("turned by 180 degrees", lambda x: x.flip(2, 3)),
        }
        if height == width:
            changes |= {
                "transposed": InputChange("with rows and columns exchanged", lambda x: x.transpose(2, 3)),
                "turned-left": InputChange("turned by 90 degrees anticlockwise", lambda x: x.rot90(-1, (2, 3))),
                "turned-right": InputChange("turned by 90 degrees clockwise", lambda x: x.rot90(1, (2, 3))),
            }
    return changes


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (1, C, 1, 1) each; 1 for a standard deviation of 0."""
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), correction=0, keepdim=True)
    return mean, torch.where(std > 0, std, 1.0)


def digests(x: Tensor) -> list[bytes]:
    """Return a hash of 16 bytes for each example; an empty one for blank examples, which are no copies."""
    rows = x.detach().cpu().contiguous().flatten(1).numpy()
    hashes = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    return [b"" if is_blank else digest for digest, is_blank in zip(hashes, ranges(x)[2].tolist(), strict=True)]


def closeness(
    x: Tensor, among: Tensor, seed: int, is_same_set: bool = False, far_rank: int = FAR_RANK
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compare the distance to the nearest neighbour with that to farther ones, for at most MAX_SAMPLED images of x.

    x, among: images (N, C, H, W). Returns the indices of the images in x, the indices of their nearest neighbours in
    `among`, the quotient of the distances to the nearest and to the NEAR_RANK-th neighbour, and the same quotient for
    the far_rank-th neighbour, which also detects images with many copies; (n,) each. A quotient is 0 for a copy, and 1
    if both neighbours are equally far. Images are compared at reduced size, with brightness and contrast normalized, at
    all shifts of x by up to MAX_SHIFT pixels. is_same_set: whether x is `among`; then an image is not a neighbour of
    itself.
    """
    rng = generator(seed)
    shown, shown_among = _shown(x), _shown(among)
    sampled = shown[torch.randperm(len(shown), generator=rng)][:MAX_SAMPLED].sort().values
    among_indices = shown_among[torch.randperm(len(shown_among), generator=rng)]
    if len(among_indices) > MAX_NEIGHBOURS:
        among_indices = among_indices[:MAX_NEIGHBOURS].sort().values
    references = _normalized(among[among_indices])
    height, width = x.shape[2:]
    padded = F.pad(float_images(x[sampled]), (MAX_SHIFT,) * 4, mode="replicate")
    distance = torch.full((len(sampled), len(among_indices)), float("inf"))
    for top in range(2 * MAX_SHIFT + 1):
        for left in range(2 * MAX_SHIFT + 1):
            shifted = _normalized(padded[:, :, top : top + height, left : left + width])
            distance = torch.minimum(distance, torch.cdist(shifted, references))
    if is_same_set:
        distance[sampled[:, None] == among_indices] = float("inf")
    nearest = distance.topk(min(far_rank, len(among_indices)), largest=False)
    near, far = (nearest.values[:, 0] / nearest.values[:, rank].clamp_min(1e-12) for rank in (NEAR_RANK - 1, -1))
    return sampled, among_indices[nearest.indices[:, 0]], near, far


def own_nearest(first: Tensor, second: Tensor) -> float:
    """Return the fraction of examples whose second draw (N, ...) is nearest to their own first draw.

    See `_distances_of_draws`.
    """
    nearest = _distances_of_draws(first, second).argmin(1)
    return float((nearest == torch.arange(len(first))).double().mean())


def own_nearer(first: Tensor, second: Tensor, groups: Tensor) -> float:
    """Return how often the second draw of an example is nearer to its own first draw than to another of its group.

    groups: (N,). It is a half for examples that are drawn anew within their group, and for groups of one example.
    """
    distances = _distances_of_draws(first, second)
    own = distances.diagonal()[:, None]
    is_nearer = (own < distances).double() + 0.5 * (own == distances)
    is_other = (groups[:, None] == groups).fill_diagonal_(False)
    return float(is_nearer[is_other].mean()) if bool(is_other.any()) else 0.5


def _distances_of_draws(first: Tensor, second: Tensor) -> Tensor:
    """Return the distance of each second draw of inputs (N, ...) to each first draw, (N, N).

    Images are compared at reduced size, with brightness and contrast normalized; other inputs by standardized features.
    """
    rows = [_normalized(x) if is_image(x) else small_features(x) for x in (first, second)]
    scale = 1.0 if is_image(first) else rows[0].std(0).clamp_min(1e-12)
    exact = "donot_use_mm_for_euclid_dist"  # by products, equal inputs would have distances above 0
    return torch.cdist(rows[1] / scale, rows[0] / scale, compute_mode=exact)


def random_moves(first: Tensor, second: Tensor) -> dict[str, InputChange]:
    """Return the mirrorings and turns by which many second draws of images (N, C, H, W) differ from the first ones."""
    if not is_image(first):
        return {}
    x = float_images(first)
    moves = {key: change for key, change in undoing_changes(x, x).items() if key in MOVES}
    versions = [x, *(change.undo(x) for change in moves.values())]
    distances = torch.stack([(_normalized(version) - _normalized(second)).norm(dim=1) for version in versions])
    is_moved = (distances == distances.amin(0)) & (distances < MAX_MOVED * distances[0])
    fractions = is_moved.double().mean(1)[1:].tolist()
    return {key: moves[key] for key, fraction in zip(moves, fractions, strict=True) if fraction >= MIN_MOVED}


def near_groups(x: Tensor, among: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Return the group of each image of x (n, C, H, W), and of each of `among` (m, C, H, W), as numbers.

    Two images are of one group if a chain of images leads from one to the other, each nearer to the next than `ratio`
    times the usual distance of an image of x to its FAR_RANK-th neighbour in `among`.
    """
    rows = torch.cat([_normalized(x), _normalized(among)])
    distances = torch.cdist(rows, rows)
    far = distances[: len(x), len(x) :].kthvalue(min(FAR_RANK, len(among)), 1).values
    is_near = distances < ratio * far.median()
    is_near.fill_diagonal_(True)
    groups = torch.arange(len(rows), dtype=torch.int32)
    while True:
        new = torch.where(is_near, groups, len(rows)).amin(1).int()
        new = new[new.long()]
        if torch.equal(new, groups):
            return groups[: len(x)], groups[len(x) :]
        groups = new


def _shown(x: Tensor) -> Tensor:
    """Return the indices of the images that are not blank; of all if there are few others."""
    shown = (~ranges(x)[2]).nonzero().flatten()
    return shown if len(shown) > FAR_RANK else torch.arange(len(x))


def _normalized(x: Tensor) -> Tensor:
    """Return the reduced images as rows (N, D) with mean 0 and norm 1."""
    flat = small_features(x)
    return F.normalize(flat - flat.mean(1, keepdim=True))


def linear_error(x: Tensor, y: Tensor) -> float:
    """Return the mean squared error of a linear regression, fitted to the first half and measured on the second.

    x, y: (N, ...), N at least 2. Ridge regression in its dual form: Rasmussen and Williams 2006, section 2.1.
    """
    half = len(x) // 2
    rows = x.reshape(len(x), -1).double()
    rows = rows - rows[:half].mean(0)
    target = y.reshape(len(y), -1).double()
    mean = target[:half].mean(0)
    kernel = rows[:half] @ rows[:half].t()
    ridge = RIDGE * kernel.diagonal().mean().clamp_min(MIN_SQUARED_NORM) * torch.eye(half, dtype=kernel.dtype)
    weights = torch.linalg.solve(kernel + ridge, target[:half] - mean)
    predicted = rows[half:] @ (rows[:half].t() @ weights) + mean
    return (predicted - target[half:]).square().mean().item()


def input_changes(x: Tensor, reference: Tensor, moves_pixels: bool = False) -> dict[str, InputChange]:
    """Return changes that may make the preprocessing of images x equal to that of `reference`; both are (N, C, H, W).

    The changes are returned by their keys. moves_pixels: whether they may move pixels. Vectors (N, D) are only
    standardised.
    """
    x, reference = float_images(x), float_images(reference)
    if x.dim() == 2:
        (mean, std), (new_mean, new_std) = ((inputs.mean(0), inputs.std(0, correction=0)) for inputs in (x, reference))
        varies = (std > MIN_DEVIATION * std.max()) & (new_std > MIN_DEVIATION * new_std.max())
        factor = torch.where(varies, new_std / std, 1.0)
        offset = torch.where(varies, new_mean - factor * mean, 0.0)
        return {STANDARDISED_OTHERWISE: InputChange("standardised otherwise", lambda x: x * factor + offset)}
    max_distance = _moment_distance(x, reference) + MAX_FARTHER
    return {
        key: change for key, change in undoing_changes(x, reference).items()
        if (moves_pixels or key in VALUE_CHANGES) and _moment_distance(change.undo(x), reference) <= max_distance
    }  # fmt: skip


def _moment_distance(x: Tensor, reference: Tensor) -> float:
    """Return the distance of the channels' means and standard deviations, in standard deviations of `reference`."""
    (mean, std), (other_mean, other_std) = (
        (inputs.mean((0, 2, 3)), inputs.std((0, 2, 3), correction=0)) for inputs in (x, reference)
    )
    scale = other_std.clamp_min(1e-6)
    return float((((mean - other_mean) / scale).abs() + ((std - other_std) / scale).abs()).mean())
