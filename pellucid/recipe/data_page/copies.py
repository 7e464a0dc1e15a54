"""Examples of one part of the data that are copies or near duplicates of training examples."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.dataset import float_images
from pellucid.data.quality import DisjointSets, near_duplicates
from pellucid.data.quality.duplicates import THUMBNAIL_SIDE
from pellucid.data.source import Arrays
from pellucid.recipe.data_page.part import DataPart, file_of
from pellucid.task.traits import is_image

MIN_SIDE = 32  # pixels; smaller images, such as digits, are similar without being copies of each other
MAX_HASHED = 1 << 28  # values of a part that are hashed


class Copy(NamedTuple):
    """An example of another part that is a copy of a training example, with the indices of both in their parts.

    is_exact: whether all values are equal, of the same type; otherwise it is a near duplicate, see `near_duplicates`.
    other_file, train_file: their files, "" without one.
    """

    part: str
    other: int
    train: int
    is_exact: bool
    other_file: str = ""
    train_file: str = ""

    def __str__(self) -> str:
        """Return the copy as a line of text."""
        relation = "equal to" if self.is_exact else "near duplicate of"
        other_file = f" ({self.other_file})" if self.other_file else ""
        train_file = f" ({self.train_file})" if self.train_file else ""
        return f"{self.part} {self.other}{other_file}: {relation} training {self.train}{train_file}"


def copies(parts: Sequence[DataPart], sources: Sequence[Any]) -> list[Copy]:
    """Return the copies of training images, the first part, in the other parts; uniform images are left out.

    Equal images are searched among all images of arrays, and near duplicates among those that are read.
    """
    source_by_part = {part.name: source for part, source in zip(parts, sources, strict=True)}
    return [
        copy._replace(
            other_file=file_of(source_by_part[copy.part], copy.other), train_file=file_of(sources[0], copy.train)
        )
        for copy in _copies(parts, sources)
    ]


def _copies(parts: Sequence[DataPart], sources: Sequence[Any]) -> list[Copy]:
    """Return the copies without their files."""
    if not all(is_image(example.images) for part in parts for example in part.examples):
        return []
    train_digests = {digest: k for k, digest in _digests(parts[0], sources[0])}
    copy_by_example: dict[tuple[str, int], Copy] = {}
    for part, source in zip(parts[1:], sources[1:], strict=True):
        for k, digest in _digests(part, source):
            if digest in train_digests:
                copy_by_example[part.name, k] = Copy(part.name, k, train_digests[digest], is_exact=True)
    part_and_index = [(part.name, k) for part in parts for k in part.indices]
    thumbnails = [_thumbnail(example.images[0]) for part in parts for example in part.examples]
    if min(min(example.images.shape[2:]) for part in parts for example in part.examples) < MIN_SIDE:
        return [*copy_by_example.values()]
    groups = DisjointSets(len(part_and_index))
    for pair in near_duplicates(torch.stack(thumbnails)):
        groups.join(pair.first, pair.second)
    for k in range(len(parts[0].indices), len(part_and_index)):
        first_of_group = groups.first(k)
        if first_of_group < len(parts[0].indices):
            copy_by_example.setdefault(
                part_and_index[k], Copy(*part_and_index[k], part_and_index[first_of_group][1], is_exact=False)
            )
    return sorted(copy_by_example.values())


def _digests(part: DataPart, source: Any) -> list[tuple[int, bytes]]:
    """Return the index and a hash of each image of a part that is not uniform."""
    images: Any = [example.images[0] for example in part.examples]
    indices = part.indices
    if isinstance(source, Arrays) and source.x.numel() <= MAX_HASHED:
        images, indices = source.x, range(len(source))
    return [
        (k, hashlib.blake2b(image.contiguous().cpu().numpy().tobytes(), digest_size=16).digest())
        for k, image in zip(indices, images, strict=True)
        if image.min() < image.max()
    ]


def _thumbnail(image: Tensor) -> Tensor:
    """Return a grey image (64, 64), 0..255; the range of the image is stretched, so it does not depend on its units."""
    grey = F.adaptive_avg_pool2d(float_images(image[None]), THUMBNAIL_SIDE)[0].mean(0)
    low, high = grey.min(), grey.max()
    return (grey - low) / (high - low).clamp_min(1e-6) * 255 if high > low else torch.zeros_like(grey)
