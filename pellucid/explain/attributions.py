"""Attributions as `Model.explain` returns them: a tensor that draws itself over its images."""

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

CHANNELS = (1, 3)  # numbers of channels that are drawn


class Attributions(Tensor):
    """Attributions (N, C, H, W) or (N, 1, H, W) with their inputs; the results of operations are plain tensors.

    Those of inputs that are no images cannot be drawn and look like any tensor.
    """

    inputs: Tensor  # (N, ...), of images 0 to 1
    method: str  # in METHODS

    # Operators of PyTorch return plain tensors, which have no inputs.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def is_drawable(self) -> bool:
        """Whether there are maps (H, W) of grey or colour images."""
        has_images = self.inputs.dim() == self.dim() == 4 and self.numel() > 0
        return has_images and not {self.inputs.shape[1], self.inputs.shape[3]}.isdisjoint(CHANNELS)

    def figure(self, index: int = 0) -> Figure:
        """Draw an image, its map summed over the channels, and both; index: of the image."""
        from pellucid.report.figures.heat import heat

        if not self.is_drawable:
            raise PellucidError(
                f"only images (N, 1 or 3, H, W) or (N, H, W, 1 or 3) are drawn, not inputs {tuple(self.inputs.shape)}"
            )
        image = self.inputs[index]
        map_ = self[index]
        if image.shape[0] not in CHANNELS:  # channels last
            image = image.movedim(-1, 0)
            map_ = map_.movedim(-1, 0)
        return heat(image, map_.sum(0), self.method, signed=self.method not in MAGNITUDES)

    def save(self, file: str | PathLike[str], index: int = 0) -> None:
        """Write the figure of an image as a PNG file; raises PellucidError for another suffix."""
        from pellucid.report.figures.style import png

        if Path(file).suffix.lower() != ".png":
            raise PellucidError(f"{file}: a figure is written as PNG; give a name such as {Path(file).stem}.png")
        write_atomically(file, png(self.figure(index)))

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Return the method, the shape, the range, and how to draw the maps."""
        if not self.is_drawable:
            return repr(self.clone())
        return (
            f"<Attributions by {self.method}: {shape_text(tuple(self.shape))}, from {self.min().item():.4g} to "
            f"{self.max().item():.4g}; .save('{self.method}.png') writes a picture of the first, .figure() draws it>"
        )

    # `Tensor.__deepcopy__` refuses subclasses whose operators return plain tensors
    def __deepcopy__(self, memo: dict[int, Any]) -> Attributions:
        """Return a copy with the same inputs."""
        return attributions_of(self.clone(), self.inputs, self.method)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return the state of a plain tensor, which `torch.load` reads without code of Pellucid."""
        return self.clone().__reduce_ex__(protocol)

    def _repr_png_(self) -> bytes | None:
        from pellucid.report.figures.style import png

        return png(self.figure()) if self.is_drawable else None


def attributions_of(maps: Tensor, inputs: Tensor, method: str) -> Attributions:
    """Return the maps of a method for inputs as Attributions."""
    attributions = maps.as_subclass(Attributions)
    attributions.inputs = inputs
    attributions.method = method
    return attributions
