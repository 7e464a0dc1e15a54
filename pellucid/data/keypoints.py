"""Key-points as tensors: the targets of a source whose examples are objects, as whole images or as square crops."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_once, plural
from pellucid.data.annotations.base import BoxCorners, ImageRecord, Instance
from pellucid.data.augment.targets import Pairs
from pellucid.data.detection import DetectionFolder, has_labelled_point
from pellucid.data.files import resized_size
from pellucid.data.images import resized
from pellucid.data.source import Batch

# The side of a crop relative to the longer side of its box, as in the top-down networks of Xiao et al. 2018.
CROP_FACTOR = 1.25


@dataclass(frozen=True)
class InputFrame:
    """The position of a picture in the input of a network: the picture is padded or cropped, then scaled.

    left, top: the padding in pixels of the picture, negative for a crop. scale: the factors of x and y.
    """

    left: float
    top: float
    scale: tuple[float, float]

    def to_input(self, points: Tensor) -> Tensor:
        """Convert key-points (K, 3) from pixels of the picture to pixels of the input; 0 for unlabelled ones."""
        x, y, visibility = points.unbind(-1)
        input_points = torch.stack(((x + self.left) * self.scale[0], (y + self.top) * self.scale[1], visibility), -1)
        return torch.where(points[..., 2:] > 0, input_points, 0.0)

    def to_picture(self, points: Tensor) -> Tensor:
        """Convert key-points (K, 3) from pixels of the input to pixels of the picture."""
        x, y, score = points.unbind(-1)
        return torch.stack((x / self.scale[0] - self.left, y / self.scale[1] - self.top, score), -1)


@dataclass(frozen=True)
class CropSquare:
    """A square of a picture, which may extend beyond it; in pixels."""

    left: int
    top: int
    side: int

    def cut_out(self, image: Tensor) -> Tensor:
        """Return the pixels (C, side, side) of an image (C, H, W); those of its border are repeated outside it."""
        rows = (torch.arange(self.side) + self.top).clamp(0, image.shape[1] - 1)
        columns = (torch.arange(self.side) + self.left).clamp(0, image.shape[2] - 1)
        return image[:, rows][:, :, columns]

    def frame(self, size: tuple[int, int]) -> InputFrame:
        """Return the position of the picture in this window after it is resized to `size` (H, W)."""
        return InputFrame(-self.left, -self.top, (size[1] / self.side, size[0] / self.side))


def square_around(box: BoxCorners) -> CropSquare:
    """Return the square with the centre of a box whose side is CROP_FACTOR times the longer side of the box."""
    x0, y0, x1, y1 = box
    side = max(1, math.ceil(CROP_FACTOR * max(x1 - x0, y1 - y0)))
    return CropSquare(round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side)


@dataclass(frozen=True, eq=False)
class KeypointSource:
    """Objects whose key-points (K, 3) are the targets: x and y in pixels, and COCO's visibility.

    If an image of the training part has several objects with labelled key-points, each is an example: the square around
    its box is cropped. Otherwise each image is an example, with one object, labelled or not. crops: replaces this
    choice. Images without such objects are left out, with a note. If the source resizes its images to a longest side,
    examples are squares of this side; whole images are padded to squares with the pixels of their borders.

    Raises PellucidError for annotations without key-points and, without crops, for an image with several objects.
    """

    source: DetectionFolder
    classes: tuple[str, ...] | None = None
    crops: bool | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for annotations without key-points, and for several objects in an image that is whole."""
        path = self.source.tree.path
        if not self.source.keypoints:
            raise PellucidError(f"{path}: the annotations have no key-points; give data with key-points")
        if not any(has_labelled_point(self.object_at(k)[1]) for k in range(len(self))):
            raise PellucidError(f"{path}: no object has labelled key-points; label some")
        if n_left_out := len({*range(len(self.source))} - {k for k, _ in self.objects}):
            note_once(f"{path}: {plural(n_left_out, 'image')} without labelled key-points left out")

    @property
    def is_cropped(self) -> bool:
        """Whether the examples are crops."""
        return self.source.has_several if self.crops is None else self.crops

    @cached_property
    def objects(self) -> tuple[tuple[int, int], ...]:
        """The index of the image of each example, and the index of the object among the objects of the image."""
        examples: list[tuple[int, int]] = []
        for k, record in enumerate(self.source.records):
            indices = [j for j, instance in enumerate(record.instances) if has_labelled_point(instance)]
            if not self.is_cropped:
                if len(indices) > 1:
                    raise PellucidError(
                        f"{self.source.tree.where(record.image)} has {len(indices)} objects, but the images to train "
                        "on have one each; crop it, or add training images with several objects"
                    )
                unlabelled = [j for j, instance in enumerate(record.instances) if not instance.crowd]
                indices = indices or unlabelled[:1]  # metrics leave it out, and say so
            examples += [(k, j) for j in indices]
        return tuple(examples)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the key-points."""
        return self.source.keypoints

    @property
    def kind(self) -> str:
        """The class of the objects, such as "face"; "object" if there are several classes."""
        labels = {self.object_at(k)[1].label for k in range(len(self))}
        return (self.source.classes or ())[labels.pop()] if len(labels) == 1 else "object"

    @property
    def swaps(self) -> Pairs | None:
        """The pairs of key-points that mirroring exchanges."""
        return self.source.swaps

    @property
    def preprocess(self) -> dict[str, Any]:
        """The kind of the objects, the names of their key-points, and "crops" for crops."""
        entries: dict[str, Any] = {"of": self.kind, "names": [*self.names]}
        if self.is_cropped:
            entries["crops"] = True
        return {"keypoints": entries}

    @property
    def checksum(self) -> str:
        """SHA-256 of the source's checksum and a suffix for key-points."""
        suffix = "key-points of crops" if self.is_cropped else "key-points"
        return hashlib.sha256(f"{self.source.checksum} {suffix}".encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.objects)

    def object_at(self, k: int) -> tuple[ImageRecord, Instance]:
        """Return the annotations of the image of example k, and its object."""
        image, index = self.objects[k]
        record = self.source.records[image]
        return record, record.instances[index]

    def frame(self, k: int) -> InputFrame:
        """Return the position of the image file in the picture of example k."""
        if self.is_cropped:
            window, size = self._crop(k)
            return window.frame(size)
        image = self.objects[k][0]
        height, width = self.source.size_of(image)
        record = self.source.records[image]
        scale = (width / record.size[1], height / record.size[0])
        side = self.source.longest
        if side is None:
            return InputFrame(0, 0, scale)
        return InputFrame((side - width) // 2 / scale[0], (side - height) // 2 / scale[1], scale)

    def points(self, k: int) -> Tensor:
        """Return the key-points (K, 3) of example k in pixels of its picture."""
        _, instance = self.object_at(k)
        return self.frame(k).to_input(instance.keypoints(len(self.names)))

    def example(self, k: int) -> tuple[Tensor, Tensor]:
        """Return the picture (C, H, W) of example k, and its key-points (K, 3) in pixels of this picture."""
        record, _ = self.object_at(k)
        if self.is_cropped:
            window, size = self._crop(k)
            return resized(window.cut_out(self.source.image_of(record)), size), self.points(k)
        image = resized(self.source.image_of(record), self.source.size_of(self.objects[k][0]))
        side = self.source.longest
        if side is not None and image.shape[1:] != (side, side):
            top, left = (side - image.shape[1]) // 2, (side - image.shape[2]) // 2
            margins = (left, side - image.shape[2] - left, top, side - image.shape[1] - top)
            image = pad(image[None].float(), margins, mode="replicate")[0].to(torch.uint8)
        return image, self.points(k)

    def _crop(self, k: int) -> tuple[CropSquare, tuple[int, int]]:
        """Return the window of example k, and the size (H, W) to which it is resized."""
        window = square_around(self.object_at(k)[1].box)
        size = self.source.size if self.source.longest is None else self.source.longest
        return window, resized_size((window.side, window.side), size)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices`: images (N, C, H, W) and key-points (N, K, 3)."""
        images, points = zip(*map(self.example, indices), strict=True)
        if len({image.shape for image in images}) > 1:
            raise PellucidError(f"{self.source.tree.path}: the pictures differ in size; give a size, as data.size=128")
        return Batch(torch.stack(images), torch.stack(points))
