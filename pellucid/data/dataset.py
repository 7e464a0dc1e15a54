"""Labelled images in memory: the data set class, checks of arrays, and splits into training and test data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.settings.arguments import checked
from pellucid.base.settings.tensors import as_indices, as_tensor
from pellucid.base.text import aligned, plural, printable
from pellucid.data.seeds import mix
from pellucid.data.source import Arrays, Source

MAX_LISTED_CLASSES = 20  # classes in a table or an error message
MIN_IMAGE_SIDE = 24  # pixels; arrays with a smaller side may be feature maps
MIN_SQUARE_SIDE = 8  # pixels; smaller square arrays may be feature maps too


def float_images(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return x as `dtype`, float32 or float64: uint8 0..255 becomes 0..1, floats are only cast."""
    return x.to(dtype).div_(255) if x.dtype == torch.uint8 else x.to(dtype)


@dataclass(frozen=True, eq=False)
class Dataset(Arrays):
    """Images with their labels and the names of their classes.

    x: (N, C, H, W), uint8 0..255 if the input was uint8 (a quarter of the memory), else float32.
    y: (N,) int64, indices into `classes`. checksum: SHA-256 of the arrays, for the manifest of a run.
    skipped: names of unreadable files, omitted with on_error="skip".
    """

    classes: tuple[str, ...] = ()
    name: str = ""
    skipped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return name, number of images, image shape and number of classes, on one line."""
        shape_text, class_count_text = (
            " x ".join(map(str, self.x.shape[1:])),
            plural(len(self.classes), "class", "classes"),
        )
        return printable(
            f"<Dataset {self.name!r:.60}: {plural(len(self), 'image')} of {shape_text}, {class_count_text}>"
        )

    def __str__(self) -> str:
        """Return a table of the classes and their image counts."""
        return f"{self!r}\n{aligned(self._table_rows(), right=(1,))}"

    def _repr_html_(self) -> str:
        """Return the table of classes as HTML for notebooks."""
        from pellucid.report.page import table_html

        return table_html(repr(self).strip("<>"), self._table_rows(), right=(1,))

    def _table_rows(self) -> list[tuple[str, str]]:
        counts = torch.bincount(self.y.flatten(), minlength=len(self.classes))[: len(self.classes)].tolist()
        rows = [(name[:60], f"{count:,}") for name, count in zip(self.classes, counts, strict=True)]
        remaining_row = (
            [(f"... {len(rows) - MAX_LISTED_CLASSES:,} more", f"{sum(counts[MAX_LISTED_CLASSES:]):,}")]
            if len(rows) > MAX_LISTED_CLASSES
            else []
        )
        return [("class", "images" if self.y.dim() == 1 else "pixels"), *rows[:MAX_LISTED_CLASSES], *remaining_row]

    @classmethod
    @checked
    def from_arrays(cls, x: Any, y: Any, classes: Sequence[str] | None = None, name: str = "arrays") -> "Dataset":
        """Copy arrays (numpy or tensors) into a data set.

        x: (N, C, H, W), (N, H, W), or (N, D), which becomes (N, D, 1, 1); uint8 or finite floats.
        y: (N,) integers from 0, or class names. classes: names of the classes, by default "0", "1", ..., or the sorted
        names in y.
        Raises PellucidError for any other shape, dtype or value.
        """
        text_labels = named_labels(y, classes, "y", infer_classes=True)
        if text_labels is not None:
            y, classes = text_labels
        x = as_tensor(x, "x").clone()
        y = as_tensor(y, "y").clone()
        if x.dtype != torch.uint8 and not x.is_floating_point():
            raise PellucidError(f"x is {_dtype_name(x)}; give images as uint8 (0..255) or floats (0..1)")
        if y.is_floating_point() or y.is_complex():
            raise PellucidError(f"y is {_dtype_name(y)}; give labels as integers from 0")
        if x.ndim == 3:
            x = x[:, None]
        elif x.ndim == 2:
            x = x[:, :, None, None]
        if x.dtype == torch.uint8 or x.shape[3] > 1:  # floats (N, C, L, 1) may be sequences
            check_channels_first(x.shape[1:], "x", x.dtype == torch.uint8)
        if x.is_floating_point():
            x = x.to(torch.float32)
        y = y.to(torch.int64)
        if classes is None:
            classes = [str(k) for k in range(int(y.max()) + 1)] if y.numel() else []
        return make_dataset(name, x.contiguous(), y, classes)

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """Return the examples at `indices`, in that order; raise PellucidError for none and for one out of range."""
        i = as_indices(indices, len(self), f"subset of {self.name}")
        if not len(i):
            raise PellucidError(f"subset of {self.name}: no indices; give at least one")
        x, y = self.x.index_select(0, i), self.y.index_select(0, i)
        return replace(self, x=x, y=y, checksum=arrays_checksum(x, y))

    def evenly(self, most: int) -> Self:
        """Return at most `most` examples at evenly spaced indices, because data may be sorted by class."""
        n_selected = min(most, len(self))
        return self.subset(torch.arange(n_selected) * len(self) // n_selected)

    def split(self, fraction: float, seed: int = 0) -> "Splits[Self]":
        """Split into train and test, with `fraction` of every class in test; the seed determines the split.

        See `split_by_class`. For images with a class for each pixel, `fraction` of all images are test images. Both
        parts keep the original order.
        """
        if self.y.dim() == 1:
            train_indices, test_indices = split_by_class(self.y, fraction, seed, self.name)
        else:
            train_indices, test_indices = split_images(len(self), fraction, seed, self.name)
        return Splits(train=self.subset(train_indices), test=self.subset(test_indices))


S_co = TypeVar("S_co", bound=Source, covariant=True)


@dataclass(frozen=True, eq=False)
class Splits(Generic[S_co]):
    """A training part and a held-out part with the same classes: data sets in memory, or sources."""

    train: S_co
    test: S_co


def split_by_class(labels: Tensor, fraction: float, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Return the sorted indices of the training examples and of the test examples.

    The n examples of a class are ordered by `mix(seed, index)`; the first round(fraction * n) become test data, but
    each part has at least one example of every class with two or more. name: of the data, for messages. Raises
    PellucidError unless 0 < fraction < 1 and both parts have examples.
    """
    if not 0 < fraction < 1:
        raise PellucidError(f"split of {name}: fraction is {fraction}; give a number between 0 and 1")
    test_indices: list[int] = []
    for label in range(int(labels.max()) + 1):
        class_indices: list[int] = torch.nonzero(labels == label).flatten().tolist()
        class_indices.sort(key=lambda i: mix(seed, i))
        n_test = int(len(class_indices) * fraction + 0.5)
        test_indices += class_indices[: min(max(n_test, 1), len(class_indices) - 1)] if len(class_indices) > 1 else []
    if not test_indices:
        raise PellucidError(f"{name} cannot be split: no class has two examples; add examples")
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[test_indices] = True
    return torch.nonzero(~is_test).flatten(), torch.nonzero(is_test).flatten()


