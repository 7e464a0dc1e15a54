"""Compare the dense CRF with exact sums over all pairs of pixels: `python -m benchmarks.crf`, about two minutes.

The result is the fraction of pixels to which the two assign different classes. The images are those of CamVid's `val`,
reduced so that all pairs fit into memory, with the probabilities of the shipped model `camvid`; and small drawn images
of two halves with noise, with random probabilities. Each image is used with the weights 1 and 4 of
`pellucid segment --crf`, with the authors' weights 3 and 10, and with the authors' kernels, made for larger images.
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

Example = tuple[Tensor, Tensor]  # probabilities (C, H, W) and image (3, H, W)
REDUCTION, N_PICTURES, N_SEEDS = 5, 10, 5  # 360 x 480 pixels become 72 x 96
SIDES = (16, 32)
NOISE_LEVELS = (4.0, 8.0, 12.0, 20.0)  # standard deviations, of pixel values from 0 to 255
CLASSES = 4


def mean_field(p: Tensor, image: Tensor, kernels: CrfKernels) -> Tensor:
    """Return the marginals (C, H, W), with both kernels summed over all pairs of pixels; p: (C, H, W)."""
    height, width = image.shape[1:]
    pixels = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()  # (H W, 2)
    squared_distances = torch.cdist(pixels, pixels, compute_mode="donot_use_mm_for_euclid_dist").square_()
    colours = image.flatten(1).T.float()
    squared_colour_distances = torch.cdist(colours, colours, compute_mode="donot_use_mm_for_euclid_dist").square_()
    smoothness_kernel = (squared_distances / (-2 * kernels.smoothness**2)).exp_()
    bilateral_kernel = (
        squared_colour_distances.div_(-2 * kernels.colour**2) - squared_distances.div_(2 * kernels.position**2)
    ).exp_()
    for kernel in (smoothness_kernel, bilateral_kernel):
        scale = kernel.sum(1).rsqrt()
        kernel.mul_(scale).mul_(scale[:, None])
    logits = p.clamp_min(1e-8).log().flatten(1)
    q = logits.softmax(0)
    for _ in range(ITERATIONS):
        q = (
            logits
            + kernels.smoothness_weight * (q @ smoothness_kernel)
            + kernels.bilateral_weight * (q @ bilateral_kernel)
        ).softmax(0)
    return q.view_as(p)


def camvid_examples() -> list[Example]:
    """Return reduced images of CamVid's `val` with the probabilities of the shipped model."""
    segmenter = Segmenter(Model.load(weights_file("camvid")))
    files = sorted((data_root() / "camvid" / "val").glob("*.jpg"))
    examples: list[Example] = []
    for path in files[:: len(files) // N_PICTURES][:N_PICTURES]:
        image = load_image(path)
        p, small = (
            torch.nn.functional.avg_pool2d(x.float(), REDUCTION) for x in (segmenter(image).probabilities, image)
        )
        examples.append((p, small.round().to(torch.uint8)))
    return examples


def drawn_examples(side: int, noise: float) -> list[Example]:
    """Return square images of two halves of different colours with noise, and random probabilities."""
    examples: list[Example] = []
    for seed in range(N_SEEDS):
        rng = torch.Generator().manual_seed(seed)
        image = torch.zeros(3, side, side)
        image[:, :, side // 2 :] = 150
        image[0, side // 3 :] += 60
        image += noise * torch.randn(image.shape, generator=rng)
        p = (2 * torch.randn(CLASSES, side, side, generator=rng)).softmax(0)
        examples.append((p, image.clamp(0, 255).to(torch.uint8)))
    return examples


def different_fraction(p: Tensor, image: Tensor, kernels: CrfKernels) -> float:
    """Return the fraction of pixels to which `dense_crf` assigns another class than `mean_field`."""
    approximate, exact = (marginals(p, image, kernels).argmax(0) for marginals in (dense_crf, mean_field))
    return float((approximate != exact).float().mean())


def result_line(name: str, examples: Iterable[Example], kernels: Callable[[Tensor], CrfKernels]) -> str:
    """Return one line: the mean and the maximum of the images' `different_fraction`, in percent."""
    fractions = [different_fraction(p, image, kernels(image)) for p, image in examples]
    return f"{name:<50} {100 * sum(fractions) / len(fractions):5.2f} %, at most {100 * max(fractions):5.2f} %"


def published_weights(image: Tensor) -> CrfKernels:
    """Return the kernels of `pellucid segment --crf` with the authors' weights."""
    smoothness, bilateral = PUBLISHED_KERNELS.smoothness_weight, PUBLISHED_KERNELS.bilateral_weight
    return kernels_for(image)._replace(smoothness_weight=smoothness, bilateral_weight=bilateral)


def main() -> None:
    """Print one line for each kind of images and each choice of kernels."""
    examples_by_kind = {"camvid, 72 x 96": camvid_examples()}
    examples_by_kind |= {
        f"two halves, {side} x {side}, noise {noise:g}": drawn_examples(side, noise)
        for side in SIDES
        for noise in NOISE_LEVELS
    }
    for name, examples in examples_by_kind.items():
        print(result_line(f"{name}, weights 1 and 4", examples, kernels_for))
        print(result_line(f"{name}, weights 3 and 10", examples, published_weights))
        print(result_line(f"{name}, the authors' kernels", examples, lambda image: PUBLISHED_KERNELS))


if __name__ == "__main__":
    main()
