"""Mosaics: four images in one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.data.augment.crop import Window
from pellucid.data.augment.draw import uniform
from pellucid.data.augment.move import Fill

_MARGIN = 0.2  # of height and width, the least that an image gets


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Images whose quarters are windows of four images.

    sources: (N, 4), the images of the batch that they come from. windows: four, one for each quarter of N images, as
    large as the image. regions: (N, 4, 4), where the quarters lie, as boxes.
    """

    sources: Tensor
    windows: tuple[Window, ...]
    regions: Tensor

    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return the mosaics of x (N, C, H, W); the quarters cover all, so that nothing is left to fill."""
        y = torch.empty_like(x)
        for k, window in enumerate(self.windows):
            images, starts, regions = self.sources[:, k].tolist(), window.start.tolist(), self.regions[:, k].tolist()
            for n, (image, (top, left), (x0, y0, x1, y1)) in enumerate(zip(images, starts, regions, strict=True)):
                y[n, :, y0:y1, x0:x1] = x[image, :, top + y0 : top + y1, left + x0 : left + x1]
        return y


def inside(regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which pixels of an image of `size` have their centre in a box: (N, 4) to (N, H, W) bool."""
    x0, y0, x1, y1 = regions[:, :, None].unbind(1)  # (N, 1) each
    rows = torch.arange(size[0], device=regions.device) + 0.5
    columns = torch.arange(size[1], device=regions.device) + 0.5
    return ((rows >= y0) & (rows < y1))[:, :, None] & ((columns >= x0) & (columns < x1))[:, None]


def random_mosaic(x: Tensor, p: float, rng: torch.Generator) -> Mosaic:
    """Draw which images of x (N, C, H, W) become mosaics, each with probability p, and of which images.

    The upper left quarter is a window of the image itself, the others of any images of the batch. Where the quarters
    meet, and where the windows are cut, are uniform at whole pixels, with a fifth of height and width at least for
    each quarter. Source: Bochkovskiy, Wang, Liao 2020, "YOLOv4", section 3.3.
    """
    n, _, h, w = x.shape
    u = uniform((n, 14), 0.0, 1.0, rng, x)
    whole = torch.tensor([h, w], device=x.device)
    cut = ((_MARGIN + (1 - 2 * _MARGIN) * u[:, 1:3]) * whole).round().long()  # (N, 2): row, column
    cut = torch.where(u[:, :1] < p, cut, whole)
    others = (u[:, 3:6] * n).long().clamp_(max=n - 1)
    sources = torch.cat((torch.arange(n, device=x.device)[:, None], others), 1)
    windows: list[Window] = []
    regions: list[Tensor] = []
    for k in range(4):
        after = torch.tensor([k >= 2, k % 2 == 1], device=x.device)  # below, to the right
        first, end = torch.where(after, cut, 0), torch.where(after, whole, cut)
        spare = whole - (end - first)
        start = torch.minimum((u[:, 6 + 2 * k : 8 + 2 * k] * (spare + 1)).long(), spare)
        windows.append(Window((h, w), start - first))
        regions.append(torch.cat((first.flip(1), end.flip(1)), 1))
    return Mosaic(sources, tuple(windows), torch.stack(regions, 1))
