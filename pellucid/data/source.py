"""Sources of examples: objects with a length that return batches of examples."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.extend.user_defined import attempt


class Batch(NamedTuple):
    """Images (N, C, H, W), or other inputs (N, ...), and their targets.

    targets: a tensor (N, ...) of classes, values, masks or images, or a list with one entry per image, such as its
    Objects.
    """

    images: Tensor
    targets: Any
    __repr__ = brief_repr


@runtime_checkable
class Source(Protocol):
    """Examples by index: arrays in memory, image files decoded on demand, or a user-defined source.

    classes: class names, None if targets are not classes. checksum: changes when the examples do; it is compared when
    training is resumed. A source may also have `preprocess` and `swaps`, see `preprocess_of` and `swaps_of`.
    """

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the classes."""
        ...

    @property
    def checksum(self) -> str:
        """A string that changes when the examples do."""
        ...

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices`, in that order; several threads may call it simultaneously.

        Images are uint8 (0..255, scaled to 0..1 later) or floats. rng: for random draws of the source itself; its seed
        depends only on the training's seed, the epoch, the batch and the rank.
        """
        ...


@dataclass(frozen=True, eq=False)
class Arrays:
    """Examples in memory. x: (N, ...), uint8 (0..255, scaled to 0..1 later) or floats; y: (N, ...), classes or floats.

    classes: class names, None if targets are not classes or have no names. checksum: SHA-256 of the arrays.
    Raises PellucidError if x and y differ in length.
    """

    x: Tensor
    y: Tensor
    classes: tuple[str, ...] | None = None
    checksum: str = ""
    __repr__ = brief_repr

    def __post_init__(self) -> None:
        """Raise PellucidError for different lengths."""
        if len(self.x) != len(self.y):
            raise PellucidError(f"{len(self.x)} images but {len(self.y)} labels; give one label per image")

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.x)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return copies of the examples at `indices`; nothing is drawn from `rng`."""
        rows = torch.as_tensor(indices, dtype=torch.int64, device=self.x.device)
        return Batch(self.x.index_select(0, rows), self.y.index_select(0, rows))


@dataclass(frozen=True, eq=False)
class Subset:
    """The examples of a source at `indices`, a tensor (n,) int64 of indices into the source."""

    source: Source
    indices: Tensor
    __repr__ = brief_repr

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the source's classes."""
        return self.source.classes

    @property
    def checksum(self) -> str:
        """SHA-256 of the source's checksum and the indices."""
        return hashlib.sha256(self.source.checksum.encode() + self.indices.numpy().tobytes()).hexdigest()

    @property
    def preprocess(self) -> dict[str, Any]:
        """The preprocessing entries of the source."""
        return preprocess_of(self.source)

    @property
    def sizes_vary(self) -> bool:
        """Whether the source's images may have different sizes."""
        return sizes_vary(self.source)

    def __len__(self) -> int:
        """Return the number of indices."""
        return len(self.indices)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the examples at `indices` of this subset."""
        return batch_of(self.source, self.indices[torch.as_tensor(indices)].tolist(), rng)


def preprocess_of(source: Source) -> dict[str, Any]:
    """Return the entries that a source adds to the preprocessing of a model that is trained on it."""
    return dict(getattr(source, "preprocess", {}))


def sizes_vary(source: Source) -> bool:
    """Return whether the images of a source may have different sizes, which requires a network for any size."""
    return bool(getattr(source, "sizes_vary", False))


def swaps_of(source: Source) -> Any:
    """Return the pairs of targets that mirroring exchanges, such as left and right key-points; None without pairs."""
    return getattr(source, "swaps", None)


def batch_of(source: Source, indices: Sequence[int], rng: torch.Generator) -> Any:
    """Return `source.batch(indices, rng)`; errors of a user-defined source become PellucidError naming its class."""
    if type(source).__module__.startswith("pellucid."):
        return source.batch(indices, rng)
    return attempt(f"{type(source).__name__}.batch", source.batch, indices, rng)


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


def label_channels(masks: Tensor, n_classes: int) -> Tensor:
    """Return masks (N, H, W) of classes as images (N, n_classes + 1, H, W) uint8, 255 in the channel of each class.

    Values outside 0..n_classes - 1 set the last channel.
    """
    labels = masks.long()
    labels = torch.where((labels >= 0) & (labels < n_classes), labels, n_classes)
    return 255 * (labels[:, None] == torch.arange(n_classes + 1, device=labels.device)[:, None, None]).to(torch.uint8)
