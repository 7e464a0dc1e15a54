"""The dense conditional random field, compared with mean field by sums over all pairs of pixels."""

import pytest
import torch
from torch import Tensor

import benchmarks.crf
from pellucid.base.errors import PellucidError
from pellucid.tasks.segment import crf
from pellucid.tasks.segment.crf import CrfKernels, bilateral_filter, dense_crf, kernels_for, smoothness_filter

H, W, C = 14, 17, 4


def picture(noise: float = 8.0) -> Tensor:
    """Return an image (3, H, W) uint8 of two halves of different colours, with noise."""
    image = torch.zeros(3, H, W)
    image[:, :, 8:] = 150
    image[0, 5:] += 60
    noisy = image + noise * torch.randn(3, H, W, generator=torch.Generator().manual_seed(0))
    return noisy.clamp(0, 255).to(torch.uint8)


def probabilities() -> Tensor:
    logits = torch.randn(C, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (2 * logits).softmax(0)


def dense_kernels(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return both kernels between all pairs of pixels, (H W, H W), by a double loop over the pixels."""
    smoothness, bilateral = torch.zeros(H * W, H * W).double(), torch.zeros(H * W, H * W).double()
    colours = image.double()
    for p in range(H * W):
        i, j = divmod(p, W)
        for q in range(H * W):
            k, m = divmod(q, W)
            distance = (i - k) ** 2 + (j - m) ** 2
            colour_distance = float(((colours[:, i, j] - colours[:, k, m]) ** 2).sum())
            smoothness[p, q] = -distance / (2 * 3**2)
            bilateral[p, q] = -distance / (2 * 80**2) - colour_distance / (2 * 13**2)
    return smoothness.exp(), bilateral.exp()


def mean_field(p: Tensor, image: Tensor) -> Tensor:
    """Return the marginals by Krähenbühl and Koltun 2011, algorithm 1, with dense matrices."""

    def normalized(kernel: Tensor) -> Tensor:
        total = kernel.sum(1)
        return kernel / (total[:, None] * total[None, :]).sqrt()

    smoothness, bilateral = map(normalized, dense_kernels(image))
    unary = -p.log().flatten(1)
    q = (-unary).softmax(0)
    potts = 1 - torch.eye(C).double()  # the Potts model
    for _ in range(5):
        message = 3 * q @ smoothness + 10 * q @ bilateral
        q = (-unary - potts @ message).softmax(0)
    return q.view_as(p)


@pytest.mark.slow
def test_the_smoothness_kernel_equals_a_double_loop() -> None:
    x = torch.rand(C, H, W, dtype=torch.float64)
    kernel, _ = dense_kernels(picture())
    torch.testing.assert_close(smoothness_filter(x, CrfKernels()).flatten(1), x.flatten(1) @ kernel, rtol=1e-3, atol=0)


@pytest.mark.slow
def test_the_bilateral_kernel_approximates_a_double_loop() -> None:
    x = torch.rand(C, H, W, dtype=torch.float64)
    image = picture()
    _, kernel = dense_kernels(image)
    result, expected = bilateral_filter(x, crf._bilateral_grid(image, CrfKernels())).flatten(1), x.flatten(1) @ kernel
    assert float(((result - expected).abs() / expected).mean()) < 0.12


def test_grid_has_28_bytes_per_pixel_and_chunks_give_equal_results(monkeypatch: pytest.MonkeyPatch) -> None:
    image, x = picture(), torch.rand(C, H, W, dtype=torch.float64)
    grid = crf._bilateral_grid(image, CrfKernels())
    assert sum(tensor.numel() * tensor.element_size() for tensor in (grid.lowest_cell, grid.offset)) == 28 * H * W
    unchunked = bilateral_filter(x, grid)
    monkeypatch.setattr(crf, "CHUNK_SIZE", 37)
    torch.testing.assert_close(bilateral_filter(x, grid), unchunked, rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [4.0, 12.0])
def test_marginals_approximate_a_dense_double_loop(noise: float) -> None:
    p, image = probabilities(), picture(noise)
    result, expected = dense_crf(p, image), mean_field(p, image)
    torch.testing.assert_close(result.sum(0), torch.ones(H, W).double())
    assert float((result - expected).abs().mean()) < 0.01
    assert float((result.argmax(0) == expected.argmax(0)).double().mean()) > 0.98
    assert float((p.argmax(0) == expected.argmax(0)).double().mean()) < 0.9  # many labels change


@pytest.mark.slow
def test_mean_field_of_the_benchmark_equals_a_dense_double_loop() -> None:
    p, image = probabilities().float(), picture()
    result = benchmarks.crf.mean_field(p, image, CrfKernels()).double()
    torch.testing.assert_close(result, mean_field(p.double(), image), rtol=1e-4, atol=1e-5)  # computed in float32


@pytest.mark.slow
def test_fraction_of_changed_pixels_is_as_documented() -> None:
    """The limits are those in the docstring of `dense_crf`, for the noisiest pictures."""
    for make_kernels, min_mean, max_mean in ((kernels_for, 0.001, 0.009), (lambda image: CrfKernels(), 0.006, 0.025)):
        fractions = [
            benchmarks.crf.different_fraction(p, image, make_kernels(image))
            for p, image in benchmarks.crf.drawn_examples(16, 20.0)
        ]
        assert min_mean <= sum(fractions) / len(fractions) <= max_mean
        assert max(fractions) <= 0.04


def test_mask_is_aligned_with_the_edge_of_the_picture() -> None:
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    image[:, :, 15:] = 200
    p = torch.full((2, 20, 30), 0.3)
    p[0, :, :12] = p[1, :, 12:] = 0.7  # the edge is three columns too far left
    assert torch.equal(dense_crf(p, image).argmax(0), (torch.arange(30) >= 15).long().expand(20, 30))


def test_kernels_scale_with_the_longer_side() -> None:
    assert kernels_for(torch.zeros(3, 375, 500)) == CrfKernels(3.0, 1.0, 80.0, 13.0, 4.0)
    assert kernels_for(torch.zeros(3, 250, 100)) == CrfKernels(1.5, 1.0, 40.0, 13.0, 4.0)


def test_shapes_or_dtypes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PellucidError, match="do not fit"):
        dense_crf(torch.rand(2, 4, 4), torch.zeros(3, 4, 5, dtype=torch.uint8))
    with pytest.raises(PellucidError, match="do not fit"):
        dense_crf(torch.rand(2, 4, 4), torch.zeros(3, 4, 4))
