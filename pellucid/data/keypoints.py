"""Key-points as tensors: the targets of a source with one object in each image."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from pellucid.base.errors import PellucidError
from pellucid.data.augment.targets import Pairs
from pellucid.data.detection import DetectionFolder
from pellucid.data.source import Batch


@dataclass(frozen=True, eq=False)
class KeypointSource:
    """Images with one object each, whose key-points (K, 3) are the targets: x and y in pixels, and COCO's visibility.

    If the source resizes its images to a longest side, they are padded to squares with the pixels of their borders.

    Raises PellucidError for annotations without key-points, and, naming the file, for an image without exactly one
    object.
    """

    source: DetectionFolder
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for annotations without key-points, and for an image without exactly one object."""
        path = self.source.tree.path
        if not self.source.keypoints:
            raise PellucidError(f"{path}: the annotations have no key-points; give data with key-points")
        for record in self.source.records:
            if len(record.instances) != 1:
                raise PellucidError(
                    f"{self.source.tree.where(record.image)} has {len(record.instances)} objects; key-points are "
                    "learned from images with one object each, so crop each image to one"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the key-points."""
        return self.source.keypoints

    @property
    def kind(self) -> str:
        """The class of the objects, such as "face"; "object" if there are several classes."""
        classes = self.source.classes or ()
        return classes[0] if len(classes) == 1 else "object"

    @property
    def swaps(self) -> Pairs | None:
        """The pairs of key-points that mirroring exchanges."""
        return self.source.swaps

    @property
    def preprocess(self) -> dict[str, Any]:
        """The kind of the objects, and the names of their key-points."""
        return {"keypoints": {"of": self.kind, "names": [*self.names]}}

    @property
    def checksum(self) -> str:
        """SHA-256 of the source's checksum and a suffix for key-points."""
        return hashlib.sha256(f"{self.source.checksum} key-points".encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def example(self, k: int) -> tuple[Tensor, Tensor]:
        """Return image k (C, H, W), and its key-points (K, 3) in pixels of this image."""
        image, objects = self.source.example(k)
        assert objects.keypoints is not None
        points, side = objects.keypoints[0], self.source.longest
        if side is None or image.shape[1:] == (side, side):
            return image, points
        top, left = (side - image.shape[1]) // 2, (side - image.shape[2]) // 2
        margins = (left, side - image.shape[2] - left, top, side - image.shape[1] - top)
        square = pad(image[None].float(), margins, mode="replicate")[0].to(torch.uint8)
        return square, points + torch.tensor([left, top, 0])

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices`: images (N, C, H, W) and key-points (N, K, 3)."""
        images, points = zip(*map(self.example, indices), strict=True)
        return Batch(torch.stack(images), torch.stack(points))
