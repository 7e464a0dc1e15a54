"""The pictures that users give to `Model.predict`: paths, or pictures in memory."""

from collections.abc import Generator
from contextlib import closing
from functools import partial
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import note, shown
from pellucid.predictor import Picture, PredictionList, Predictor, paths, pictures_of, valid_predictions

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.task.base import Task

MAX_INPUTS = 256  # pictures that are in memory at once


def are_pictures(x: Any) -> bool:
    """Return whether `given_pictures` accepts x: paths, or Pillow images and arrays (H, W, 3) of uint8.

    Raises PellucidError for a list of pictures and other objects.
    """
    if paths(x) is not None:
        return True
    items = _as_list(x)
    are_in_memory = [_is_pillow(item) or _is_array(item) for item in items]
    if all(are_in_memory):
        return True
    others = [item for item, is_picture in zip(items, are_in_memory, strict=True) if not is_picture]
    if any(are_in_memory) or any(isinstance(item, (str, PathLike)) for item in items):
        other = next((item for item in others if not isinstance(item, (str, PathLike))), others[0])
        is_array = hasattr(other, "shape") and hasattr(other, "dtype")
        description = f"an array {tuple(other.shape)} of {other.dtype}" if is_array else shown(other)
        raise PellucidError(
            f"a list of pictures also contains {description}; give only paths, or only Pillow images and "
            "arrays (H, W, 3) of uint8"
        )
    return False


def given_pictures(x: Any, predictor: Predictor) -> Generator[Picture, None, None]:
    """Yield the pictures in x, an argument of `Model.predict`, which are read by the predictor."""
    if (source := paths(x)) is not None:
        yield from pictures_of(source, predictor)
        return
    for k, image in enumerate(_as_list(x)):
        name = f"picture {k}"
        yield Picture(str(k), name, partial(_read_in_memory, image, name, predictor))


def inputs_of_pictures(model: Any, task: "Task", x: Any) -> "Tensor":
    """Return pictures x, see `are_pictures`, as inputs (N, C, H, W) of a model from 0 to 1, resized as for `predict`.

    Raises PellucidError for more than MAX_INPUTS pictures, for different sizes, and for a file that cannot be read.
    """
    import torch

    with closing(given_pictures(x, task.predictor(model))) as read_pictures:
        inputs = [task.resize_to_input(model, picture.read()) for picture in islice(read_pictures, MAX_INPUTS + 1)]
    if len(inputs) > MAX_INPUTS:
        raise PellucidError(f"x has more than {MAX_INPUTS} pictures; give fewer at a time, or use `pellucid explain`")
    if len({image.shape for image in inputs}) > 1:
        raise PellucidError(
            "x has pictures of different sizes, which the network takes as they are; give one at a time"
        )
    return torch.stack(inputs)


def _read_in_memory(image: Any, name: str, predictor: Predictor) -> "Tensor":
    """Return a Pillow image, converted as if it were read from a file, or an array (H, W, 3) for a predictor."""
    import numpy as np

    from pellucid.data.images import channels_first, pillow_pixels

    pixels = pillow_pixels(image, name) if _is_pillow(image) else np.asarray(image)
    if 0 in pixels.shape:
        raise PellucidError(f"{name} has no pixels: its shape is {tuple(pixels.shape)}; leave it out")
    return predictor.frame(channels_first(pixels))


def _as_list(x: Any) -> list[Any]:
    return list(x) if isinstance(x, (list, tuple)) and x else [x]


def _is_pillow(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "PIL"


def _is_array(value: Any) -> bool:
    return str(getattr(value, "dtype", "")) == "uint8" and value.ndim == 3 and value.shape[2] == 3


def predict_pictures(predictor: Predictor, x: Any) -> PredictionList:
    """Return the predictions for pictures x, see `are_pictures`.

    The reasons for skipped pictures are printed on stderr. If there is no prediction, the first error is raised.
    """
    faults: dict[str, str] = {}
    predictions = PredictionList(valid_predictions(predictor, given_pictures(x, predictor), faults, str(paths(x))))
    if faults and not predictions:
        raise PellucidError(next(iter(faults.values())))
    for message in dict.fromkeys(faults.values()):
        note(message)
    predictions.skipped = faults
    return predictions
