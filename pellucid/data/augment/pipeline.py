"""A declared augmentation: what a recipe's [augment] table becomes."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.data.augment.affine import random_map
from pellucid.data.augment.colour import brightness, contrast, hue, saturation
from pellucid.data.augment.crop import random_crop
from pellucid.data.augment.cutout import cutout
from pellucid.data.augment.elastic import random_field
from pellucid.data.augment.flip import horizontal_flip, vertical_flip
from pellucid.data.augment.resample import Fill, check_fill, resample
from pellucid.errors import PellucidError

_KINDS = {float: "a number", int: "a whole number", bool: "true or false"}
_RANGES = {
    "rotate": (0, 180),
    "shift": (0, 1),
    "shear": (0, 80),
    "zoom": (0, 0.99),
    "brightness": (0, 10),
    "contrast": (0, 10),
    "saturation": (0, 10),
    "hue": (0, 0.5),
    "elastic_alpha": (0, 1000),
    "elastic_sigma": (0.1, 100),
    "crop_padding": (0, 1000),
    "cutout": (0, 1000),
    "fill_value": (-1000, 1000),
}


@dataclass(frozen=True)
class Augment(metaclass=Checked):
    """Random changes of a batch (N, C, H, W) float32, in this order; 0 and False leave a step out.

    flip, vertical_flip: mirrored with probability 1/2. crop_padding: padded by so many pixels and cut back.
    rotate, shear: degrees; shift, zoom: fractions; elastic_alpha, elastic_sigma: pixels; these five are one
    resampling. brightness, contrast, saturation: factors 1 +- so much; hue: parts of the colour circle. cutout: a
    square of so many pixels is covered.
    fill, fill_value: what lies outside the picture, see `resample`. All numbers come from the given
    generator: the same seed gives the same batch. Raises PellucidError for a value that makes no sense.
    """

    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    vertical_flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    elastic_alpha: float = 0.0
    elastic_sigma: float = 4.0
    crop_padding: int = 0
    cutout: int = 0
    fill: Fill = "constant"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_fill(self.fill)
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if kind is str:
                continue
            if kind is float and isinstance(value, list | tuple):
                raise PellucidError(f"augment.{field.name} is {value!r}; give one number, the largest change")
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise PellucidError(f"augment.{field.name} is {value!r}; give {_KINDS[kind]}")
            low, high = _RANGES.get(field.name, (0, 1))
            if not low <= value <= high:
                raise PellucidError(f"augment.{field.name} is {value}; give a number from {low:g} to {high:g}")

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return the changed batch; x itself is left as it is."""
        if self.flip:
            x = horizontal_flip(x, rng)
        if self.vertical_flip:
            x = vertical_flip(x, rng)
        if self.crop_padding:
            x = random_crop(x, self.crop_padding, rng, self.fill, self.fill_value)
        if self.rotate or self.shift or self.shear or self.zoom or self.elastic_alpha:
            matrix, offset = random_map(x, self.rotate, self.shift, self.shear, self.zoom, rng)
            field = random_field(x, self.elastic_alpha, self.elastic_sigma, rng) if self.elastic_alpha else None
            x = resample(x, matrix, offset, field, self.fill, self.fill_value)
        for change, amount in (
            (brightness, self.brightness),
            (contrast, self.contrast),
            (saturation, self.saturation),
            (hue, self.hue),
        ):
            if amount:
                x = change(x, amount, rng)
        return cutout(x, self.cutout, rng) if self.cutout else x
