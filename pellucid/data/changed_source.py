"""A source whose targets or images are transformed, for example to boxes in another unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays, Batch, Source, batch_of, preprocess_of, sizes_vary, swaps_of

Change = Callable[[Any, tuple[int, ...]], Any]  # (target, size (H, W) of its image) -> new target
ImageChange = Callable[[Tensor], Tensor]  # images (N, C, H, W), floats of 0 to 1, or more if unscaled -> new images


@dataclass(frozen=True, eq=False)
class ChangedSource:
    """A source whose targets or images are transformed; see `Change` and `ImageChange`.

    indices: of the examples whose targets are transformed; None for all. targets: of all examples, instead of their
    own; None to keep these.
    """

    source: Source
    apply: Change | None = None
    apply_to_images: ImageChange | None = None
    indices: frozenset[int] | None = None
    targets: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        """Copy the source's attributes that describe its examples."""
        for name, value in (
            ("classes", self.source.classes), ("checksum", self.source.checksum), ("swaps", swaps_of(self.source)),
            ("preprocess", preprocess_of(self.source)), ("sizes_vary", sizes_vary(self.source)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.source)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return a batch of the source with transformed targets or images."""
        images, targets = batch_of(self.source, indices, rng)
        if self.targets is not None:
            replaced_targets = [self.targets[index] for index in indices]
            targets = torch.stack(replaced_targets) if isinstance(targets, Tensor) else replaced_targets
        if self.apply_to_images is not None:
            images = self.apply_to_images(float_images(images))
        if self.apply is None:
            return Batch(images, targets)
        changed_targets = [
            self.apply(target, tuple(image.shape[1:])) if self.indices is None or index in self.indices else target
            for index, image, target in zip(indices, images, targets, strict=True)
        ]
        return Batch(images, torch.stack(changed_targets) if isinstance(targets, Tensor) else changed_targets)


def with_targets(source: Any, apply: Change, indices: frozenset[int] | None = None) -> Any:
    """Return a source with transformed targets, None for None; `Arrays` remain `Arrays`.

    indices: see `ChangedSource`.
    """
    if not isinstance(source, Arrays):
        return source and ChangedSource(source, apply, indices=indices)
    size = tuple(source.x.shape[2:])
    changed_targets = (
        apply(target, size) if indices is None or k in indices else target for k, target in enumerate(source.y)
    )
    return replace(source, y=torch.stack([*changed_targets]))


def with_new_targets(source: Any, targets: Sequence[Any]) -> Any:
    """Return a source with other targets, one for each example; `Arrays` remain `Arrays`."""
    if isinstance(source, Arrays):
        return replace(source, y=torch.stack([*targets]))
    return ChangedSource(source, targets=targets)


def with_images(source: Any, apply: ImageChange) -> Any:
    """Return a source with transformed images; `Arrays` remain `Arrays`."""
    if isinstance(source, Arrays):
        return replace(source, x=apply(float_images(source.x)))
    return ChangedSource(source, apply_to_images=apply)
