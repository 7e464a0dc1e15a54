"""The dense conditional random field against mean field by sums over all pairs of pixels."""

import pytest
import torch
from torch import Tensor

import benchmarks.crf
from pellucid.errors import PellucidError
from pellucid.tasks.segment import crf
from pellucid.tasks.segment.crf import CrfKernels, bilateral, dense_crf, kernels_for, smooth

H, W, C = 14, 17, 4


def picture(noise: float = 8.0) -> Tensor:
    """Draw two halves of different colours, with noise."""
    image = torch.zeros(3, H, W)
    image[:, :, 8:] = 150
    image[0, 5:] += 60
    drawn = image + noise * torch.randn(3, H, W, generator=torch.Generator().manual_seed(0))
    return drawn.clamp(0, 255).to(torch.uint8)


def probabilities() -> Tensor:
    drawn = torch.randn(C, H, W, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (2 * drawn).softmax(0)


def kernels(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return both kernels between all pairs of pixels, (H W, H W), by a double loop over the pixels."""
    near, alike = torch.zeros(H * W, H * W).double(), torch.zeros(H * W, H * W).double()
    colours = image.double()
    for p in range(H * W):
        i, j = divmod(p, W)
        for q in range(H * W):
            k, m = divmod(q, W)
            apart = (i - k) ** 2 + (j - m) ** 2
            unlike = float(((colours[:, i, j] - colours[:, k, m]) ** 2).sum())
            near[p, q] = -apart / (2 * 3**2)
            alike[p, q] = -apart / (2 * 80**2) - unlike / (2 * 13**2)
    return near.exp(), alike.exp()


def mean_field(p: Tensor, image: Tensor) -> Tensor:
    """Krähenbühl and Koltun 2011, algorithm 1, with dense matrices."""

    def normalized(kernel: Tensor) -> Tensor:
        total = kernel.sum(1)
        return kernel / (total[:, None] * total[None, :]).sqrt()

    near, alike = map(normalized, kernels(image))
    unary = -p.log().flatten(1)
    q = (-unary).softmax(0)
    different = 1 - torch.eye(C).double()  # the Potts model
    for _ in range(5):
        message = 3 * q @ near + 10 * q @ alike
        q = (-unary - different @ message).softmax(0)
    return q.view_as(p)


@pytest.mark.slow
def test_the_smoothness_kernel_equals_a_double_loop() -> None:
    x = torch.rand(C, H, W, dtype=torch.float64)
    near, _ = kernels(picture())
    torch.testing.assert_close(smooth(x, CrfKernels()).flatten(1), x.flatten(1) @ near, rtol=1e-3, atol=0)


@pytest.mark.slow
def test_the_bilateral_kernel_approximates_a_double_loop() -> None:
    x = torch.rand(C, H, W, dtype=torch.float64)
    image = picture()
    _, alike = kernels(image)
    result, exact = bilateral(x, crf._grid(image, CrfKernels())).flatten(1), x.flatten(1) @ alike
    assert float(((result - exact).abs() / exact).mean()) < 0.12


def test_memory_for_a_pixel_is_bounded_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image, x = picture(), torch.rand(C, H, W, dtype=torch.float64)
    grid = crf._grid(image, CrfKernels())
    assert sum(one.numel() * one.element_size() for one in (grid.lowest, grid.part)) == 28 * H * W
    whole = bilateral(x, grid)
    monkeypatch.setattr(crf, "CHUNK", 37)
    torch.testing.assert_close(bilateral(x, grid), whole, rtol=1e-12, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [4.0, 12.0])
def test_the_marginals_are_those_of_a_dense_double_loop(noise: float) -> None:
    p, image = probabilities(), picture(noise)
    result, exact = dense_crf(p, image), mean_field(p, image)
    torch.testing.assert_close(result.sum(0), torch.ones(H, W).double())
    assert float((result - exact).abs().mean()) < 0.01
    assert float((result.argmax(0) == exact.argmax(0)).double().mean()) > 0.98
    assert float((p.argmax(0) == exact.argmax(0)).double().mean()) < 0.9  # the field changes much


@pytest.mark.slow
def test_the_benchmark_sums_over_all_pairs_of_pixels() -> None:
    p, image = probabilities().float(), picture()
    result = benchmarks.crf.mean_field(p, image, CrfKernels()).double()
    torch.testing.assert_close(result, mean_field(p.double(), image), rtol=1e-4, atol=1e-5)  # in float32


@pytest.mark.slow
def test_few_pixels_of_small_noisy_pictures_get_another_class() -> None:
    """What the docstring of `dense_crf` says, for the noisiest pictures."""
    for kernels, smallest, largest in ((kernels_for, 0.001, 0.009), (lambda image: CrfKernels(), 0.006, 0.025)):
        result = [benchmarks.crf.fraction(p, image, kernels(image)) for p, image in benchmarks.crf.drawn(16, 20.0)]
        assert smallest <= sum(result) / len(result) <= largest
        assert max(result) <= 0.04


def test_a_mask_follows_the_edge_of_the_picture() -> None:
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    image[:, :, 15:] = 200
    p = torch.full((2, 20, 30), 0.3)
    p[0, :, :12] = p[1, :, 12:] = 0.7  # three columns too early
    assert torch.equal(dense_crf(p, image).argmax(0), (torch.arange(30) >= 15).long().expand(20, 30))


def test_kernels_scale_with_the_picture() -> None:
    assert kernels_for(torch.zeros(3, 375, 500)) == CrfKernels(3.0, 1.0, 80.0, 13.0, 4.0)
    assert kernels_for(torch.zeros(3, 250, 100)) == CrfKernels(1.5, 1.0, 40.0, 13.0, 4.0)


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PellucidError, match="do not fit"):
        dense_crf(torch.rand(2, 4, 4), torch.zeros(3, 4, 5, dtype=torch.uint8))
    with pytest.raises(PellucidError, match="do not fit"):
        dense_crf(torch.rand(2, 4, 4), torch.zeros(3, 4, 4))
