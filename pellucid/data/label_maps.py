"""Label maps as images and photos as targets, for networks that generate photos from label maps."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.source import Batch, Source


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """The examples of a source of masks with images and targets exchanged.

    Images are label maps (N, K + 1, H, W) uint8: 255 in the channel of each pixel's class; the last channel is for
    pixels of none of the K classes. Targets are the photos (N, C, H, W) float32, 0 to 1.
    """

    source: Source
    labels: tuple[str, ...]
    classes: tuple[str, ...] | None = None

    @classmethod
    def from_source(cls, source: Source, name: str) -> "LabelMaps":
        """Return the exchanged examples of a source; raise PellucidError, which contains `name`, if it has no masks."""
        masks = source.batch([0], torch.Generator()).targets
        if source.classes is None or not isinstance(masks, Tensor) or masks.dim() != 3:
            raise PellucidError(f"{name} has no masks to generate photos from; give data with a mask for each image")
        return cls(source, tuple(source.classes))

    @property
    def checksum(self) -> str:
        """SHA-256 of the source's checksum and a suffix for label maps."""
        return hashlib.sha256(f"{self.source.checksum} maps of labels".encode()).hexdigest()

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the label maps and the photos at `indices`."""
        photos, masks = self.source.batch(indices, rng)
        photos = photos.float() / 255 if photos.dtype is torch.uint8 else photos
        return Batch(label_channels(masks, len(self.labels)), photos)


def label_channels(masks: Tensor, count: int) -> Tensor:
    """Return masks (N, H, W) of classes as images (N, count + 1, H, W) uint8, 255 in the channel of each class.

    Values outside 0..count - 1 set the last channel.
    """
    labels = masks.long()
    labels = torch.where((labels >= 0) & (labels < count), labels, count)
    return 255 * (labels[:, None] == torch.arange(count + 1, device=labels.device)[:, None, None]).to(torch.uint8)
