"""Inputs that are too large, too small or of very different scales, and regression targets that are too large."""

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

# Root mean square of the inputs. Initial weights are drawn for 1 (Glorot 2010, He 2015); images from 0 to 1 have 0.1 to
# 0.9.
MAX_RMS, MIN_RMS = 3.0, 1 / 30
MAX_CHANNEL_RATIO = 10.0  # root mean square of two channels; the curvature of the loss then differs by a factor of 100
MAX_OFFSET = 10.0  # of the mean from 0, in standard deviations, if it is above 1 as well
MAX_TARGET_RATIO = 100.0  # std of the targets over the RMS of the first outputs (at least 1); usual steps are too small
CHUNK_SIZE = 64  # examples measured at a time


def look(case: Case) -> list[Finding]:
    """Measure a sample of the inputs after preprocessing, then the targets of a regression."""
    return _inputs(case) or _targets(case)


def _targets(case: Case) -> list[Finding]:
    """Compare the targets with the network's first outputs; skipped for a trained model."""
    if not case.compares or case.classifies or case.trained:
        return []
    try:
        first = predictions(case.first, case.probe).y.double()
    except UnansweredError:
        return []
    targets = case.sample.y.double()
    spread, usual = float(targets.std(correction=0)), float(first.square().mean().sqrt())
    if spread <= MAX_TARGET_RATIO * max(usual, 1.0):
        return []
    evidence = {
        "mean_target": float(targets.mean()),
        "standard_deviation_of_the_targets": spread,
        "root_mean_square_of_the_first_outputs": usual,
    }
    cause = "the targets are many times larger than the network's first outputs, so that steps explode or are too small"
    fix = "subtract the targets' mean, divide by their standard deviation, and undo this in the predictions"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _inputs(case: Case) -> list[Finding]:
    """Measure a sample of the inputs, over all values and by channel."""
    first = next((seen.layer for seen in case.activity.values() if not shapes(seen.layer)), None)
    if first is not None and Trait.NORM in first.traits and not isinstance(first, LocalResponseNorm):
        return []  # a first normalization layer makes the scale of the inputs irrelevant
    x = case.sample.x
    seen = sizes(scaled(part, case.model.stats) for part in x.split(CHUNK_SIZE))
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
    if size > MAX_RMS:
        cause = "inputs are much larger than initial weights are made for, so that units saturate or steps overshoot"
    elif size < MIN_RMS:
        cause = "inputs are so small that the first layer hardly distinguishes them; perhaps they were scaled twice"
    elif abs(mean) > max(MAX_OFFSET * std, 1.0):
        cause = "inputs vary little around a value far from 0, so that this value dominates the first layer"
    elif images and several and float(kept.max() / kept.min()) > MAX_CHANNEL_RATIO:
        evidence |= {"largest_channel": float(kept.max()), "smallest_channel": float(kept.min())}
        cause = "channels have very different scales, so that the weights of the small ones learn far more slowly"
    elif not images and several and float(kept.max()) > MAX_RMS * MAX_CHANNEL_RATIO * float(kept.median()):
        evidence |= {"largest_feature": float(kept.max()), "median_feature": float(kept.median())}
        cause = "features have very different scales, so that the weights of the small ones learn far more slowly"
    else:
        return []
    fix = "divide bytes by 255 once, then subtract the mean and divide by the standard deviation of the training inputs"
    remedy = Remedy("inputs of mean 0 and standard deviation 1", _standardised) if x.dim() == 4 else None
    return [Finding(NAME, "train", evidence, cause, fix, remedy)]


def _standardised(case: Case) -> Case:
    return rebuilt(case, preprocess={**case.model.preprocess, **scaling(FeatureStats.fit(case.train.x))})


NAME = "unnormalised-inputs"
CHECK = Check(
    NAME, look,
    explains=("saturated-units", "dead-units", "vanishing-gradients", "exploding-gradients", "update-ratio",
              "learning-rate-too-high", "learning-rate-too-low", "nan-origin", "underfitting", "collapsed-predictions",
              "useless-maps", "duplicate-maps", "overfitting", "miscalibration"),
)  # fmt: skip
