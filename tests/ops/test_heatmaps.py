"""Heat maps and their decoding: Gaussians of known centres, and cases by hand."""

import math

import pytest
import torch

from pellucid.losses import Coordinates, HeatMaps
from pellucid.ops import heatmaps


def test_a_gaussian_is_normalized_cut_at_three_sigma_and_centred_on_its_point() -> None:
    points = torch.tensor([[[7.3, 5.6], [9.1, 11.4]]], dtype=torch.float64)
    maps = heatmaps.gaussians(points, (16, 18), 1.0)
    assert maps.shape == (1, 2, 16, 18)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(1, 2, dtype=torch.float64))
    torch.testing.assert_close(heatmaps.expectation(maps), points, atol=0.02, rtol=0)  # the cut is asymmetric
    assert maps[0, 0, 5, 3] == 0  # the centre of the cell is 3.8 cells away
    ratio = maps[0, 0, 5, 6] / maps[0, 0, 5, 7]  # the centres of the cells are 0.8 and 0.2 from 7.3
    assert ratio.item() == pytest.approx(math.exp(-(0.8**2 - 0.2**2) / 2))


def test_one_hot_is_the_cell_that_holds_the_point_and_points_outside_are_on_the_border() -> None:
    points = torch.tensor([[0.0, 0.0], [2.99, 1.0], [3.0, 2.0], [-4.0, 1.5], [9.0, 9.0]])
    tensors = heatmaps.gaussians(points, (2, 3), 0.0).flatten(1)
    assert tensors.argmax(1).tolist() == [0, 5, 5, 3, 5]
    assert tensors.sum(1).tolist() == [1] * 5
    assert heatmaps.clamp_points(points, (2, 3)).tolist()[3:] == [[0.0, 1.5], [3.0, 2.0]]


def test_the_expected_position_is_the_mean_of_the_centres() -> None:
    p = torch.zeros(2, 3, 4)
    p[0, 2, 1] = 1.0
    p[1, 0, 0] = p[1, 2, 3] = 0.5
    assert heatmaps.expectation(p).tolist() == [[1.5, 2.5], [2.0, 1.5]]


def test_quarter_shifts_by_a_quarter_cell_to_the_higher_neighbour() -> None:
    maps = torch.zeros(4, 5, 6)
    maps[:, 2, 3] = 9.0
    maps[0, 2, 4] = maps[0, 1, 3] = 1.0  # shift right and up
    maps[1, 2, 2] = maps[1, 3, 3] = 1.0  # shift left and down
    maps[3, 0, 0] = 10.0  # in the corner, without neighbours on both sides
    assert heatmaps.peaks_by_quarter(maps).tolist() == [[3.75, 2.25], [3.25, 2.75], [3.5, 2.5], [0.5, 0.5]]


def test_the_logarithm_of_a_gaussian_has_its_maximum_exactly_at_its_centre() -> None:
    rng = torch.Generator().manual_seed(0)
    cell = torch.randint(2, 9, (50, 2), generator=rng)
    centre = cell + 0.2 + 0.6 * torch.rand(50, 2, generator=rng, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(12) + 0.5, torch.arange(12) + 0.5, indexing="ij")
    dx, dy = columns - centre[:, 0, None, None], rows - centre[:, 1, None, None]
    log_gaussian = -(0.3 * dx**2 + 0.2 * dx * dy + 0.4 * dy**2)  # a Gaussian whose principal axes are rotated
    torch.testing.assert_close(heatmaps.peaks_by_parabola(log_gaussian), centre, atol=1e-9, rtol=0)


def test_a_maximum_without_a_parabola_is_not_shifted() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[1, 0, 2] = 5.0  # on the border
    assert heatmaps.peaks_by_parabola(maps).tolist() == [[0.5, 0.5], [2.5, 0.5]]
    single = torch.ones(1, 1, 1)
    assert heatmaps.peaks_by_quarter(single).tolist() == heatmaps.peaks_by_parabola(single).tolist() == [[0.5, 0.5]]


def test_the_mass_within_a_radius_is_the_sum_of_its_cells() -> None:
    p = torch.full((1, 4, 5), 0.05)
    assert heatmaps.sum_within(p, torch.tensor([[2.5, 2.0]]), 1.0).item() == pytest.approx(0.1)
    assert heatmaps.sum_within(p, torch.tensor([[2.5, 1.5]]), 1.0).item() == pytest.approx(0.25)


@pytest.mark.parametrize("decode", ["expectation", "quarter", "taylor"])
def test_the_heat_map_of_a_point_is_decoded_to_the_point(decode: str) -> None:
    """The error is within the resolution of the decoding; a parabola ("taylor") is exact for Gaussians."""
    rng = torch.Generator().manual_seed(1)
    points = 20 + 70 * torch.rand(3, 40, 2, generator=rng, dtype=torch.float64)  # of an image of 112 pixels
    logits = heatmaps.gaussians(points / 4, (28, 28), 1.0).clamp_min(1e-12).log()
    predictions = HeatMaps(decode=decode).predict(logits)  # type: ignore[arg-type]
    assert predictions.shape == (3, 40, 3)
    max_error = {"expectation": 0.2, "quarter": 1.1, "taylor": 1e-6}[decode]  # pixels
    assert float((predictions[..., :2] - points).abs().max()) < max_error
    assert bool((predictions[..., 2] > 0.95).all())


def test_coordinates_are_fractions_of_the_sides_from_the_centre() -> None:
    y = torch.tensor([[0.0, 0.0, -0.5, 0.5, 0.25, -0.1]])
    predictions = Coordinates((40, 60)).predict(y)
    assert predictions.tolist()[0] == [
        pytest.approx(row) for row in ([30.0, 20.0, 1.0], [0.0, 40.0, 1.0], [45.0, 16.0, 1.0])
    ]
