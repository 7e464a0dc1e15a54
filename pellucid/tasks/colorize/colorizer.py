"""Colours for pictures of any size, predicted from their lightness, and smoothed over the frames of a video."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.data.dataset import float_images
from pellucid.generators import Translator
from pellucid.model import Model
from pellucid.ops.colour import lab_to_rgb, recolour, rgb_to_lab
from pellucid.recipe.material import shape_of_table
from pellucid.recipe.model_data import data_name
from pellucid.recipe.tables import Data
from pellucid.tasks.colorize.hints import Hint, hint_maps

BAND_PIXELS = 1 << 19  # pixels converted at a time; limits the memory
MAX_PROPORTION = 16  # longer side of the network's input, relative to the shorter side of the training images
MAX_STRENGTH = 2.0
STATIC_DIFFERENCE, MOVED_DIFFERENCE = (
    2.0,
    10.0,
)  # differences of L: up to the first, a pixel is unchanged; from the second on, it has moved
MIN_MOVED_FRACTION = 0.5  # fraction of moved pixels from which a frame is a new scene


def is_colorizer(model: Model) -> bool:
    """Return whether a model predicts the colours of images."""
    return isinstance(model.objective, Translator) and model.objective.predicts_colours


class Colorizer:
    """Colorizes pictures of any size; the model's weights must not change afterwards.

    The network receives the picture with its shorter side resized to that of the training images; the predicted Lab
    components a and b are resized to the picture. side: the length of that shorter side. strength: the factor of a and
    b, from 0 (grey) to 2. Raises PellucidError for other models and strengths.
    """

    def __init__(self, model: Model, strength: float = 1.0) -> None:
        if not is_colorizer(model):
            raise PellucidError(
                f"the model outputs {model.output_shape}, not colours; give one that does, such as colorize or a run "
                "of cifar-colorize"
            )
        check(0 <= strength <= MAX_STRENGTH, "strength", f"from 0 (grey) to {MAX_STRENGTH:g}", strength)
        self.model, self.strength = model, strength
        self._objective = cast(Translator, model.objective)
        self.takes_hints = self._objective.hints
        self._channels = model.nominal_shape[0]
        self.side = _training_side(model)

    def __call__(self, image: Tensor, hints: Sequence[Hint] = ()) -> Tensor:
        """Return a colorized picture, uint8 (3, H, W), or (4, H, W) if the picture has an alpha channel.

        image: (C, H, W), see `pellucid.data.images.load_channels`. hints: colours at pixels of it.
        """
        lightness = lightness_of(image)
        return self.painted(image, lightness, self.ab(lightness[None], hints)[0])

    def ab(self, lightness: Tensor, hints: Sequence[Hint] = ()) -> Tensor:
        """Return the predicted a and b (N, 2, H, W), not multiplied by `strength`, for L (N, 1, H, W) from 0 to 100.

        Raises PellucidError for hints if the model takes none, and for outputs that are not finite.
        """
        if hints and not self.takes_hints:
            raise PellucidError("the model takes no hints; leave them out, or give a model that was trained with hints")
        size = (lightness.shape[2], lightness.shape[3])
        height, width = self._input_size(size)
        self.model.outputs_for_picture((self._channels, height, width))
        input_lightness = _resize(lightness, (height, width))
        grey = lab_to_rgb(F.pad(input_lightness, (0, 0, 0, 0, 0, 2)))[:, : self._channels].clamp(0, 1)
        input_hints = (
            hint_maps(hints, size, (height, width)).expand(len(grey), -1, -1, -1) if self.takes_hints else None
        )
        with torch.inference_mode():
            predicted = self._objective.predict(self.model.params, self.model.scaled(grey), input_hints).float().cpu()
        if not bool(predicted.isfinite().all()):
            raise PellucidError(f"{self.model.source or 'the model'}: an output is NaN or infinite; check the weights")
        return _resize(predicted, size)

    def as_input(self, image: Tensor) -> Tensor:
        """Return the network's input for a picture (C, H, W) uint8: float32, 0 to 1, resized."""
        size = (image.shape[1], image.shape[2])
        return _resize(float_images(image)[None], self._input_size(size))[0]

    def painted(self, image: Tensor, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return the picture with L (1, H, W), a and b (2, H, W) times `strength`, and the alpha channel of `image`."""
        painted_pixels = torch.empty(3, *lightness.shape[1:], dtype=torch.uint8)
        for rows in _row_bands(lightness.shape):
            painted_pixels[:, rows] = (
                (recolour(lightness[:, rows], ab[:, rows] * self.strength) * 255).round().to(torch.uint8)
            )
        return torch.cat((painted_pixels, image[-1:])) if len(image) in (2, 4) else painted_pixels

    def _input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the network's input for a picture."""
        factor = min(self.side / min(size), MAX_PROPORTION * self.side / max(size))
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


class ColourSmoothing:
    """Keeps a and b of the pixels of a video whose L is nearly constant.

    A pixel keeps its a and b while its L differs by at most 2, the noise of a camera, from the L at their last change.
    For a difference from 2 to 10, a and b are interpolated linearly between the old and the new values. If at least
    half of the pixels of a frame differ by 10 or more, as in a new scene, all pixels take the predicted values.
    """

    def __init__(self) -> None:
        self._previous: tuple[Tensor, Tensor] | None = None

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """Return the smoothed a and b (2, H, W) of the next frame, given its L (1, H, W) and the predicted a and b."""
        if self._previous is not None and self._previous[0].shape == lightness.shape:
            previous_lightness, previous_ab = self._previous
            weight = (
                ((lightness - previous_lightness).abs() - STATIC_DIFFERENCE)
                .div(MOVED_DIFFERENCE - STATIC_DIFFERENCE)
                .clamp(0, 1)
            )
            if float((weight == 1).float().mean()) < MIN_MOVED_FRACTION:
                lightness, ab = (
                    torch.where(weight > 0, lightness, previous_lightness),
                    torch.lerp(previous_ab, ab, weight),
                )
        self._previous = lightness, ab
        return ab


def _training_side(model: Model) -> int:
    """Return the shorter side of the training images: as recorded, of a known data set, or of the network's input."""
    name = data_name(model)
    known_shape = shape_of_table(Data(name)) if name else None
    size = model.preprocess.get("size") or (known_shape or model.nominal_shape)[1:]
    return min(size) if isinstance(size, list | tuple) else size


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (N, C, H, W) resized to (H, W), with antialiasing."""
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", antialias=True)


def lightness_of(image: Tensor) -> Tensor:
    """Return the L (1, H, W), 0 to 100, of a picture (C, H, W) with 1 to 4 channels; alpha is ignored."""
    colours = image[: 1 if len(image) < 3 else 3]
    lightness = torch.empty(1, *image.shape[1:])
    for rows in _row_bands(image.shape):
        lightness[:, rows] = rgb_to_lab(float_images(colours[:, rows]).expand(3, -1, -1))[:1]
    return lightness


def _row_bands(shape: Sequence[int]) -> Iterator[slice]:
    """Yield slices of rows of at most BAND_PIXELS pixels, or of one row."""
    step = max(1, BAND_PIXELS // max(1, shape[-1]))
    for start in range(0, shape[-2], step):
        yield slice(start, start + step)
