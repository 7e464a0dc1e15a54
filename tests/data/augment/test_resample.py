"""Affine augmentation and elastic distortion compared with scipy.ndimage."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from pellucid.base.errors import PellucidError
from pellucid.data.augment import affine, elastic, rotate, shear, shift, zoom
from pellucid.data.augment.resample import affine_map, random_field, resample, smooth
from pellucid.data.seeds import generator

SCIPY_MODE = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}
FILLS = tuple(SCIPY_MODE)


def smooth_picture(h: int = 11, w: int = 14) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(0).random((h, w)), 1.0).astype(np.float32)


def affine_parameters(angle: float = 0.0, right: float = 0.0, down: float = 0.0, shear: float = 0.0, zoom: float = 1.0):
    values = [torch.tensor([v], dtype=torch.float32) for v in (angle, shear, zoom)]
    return affine_map(values[0], torch.tensor([[right, down]], dtype=torch.float32), values[1], values[2])


def resampled(picture: np.ndarray, fill="constant", value=0.0, **parameters: float) -> np.ndarray:
    return resample(torch.tensor(picture)[None, None], *affine_parameters(**parameters), fill=fill, value=value)[
        0, 0
    ].numpy()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("angle", [-30.0, 10.0, 90.0, 200.0])
def test_rotation_equals_scipys(fill, angle):
    picture = smooth_picture()
    expected = ndimage.rotate(picture, angle, reshape=False, order=1, mode=SCIPY_MODE[fill], cval=0.3)
    np.testing.assert_allclose(resampled(picture, fill, 0.3, angle=angle), expected, atol=2e-5)


def test_rotation_by_90_degrees_equals_numpys():
    picture = smooth_picture(9, 9)
    np.testing.assert_allclose(resampled(picture, angle=90), np.rot90(picture), atol=1e-5)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(("right", "down"), [(2.0, 0.0), (-1.5, 3.25), (20.5, -17.0)])
def test_shift_equals_scipys(fill, right, down):
    picture = smooth_picture()
    expected = ndimage.shift(picture, (down, right), order=1, mode=SCIPY_MODE[fill], cval=0.3)
    np.testing.assert_allclose(resampled(picture, fill, 0.3, right=right, down=down), expected, atol=2e-5)


@pytest.mark.parametrize("fill", FILLS)
def test_the_composed_map_equals_scipys(fill):
    """Compare with the product of shear, zoom, rotation and shift in scipy's (row, column) order, inverted."""
    picture = smooth_picture()
    a, s, z, right, down = math.radians(25), math.tan(math.radians(12)), 1.2, 1.5, -2.0
    rotation = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])  # (row, column), counter-clockwise
    forward = rotation @ (z * np.eye(2)) @ np.array([[1, 0], [s, 1]])
    inverse = np.linalg.inv(forward)
    centre = (np.array(picture.shape) - 1) / 2
    offset = centre - inverse @ (centre + np.array([down, right]))
    expected = ndimage.affine_transform(picture, inverse, offset, order=1, mode=SCIPY_MODE[fill], cval=0.3)
    actual = resampled(picture, fill, 0.3, angle=25, shear=12, zoom=1.2, right=right, down=down)
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_shear_moves_lower_rows_right():
    picture = np.zeros((5, 9), np.float32)
    picture[:, 4] = 1
    result = resampled(picture, shear=45.0)
    np.testing.assert_allclose(result, np.eye(5, 9, 2), atol=1e-5)


def test_zoom_enlarges():
    picture = np.zeros((9, 9), np.float32)
    picture[3:6, 3:6] = 1
    assert resampled(picture, zoom=2.0).sum() == pytest.approx(4 * 9, rel=0.05)


def test_every_picture_has_its_own_map_for_all_its_channels():
    x = torch.tensor(smooth_picture()).expand(6, 3, 11, 14)
    y = rotate(x, 40.0, generator(0))
    assert torch.equal(y[:, 0], y[:, 2])
    assert all(not torch.allclose(y[0], y[k]) for k in range(1, 6))


