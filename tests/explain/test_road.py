"""ROAD: imputed pixels against the system of equations written with loops and solved densely, and its curve."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain.road import FRACTIONS, imputed, road
from pellucid.layers import Dense, Flatten, Mode
from tests.explain.networks import network_and_batch
from tests.oracle import assert_close, normal
from tests.references import reference_forward

WEIGHTS = {1: 1 / 6, 2: 1 / 12}  # by the squared distance of a neighbour: beside, and diagonal (Rong et al. 2022)


def solved(plane: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Return a plane (H, W) whose removed pixels equal the weighted means of their neighbours in the image."""
    height, width = plane.shape
    matrix, constants = np.eye(height * width), plane.astype(float).flatten()
    for row, column in np.argwhere(removed):
        equation = row * width + column
        matrix[equation] = 0
        constants[equation] = 0
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                distance = down * down + right * right
                if distance and 0 <= row + down < height and 0 <= column + right < width:
                    matrix[equation, equation] += WEIGHTS[distance]
                    matrix[equation, (row + down) * width + column + right] = -WEIGHTS[distance]
    return np.linalg.solve(matrix, constants).reshape(height, width)


def removed_pixels(kind: str, rng: torch.Generator) -> Tensor:
    """Return masks (2, 1, 9, 7) of removed pixels."""
    removed = torch.zeros(2, 1, 9, 7, dtype=torch.bool)
    if kind == "scattered":
        removed = torch.rand(removed.shape, generator=rng) < 0.6
    elif kind == "corner":
        removed[:, :, :6, :5] = True
    elif kind == "all but one":
        removed[:] = True
        removed[:, :, 4, 2] = False
    return removed


@pytest.mark.parametrize("kind", ["scattered", "corner", "all but one", "nothing"])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_removed_pixels_are_the_means_of_their_neighbours(kind: str, offset: float) -> None:
    rng = torch.Generator().manual_seed(1)
    x = normal((2, 3, 9, 7), rng) + offset
    removed = removed_pixels(kind, rng)
    actual = imputed(x, removed)
    for n in range(2):
        for channel in range(3):
            expected = solved(x[n, channel].numpy(), removed[n, 0].numpy())
            assert_close(actual[n, channel], torch.from_numpy(expected), 1e-3 / (1 + offset))


def test_an_image_without_any_pixel_left_is_refused() -> None:
    removed = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    removed[1] = True
    with pytest.raises(PellucidError, match="at least one pixel that is not removed"):
        imputed(torch.rand(2, 3, 4, 4), removed)


def test_the_curve_has_the_scores_of_imputed_images() -> None:
    net, params, x = network_and_batch("vgg")
    rng = torch.Generator().manual_seed(2)
    map_ = normal((2, 1, 6, 6), rng)
    curve = road(net, params, x, 1, map_)
    assert curve.fractions.tolist() == pytest.approx(FRACTIONS)
    order = map_.flatten(1).argsort(1, descending=True)
    for k, fraction in enumerate(FRACTIONS):
        removed = torch.zeros(2, 36, dtype=torch.bool)
        removed.scatter_(1, order[:, : round(36 * fraction)], True)
        images = [
            torch.stack([torch.from_numpy(solved(plane.numpy(), mask.view(6, 6).numpy())) for plane in image])
            for image, mask in zip(x, removed, strict=True)
        ]
        expected = reference_forward(net, params, torch.stack(images), Mode())[:, 1]
        assert_close(curve.scores[:, k], expected, 0.05)  # the noise has a standard deviation of 0.01
    width = FRACTIONS[-1] - FRACTIONS[0]
    assert_close(curve.area, torch.trapezoid(curve.scores, curve.fractions, dim=1) / width, 1e-12)
    assert_close(road(net, params, x, 1, map_).scores, curve.scores, 0.0)


def test_one_pixel_of_a_tiny_image_is_always_left() -> None:
    net = Sequential(flat=Flatten(), scores=Dense(3))
    params, _ = net.init((1, 2, 2), torch.Generator().manual_seed(0))
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    assert bool(road(net, params, x, 1, x).scores.isfinite().all())
