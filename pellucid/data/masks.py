"""Images with masks in memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.calls import checked
from pellucid.data.dataset import Dataset, Splits, arrays_checksum
from pellucid.data.files import MaskFolder
from pellucid.data.images import strict_warnings
from pellucid.data.seeds import mix
from pellucid.errors import PellucidError
from pellucid.text import plural


@dataclass(frozen=True, eq=False, repr=False)
class MaskDataset(Dataset):
    """Images with the class of each pixel.

    x: (N, C, H, W), y: (N, H, W), both uint8; y holds indices into `classes`, and `ignored` where there is none.
    files: the name of each image.
    """

    ignored: int | None = None
    files: tuple[str, ...] = ()

    def _cells(self) -> list[tuple[str, str]]:
        counts = torch.bincount(self.y.flatten(), minlength=256)[: len(self.classes)].tolist()
        return [("class", "pixels"), *((name[:60], f"{n:,}") for name, n in zip(self.classes, counts, strict=True))]

    def subset(self, indices: Sequence[int] | Tensor) -> "MaskDataset":
        """Return the examples at `indices`, in that order; PellucidError when one is out of range."""
        i = self._within(indices)
        x, y = self.x.index_select(0, i), self.y.index_select(0, i)
        files = tuple(self.files[k] for k in i.tolist())
        return MaskDataset(x, y, self.classes, arrays_checksum(x, y), self.name, self.skipped, self.ignored, files)

    def split(self, fraction: float, seed: int = 0) -> Splits:
        """Hold out `fraction` of the images, drawn with the seed, as the test part; both keep the original order."""
        held = round(len(self) * fraction)
        if not 0 < held < len(self):
            raise PellucidError(f"split of {self.name}: {fraction} of {plural(len(self), 'image')} leaves a part empty")
        order = sorted(range(len(self)), key=lambda i: mix(seed, i))
        return Splits(train=self.subset(sorted(order[held:])), test=self.subset(sorted(order[:held])))


@checked
def load_masks(
    path: str | os.PathLike[str],
    part: str = "train",
    classes: Sequence[str] | None = None,
    ignored: int | None = None,
) -> MaskDataset:
    """Load PART/NAME.jpg and PARTannot/NAME.png, from a folder or a .zip, as `MaskFolder` reads them.

    classes: their names, by default "0", "1", ... to the largest class but `ignored`. Raises PellucidError as
    `MaskFolder`, and where images differ in size.
    """
    source = MaskFolder(path, part, classes=classes, ignored=ignored)
    images: list[Tensor] = []
    masks: list[Tensor] = []
    with strict_warnings():
        for k, name in enumerate(source.names):
            image, mask = source.example(k)
            if images and image.shape != images[0].shape:
                raise PellucidError(
                    f"{source.tree.where(name)} is {image.shape[1]}x{image.shape[2]} but {source.names[0]} is "
                    f"{images[0].shape[1]}x{images[0].shape[2]}; resize them, or train on a MaskFolder"
                )
            images.append(image)
            masks.append(mask.to(torch.uint8))
    x, y = torch.stack(images), torch.stack(masks)
    if classes is None:
        known = y if ignored is None else y[y != ignored]
        classes = [str(k) for k in range(int(known.max()) + 1)] if known.numel() else []
    return MaskDataset(x, y, tuple(classes), arrays_checksum(x, y), str(path), (), ignored, source.names)