def test_drawn_shifts_are_uniform_in_their_range():
    """Compute the shifts from the centre of mass of a single spot, and compare with the uniform distribution."""
    n, size = 2000, 41
    x = torch.zeros(n, 1, size, size)
    x[:, :, 20, 20] = 1
    y = shift(x, 0.25, generator(1))[:, 0]
    offsets = torch.arange(size, dtype=torch.float32) - 20
    right, down = (y.sum(dim=1) * offsets).sum(dim=1), (y.sum(dim=2) * offsets).sum(dim=1)
    for moved in (right, down):
        assert 10.0 < moved.abs().max() <= 0.25 * size
        assert float(moved.mean()) == pytest.approx(0, abs=0.45)  # three standard errors
        assert float(moved.std()) == pytest.approx(0.25 * size / math.sqrt(3), rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack((right, down)))[0, 1])) < 0.07


def test_angles_stay_in_their_range():
    x = torch.zeros(500, 1, 41, 41)
    x[:, :, 20, 35] = 1
    y = rotate(x, 30.0, generator(2))[:, 0]
    offsets = torch.arange(41, dtype=torch.float32) - 20
    angle = torch.rad2deg(torch.atan2(-(y.sum(dim=2) * offsets).sum(dim=1), (y.sum(dim=1) * offsets).sum(dim=1)))
    assert 28 < float(angle.max()) <= 30.2
    assert -30.2 <= float(angle.min()) < -28


@pytest.mark.parametrize(("alone", "name"), [(rotate, "rotate"), (shift, "shift"), (shear, "shear"), (zoom, "zoom")])
def test_each_transform_equals_the_composed_one_with_only_its_setting(alone, name):
    x = torch.tensor(smooth_picture())[None, None].repeat(3, 1, 1, 1)
    assert torch.equal(alone(x, 0.2, generator(5)), affine(x, generator(5), **{name: 0.2}))
    assert not torch.allclose(alone(x, 0.2, generator(5)), x, atol=1e-6)


def test_affine_without_settings_returns_its_input():
    x = torch.tensor(smooth_picture())[None, None]
    torch.testing.assert_close(affine(x, generator(0)), x)


def test_the_error_for_an_unknown_fill_suggests_the_nearest():
    with pytest.raises(PellucidError, match="did you mean 'reflect'"):
        rotate(torch.zeros(1, 1, 4, 4), 5.0, generator(0), fill="reflct")  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [0.7, 2.0, 4.0, 9.0])
def test_smoothing_equals_scipys(sigma):
    field = np.random.default_rng(0).random((3, 17, 28))
    expected = ndimage.gaussian_filter(field, sigma, axes=(1, 2), mode="constant", truncate=4.0)
    np.testing.assert_allclose(smooth(torch.tensor(field), sigma).numpy(), expected, atol=1e-12)


def test_elastic_distortion_samples_at_displaced_positions():
    x = torch.tensor(np.random.default_rng(1).random((4, 1, 20, 24)), dtype=torch.float32)
    field = random_field(x, 30.0, 4.0, generator(3)).numpy()
    rows, columns = np.mgrid[:20, :24]
    for k in range(4):
        positions = [rows + field[k, 1], columns + field[k, 0]]
        expected = ndimage.map_coordinates(x[k, 0].numpy(), positions, order=1, mode="nearest")
        actual = elastic(x, 30.0, 4.0, generator(3), fill="nearest")[k, 0].numpy()
        np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_the_standard_deviation_of_elastic_displacements_follows_simards_formula():
    """Smoothing white noise of variance alpha^2 / 3 in two dimensions multiplies its variance by 1 / (4 pi sigma^2)."""
    x = torch.zeros(200, 1, 64, 64)
    middle = random_field(x, 34.0, 4.0, generator(0))[:, :, 24:40, 24:40]
    expected = 34.0 / np.sqrt(3) / np.sqrt(4 * np.pi * 16)
    assert float(middle.std()) == pytest.approx(expected, rel=0.1)
    assert abs(float(middle.mean())) < 0.2  # three standard errors of 400 smooth fields


def test_fields_differ_between_pictures_and_axes():
    field = random_field(torch.zeros(2, 1, 8, 8), 5.0, 2.0, generator(0))
    assert not torch.allclose(field[0, 0], field[1, 0])
    assert not torch.allclose(field[0, 0], field[0, 1])
