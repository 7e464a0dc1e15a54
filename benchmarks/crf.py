"""The fraction of pixels that the dense CRF gives another class than sums over all pairs of pixels do.

Run by `python -m benchmarks.crf`, in about two minutes.

Pictures of CamVid's `val`, reduced so that all pairs fit into memory, with the probabilities of the shipped `camvid`;
and small drawn pictures of two halves with noise, with random probabilities. Each with the weights 1 and 4 of
`pellucid segment --crf`, with the authors' 3 and 10, and with the authors' kernels, which are for larger pictures.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pellucid.data.catalogue import data_root
from pellucid.data.images import load_image
from pellucid.model import Model
from pellucid.run.folder import weights_file
from pellucid.tasks.segment.crf import ITERATIONS, PUBLISHED_KERNELS, CrfKernels, dense_crf, kernels_for
from pellucid.tasks.segment.segmenter import Segmenter

Picture = tuple[Tensor, Tensor]  # probabilities (C, H, W) and image (3, H, W)
REDUCE, PICTURES, SEEDS = 5, 10, 5  # pictures of 360 x 480 to 72 x 96
SIDES = (16, 32)
NOISE = (4.0, 8.0, 12.0, 20.0)  # standard deviations, in 0 to 255
CLASSES = 4


def mean_field(p: Tensor, image: Tensor, kernels: CrfKernels) -> Tensor:
    """Return the marginals (C, H, W) with both kernels between all pairs of pixels; p: (C, H, W)."""
    height, width = image.shape[1:]
    at = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()  # (H W, 2)
    apart = torch.cdist(at, at, compute_mode="donot_use_mm_for_euclid_dist").square_()
    colours = image.flatten(1).T.float()
    unlike = torch.cdist(colours, colours, compute_mode="donot_use_mm_for_euclid_dist").square_()
    near = (apart / (-2 * kernels.smoothness**2)).exp_()
    alike = (unlike.div_(-2 * kernels.colour**2) - apart.div_(2 * kernels.position**2)).exp_()
    for kernel in (near, alike):
        scale = kernel.sum(1).rsqrt()
        kernel.mul_(scale).mul_(scale[:, None])
    logits = p.clamp_min(1e-8).log().flatten(1)
    q = logits.softmax(0)
    for _ in range(ITERATIONS):
        q = (logits + kernels.smoothness_weight * (q @ near) + kernels.bilateral_weight * (q @ alike)).softmax(0)
    return q.view_as(p)


def camvid() -> list[Picture]:
    """Return reduced pictures of CamVid's `val` with the probabilities of the shipped model."""
    segmenter = Segmenter(Model.load(weights_file("camvid")))
    files = sorted((data_root() / "camvid" / "val").glob("*.jpg"))
    found: list[Picture] = []
    for file in files[:: len(files) // PICTURES][:PICTURES]:
        image = load_image(file)
        p, small = (torch.nn.functional.avg_pool2d(x.float(), REDUCE) for x in (segmenter(image).probabilities, image))
        found.append((p, small.round().to(torch.uint8)))
    return found


def drawn(side: int, noise: float) -> list[Picture]:
    """Return pictures of two halves of different colours with noise, and random probabilities."""
    found: list[Picture] = []
    for seed in range(SEEDS):
        rng = torch.Generator().manual_seed(seed)
        image = torch.zeros(3, side, side)
        image[:, :, side // 2 :] = 150
        image[0, side // 3 :] += 60
        image += noise * torch.randn(image.shape, generator=rng)
        p = (2 * torch.randn(CLASSES, side, side, generator=rng)).softmax(0)
        found.append((p, image.clamp(0, 255).to(torch.uint8)))
    return found


def fraction(p: Tensor, image: Tensor, kernels: CrfKernels) -> float:
    """Return the fraction of pixels that the approximation gives another class."""
    found, exact = (marginals(p, image, kernels).argmax(0) for marginals in (dense_crf, mean_field))
    return float((found != exact).float().mean())


def row(name: str, pictures: Iterable[Picture], kernels: Callable[[Tensor], CrfKernels]) -> str:
    """Return one line: the mean and the largest fraction of a picture."""
    found = [fraction(p, image, kernels(image)) for p, image in pictures]
    return f"{name:<50} {100 * sum(found) / len(found):5.2f} %, at most {100 * max(found):5.2f} %"


def published_weights(image: Tensor) -> CrfKernels:
    """Return the kernels of `pellucid segment --crf` with the authors' weights."""
    near, far = PUBLISHED_KERNELS.smoothness_weight, PUBLISHED_KERNELS.bilateral_weight
    return kernels_for(image)._replace(smoothness_weight=near, bilateral_weight=far)


def main() -> None:
    """Print a line for each kind of pictures and kernels."""
    kinds = {"camvid, 72 x 96": camvid()}
    kinds |= {f"two halves, {side} x {side}, noise {noise:g}": drawn(side, noise) for side in SIDES for noise in NOISE}
    for name, pictures in kinds.items():
        print(row(f"{name}, weights 1 and 4", pictures, kernels_for))
        print(row(f"{name}, weights 3 and 10", pictures, published_weights))
        print(row(f"{name}, the authors' kernels", pictures, lambda image: PUBLISHED_KERNELS))


if __name__ == "__main__":
    main()
