"""Attributions of images as `Model.explain` returns them: a tensor that can draw itself over its images."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.files import write_atomically
from pellucid.explain.methods import MAGNITUDES
from pellucid.network.summary import shape_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Attributions(Tensor):
    """Attributions (N, C, H, W) or (N, 1, H, W) with their images; the results of operations are plain tensors."""

    images: Tensor  # (N, 1 or 3, H, W), 0 to 1
    method: str  # in METHODS

    # Operators of PyTorch return plain tensors, which have no images.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def figure(self, index: int = 0) -> Figure:
        """Draw an image, its map summed over the channels, and both; index: of the image."""
        from pellucid.report.figures.heat import heat

        return heat(self.images[index], self[index].sum(0), self.method, signed=self.method not in MAGNITUDES)

    def save(self, file: str | PathLike[str], index: int = 0) -> None:
        """Write the figure of an image as a PNG file; raises PellucidError for another suffix."""
        if Path(file).suffix.lower() != ".png":
            raise PellucidError(f"{file}: a figure is written as PNG; give a name such as {Path(file).stem}.png")
        write_atomically(file, self._repr_png_(index))

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Return the method, the shape, the range, and how to draw the maps."""
        return (
            f"<Attributions by {self.method}: {shape_text(tuple(self.shape))}, from {self.min().item():.4g} to "
            f"{self.max().item():.4g}; "
            f".save('{self.method}.png') writes a picture of the first, .figure() draws it>"
        )

    def _repr_png_(self, index: int = 0) -> bytes:
        from pellucid.report.figures.style import png

        return png(self.figure(index))


def with_images(maps: Tensor, images: Tensor, method: str) -> Tensor:
    """Return maps (N, C, H, W) of images that can be drawn as Attributions, and other maps unchanged."""
    is_drawable = images.dim() == maps.dim() == 4 and images.shape[1] in (1, 3) and len(maps) == len(images) > 0
    if not is_drawable:
        return maps
    attributions = maps.as_subclass(Attributions)
    attributions.images, attributions.method = images, method
    return attributions
