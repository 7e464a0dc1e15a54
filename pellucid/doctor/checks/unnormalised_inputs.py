"""Inputs that are too large, too small or of very different scales."""

from dataclasses import replace
from math import hypot, isfinite

import torch
from torch import Tensor

from pellucid.data.augment.standardise import FeatureStats, scaled
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import input_statistics
from pellucid.doctor.passes import MAX_NORM_DISTANCE, layer_outputs, norm_distance
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
BYTES = (16.0, 255.0)  # the largest value of images of bytes
# Of the values above the median of a feature, relative to those below it, from the 1 % to the 99 % quantile: 6 for an
# exponential distribution, and 60 for values whose logarithms have a standard deviation of 0.75 powers of ten.
MIN_SKEW = 30.0
MAX_EXAMPLES, MAX_FEATURES = 200, 10_000  # of which quantiles are computed
MIN_RANK = 100  # one of so many values, the largest and the smallest ones, may be outliers
MAX_RANGE = 20.0  # of the values of a feature, relative to that without possible outliers
MIN_IMAGE_SIDE = 4  # pixels; each position of "images" of fewer rows, such as spectra, is a quantity of its own
MIN_USUAL_RMS = 0.1  # of inputs of which positions may have different scales, as those of pulses have


def find(case: Case) -> list[Finding]:
    """Compute statistics of a sample of the inputs, over all values and by channel or feature; compare with limits."""
    if any(case.model.index_inputs):
        return []  # indices have no scale
    outputs = layer_outputs(case.model, case.inputs(case.probe)[:1])
    first_layer = next((layer for _, layer, _ in outputs if not only_reshapes(layer)), None)
    if first_layer is not None and Trait.NORM in first_layer.traits and not isinstance(first_layer, LocalResponseNorm):
        return []  # a first normalization layer makes the scale of the inputs irrelevant
    distance = norm_distance(case.initial, case.inputs(case.probe))
    if distance is not None and distance < MAX_NORM_DISTANCE:
        return []  # pretrained weights expect inputs of this scale
    x = case.sample.x
    statistics = input_statistics(scaled(value, case.model.stats).flatten(1) for value in x.split(CHUNK_SIZE))
    mean, std, rms = statistics.mean, statistics.std, hypot(statistics.mean, statistics.std)
    if not isfinite(rms) or std == 0:
        return []
    by_feature = _is_scaled_by_feature(x)
    by_position = by_feature and not MIN_USUAL_RMS < rms <= MAX_RMS
    n_channels = len(statistics.channels) if by_position else x.shape[1]
    low, high = statistics.low.view(n_channels, -1).amin(1), statistics.high.view(n_channels, -1).amax(1)
    channel_rms = statistics.channels.square().view(n_channels, -1).mean(1).sqrt()[high > low]
    has_several_channels = len(channel_rms) > 1
    extremes = (channel_rms.min(), channel_rms.median(), channel_rms.max()) if has_several_channels else (0.0,) * 3
    smallest, median, largest = (float(value) for value in extremes)
    evidence: Evidence = {
        "mean": mean, "standard_deviation": std, "smallest": float(low.min()), "largest": float(high.max()),
        "root_mean_square": rms,
    }  # fmt: skip
    if by_feature and has_several_channels and largest > MAX_RMS * MAX_CHANNEL_RATIO * median:
        evidence |= {"largest_feature": largest, "median_feature": median}
        cause = "features have very different scales, so that the weights of the small ones learn far more slowly"
    elif rms > MAX_RMS:
        cause = "inputs are much larger than initial weights are made for, so that units saturate or steps overshoot"
    elif rms < MIN_RMS:
        cause = "inputs are so small that the first layer hardly distinguishes them; perhaps they were scaled twice"
    elif abs(mean) > max(MAX_OFFSET * std, 1.0):
        cause = "inputs vary little around a value far from 0, so that this value dominates the first layer"
    elif not by_feature and has_several_channels and largest > MAX_CHANNEL_RATIO * smallest:
        evidence |= {"largest_channel": largest, "smallest_channel": smallest}
        cause = "channels have very different scales, so that the weights of the small ones learn far more slowly"
    else:
        return []
    return [finding_of_scale(case, cause, evidence)]


