"""Inputs far too large, far too small or with values of very different size, and numbers to learn far too large."""

from math import isfinite

from pellucid.data.augment.standardise import FeatureStats, scaled
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.inputs import is_image, sizes
from pellucid.doctor.predictions import UnansweredError, predictions
from pellucid.doctor.remedies import rebuilt
from pellucid.layers import LocalResponseNorm
from pellucid.layers.base import Trait
from pellucid.network.ending import shapes
from pellucid.run.described import scaling

# Weights are drawn for inputs of mean square 1 (Glorot 2010, He 2015). Images from 0 to 1 have a root of 0.1 to 0.9.
LARGE, SMALL = 3.0, 1 / 30
UNEVEN = 10.0  # between channels: the gradient at one's weights is then 100 times that at the other's in curvature
FAR = 10.0  # deviations that the mean is off from 0, for inputs that are above 1 besides
BEYOND = 100.0  # times the network's first outputs, or 1: that far steps of usual size take ages to go
CHUNK = 64  # examples measured at a time


def look(case: Case) -> list[Finding]:
    """Measure a sample of the inputs, after preprocessing, then of targets that are numbers."""
    return _inputs(case) or _targets(case)


def _targets(case: Case) -> list[Finding]:
    """Compare the targets with the first outputs of the network; if it was trained, they do not count."""
    if not case.compares or case.classifies or case.trained:
        return []
    try:
        first = predictions(case.first, case.probe).y.double()
    except UnansweredError:
        return []
    targets = case.sample.y.double()
    spread, usual = float(targets.std(correction=0)), float(first.square().mean().sqrt())
    if spread <= BEYOND * max(usual, 1.0):
        return []
    evidence = {
        "mean_target": float(targets.mean()),
        "standard_deviation_of_the_targets": spread,
        "root_mean_square_of_the_first_outputs": usual,
    }
    cause = "targets are many times larger than the network's first outputs, so that steps explode or hardly count"
    fix = "take off the targets' mean and divide by their deviation, and undo that on what the network predicts"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _inputs(case: Case) -> list[Finding]:
    """Measure a sample of the inputs over all and by channel."""
    first = next((seen.layer for seen in case.activity.values() if not shapes(seen.layer)), None)
    if first is not None and Trait.NORM in first.traits and not isinstance(first, LocalResponseNorm):
        return []  # it brings inputs of any size to the same one
    x = case.sample.x
    seen = sizes(scaled(part, case.model.stats) for part in x.split(CHUNK))
    mean, std, size = seen.mean, seen.std, seen.rms
    if not isfinite(size) or std == 0:
        return []
    kept = seen.channels[seen.high > seen.low]
    evidence = {
        "mean": mean,
        "standard_deviation": std,
        "smallest": float(seen.low.min()),
        "largest": float(seen.high.max()),
        "root_mean_square": size,
    }
    images, several = is_image(x), len(kept) > 1
    if size > LARGE:
        what = "inputs are many times larger than weights are made for, so that units saturate or steps overshoot"
    elif size < SMALL:
        what = "inputs are so small that they hardly differ to the first layer; they may have been scaled twice"
    elif abs(mean) > max(FAR * std, 1.0):
        what = "inputs vary little around a value far from 0, so that little but that value reaches the first layer"
    elif images and several and float(kept.max() / kept.min()) > UNEVEN:
        evidence |= {"largest_channel": float(kept.max()), "smallest_channel": float(kept.min())}
        what = "channels are of very different size, so that the small ones learn far more slowly"
    elif not images and several and float(kept.max()) > LARGE * UNEVEN * float(kept.median()):
        evidence |= {"largest_feature": float(kept.max()), "median_feature": float(kept.median())}
        what = "features are of very different size, so that the small ones learn far more slowly"
    else:
        return []
    fix = "divide bytes by 255 once, and take off the mean and divide by the deviation of the training inputs"
    remedy = Remedy("inputs of mean 0 and deviation 1", _standard) if x.dim() == 4 else None
    return [Finding(NAME, "train", evidence, what, fix, remedy)]


def _standard(case: Case) -> Case:
    return rebuilt(case, preprocess={**case.model.preprocess, **scaling(FeatureStats.fit(case.train.x))})


NAME = "unnormalised-inputs"
CHECK = Check(
    NAME, look,
    explains=("saturated-units", "dead-units", "vanishing-gradients", "exploding-gradients", "update-ratio",
              "learning-rate-too-high", "learning-rate-too-low", "nan-origin", "underfitting", "collapsed-predictions",
              "useless-maps", "duplicate-maps", "overfitting", "miscalibration"),
)  # fmt: skip
