"""One pass over many image files, which computes the network's inputs and the values for the quality checks."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_DATA_BYTES
from pellucid.data.image_formats import ColourMode
from pellucid.data.images import FILES_PER_CHUNK, JPEG_SCALE_MARGIN, attempt_all, decode, luma, resized
from pellucid.data.quality.duplicates import THUMBNAIL_SIDE
from pellucid.data.tree import Tree

# Blur detection.
MAX_SHARPNESS_SIDE = 256  # pixels of the longer side; resizing to the network's input size removes finer blur
MIN_SHARPNESS = 0.35  # images below it are blurred; a Gaussian of 1.5 pixels reduces sharp photos to 0.33
MAX_OUTLIER_SHARPNESS = 0.9  # images above it are never blurred; a Gaussian of 1 pixel reduces sharp photos to 0.66
OUTLIER_DEVIATIONS = 3.0  # robust standard deviations below the median
MIN_LOG_STD = 0.1  # of ln sharpness; otherwise any difference among nearly equal images would make an outlier
MIN_GRADIENT_VARIANCE = 1.0  # in squared grey levels; below it the image is uniform
ROUNDING_VARIANCE = 1 / 12  # of rounding to integer grey levels; it dominates the Laplacian of very soft images
MIN_DETAIL = 1.25  # variance of the gradient, relative to that of the noise alone
NOISE_BLOCK = 8  # pixels of the side of the blocks by which the noise of a sensor is measured
MAD_TO_STD = 1.4826  # from the median absolute deviation to the standard deviation of a normal distribution

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
_NOISE_MASK = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])[None, None] / 6  # of norm 1


@dataclass(frozen=True)
class UnreadableFile:
    """A file that could not be read, and the reason."""

    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class Survey:
    """The N files that could be read, in the order in which they were passed.

    x: (N, C, H, W) uint8, the network's inputs. thumbnails: (N, 64, 64) uint8, grey. sharpness: (N,), before
    resizing to the input size. digests: SHA-256 of the files' bytes. corrupt: the unreadable files.
    """

    files: tuple[str, ...]
    x: Tensor
    thumbnails: Tensor
    sharpness: Tensor
    digests: tuple[bytes, ...]
    corrupt: tuple[UnreadableFile, ...]


def survey(
    tree: Tree,
    names: Sequence[str],
    size: tuple[int, int],
    mode: ColourMode = "RGB",
    progress: Callable[[int, int], None] | None = None,
) -> Survey:
    """Read the named files of a tree, each once, resized to `size` (H, W); unreadable files are listed in `corrupt`.

    progress: called after every FILES_PER_CHUNK files and at the end, with the number of files read and the total.
    Raises PellucidError if the images would take more than MAX_DATA_BYTES, or if none can be read.
    """
    n_files, shape = len(names), (1 if mode == "L" else 3, *size)
    if n_files * shape[0] * size[0] * size[1] > MAX_DATA_BYTES:
        raise PellucidError(
            f"{tree.path}: {n_files} images of {size[0]}x{size[1]} do not fit into memory; give a smaller size"
        )
    x, thumbnails = (
        torch.empty((n_files, *shape), dtype=torch.uint8),
        torch.empty((n_files, THUMBNAIL_SIDE, THUMBNAIL_SIDE), dtype=torch.uint8),
    )
    files: list[str] = []
    sharpnesses: list[float] = []
    digests: list[bytes] = []
    corrupt: list[UnreadableFile] = []

    def measure(name: str) -> tuple[Tensor, Tensor, float, bytes]:
        data, where = tree.read(name), tree.where(name)
        image = decode(data, where, None, mode)
        is_reduced = min(image.shape[1:]) >= 2 * JPEG_SCALE_MARGIN * max(size)  # a JPEG is then reduced on loading
        x = decode(data, where, size, mode) if is_reduced else resized(image, size)
        return x, *_thumbnail_and_sharpness(luma(image)), hashlib.sha256(data).digest()

    with attempt_all(measure, names) as results:
        for n_done, (name, result) in enumerate(results, start=1):
            if isinstance(result, PellucidError):
                corrupt.append(UnreadableFile(name, str(result).removeprefix(f"{tree.where(name)} ")))
            else:
                x[len(files)], thumbnails[len(files)], image_sharpness, digest = result
                files.append(name)
                sharpnesses.append(image_sharpness)
                digests.append(digest)
            if progress is not None and (n_done % FILES_PER_CHUNK == 0 or n_done == n_files):
                progress(n_done, n_files)
    if not files:
        first_text = f"; {corrupt[0].file} {corrupt[0].reason}" if corrupt else ""
        raise PellucidError(f"{tree.path}: none of its {n_files} files can be read as images{first_text}")
    n_read = len(files)
    return Survey(
        files=tuple(files),
        x=x[:n_read].contiguous(),
        thumbnails=thumbnails[:n_read].contiguous(),
        sharpness=torch.tensor(sharpnesses),
        digests=tuple(digests),
        corrupt=tuple(corrupt),
    )


def _thumbnail_and_sharpness(grey: Tensor) -> tuple[Tensor, float]:
    """Return the thumbnail of a grey image (1, H, W), and its sharpness."""
    height, width = grey.shape[1:]
    scale = MAX_SHARPNESS_SIDE / max(height, width)
    if scale < 1:
        height, width = max(3, round(height * scale)), max(3, round(width * scale))
        grey = resized(grey, (height, width))
    image_sharpness = sharpness(grey[0]) if min(height, width) >= 3 else 0.0
    return resized(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE))[0], image_sharpness


def sharpness(grey: Tensor) -> float:
    """Return the variance of the Laplacian divided by the variance of the gradients; it is small for soft edges.

    grey: (H, W), 0..255, of at least 3 x 3, its longer side at most MAX_SHARPNESS_SIDE pixels. The variance of the
    Laplacian alone (Pech-Pacheco, Cristobal, Chamorro-Martinez, Fernandez-Valdivia 2000) also falls with contrast and
    detail; the ratio, a mean squared frequency, does not. The variance due to noise, or at least that of rounding, is
    subtracted from both: noise is not blurred, and would make a blurred image look sharp. Sharp photos have values from
    1 to 3, uniform images 0.
    """
    if grey.dim() != 2 or min(grey.shape) < 3:
        raise PellucidError(f"sharpness: the image has shape {tuple(grey.shape)}; give (H, W) of at least 3 x 3")
    x = grey.float()
    gradient_variance = x.diff(dim=0).var(correction=0) + x.diff(dim=1).var(correction=0)
    laplacian_variance = F.conv2d(x[None, None], _LAPLACIAN).var(correction=0)
    noise = max(ROUNDING_VARIANCE, _noise_variance(x))
    if gradient_variance < MIN_DETAIL * 4 * noise:  # of an empty wall: what remained would be chance
        noise = ROUNDING_VARIANCE
    gradient_variance = gradient_variance - 4 * noise
    if gradient_variance < MIN_GRADIENT_VARIANCE:
        return 0.0
    return float((laplacian_variance - 20 * noise).clamp_min(0) / gradient_variance)  # 20 = 4^2 + 4


def _noise_variance(x: Tensor) -> float:
    """Return the variance of the noise of a grey image (H, W), 0 if it is too small to tell.

    The mask of Immerkaer, "Fast Noise Variance Estimation" (1996), removes what is linear; the median of the blocks'
    mean squares is that of a block without edges.
    """
    response = F.conv2d(x[None, None], _NOISE_MASK).square()
    if min(response.shape[2:]) < NOISE_BLOCK:
        return 0.0
    return float(F.avg_pool2d(response, NOISE_BLOCK).median())


def is_blurry(values: Tensor) -> Tensor:
    """Return which images of a collection are blurred, (N,) bool. values: (N,), their sharpness.

    An image is blurred if its sharpness is below MIN_SHARPNESS, or if it is below MAX_OUTLIER_SHARPNESS and an outlier:
    ln sharpness is more than OUTLIER_DEVIATIONS robust standard deviations (1.4826 times the median absolute
    deviation) below the median.
    """
    if not len(values):
        return torch.zeros(0, dtype=torch.bool)
    logs = values.double().clamp_min(1e-6).log()
    median = logs.median()
    std = (MAD_TO_STD * (logs - median).abs().median()).clamp_min(MIN_LOG_STD)
    return (values < MIN_SHARPNESS) | ((values < MAX_OUTLIER_SHARPNESS) & (logs < median - OUTLIER_DEVIATIONS * std))
