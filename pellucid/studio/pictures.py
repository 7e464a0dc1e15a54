"""Pictures to choose on a page: bundled ones, drawn or from scikit-learn, and uploads, kept only in memory."""

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from itertools import count
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_known
from pellucid.data.digits import bundled_digits
from pellucid.data.images import channels_first, load_image, read_full_size, resized
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.files import SAMPLES
from pellucid.data.samples.portraits import face, hand
from pellucid.data.samples.scenes import people, street

MAX_UPLOADS = 24  # uploads in memory
MAX_UPLOAD_SIDE = 640  # pixels; larger uploads are reduced
DIGIT_SIDE = 112  # of a digit, and of the canvas of the view Draw, in pixels
DIGIT_MARGIN = 2  # pixels around the 8 x 8 pixels of a digit
PER_FAMILY = 9  # pictures of each kind


class Uploads:
    """The latest pictures that were sent to the server, by id: u1, u2 ..."""

    def __init__(self) -> None:
        self._pictures = OrderedDict[str, tuple[Tensor, str]]()  # with their names
        self._lock, self._numbers = Lock(), count(1)

    def add(self, data: bytes, file: str = "") -> tuple[str, str]:
        """Keep a picture; return its id, and a line about the picture that it replaces, "" if none.

        file: the name of its file. Raises PellucidError for bytes that are not a picture.
        """
        image = load_image(read_full_size(data, "the picture"), "the picture")
        height, width = image.shape[1:]
        if (longest := max(height, width)) > MAX_UPLOAD_SIDE:
            image = resized(
                image, (max(1, height * MAX_UPLOAD_SIDE // longest), max(1, width * MAX_UPLOAD_SIDE // longest))
            )
        with self._lock:
            number, line = next(self._numbers), ""
            self._pictures[f"u{number}"] = image, file or f"upload {number}"
            if len(self._pictures) > MAX_UPLOADS:
                _, (_, dropped) = self._pictures.popitem(last=False)
                line = f"{dropped} was dropped: the studio keeps {MAX_UPLOADS} uploads"
        return f"u{number}", line

    def __getitem__(self, name: str) -> Tensor:
        """Return a picture (3, H, W) uint8; raises PellucidError for an unknown id."""
        with self._lock:
            if name not in self._pictures:
                raise PellucidError(f"no upload {name[:20]!r}: it was dropped, or the studio was started again")
            return self._pictures[name][0]

    def names(self) -> dict[str, str]:
        """Return the names of all pictures by their ids, the oldest first."""
        with self._lock:
            return {upload: name for upload, (_, name) in self._pictures.items()}


@cache
def _digits() -> tuple[Any, Any]:
    images, classes = bundled_digits()
    return (images * 255 / 16).round().astype(np.uint8), classes


def _digit(number: int) -> Any:
    images, targets = _digits()
    digit = torch.from_numpy(images[targets == number % 10][40 + number // 10] / 255)
    return np.repeat(enlarged(digit).numpy()[..., None], 3, 2)


def enlarged(digit: Tensor) -> Tensor:
    """Return a digit (8, 8), 0..1, as ink (DIGIT_SIDE, DIGIT_SIDE) uint8.

    Without a margin, ink at the border would be taken for a background that is unlike the training data.
    """
    padded = F.pad(digit, (DIGIT_MARGIN,) * 4)[None, None]
    ink = F.interpolate(padded, (DIGIT_SIDE, DIGIT_SIDE), mode="bicubic").clamp(0, 1)
    return (ink[0, 0] * 255).round().to(torch.uint8)


def _photo(number: int) -> Any:
    from sklearn.datasets import load_sample_images

    return load_sample_images()["images"][number]


# The kinds of pictures: their number, and the function that returns the picture of an index.
FAMILIES: dict[str, tuple[int, Callable[[int], Any]]] = {
    "digit": (30, _digit),
    "photo": (2, _photo),
    "cells": (PER_FAMILY, lambda number: blood_smear(number)[0]),
    "people": (PER_FAMILY, lambda number: people(number + 1)[0]),
    "street": (PER_FAMILY, lambda number: street(number)[0]),
    "face": (PER_FAMILY, lambda number: face(number)[0]),
    "hand": (PER_FAMILY, hand),
}


def sample_names() -> dict[str, tuple[str, ...]]:
    """Return the names of the bundled pictures, such as "cells 1", by kind."""
    return {family: tuple(f"{family} {k}" for k in range(number)) for family, (number, _) in FAMILIES.items()}


@cache
def sample(name: str) -> Tensor:
    """Return a bundled picture (3, H, W) uint8 by its name."""
    check_known("no sample", name, [name for names in sample_names().values() for name in names])
    family, _, number = name.partition(" ")
    return channels_first(np.array(FAMILIES[family][1](int(number))))


def family_for(model: str, channels: Any) -> str:
    """Return the kind of samples for a model; for a shipped model, that of the sample whose command names it."""
    sample_names_ = [sample.name.partition(".")[0] for sample in SAMPLES if f" {model} " in f"{sample.command} "]
    families = [sample for sample in sample_names_ if sample in FAMILIES]
    return families[0] if families else "digit" if channels == 1 and "flower" not in sample_names_ else "photo"


def as_bytes(picture: Tensor) -> Tensor:
    """Return a picture (C, H, W), 0 to 1, as uint8 (3, H, W)."""
    return (picture * 255).round().clamp(0, 255).to(torch.uint8)[:3].expand(3, -1, -1).contiguous()
