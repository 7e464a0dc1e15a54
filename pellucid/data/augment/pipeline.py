"""Configured augmentation, as in the table [augment] of a recipe."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, overload

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.base.text import shown
from pellucid.data.augment.colour import brightness, contrast, cutout, hue, saturation
from pellucid.data.augment.move import Fill, Move, check_fill
from pellucid.data.augment.resample import Resampling, random_affine, random_field
from pellucid.data.augment.targets import Pairs, move_objects, move_points
from pellucid.data.augment.windows import Mosaic, random_flip, random_mosaic, random_transposition, random_window
from pellucid.data.source import Batch
from pellucid.ops.image_objects import Objects

# Descriptions of field types in messages, and the range of each field, (0, 1) for fields that are not listed.
_TYPE_NAMES = {float: "a number", int: "a whole number", bool: "true or false"}
_RANGES = {
    "rotate": (0, 180),
    "shift": (0, 1),
    "shear": (0, 80),
    "zoom": (0, 0.99),
    "aspect": (0, 10),
    "brightness": (0, 10),
    "contrast": (0, 10),
    "saturation": (0, 10),
    "hue": (0, 0.5),
    "elastic_alpha": (0, 1000),
    "elastic_sigma": (0.1, 100),
    "crop_padding": (0, 1000),
    "cutout": (0, 1000),
    "fill_value": (-1000, 1000),
    "ignore": (-1000, 1000),
}
MAX_PIXELS = 8000  # of each side of crop_size
MAX_ELASTIC = 2.5  # of alpha / sigma^2; above it, elastic distortion often folds the image
_TARGET_ADVICE = (
    "give classes (N,), integer masks (N, H, W), float images (N, C, H, W), float key-points (N, K, 3), or a list with "
    "the Objects of each image"
)


@dataclass(frozen=True)
class Augment(metaclass=Checked):
    """Random changes of a batch, applied in this order; 0 or False disables a change.

    flip, vertical_flip: mirror each image with probability 1/2. transpose: exchange rows and columns of a whole batch
    with probability 1/2, which also exchanges height and width; for images without an upright direction. crop_padding:
    pixels to pad by before a crop of the original size. Then one resampling combines rotate to elastic_sigma. rotate,
    shear: largest angle in degrees; shift: largest fraction of width and height; zoom: largest deviation of the factor
    from 1; scale: smallest and largest factor; aspect: largest relative change of width / height, 0.1 for 10 %;
    crop_size: (height, width) of a window of the scaled image, or of a canvas on which a smaller image is placed;
    elastic_alpha, elastic_sigma: strength and smoothness in pixels. mosaic: probability that an image becomes a mosaic
    of four. brightness, contrast, saturation: largest deviation of the factor from 1; hue: largest fraction of the
    colour circle. cutout: side of the covered square in pixels.

    fill, fill_value: values outside the image, see `resample`; ignore: class of mask pixels outside the image.
    min_area: objects with a smaller fraction of their box inside the image are dropped. swaps: pairs of left and right
    key-points that mirroring exchanges; () for key-points without sides.

    `augment(images, rng)` augments images (N, C, H, W) float32. `augment(batch, rng)` augments a Batch: its images
    identically, and its targets by the same geometric transformations. Such targets are integer masks (N, H, W), float
    images (N, C, H, W), float key-points (N, K, 3) of one object in each image (x, y, visibility), or a list with the
    Objects of each image. Classes (N,) and values (N, K) are unchanged. All random values are drawn from `rng`, so the
    same seed gives the same batch. Raises PellucidError for invalid values and for targets that do not fit the images.
    """

    joint: ClassVar[bool] = True  # the loader passes the whole batch

    rotate: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    flip: bool = False
    vertical_flip: bool = False
    transpose: bool = False
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
    scale: tuple[float, float] = (1.0, 1.0)
    aspect: float = 0.0
    crop_size: tuple[int, int] = (0, 0)
    mosaic: float = 0.0
    ignore: int = 255
    min_area: float = 0.1
    swaps: Pairs | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for invalid values."""
        check_fill(self.fill)
        for field in fields(self):
            value, field_type = getattr(self, field.name), type(field.default)
            if field_type not in _TYPE_NAMES:
                continue
            if field_type is float and isinstance(value, list | tuple):
                raise PellucidError(f"augment.{field.name} is {value!r}; give one number, the largest change")
            if type(value) is not field_type and not (field_type is float and type(value) is int):
                raise PellucidError(f"augment.{field.name} is {value!r}; give {_TYPE_NAMES[field_type]}")
            low, high = _RANGES.get(field.name, (0, 1))
            if not low <= value <= high:
                raise PellucidError(f"augment.{field.name} is {value}; give a number from {low:g} to {high:g}")
        self._check_tuples()

    def _check_tuples(self) -> None:
        if not _is_number_tuple(self.scale, (int, float), 2) or not 0.01 <= self.scale[0] <= self.scale[1] <= 100:
            raise PellucidError(
                f"augment.scale is {shown(self.scale)}; give the smallest and the largest factor, from 0.01 to 100"
            )
        size = self.crop_size
        if not _is_number_tuple(size, (int,), 2) or (size != (0, 0) and not 0 < min(size) <= max(size) <= MAX_PIXELS):
            raise PellucidError(
                f"augment.crop_size is {shown(size)}; give (height, width) from 1 to {MAX_PIXELS} pixels, or (0, 0)"
            )
        if self.swaps is None:
            return
        pairs = self.swaps if isinstance(self.swaps, tuple) else ((),)
        indices = [index for pair in pairs if _is_number_tuple(pair, (int,), 2) for index in pair]
        if len(indices) != 2 * len(pairs) or len(set(indices)) < len(indices) or min(indices, default=0) < 0:
            raise PellucidError(
                f"augment.swaps is {shown(self.swaps)}; give pairs of key-points counted from 0, each in one pair, "
                "such as ((1, 2), (3, 4))"
            )

    @overload
    def __call__(self, batch: Tensor, rng: torch.Generator) -> Tensor: ...

    @overload
    def __call__(self, batch: Batch, rng: torch.Generator) -> Batch: ...

    def __call__(self, batch: Tensor | Batch, rng: torch.Generator) -> Tensor | Batch:
        """Return the augmented images or batch; the arguments are not modified."""
        x = batch if isinstance(batch, Tensor) else batch.images
        moves: list[Move | Mosaic] = []
        for draw in self._geometric_draws():
            move = draw(x, rng)
            x = move.apply(x, self.fill, self.fill_value)
            moves.append(move)
        for change, amount in (
            (brightness, self.brightness),
            (contrast, self.contrast),
            (saturation, self.saturation),
            (hue, self.hue),
        ):
            if amount:
                x = change(x, amount, rng)
        if self.cutout:
            x = cutout(x, self.cutout, rng)
        return x if isinstance(batch, Tensor) else Batch(x, self._transform_targets(batch, moves))

    def _geometric_draws(self) -> Iterator[Callable[[Tensor, torch.Generator], Move | Mosaic]]:
        """Yield a function for each geometric transformation, which draws its parameters."""
        if self.flip:
            yield lambda x, rng: random_flip(x, 3, rng)
        if self.vertical_flip:
            yield lambda x, rng: random_flip(x, 2, rng)
        if self.transpose:
            yield random_transposition
        if self.crop_padding:
            yield lambda x, rng: random_window(x, self.crop_padding, rng)
        has_window = self.scale != (1, 1) or self.crop_size != (0, 0) or self.aspect
        if self.rotate or self.shift or self.shear or self.zoom or self.elastic_alpha or has_window:
            yield self._draw_resampling
        if self.mosaic:
            yield lambda x, rng: random_mosaic(x, self.mosaic, rng)

    def _draw_resampling(self, x: Tensor, rng: torch.Generator) -> Resampling:
        size = self.crop_size if any(self.crop_size) else None
        move = random_affine(
            x, rng, self.rotate, self.shift, self.shear, self.zoom, scale=self.scale, size=size, aspect=self.aspect
        )
        if not self.elastic_alpha:
            return move
        return replace(move, displacement=random_field(x, self.elastic_alpha, self.elastic_sigma, rng, size))

    def _transform_targets(self, batch: Batch, moves: list[Move | Mosaic]) -> Any:
        """Return the targets of a batch after `moves`."""
        targets = batch.targets
        if not moves:
            return targets
        if isinstance(targets, list | tuple | Tensor) and len(targets) != len(batch.images):
            raise PellucidError(f"augment: {len(batch.images)} images, but {len(targets)} targets; give one per image")
        if isinstance(targets, list | tuple) and all(isinstance(target, Objects) for target in targets):
            self._check_objects(any(target.keypoints is not None for target in targets))
            height, width = batch.images.shape[2:]
            return move_objects(targets, moves, (height, width), self.swaps or (), self.min_area)
        if not isinstance(targets, Tensor):
            raise PellucidError(f"augment: targets are {shown(targets)}; {_TARGET_ADVICE}")
        are_keypoints = targets.ndim == 3 and targets.shape[2] == 3 and targets.is_floating_point()
        if targets.ndim > 2 and not are_keypoints:
            return self._transform_pixels(targets, batch.images, moves)
        if self.mosaic:
            targets_text = "key-points of one object" if are_keypoints else "one class"
            raise PellucidError(f"augment.mosaic: a mosaic of four images cannot have {targets_text}; leave it out")
        if are_keypoints:
            self._check_objects(has_keypoints=True)
            return move_points(targets, [move for move in moves if isinstance(move, Move)], self.swaps or ())
        return targets

    def _transform_pixels(self, targets: Tensor, images: Tensor, moves: list[Move | Mosaic]) -> Tensor:
        """Return masks (N, H, W) or target images (N, C, H, W) after `moves`."""
        dtype, size, target_size = str(targets.dtype).removeprefix("torch."), images.shape[2:], targets.shape[-2:]
        are_masks = targets.ndim == 3 and not targets.is_floating_point() and targets.dtype != torch.bool
        if not are_masks and not (targets.ndim == 4 and targets.is_floating_point()):
            raise PellucidError(f"augment: targets are {dtype} of shape {tuple(targets.shape)}; {_TARGET_ADVICE}")
        if target_size != size:
            raise PellucidError(
                f"augment: images are {size[0]}x{size[1]}, but their {'masks' if are_masks else 'target images'} are "
                f"{target_size[0]}x{target_size[1]}; give both the same size"
            )
        if are_masks and not torch.iinfo(targets.dtype).min <= self.ignore <= torch.iinfo(targets.dtype).max:
            raise PellucidError(f"augment.ignore is {self.ignore}, which is out of range for {dtype} masks; change it")
        transformed = targets[:, None] if are_masks else targets
        for move in moves:
            transformed = move.apply(transformed, self.fill, self.ignore if are_masks else self.fill_value)
        return transformed[:, 0] if are_masks else transformed

    def _check_objects(self, has_keypoints: bool) -> None:
        max_alpha = MAX_ELASTIC * self.elastic_sigma**2
        if self.elastic_alpha > max_alpha:
            raise PellucidError(
                f"augment.elastic_alpha is {self.elastic_alpha:g}, which with elastic_sigma {self.elastic_sigma:g} "
                f"folds images and tears boxes; give at most {max_alpha:g}"
            )
        is_mirroring = self.flip or self.vertical_flip or self.transpose
        if self.swaps is None and is_mirroring and has_keypoints:
            raise PellucidError(
                "augment.swaps is missing, but mirroring exchanges left and right key-points; give their pairs, "
                "such as ((1, 2), (3, 4)), or () for key-points without sides"
            )


def _is_number_tuple(value: object, kinds: tuple[type, ...], length: int) -> bool:
    """Return whether `value` is a tuple of `length` numbers of these types."""
    return isinstance(value, tuple) and len(value) == length and all(type(number) in kinds for number in value)
