"""Annotated objects as masks of class indices, for networks that classify each pixel."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.detection import DetectionFolder
from pellucid.data.files import collate
from pellucid.data.mask_checks import VOID
from pellucid.data.source import Batch

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """The images of annotated objects, each with a mask of class indices, int64 (N, H, W) in batches.

    Class 0 is the background, which includes objects of a class with this name; the other classes of the objects follow
    in their order. Later objects cover earlier ones. ignored: the class that pads masks in a batch of different sizes,
    and that of pixels without a class, which is 255 by default.
    Raises PellucidError for an object without an outline.
    """

    source: DetectionFolder
    ignored: int | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for an object without an outline."""
        for record in self.source.records:
            if any(instance.outline is None for instance in record.instances):
                raise PellucidError(
                    f"{record.file} has an object without an outline in {record.image}; give each a polygon, or train "
                    "on boxes with `pellucid train detect`"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """The background and the classes of the objects."""
        return (BACKGROUND, *(name for name in self.source.classes or () if name != BACKGROUND))

    @property
    def checksum(self) -> str:
        """SHA-256 of the source's checksum and a suffix for masks."""
        return hashlib.sha256(f"{self.source.checksum} masks of classes".encode()).hexdigest()

    @property
    def sizes_vary(self) -> bool:
        """Whether images may have different sizes, because they are resized to a longest side."""
        return self.source.longest is not None

    @property
    def preprocess(self) -> dict[str, Any]:
        """The preprocessing entries of the source."""
        return self.source.preprocess

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def example(self, k: int) -> tuple[Tensor, Tensor]:
        """Return image k and its mask (H, W) of classes, int64."""
        image, objects = self.source.example(k)
        class_values = [self.classes.index(name) for name in self.source.classes or ()]
        mask = torch.zeros(image.shape[1:], dtype=torch.int64)
        # Without objects, the source has no masks.
        for label, object_mask in zip(
            objects.labels.tolist(), () if objects.masks is None else objects.masks, strict=False
        ):
            mask[object_mask] = class_values[label]
        void = self.source.records[k].void_mask((image.shape[1], image.shape[2]))
        mask[void] = VOID if self.ignored is None else self.ignored
        return image, mask

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices`; nothing is drawn from `rng`."""
        return collate([self.example(k) for k in indices], self.ignored)