def finding_of_scale(case: Case, cause: str, evidence: Evidence) -> Finding:
    """Return the finding of this check whose remedy standardizes the inputs, and whose fix fits these inputs."""
    x, by_feature = case.sample.x, _is_scaled_by_feature(case.sample.x)
    values = scaled(x[:CHUNK_SIZE], None)
    high = float(values.max())
    are_bytes = bool((values == values.round()).all()) and BYTES[0] < high <= BYTES[1]
    first = "divide bytes by 255 once, and " if not by_feature and (are_bytes or high < 2 / BYTES[1]) else ""
    if by_feature and _outlier_limits(x) is not None:
        first = "correct or clip the few values that are far beyond all others, and "
    elif by_feature and _offset_of_logarithms(x):
        first = "take the logarithm of these positive inputs of many magnitudes, and "
    return Finding(
        NAME, "train", evidence, cause,
        f"{first}standardise each {'feature (column) by itself' if by_feature else 'channel'}: subtract its mean and "
        "divide by its standard deviation, both of the training inputs",
        Remedy(
            f"inputs standardised by {'feature' if by_feature else 'channel'}", _with_standardised_inputs,
            "standardised-inputs",
        ),
        settings={"data.standardize": True},
    )  # fmt: skip


def _is_scaled_by_feature(x: Tensor) -> bool:
    """Return whether each position of inputs (N, ...) is a quantity of its own, unlike a pixel."""
    return not is_image(x) or min(x.shape[2:]) < MIN_IMAGE_SIDE


def _offset_of_logarithms(x: Tensor) -> float:
    """Return what is added to inputs (N, ...) before their logarithm; 0 if they need none.

    They need one if no value is below 0, and half of the features are so skewed that only logarithms have a usual
    spread.
    """
    rows = x[:MAX_EXAMPLES].flatten(1).float()
    rows = rows[:, :: max(rows.shape[1] // MAX_FEATURES, 1)]
    low, median, high = rows.quantile(torch.tensor([0.01, 0.5, 0.99]), 0)
    is_skewed = (high - median > MIN_SKEW * (median - low)) & (median > low)
    if float(x.min()) < 0 or float(is_skewed.double().mean()) <= 0.5:
        return 0.0
    return float(rows[rows > 0].quantile(0.01))


def _outlier_limits(x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the limits of each position of inputs (N, ...) beyond which are only outliers; None if few have some."""
    rows = x.float()
    low, high = (rows.kthvalue(k, 0).values for k in (1 + len(x) // MIN_RANK, len(x) - len(x) // MIN_RANK))
    has_outliers = (rows.amax(0) - rows.amin(0) > MAX_RANGE * (high - low)) & (high > low)
    return (low, high) if float(has_outliers.double().mean()) > 0.5 else None


def _with_standardised_inputs(case: Case) -> Case:
    """Return the case with standardized channels, or with standardized features or their logarithms."""
    if not _is_scaled_by_feature(case.train.x):
        return rebuilt(case, preprocess={**case.model.preprocess, **scaling_entries(FeatureStats.fit(case.train.x))})
    offset, limits = _offset_of_logarithms(case.train.x), _outlier_limits(case.train.x)

    def values_of(data: Arrays) -> Tensor:
        if limits is not None:
            return data.x.float().clamp(*limits)
        return (data.x.float().clamp_min(0) + offset).log() if offset else data.x.float()

    std, mean = torch.std_mean(values_of(case.train), 0, correction=0)
    return with_parts(case, lambda data: replace(data, x=(values_of(data) - mean) / torch.where(std > 0, std, 1.0)))


NAME = "unnormalised-inputs"
CHECK = Check(
    NAME, find,
    explains=("nan-origin", "underfitting", "overfitting"),
)  # fmt: skip