def split_images(n_images: int, fraction: float, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Return the sorted indices of the training images and of the test images, which are drawn by `seed`."""
    n_test = round(n_images * fraction)
    if not 0 < n_test < n_images:
        raise PellucidError(
            f"split of {name}: {fraction} of {plural(n_images, 'image')} leaves a part empty; change the fraction"
        )
    order = torch.tensor(sorted(range(n_images), key=lambda i: mix(seed, i)))
    return order[n_test:].sort().values, order[:n_test].sort().values


def make_dataset(name: str, x: Tensor, y: Tensor, classes: Sequence[str], skipped: tuple[str, ...] = ()) -> Dataset:
    """Return checked arrays as a data set with their checksum, without a copy.

    Raises PellucidError for empty arrays, different lengths, values that are not finite, and labels out of range.
    """
    if x.ndim != 4:
        raise PellucidError(f"{name}: x has shape {tuple(x.shape)}; give images as (N, C, H, W)")
    if y.ndim != 1:
        raise PellucidError(f"{name}: y has shape {tuple(y.shape)}; give one label per image, as (N,)")
    if len(x) != len(y):
        raise PellucidError(f"{name}: x has {len(x)} images but y has {len(y)} labels; give one label per image")
    if x.numel() == 0:
        raise PellucidError(f"{name}: x has shape {tuple(x.shape)}, which has no values; give at least one image")
    if x.is_floating_point() and not bool(torch.isfinite(x).all()):
        first_invalid = int(torch.nonzero(~torch.isfinite(x).flatten(1).all(dim=1))[0])
        raise PellucidError(f"{name}: image {first_invalid} contains NaN or infinity; clean the values first")
    if int(y.min()) < 0 or int(y.max()) >= len(classes):
        raise PellucidError(
            f"{name}: labels span {int(y.min())}..{int(y.max())} but there are {len(classes)} classes; "
            f"labels must be 0..{len(classes) - 1}"
        )
    return Dataset(x, y, tuple(classes), checksum=arrays_checksum(x, y), name=name, skipped=skipped)


def named_labels(
    y: Any, classes: Sequence[str] | None, array_name: str, infer_classes: bool = False
) -> tuple[Tensor, tuple[str, ...]] | None:
    """Return text labels as (indices (N,) int64, class names), or None for labels that are not text.

    array_name: of the labels, in messages. infer_classes: whether `classes=None` means the sorted distinct labels; if
    False, `classes` is required, since a part of the data may lack some classes, which would shift the indices. Raises
    PellucidError for a name that is not in `classes`, for a mixture of text and other types, and for missing `classes`.
    """
    array = None if isinstance(y, Tensor) else _as_array(y)
    if array is None or array.dtype.kind not in "SUO" or not array.size:
        return None
    if array.dtype == object and not any(isinstance(value, str) for value in array.flat):
        return None  # Python objects without text, such as whole numbers
    values: list[Any] = array.tolist() if isinstance(y, np.ndarray) or array.ndim != 1 else list(y)
    not_text = [value for value in values if not isinstance(value, str)]
    if array.ndim != 1 or not_text:
        description = f"shape {array.shape}" if array.ndim != 1 else f"{not_text[0]!r:.40}"
        raise PellucidError(
            f"{array_name} contains {description}; give one class name for each example, or integers from 0"
        )
    if classes is None and not infer_classes:
        raise PellucidError(
            f"{array_name} are class names such as {values[0]!r:.60}, but the model has no class names; "
            "give integers from 0, or the names to the model: Model(net, classes=[...])"
        )
    names = tuple(sorted(set(values))) if classes is None else tuple(classes)
    index_by_name = {name: k for k, name in enumerate(names)}
    unknown = next((value for value in values if value not in index_by_name), None)
    if unknown is not None:
        hint = nearest(unknown, names) or f"; known: {', '.join(names[:MAX_LISTED_CLASSES])}"
        raise PellucidError(f"{array_name} contains the unknown class {unknown!r:.60}{hint:.400}")
    return torch.tensor([index_by_name[value] for value in values]), names


def check_channels_first(shape: Sequence[int], array_name: str, is_uint8: bool = False) -> None:
    """Raise PellucidError for a shape that is clearly (H, W, C), an image with 1, 3 or 4 channels in the last axis.

    A shape is clearly (H, W, C) in three cases. Both sides have at least MIN_IMAGE_SIDE pixels, and one is at most 4
    times the other (equal to it for one channel). Both sides have at least MIN_SQUARE_SIDE pixels, and they are equal
    with 3 or 4 channels. Both sides have at least MIN_SQUARE_SIDE pixels, `is_uint8` is True (only images are uint8),
    and one is at most 5/4 of the other. Other shapes, such as (8, 32, 1) and (16, 8, 4), may be feature maps or
    sequences and are accepted. array_name: in messages.
    """
    if len(shape) != 3 or shape[2] not in (1, 3, 4):
        return
    shorter_side, longer_side = sorted(shape[:2])
    is_large = shorter_side >= MIN_IMAGE_SIDE and longer_side <= (1 if shape[2] == 1 else 4) * shorter_side
    is_square = (shorter_side == longer_side and shape[2] != 1) or (is_uint8 and 4 * longer_side <= 5 * shorter_side)
    if is_large or (shorter_side >= MIN_SQUARE_SIDE and is_square):
        raise PellucidError(
            f"{array_name}: {tuple(shape)} is channels last (H, W, C); give channels first (C, H, W): "
            "x.transpose(0, 3, 1, 2) of an array, x.permute(0, 3, 1, 2) of a tensor"
        )


def _as_array(values: Any) -> Any:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):  # lists of different lengths; `as_tensor` reports them
        return None


def arrays_checksum(x: Tensor, y: Tensor) -> str:
    """Return the SHA-256 of images and labels."""
    digest = hashlib.sha256(f"{_dtype_name(x)}{tuple(x.shape)}".encode())
    for array in (x, y):
        digest.update(array.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _dtype_name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
