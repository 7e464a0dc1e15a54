"""Augmentation: pure functions of float32 batches (N, C, H, W) and a random generator from which they draw.

A geometric transformation is a `Move`, drawn once and then applied to images, masks, boxes and key-points.
"""

from pellucid.data.augment.colour import brightness, contrast, hue, saturation
from pellucid.data.augment.move import Fill
from pellucid.data.augment.pipeline import Augment
from pellucid.data.augment.resample import affine, elastic, rotate, shear, shift, zoom
from pellucid.data.augment.standardise import FeatureStats
from pellucid.data.augment.windows import horizontal_flip, random_crop, resized_crop, vertical_flip

__all__ = [
    "Augment",
    "FeatureStats",
    "Fill",
    "affine",
    "brightness",
    "contrast",
    "elastic",
    "horizontal_flip",
    "hue",
    "random_crop",
    "resized_crop",
    "rotate",
    "saturation",
    "shear",
    "shift",
    "vertical_flip",
    "zoom",
]
