"""Inputs that were prepared otherwise than those that the model learned from."""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.checks.unnormalised_inputs import LARGE, SMALL
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import SCALE_CHANGES, changes, subsample, traits
from pellucid.doctor.passes import activity, normalized_moments
from pellucid.doctor.simple import hits
from pellucid.errors import PellucidError
from pellucid.layers import BatchNorm
from pellucid.metrics import classes_of

FAR = 1.0  # deviations between examples by which the means of two parts differ; 0.8 is called large (Cohen 1988)
CLEAR = 4.0  # standard deviations
# Of the examples that are recognised only when the change is undone: many mirrored or turned digits are recognised as
# they are, so that no more can be asked; chance is ruled out by CLEAR.
GAIN = 0.2
# Of the examples, beyond chance, that a judge must recognise: more than GAIN, or what is gained could be a guess.
KNOWN = 0.3
MIN_EXAMPLES, MAX_EXAMPLES = 20, 256
MIN_MEMBERS = 10  # training examples of a class, whose mean is then known well enough
# Times the deviation that the model standardises by: other data are off by 2 or 3, bytes for shares by 255.
SCALE = 10.0
ROUNDING = 0.02  # beyond 0 and 1, for images that were resized or compressed
# Outputs of batch normalization, where 0 and 1 are usual: a mean beyond OFF, as for FAR, or a deviation beyond WIDE or
# below 1 / WIDE, a factor of 10 in variance.
OFF, WIDE = 1.0, 3.0
# And with inputs as those it learned from: a mean off by less than a medium effect (0.5, Cohen 1988), and a deviation
# less than halfway to WIDE (sqrt(3) = 1.7), so that what fits is told clearly from what does not.
FITS, FAIR = 0.3, 1.6


def look(case: Case) -> list[Finding]:
    """Compare validation inputs with training inputs, and both with what the model learned from."""
    held_out = case.validation_sample
    if held_out is not None and len(held_out) < MIN_EXAMPLES:
        held_out = None
    found = None if held_out is None else _by_traits(case, held_out)
    found = found or _by_range(case) or _by_recognition(case, case.sample, "train") or _by_norm(case)
    if found is None and held_out is not None:
        found = _by_recognition(case, held_out, "validation")
    return [] if found is None else [found]


def _by_traits(case: Case, held_out: Arrays) -> Finding | None:
    """Compare means over examples, in deviations between examples; classes that are rarer there do not count."""
    usual = _usual(case, held_out)
    if usual is None:
        return None
    indices, distance = usual
    x, like = float_images(held_out.x)[indices], float_images(case.sample.x)
    away = distance(x)
    limit = FAR + CLEAR / sqrt(len(x))
    if away <= limit:
        return None
    near = {name: distance(change(x)) for name, change in changes(x, like, case.model.stats).items()}
    near[""] = min(away / 2, FAR)
    last = near.pop("standardised otherwise", away)  # it fits whatever is wrong with scale and mean
    name = min(near, key=lambda name: near[name])
    if not name and last < near[""]:
        name = "standardised otherwise"
        near[name] = last
    evidence: Evidence = {
        "distance_of_means_in_standard_deviations": away,
        "largest_usual_distance": limit,
        "mean_train": float(like.mean()),
        "mean_validation": float(x.mean()),
        "standard_deviation_train": float(like.std()),
        "standard_deviation_validation": float(x.std()),
    }
    if name:
        evidence["distance_if_undone"] = near[name]
    return _finding("validation", evidence, name)


def _usual(case: Case, held_out: Arrays) -> tuple[Tensor, Callable[[Tensor], float]] | None:
    """Return the indices of the validation examples that can be compared, n of them, and a distance.

    It returns by how many deviations between examples the traits of n inputs are off on average, at most, from those of
    training examples, of the same class where there are classes. None for too few examples.
    """
    sample = case.sample
    ours = traits(sample.x).double()
    # What varies less than the values of one input do by 5 % is not a measure.
    spread = ours.std(0, correction=0).clamp_min(0.05 * float(float_images(sample.x).std()) + 1e-12)
    if not case.classifies or int(sample.y.min()) < 0:
        indices, means = torch.arange(len(held_out)), ours.mean(0)[None]
    else:
        counts = sample.y.bincount()
        indices = torch.isin(held_out.y, (counts >= MIN_MEMBERS).nonzero().flatten()).nonzero().flatten()
        sums = torch.zeros(len(counts), ours.shape[1], dtype=torch.float64).index_add_(0, sample.y, ours)
        means = (sums / counts.clamp_min(1)[:, None])[held_out.y[indices]]
    if len(indices) < MIN_EXAMPLES:
        return None
    return indices, lambda x: float(((traits(x).double() - means).mean(0) / spread).abs().max())


