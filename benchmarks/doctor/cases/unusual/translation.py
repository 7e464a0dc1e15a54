"""Mistakes in colorization and translation."""

from collections.abc import Mapping

from benchmarks.doctor.cases.unusual.data import arrays
from benchmarks.doctor.cases.unusual.sound import colorizer, translator
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.generators import Regression
from pellucid.layers import Sigmoid
from pellucid.losses import L1
from pellucid.models.pix2pix import unet_generator


def training_bgr(seed: int) -> Pair:
    """Learn the colours of images with red and blue exchanged."""
    sound, parts = colorizer(seed)
    swapped = arrays(parts.train.x.flip(1).contiguous(), parts.train.y)
    return Pair(sound.but(train=swapped), sound, "explained variance of the colours")


def direction(seed: int) -> Pair:
    """Train from B to A."""
    sound, parts = translator(seed)
    return Pair(sound.but(train=arrays(parts.train.y, parts.train.x)), sound, "explained variance of the images")


def output_range(seed: int) -> Pair:
    """End in a sigmoid for targets of -1 to 1."""
    layers = dict(unet_generator(3, 12, 3, "batch", 0.0).layers) | {"tanh": Sigmoid()}
    wrong, _ = translator(seed, Regression(Sequential(**layers), L1("mean"), to="image", multiple=8))
    sound, _ = translator(seed)
    return Pair(wrong, sound, "explained variance of the images")


CASES: Mapping[str, Case] = {
    "col-training-bgr": training_bgr,
    "trl-direction": direction,
    "trl-output-range": output_range,
}
