"""Inputs that are too large, too small or of very different scales."""

from dataclasses import replace
from math import hypot, isfinite

import torch

from pellucid.data.augment.standardise import FeatureStats, scaled
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.inputs import input_statistics
from pellucid.doctor.passes import layer_outputs
from pellucid.doctor.remedies import rebuilt, with_parts
from pellucid.layers import LocalResponseNorm, Trait
from pellucid.network.ending import only_reshapes
from pellucid.run.described import scaling_entries
from pellucid.task.traits import is_image

# Root mean square of the inputs. Initializers assume 1 (Glorot 2010, He 2015); it is 0.1 to 0.9 for images from 0 to 1.
MAX_RMS, MIN_RMS = 3.0, 1 / 30
MAX_OFFSET = 10.0  # |mean| in standard deviations; there is a finding only if |mean| is also above 1
MAX_CHANNEL_RATIO = 10.0  # of two channels' root mean squares; the loss's curvature then differs by a factor of 100
CHUNK_SIZE = 64  # examples measured at a time


def find(case: Case) -> list[Finding]:
    """Compute statistics of a sample of the inputs, over all values and by channel, and compare them with limits."""
    if any(case.model.index_inputs):
        return []  # indices have no scale
    outputs = layer_outputs(case.model, case.inputs(case.probe)[:1])
    first_layer = next((layer for _, layer, _ in outputs if not only_reshapes(layer)), None)
    if first_layer is not None and Trait.NORM in first_layer.traits and not isinstance(first_layer, LocalResponseNorm):
        return []  # a first normalization layer makes the scale of the inputs irrelevant
    x = case.sample.x
    statistics = input_statistics(scaled(value, case.model.stats) for value in x.split(CHUNK_SIZE))
    mean, std, rms = statistics.mean, statistics.std, hypot(statistics.mean, statistics.std)
    if not isfinite(rms) or std == 0:
        return []
    channel_rms = statistics.channels[statistics.high > statistics.low]
    evidence = {
        "mean": mean,
        "standard_deviation": std,
        "smallest": float(statistics.low.min()),
        "largest": float(statistics.high.max()),
        "root_mean_square": rms,
    }
    has_images, has_several_channels = is_image(x), len(channel_rms) > 1
    extremes = (channel_rms.min(), channel_rms.median(), channel_rms.max()) if has_several_channels else (0.0,) * 3
    smallest, median, largest = (float(value) for value in extremes)
    if rms > MAX_RMS:
        cause = "inputs are much larger than initial weights are made for, so that units saturate or steps overshoot"
    elif rms < MIN_RMS:
        cause = "inputs are so small that the first layer hardly distinguishes them; perhaps they were scaled twice"
    elif abs(mean) > max(MAX_OFFSET * std, 1.0):
        cause = "inputs vary little around a value far from 0, so that this value dominates the first layer"
    elif has_images and has_several_channels and largest > MAX_CHANNEL_RATIO * smallest:
        evidence |= {"largest_channel": largest, "smallest_channel": smallest}
        cause = "channels have very different scales, so that the weights of the small ones learn far more slowly"
    elif not has_images and has_several_channels and largest > MAX_RMS * MAX_CHANNEL_RATIO * median:
        evidence |= {"largest_feature": largest, "median_feature": median}
        cause = "features have very different scales, so that the weights of the small ones learn far more slowly"
    else:
        return []
    return [
        Finding(
            NAME,
            "train",
            evidence,
            cause=cause,
            fix="divide bytes by 255 once, then subtract the mean and divide by the standard deviation of the training "
            "inputs",
            remedy=Remedy(
                "inputs of mean 0 and standard deviation 1", _with_standardised_inputs, "standardised-inputs"
            ),
            settings={"data.standardize": True},
        )
    ]


def _with_standardised_inputs(case: Case) -> Case:
    """Return the case with standardized channels, or with standardized features of inputs that are not images."""
    if case.train.x.dim() != 4:
        x = case.train.x.float()
        mean, std = x.mean(0), x.std(0, correction=0)
        return with_parts(case, lambda data: replace(data, x=(data.x.float() - mean) / torch.where(std > 0, std, 1.0)))
    return rebuilt(case, preprocess={**case.model.preprocess, **scaling_entries(FeatureStats.fit(case.train.x))})


NAME = "unnormalised-inputs"
CHECK = Check(
    NAME, find,
    explains=("nan-origin", "underfitting", "overfitting"),
)  # fmt: skip
