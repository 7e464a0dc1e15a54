"""One batch of several examples; images and masks of different sizes are padded."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.data.source import Batch
from pellucid.errors import PellucidError


def collate(examples: Sequence[tuple[Tensor, Any]], ignored: int | None = None) -> Batch:
    """Return one batch of examples (image, target).

    Images (C, H, W) of different sizes are padded with zeros, masks (H, W) with the class `ignored`, on the right and
    at the bottom, so that coordinates stay. Numbers become one tensor (N,), tensors of one shape are stacked, and
    anything else, such as boxes, stays a list. Raises PellucidError for masks to pad without `ignored`.
    """
    images, targets = [image for image, _ in examples], [target for _, target in examples]
    batch = pad_images(images)
    if all(isinstance(target, int | float) for target in targets):
        return Batch(batch, torch.tensor(targets))
    if not all(isinstance(target, Tensor) for target in targets):
        return Batch(batch, targets)
    if len({target.shape for target in targets}) == 1:
        return Batch(batch, torch.stack(targets))
    if all(target.shape == image.shape[-2:] for image, target in examples):
        if ignored is None:
            raise PellucidError("masks of different sizes are padded; give the class `ignored` that the loss ignores")
        return Batch(batch, pad_images(targets, ignored))
    return Batch(batch, targets)


def pad_images(images: Sequence[Tensor], value: float = 0) -> Tensor:
    """Stack images or masks (..., H, W), padded with `value` to the largest height and width among them."""
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    if all(image.shape[-2:] == (height, width) for image in images):
        return torch.stack(list(images))
    padded = images[0].new_full((len(images), *images[0].shape[:-2], height, width), value)
    for row, image in zip(padded, images, strict=True):
        row[..., : image.shape[-2], : image.shape[-1]] = image
    return padded
