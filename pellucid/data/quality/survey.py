"""One pass over many image files: the network's inputs, and the values for the checks of quality."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data.folder import MEMORY_LIMIT
from pellucid.data.images import AHEAD, Mode, channels_first, decode, in_threads, resized, strict_warnings, to_pillow
from pellucid.data.quality.duplicates import SIDE
from pellucid.data.tree import Tree
from pellucid.errors import PellucidError

# Of blur.
WORKING = 256  # pixels of the longer side: finer blur is lost when a network's input is made of the picture
BLURRED = 0.35  # always blurred below: a Gaussian of 1.5 pixels brings sharp photos to 0.33
SHARP = 0.9  # never blurred above: 1 pixel brings them to 0.66
OUTLYING = 3.0  # robust standard deviations below the median
SPREAD = 0.1  # minimum standard deviation of ln sharpness: without it, equal images would all be outliers
FAINT = 1.0  # variance of the gradients, in squared grey levels, below which a picture shows nothing
ROUNDING = 1 / 12  # variance of rounding to whole grey levels: all there is in the Laplacian of very soft pictures
CONSISTENT = 1.4826  # times the median of deviations is the standard deviation of a normal distribution

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]


@dataclass(frozen=True)
class Corrupt:
    """A file that could not be read, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class Survey:
    """The N files that could be read, in the order of the call.

    x: (N, C, H, W) uint8, the network's inputs; small: (N, 64, 64) uint8 grey and sharpness: (N,), of the picture in
    its own size; digests: of the files' bytes.
    """

    files: tuple[str, ...]
    x: Tensor
    small: Tensor
    sharpness: Tensor
    digests: tuple[bytes, ...]
    corrupt: tuple[Corrupt, ...]


def survey(
    tree: Tree,
    names: Sequence[str],
    size: tuple[int, int],
    mode: Mode = "RGB",
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Read the named files of a tree, each once, resized to `size` (H, W); those that cannot be read are listed.

    progress: called from time to time with the number of files done, and of all. Raises PellucidError where the
    pictures do not fit into memory, and when none can be read.
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

    def look(name: str) -> tuple[Tensor, Tensor, float, bytes] | Corrupt:
        try:
            data = tree.read(name)
            return _look(decode(data, tree.where(name), None, mode), data, size)
        except PellucidError as error:
            return Corrupt(name, str(error).removeprefix(f"{tree.where(name)} "))

    with strict_warnings(), closing(in_threads(look, names)) as found:
        for done, (name, seen) in enumerate(found, start=1):
            if isinstance(seen, Corrupt):
                corrupt.append(seen)
            else:
                x[len(files)], small[len(files)], detail, digest = seen
                files.append(name)
                sharp.append(detail)
                digests.append(digest)
            if progress is not None and (done % AHEAD == 0 or done == n):
                progress(done, n)
    if not files:
        first = f"; {corrupt[0].file} {corrupt[0].reason}" if corrupt else ""
        raise PellucidError(f"{tree.path}: none of its {n} files can be read as images{first}")
    k = len(files)
    return Survey(
        tuple(files), x[:k].contiguous(), small[:k].contiguous(), torch.tensor(sharp), tuple(digests), tuple(corrupt)
    )


def _look(picture: Tensor, data: bytes, size: tuple[int, int]) -> tuple[Tensor, Tensor, float, bytes]:
    """Return an image (C, H, W) resized, small and grey, its sharpness, and the SHA-256 of its file."""
    grey = channels_first(np.array(to_pillow(picture).convert("L")))  # (1, H, W)
    height, width = grey.shape[1:]
    scale = WORKING / max(height, width)
    if scale < 1:
        height, width = max(3, round(height * scale)), max(3, round(width * scale))
        grey = resized(grey, (height, width))
    detail = sharpness(grey[0]) if min(height, width) >= 3 else 0.0
    return resized(picture, size), resized(grey, (SIDE, SIDE))[0], detail, hashlib.sha256(data).digest()


def sharpness(grey: Tensor) -> float:
    """Return the variance of the Laplacian over that of the gradients: small where edges are soft.

    grey: (H, W), 0..255, of at least 3 x 3, its longer side at most `WORKING` pixels. The variance of the Laplacian
    alone (Pech-Pacheco, Cristobal, Chamorro-Martinez, Fernandez-Valdivia 2000) also falls with contrast and detail;
    the quotient, a mean squared frequency, does not. What rounding adds to both is taken off. Sharp photos have 1 to
    3, a picture that shows nothing 0.
    """
    if grey.dim() != 2 or min(grey.shape) < 3:
        raise PellucidError(f"sharpness: the picture has shape {tuple(grey.shape)}; give (H, W) of at least 3 x 3")
    x = grey.float()
    gradients = x.diff(dim=0).var(correction=0) + x.diff(dim=1).var(correction=0) - 4 * ROUNDING
    if gradients < FAINT:
        return 0.0
    laplacian = F.conv2d(x[None, None], _LAPLACIAN).var(correction=0) - 20 * ROUNDING  # 20 = 4^2 + 4
    return float(laplacian.clamp_min(0) / gradients)


def blurry(values: Tensor) -> Tensor:
    """Return (N,) booleans: which images are blurred, by the sharpness (N,) of a collection.

    Those below BLURRED; and those below SHARP that are also outliers of the collection: more than OUTLYING robust
    standard deviations (1.4826 times the median of absolute deviations) of ln sharpness below the median.
    """
    if not len(values):
        return torch.zeros(0, dtype=torch.bool)
    logs = values.double().clamp_min(1e-6).log()
    middle = logs.median()
    spread = (CONSISTENT * (logs - middle).abs().median()).clamp_min(SPREAD)
    return (values < BLURRED) | ((values < SHARP) & (logs < middle - OUTLYING * spread))