def _by_range(case: Case) -> Finding | None:
    """Compare the range and scale of inputs with those that the model's own mean and deviation are made for."""
    x, stats = float_images(case.sample.x), case.model.stats
    if stats is None or x.dim() != 4:
        return None
    read = case.inputs(case.sample)
    mean, std = float(read.mean()), float(read.std())
    for name, factor in (("not divided by 255", 1 / 255), ("divided by 255 once more", 255.0)):
        other = stats.apply(x * factor)
        less, fair = float(other.mean()), float(other.std())
        if not 1 / SCALE < std < SCALE and abs(less) < OFF and 1 / WIDE < fair < WIDE:
            evidence: Evidence = {
                "mean_after_standardising": mean,
                "standard_deviation_after_standardising": std,
                "mean_if_undone": less,
                "standard_deviation_if_undone": fair,
            }
            return _finding("train", evidence, name)
    undone = x * stats.std + stats.mean
    inside = float(undone.min()) >= -ROUNDING and float(undone.max()) <= 1 + ROUNDING
    if float(x.min()) >= -ROUNDING or not inside:
        return None
    evidence = {
        "smallest": float(x.min()),
        "largest": float(x.max()),
        "smallest_if_undone": float(undone.min()),
        "largest_if_undone": float(undone.max()),
    }
    return _finding("train", evidence, "standardised twice")


def _by_recognition(case: Case, part: Arrays, path: str) -> Finding | None:
    """Compare how many classes a judge recognises as the inputs are and when a change is undone."""
    judge = _judge(case, path)
    if judge is None or len(part) < MIN_EXAMPLES:
        return None
    name, predict = judge
    part = subsample(part, MAX_EXAMPLES, case.model.seed)
    x = float_images(part.x)
    as_is = predict(x) == part.y
    if float(as_is.float().mean()) > 1 - GAIN:
        return None
    size = float(case.inputs(part).square().mean().sqrt())
    options = changes(x, float_images(case.sample.x), case.model.stats)
    if SMALL <= size <= LARGE:  # larger inputs may only outweigh a bias
        options = {change: undo for change, undo in options.items() if change not in SCALE_CHANGES}
    if not options:
        return None
    rights = {change: predict(undo(x)) == part.y for change, undo in options.items()}
    change = max(rights, key=lambda change: int(rights[change].sum()))
    right = rights[change]
    won, lost = int((right & ~as_is).sum()), int((as_is & ~right).sum())
    gain = float(right.float().mean() - as_is.float().mean())
    if gain < GAIN or (won - lost) < CLEAR * sqrt(won + lost):  # McNemar's test
        return None
    if float(right.float().mean()) < hits(part.y, part.y).chance + KNOWN:
        return None
    evidence: Evidence = {
        "judged_by": name,
        "examples": len(part),
        "share_recognised": float(as_is.float().mean()),
        "share_recognised_if_undone": float(right.float().mean()),
    }
    return _finding(path, evidence, change)


def _judge(case: Case, path: str) -> tuple[str, Callable[[Tensor], Tensor]] | None:
    """Return what recognises training examples: the model if it learned to, else, for validation, something simple."""
    if not case.classifies:
        return None
    if case.class_predictions is not None:
        seen = case.class_predictions[0]
        counts = hits(seen.classes, seen.part.y)
        if path == "train" or counts.share > counts.chance + KNOWN:
            return "the model", lambda x: _classes(case, x)
    simple = case.simple
    if path == "train" or simple is None or simple.own.share < simple.own.chance + KNOWN:
        return None
    return "a simple classifier", simple.predict


def _classes(case: Case, x: Tensor) -> Tensor:
    try:
        return classes_of(case.model.predict(x))
    except PellucidError:  # inputs as large as no network was made for
        return torch.full((len(x),), -1)


def _by_norm(case: Case) -> Finding | None:
    """Compare the inputs of the first batch normalization with its running statistics."""
    if not case.trained:
        return None
    part = subsample(case.train, MAX_EXAMPLES, case.model.seed)
    path, off, wide = _normed(case, part.x)
    if not path or (off <= OFF and 1 / WIDE <= wide <= WIDE):
        return None
    x = float_images(part.x)
    for name, undo in changes(x, x, case.model.stats).items():
        _, less, fair = _normed(case, undo(x))
        if less < FITS and 1 / FAIR < fair < FAIR:
            evidence: Evidence = {
                "mean_off_by_remembered_standard_deviations": off,
                "standard_deviation_over_the_remembered_one": wide,
                "mean_if_undone": less,
                "standard_deviation_if_undone": fair,
            }
            return _finding(path, evidence, name)
    return None


def _normed(case: Case, x: Tensor) -> tuple[str, float, float]:
    """Return the path of the first batch normalization, and medians over channels of |mean| and deviation there."""
    for path, seen in activity(case.model, case.inputs(Arrays(x, x))).items():
        if isinstance(seen.layer, BatchNorm):
            mean, std = normalized_moments(case.model, seen)
            if not len(mean) or not seen.finite:
                break
            return path, float(mean.abs().median()), float(std.median())
    return "", 0.0, 1.0


def _finding(path: str, evidence: Evidence, change: str) -> Finding:
    whose = "these inputs are" if path != "validation" else "validation inputs are"
    cause = f"{whose} {change}, against those that were learned from" if change else f"{whose} prepared in another way"
    fix = "prepare inputs by one function in training, validation and use: same scale, mean, channel order and position"
    return Finding(NAME, path, evidence, cause, fix)


NAME = "preprocessing-mismatch"
CHECK = Check(
    NAME, look, proven=True,
    explains=("confused-labels", "unnormalised-inputs", "overfitting", "underfitting", "miscalibration",
              "collapsed-predictions", "batch-norm", "dead-units", "saturated-units", "useless-maps", "duplicate-maps"),
)  # fmt: skip
