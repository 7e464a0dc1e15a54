"""Target maps, such as masks, that belong to other images, or that are flipped and turned separately from their images.

Targets of training and validation data may be wrong alike, so that no training shows a difference. What is measured is
whether the targets fit their own images better than those of other images.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import float_images
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample
from pellucid.objective import Supervised

MIN_EXAMPLES, MAX_EXAMPLES = 24, 128  # of each part of the data
MIN_SIDE, MAX_SIDE = 8, 32  # pixels of reduced maps
MAX_MAPS = 8  # classes or channels
SCALES = (1, 3, 7, 15)  # pixels over which features are averaged
N_UNITS = 48  # rectified random sums of the features
RIDGE = 1e-2  # relative to the mean square of a feature
MIN_ENERGY = 0.5  # of an example's maps, relative to the mean; emptier ones fit many images
# The mean rank of an example's own target among those of all examples, by how well they fit a prediction from its
# image: 1 if it fits best, and 0.5 by chance. Up to MAX_UNRELATED, targets are unrelated to their images; of sound data
# sets, the lowest rank is 0.80, of heat maps of faces. The network's outputs may depend on more than local features:
# MAX_LEARNED is the share of the variance of validation targets, beyond the mean maps, that they may explain.
MAX_UNRELATED, MAX_LEARNED = 0.68, 0.1
# How well a target fits is by how many standard deviations it does so better than others: the median over examples, at
# least after turning targets (those of other images reach 1.9). Without a turn, all but a fraction UNFITTING of the
# examples fit at most by a share of that. MAX_UNTURNED is the maximum share of the examples without a turn; a single
# flip that is drawn at random leaves a half.
MIN_TURNED_FIT, MAX_UNTURNED_FIT, MAX_UNTURNED, UNFITTING, N_ROUNDS = 2.5, 0.5, 0.7, 0.3, 3
# Of one and the same flip or turn of all targets: the fit after it, and the fraction of the examples that it makes fit
MIN_COMMON_FIT, MIN_COMMON = 2.0, 0.9
TURNS = (  # of the targets, in the order of `_versions`
    "as they are", "with left and right exchanged", "with top and bottom exchanged", "turned by 180 degrees",
    "transposed (rows and columns exchanged)", "turned by 90 degrees to the left", "turned by 90 degrees to the right",
    "transposed along the other diagonal",
)  # fmt: skip
TRANSPOSED = 4  # its index
# Of examples that are drawn twice: the error of the turn between the draws relative to that of the next one, and the
# fraction whose targets are turned otherwise.
MAX_TURN_ERROR, MIN_SEPARATE = 0.5, 0.1
DRAW_ONCE = "draw each random flip, turn or crop once, and apply it to an image and its mask together"


def find(case: Case) -> list[Finding]:
    """Predict target maps by a linear model of local features of the images, fitted to the other half of the data."""
    validation = case.validation
    if validation is None or not isinstance(case.model.objective, Supervised) or not _have_maps(case):
        return []
    labels = _labels(case)
    parts = [subsample(data, MAX_EXAMPLES, case.model.seed) for data in (case.train, validation)]
    maps = [_reduced(_maps(data.y, labels)) for data in parts]
    features = [_features(data.x, target.shape[2:], case.model.seed) for data, target in zip(parts, maps, strict=True)]
    turned = _finding_of_draws(case, labels) or _finding_of_one_turn(features[0], maps[0])
    if turned := turned or _finding_of_turns(features[0], maps[0]):
        return [turned]
    if maps[0].shape[1:] != maps[1].shape[1:]:
        return []  # crops and whole images, for example
    count = len(maps[0])
    predicted = _cross_fitted(torch.cat(features), torch.cat(maps)).split([count, len(maps[1])])
    ranks = [_mean_rank(*pair) for pair in zip(predicted, maps, strict=True)]
    unrelated = [name for name, rank in zip(("train", "validation"), ranks, strict=True) if rank <= MAX_UNRELATED]
    outputs = case.model.predict(parts[1].x)
    outputs = outputs[:, labels] if labels else outputs
    if not unrelated or outputs.shape != _maps(parts[1].y, labels).shape:
        return []
    own, expected = (one - one.mean(0) for one in (_reduced(outputs.float()), maps[1]))
    if float(1 - (own - expected).square().sum() / expected.square().sum().clamp_min(1e-12)) > MAX_LEARNED:
        return []
    return [Finding(
        NAME, unrelated[0], {"rank_of_own_targets_in_training": ranks[0], "in_validation": ranks[1],
                             "examples": count},
        cause="the targets do not belong to their inputs: they fit them hardly better than those of other examples",
        fix="match inputs and targets by their file names (sorted as text, 10 comes before 2), shuffle both together, "
        "and draw some targets on their inputs: coordinates may also be read in another order than they are written in",
    )]  # fmt: skip


def _finding_of_draws(case: Case, labels: Sequence[int]) -> Finding | None:
    """Return a finding if targets are turned otherwise than their inputs between two draws of the same examples."""
    if case.redrawn_pairs is None:
        return None
    inputs, targets = case.redrawn_pairs
    is_clear, turns = torch.ones(len(inputs[0]), dtype=torch.bool), list[Tensor]()
    for pair in ([float_images(one) for one in inputs], [_maps(one, labels) for one in targets]):
        first, second = ((one - one.mean((1, 2, 3), keepdim=True)) / one.std((1, 2, 3), keepdim=True) for one in pair)
        errors = torch.stack([(version - second).square().flatten(1).mean(1) for version in _versions(first)])
        lowest, order = errors.sort(0)
        is_clear &= lowest[0] < MAX_TURN_ERROR * lowest[1]
        turns.append(order[0])
    fraction = float((turns[0] != turns[1])[is_clear].double().mean())
    if int(is_clear.sum()) < MIN_EXAMPLES or fraction < MIN_SEPARATE:
        return None
    return Finding(
        NAME, "train", {"turned_otherwise_than_inputs": fraction, "examples": int(is_clear.sum())},
        cause="inputs and targets are flipped or turned separately: between two draws of the same training examples, "
        f"{fraction:.0%} of the targets are turned otherwise than their inputs", fix=DRAW_ONCE,
    )  # fmt: skip


def _have_maps(case: Case) -> bool:
    """Return whether the targets of both parts of the data are maps of images."""
    x, y = case.train.x, case.train.y
    has_sides = x.dim() == 4 and y.dim() in (3, 4) and min(y.shape[-2:]) >= MIN_SIDE
    is_divisible = has_sides and x.shape[2] * y.shape[-1] == x.shape[3] * y.shape[-2]
    return is_divisible and min(len(y), len(case.validation or ())) >= MIN_EXAMPLES


def _labels(case: Case) -> list[int]:
    """Return the most frequent classes of masks of class indices; [] for other maps."""
    y = case.train.y
    if y.is_floating_point() or y.dim() == 4:
        return []
    n_classes = int(case.model.output_shape[0])
    counts = y[(y >= 0) & (y < n_classes)].long().bincount(minlength=n_classes)
    return counts.argsort(descending=True)[:MAX_MAPS].tolist()


def _maps(y: Tensor, labels: Sequence[int]) -> Tensor:
    """Return targets as maps (N, K, H, W): one for each of the labels, or the channels."""
    if labels:
        return torch.stack([y == label for label in labels], 1).float()
    return (y if y.dim() == 4 else y[:, None]).float()


def _reduced(maps: Tensor) -> Tensor:
    """Return maps of at most MAX_SIDE x MAX_SIDE pixels, or those of sides that are nearly so."""
    return F.avg_pool2d(maps, max(-(-max(maps.shape[2:]) // MAX_SIDE), 1))


def _features(x: Tensor, size: Sequence[int], seed: int) -> Tensor:
    """Return local features (N, D, H, W) of images at the size of maps: means, deviations, rectified sums of both."""
    x = float_images(x)
    x = F.adaptive_avg_pool2d(x, (min(x.shape[2], 2 * size[0]), min(x.shape[3], 2 * size[1])))
    x = (x - x.mean()) / x.std().clamp_min(1e-12)
    averages = [F.avg_pool2d(x, scale, 1, scale // 2, count_include_pad=False) for scale in SCALES]
    squares = [F.avg_pool2d(x * x, scale, 1, scale // 2, count_include_pad=False) for scale in SCALES[1:]]
    deviations = [(a - b * b).clamp_min(0).sqrt() for a, b in zip(squares, averages[1:], strict=True)]
    features = F.adaptive_avg_pool2d(torch.cat([*averages, *deviations], 1), (size[0], size[1]))
    std, mean = torch.std_mean(features, (0, 2, 3), keepdim=True)
    features = (features - mean) / std.clamp_min(1e-6)
    rng = generator(seed)
    weights = torch.randn(N_UNITS, features.shape[1], 1, 1, generator=rng) * (2 / features.shape[1]) ** 0.5
    units = F.conv2d(features, weights, torch.randn(N_UNITS, generator=rng)).relu()
    features = torch.cat([features, units], 1)
    return features - features.mean(0)


def _cross_fitted(features: Tensor, maps: Tensor) -> Tensor:
    """Return maps predicted by ridge regression, for each half of the examples fitted to the other half."""
    predicted = torch.empty_like(maps)
    for fitted in (0, 1):
        rows = features[fitted::2].movedim(1, -1).flatten(0, 2)
        targets = (maps - maps.mean(0))[fitted::2].movedim(1, -1).flatten(0, 2)
        gram = (rows.T @ rows).double()
        gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        weights = torch.linalg.solve(gram, (rows.T @ targets).double()).float()
        predicted[1 - fitted :: 2] = torch.einsum("ndhw,dk->nkhw", features[1 - fitted :: 2], weights)
    return predicted


def _fits(predicted: Tensor, maps: Tensor) -> Tensor:
    """Return how well the maps of each example (columns) fit the prediction for each (rows), beyond the mean maps."""
    rows, columns = (
        ((one - one.mean(0)) / (one - one.mean(0)).square().mean((0, 2, 3), keepdim=True).sqrt().clamp_min(1e-9))
        for one in (predicted, maps)
    )
    energy = columns.square().flatten(1).mean(1)
    is_judged = energy >= MIN_ENERGY * energy.mean()
    return rows[is_judged].flatten(1) @ columns[is_judged].flatten(1).T


def _mean_rank(predicted: Tensor, maps: Tensor) -> float:
    fits = _fits(predicted, maps)
    own = fits.diagonal()
    ranks = [
        ((fits < one).double() + 0.5 * (fits == one).double()).sum() - 0.5 * len(own) for one in (own, own[:, None])
    ]
    return float(sum(ranks)) / (2 * len(own) * (len(own) - 1))


def _deviations(predicted: Tensor, maps: Tensor) -> Tensor:
    """Return by how many standard deviations the own maps fit better than those of others, for each example (n,)."""
    rows, columns = (one - one.mean(0) for one in (predicted, maps))
    fits = rows.flatten(1) @ columns.flatten(1).T
    others = fits[~torch.eye(len(fits), dtype=torch.bool)].view(len(fits), -1)
    return (fits.diagonal() - others.mean(1)) / others.std(1).clamp_min(1e-12)


def _finding_of_one_turn(features: Tensor, maps: Tensor) -> Finding | None:
    """Return a finding if nearly all targets fit their inputs after one and the same flip or turn, and not before."""
    versions = _versions(maps)
    predicted = [_cross_fitted(features, version) for version in versions]
    fits = [float(_deviations(*pair).median()) for pair in zip(predicted, versions, strict=True)]
    turn = fits.index(max(fits))
    own_fits, turned_fits = (_deviations(predicted[turn], one) for one in (maps, versions[turn]))
    fraction = float((turned_fits > own_fits).double().mean())
    if fits[turn] < MIN_COMMON_FIT or fits[0] > MAX_UNTURNED_FIT * fits[turn] or fraction < MIN_COMMON:
        return None
    fix = "turn the targets back where they are made or read, or the images (rows are counted from the top, and not "
    fix += "all readers of images turn them as their EXIF data say)"
    if turn == TRANSPOSED:
        fix = "exchange rows and columns of the targets where they are made or read: an array is indexed [row, "
        fix += "column], which is [y, x]"
    return Finding(
        NAME, "train", {"examples": len(maps), "flipped_or_turned_otherwise": fraction},
        cause=f"{fraction:.0%} of the training targets fit their inputs only if they are taken {TURNS[turn]}, all in "
        "the same way", fix=fix,
    )  # fmt: skip


def _finding_of_turns(features: Tensor, maps: Tensor) -> Finding | None:
    """Return a finding if many targets clearly fit their inputs only after a flip or turn of their own."""
    turned, first_fit, fit = _turned(features, maps)
    unturned_fraction = float((turned == maps).flatten(1).all(1).double().mean())
    if fit < MIN_TURNED_FIT or first_fit > MAX_UNTURNED_FIT * fit or unturned_fraction > MAX_UNTURNED:
        return None
    return Finding(
        NAME, "train", {"examples": len(maps), "flipped_or_turned_otherwise": 1 - unturned_fraction},
        cause=f"inputs and targets are flipped or turned separately: {1 - unturned_fraction:.0%} of the training "
        "targets fit their inputs only after a flip or a turn", fix=DRAW_ONCE,
    )  # fmt: skip


def _turned(features: Tensor, maps: Tensor) -> tuple[Tensor, float, float]:
    """Return the maps, each flipped or turned as it fits best, and how well maps fit before and after that."""
    turned, first_fit, fit = maps, 0.0, 0.0
    for step in range(N_ROUNDS + 1):
        predicted = _cross_fitted(features, turned)
        fits = torch.stack([_deviations(predicted, version) for version in _versions(turned)])
        fit = float(fits[0].median())
        if step == 0:
            first_fit = float(fits[0].quantile(UNFITTING))
        if step < N_ROUNDS:
            turned = torch.stack([*_versions(turned)])[fits.argmax(0), torch.arange(len(maps))]
    return turned, first_fit, fit


def _versions(maps: Tensor) -> list[Tensor]:
    """Return the maps, flipped in each way, and for square ones also turned."""
    flipped = [maps, maps.flip(3), maps.flip(2), maps.flip(2, 3)]
    is_square = maps.shape[2] == maps.shape[3]
    return flipped + ([version.transpose(2, 3) for version in flipped] if is_square else [])


NAME = "unpaired-targets"
CHECK = Check(NAME, find, trained=True, finds_faults=True, explains=("underfitting", "overfitting"))
