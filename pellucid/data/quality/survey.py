"""One pass over many picture files: what a network gets of each, and what the checks of quality need."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.data.folder import MEMORY_LIMIT
from pellucid.data.images import Mode, decode, strict_warnings
from pellucid.data.quality.blur import WORKING, sharpness
from pellucid.data.quality.duplicates import SIDE
from pellucid.data.tree import Tree
from pellucid.errors import PellucidError

WORKERS = 2  # Pillow decodes without holding the interpreter's lock
AHEAD = 256  # files per round, so that a request to stop is soon heard


@dataclass(frozen=True)
class Corrupt:
    """A file that could not be read, and why not."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of the N files that could be read, in the order they were named in.

    x: (N, C, H, W) uint8, as a network gets them; small: (N, 64, 64) uint8 grey and sharpness: (N,), of the picture in
    its own size; digests: of the files' bytes.
    """

    files: tuple[str, ...]
    x: Tensor
    small: Tensor
    sharpness: Tensor
    digests: tuple[bytes, ...]
    corrupt: tuple[Corrupt, ...]


@dataclass(frozen=True, eq=False)
class _Seen:
    x: Tensor
    small: Tensor
    sharpness: float
    digest: bytes


def survey(
    tree: Tree,
    names: Sequence[str],
    size: tuple[int, int],
    mode: Mode = "RGB",
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Read the named files of a tree, each once, resized to `size` (H, W); those that cannot be read are listed.

    progress: is told now and then how many files of how many are done. Raises PellucidError where the pictures do not
    fit into memory, and when none can be read.
    """
    n, shape = len(names), (1 if mode == "L" else 3, *size)
    if n * shape[0] * size[0] * size[1] > MEMORY_LIMIT:
        raise PellucidError(
            f"{tree.path}: {n} images of {size[0]}x{size[1]} do not fit into memory; give a smaller size"
        )
    x, small = torch.empty((n, *shape), dtype=torch.uint8), torch.empty((n, SIDE, SIDE), dtype=torch.uint8)
    files: list[str] = []
    sharp: list[float] = []
    digests: list[bytes] = []
    corrupt: list[Corrupt] = []

    def look(name: str) -> _Seen | Corrupt:
        try:
            data = tree.read(name)
            return _look(decode(data, tree.where(name), None, mode), data, size)
        except PellucidError as error:
            return Corrupt(name, str(error).removeprefix(f"{tree.where(name)} "))

    todo = iter(names)
    with strict_warnings(), ThreadPoolExecutor(WORKERS) as pool:
        while some := list(islice(todo, AHEAD)):
            for name, seen in zip(some, pool.map(look, some), strict=True):
                if isinstance(seen, Corrupt):
                    corrupt.append(seen)
                    continue
                x[len(files)], small[len(files)] = seen.x, seen.small
                files.append(name)
                sharp.append(seen.sharpness)
                digests.append(seen.digest)
            if progress is not None:
                progress(len(files) + len(corrupt), n)
    if not files:
        first = f"; {corrupt[0].file} {corrupt[0].reason}" if corrupt else ""
        raise PellucidError(f"{tree.path}: none of its {n} files can be read as images{first}")
    k = len(files)
    return Survey(
        tuple(files), x[:k].contiguous(), small[:k].contiguous(), torch.tensor(sharp), tuple(digests), tuple(corrupt)
    )


def _look(picture: Tensor, data: bytes, size: tuple[int, int]) -> _Seen:
    """Return what is kept of a picture (C, H, W)."""
    array = picture.permute(1, 2, 0).numpy()  # (H, W, C)
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    grey = image.convert("L")
    scale = WORKING / max(grey.size)
    if scale < 1:
        grey = _resized(grey, (max(3, round(grey.height * scale)), max(3, round(grey.width * scale))))
    small = _resized(grey, (SIDE, SIDE))
    detail = sharpness(_tensor(grey)[0]) if min(grey.size) >= 3 else 0.0
    return _Seen(_tensor(_resized(image, size)), _tensor(small)[0], detail, hashlib.sha256(data).digest())


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (H, W) as all pictures here are, see `decode`."""
    wanted = (size[1], size[0])
    return image if image.size == wanted else image.resize(wanted, Image.Resampling.BILINEAR)


def _tensor(image: Image.Image) -> Tensor:
    """Return (C, H, W) uint8."""
    array = np.array(image)
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1).contiguous()
