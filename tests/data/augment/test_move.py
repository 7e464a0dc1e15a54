"""Geometric transforms of masks and points, compared with scipy, with their inverses and on drawn shapes."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pellucid.data.augment.move import Move
from pellucid.data.augment.resample import Resampling, affine_map, random_affine, random_field
from pellucid.data.augment.windows import Flip, Window, random_flip, random_window
from pellucid.data.seeds import generator

H, W = 40, 52
SCIPY_MODE = {"constant": "grid-constant", "nearest": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}
seeds = st.integers(0, 10**6)


def affine_move(
    angle: float = 0.0, right: float = 0.0, down: float = 0.0, shear: float = 0.0, zoom: float = 1.0
) -> Resampling:
    parameters = [torch.tensor([value]) for value in (angle, shear, zoom)]
    matrix, offset = affine_map(parameters[0], torch.tensor([[right, down]]), parameters[1], parameters[2])
    return Resampling((H, W), (H, W), matrix, offset, None)


affine_moves = st.builds(
    affine_move, st.floats(-180, 180), st.floats(-9, 9), st.floats(-9, 9), st.floats(-30, 30), st.floats(0.6, 1.6)
)


def elastic_move(seed: int, alpha: float, sigma: float) -> Resampling:
    x = torch.zeros(1, 1, H, W)
    field = random_field(x, alpha, sigma, generator(seed))
    return Resampling((H, W), (H, W), torch.eye(2)[None], torch.zeros(1, 2), field)


def move_of_each_kind(seed: int) -> list[Move]:
    """Return one transform of each kind with drawn parameters, for a single image (H, W)."""
    x, rng = torch.zeros(1, 1, H, W), generator(seed)
    return [
        random_flip(x, 3, rng, 1.0),
        random_flip(x, 2, rng, 1.0),
        random_window(x, 5, rng),
        random_affine(x, rng, 40, 0.1, 15, 0.2, aspect=0.3),
        random_affine(x, rng, scale=(0.7, 1.5), size=(30, 60)),
        elastic_move(seed, 34.0, 4.0),
    ]


@pytest.mark.parametrize("fill", list(SCIPY_MODE))
@pytest.mark.parametrize("has_displacement", [False, True])
def test_labels_equal_scipys_nearest_pixel(fill, has_displacement):
    """Compare with scipy's order 0 at the positions computed from the definition of the map in float64."""
    labels = torch.randint(0, 20, (2, 1, H, W), generator=generator(0), dtype=torch.uint8)
    move = random_affine(labels.float(), generator(1), 30, 0.3, 20, 0.4, size=(33, 47))
    field = (
        random_field(labels.float(), 40.0, 4.0, generator(2), (33, 47))
        if has_displacement
        else torch.zeros(2, 2, 33, 47)
    )
    move = Resampling(move.size, move.shape, move.matrix, move.offset, field)
    actual = move.apply(labels, fill, 77)
    assert actual.dtype == torch.uint8
    rows, columns = np.mgrid[:33, :47]
    p = np.stack((columns - 23.0, rows - 16.0))  # relative to the centre
    for n in range(2):
        matrix, offset = move.matrix[n].double().numpy(), move.offset[n].double().numpy()
        q = np.einsum("ij,jhw->ihw", matrix, p) + offset[:, None, None] + field[n].double().numpy()
        q += np.array([(W - 1) / 2, (H - 1) / 2])[:, None, None]
        expected = ndimage.map_coordinates(labels[n, 0].numpy(), q[::-1], order=0, mode=SCIPY_MODE[fill], cval=77)
        is_unambiguous = (np.abs(q - 0.5 - np.round(q - 0.5)) > 1e-3).all(0)  # ties may be rounded up or down
        assert is_unambiguous.mean() > 0.98
        np.testing.assert_array_equal(actual[n, 0].numpy()[is_unambiguous], expected[is_unambiguous])


def test_aspect_changes_the_ratio_of_sides_and_keeps_the_area():
    for scale in ((1.0, 1.0), (2.0, 2.0)):
        move = random_affine(torch.zeros(400, 1, H, W), generator(0), scale=scale, aspect=0.1)
        corners = move.points(torch.tensor([[[10.0, 10.0], [20.0, 30.0]]]).expand(400, -1, -1))
        width, height = (corners[:, 1] - corners[:, 0]).unbind(1)
        ratio = width / height * 2
        np.testing.assert_allclose((width * height).numpy(), 200 * scale[0] ** 2, rtol=1e-4)
        assert 1 / 1.1 - 1e-4 < float(ratio.min()) < 0.915
        assert 1.095 < float(ratio.max()) < 1.1 + 1e-4
        assert abs(float(ratio.log().mean())) < 0.01


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool])
def test_masks_keep_their_dtype(dtype):
    x = torch.randint(0, 2, (1, 1, H, W), generator=generator(3)).to(dtype)
    for move in move_of_each_kind(4):
        assert move.apply(x, "constant", False if dtype == torch.bool else 1).dtype == dtype


def test_large_labels_are_not_rounded():
    label = 2**40 + 1
    x = torch.full((1, 1, H, W), label)
    for move in move_of_each_kind(5):
        assert move.apply(x, "nearest", 0).unique().tolist() == [label]


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 5))
def test_masks_are_moved_as_images(seed, kind):
    """Where all interpolated pixels belong to one class, the mask has that class."""
    labels = torch.zeros(1, 1, H, W, dtype=torch.int64)
    for k, (top, left) in enumerate(((3, 4), (8, 30), (22, 12)), 1):
        labels[..., top : top + 14, left : left + 15] = k
    move = move_of_each_kind(seed)[kind]
    class_fractions = move.apply(torch.cat([(labels == k).float() for k in range(4)], 1), "constant", 0)
    result = move.apply(labels, "constant", 255)
    is_pure = class_fractions.amax(1) > 0.999
    assert is_pure.float().mean() > 0.3
    assert torch.equal(result[:, 0][is_pure], class_fractions.argmax(1)[is_pure])
    assert bool((class_fractions.sum(1)[result[:, 0] == 255] <= 0.5 + 1e-3).all())  # filled if half is outside


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(0, 5), st.floats(12, 40), st.floats(12, 28))
def test_points_are_moved_as_drawn_dots(seed, kind, x, y):
    """The centre of a dot drawn at (x, y), with pixel centres at i + 0.5, moves to the transformed point."""
    v, u = torch.meshgrid(torch.arange(H) + 0.5, torch.arange(W) + 0.5, indexing="ij")
    dot = torch.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 1.2**2))[None, None]
    move = move_of_each_kind(seed)[kind]
    moved = move.apply(dot, "constant", 0)[0, 0]
    to_x, to_y = move.points(torch.tensor([[[x, y]]]))[0, 0].tolist()
    height, width = moved.shape
    assume(6 < to_x < width - 6 and 6 < to_y < height - 6)  # the dot lies inside the image
    total = float(moved.sum())
    assert total > 1
    at_x = float((moved.sum(0) * (torch.arange(width) + 0.5)).sum()) / total
    at_y = float((moved.sum(1) * (torch.arange(height) + 0.5)).sum()) / total
    bound = 1.0 if kind == 5 else 0.05  # a displacement also distorts the dot
    assert abs(at_x - to_x) < bound
    assert abs(at_y - to_y) < bound


@settings(max_examples=40, deadline=None)
@given(affine_moves, seeds)
def test_points_are_restored_by_the_inverse_transform(move, seed):
    points = torch.rand(1, 9, 2, generator=generator(seed)) * torch.tensor([W, H])
    inverse = torch.linalg.inv(move.matrix)
    inverse_move = Resampling(move.size, move.shape, inverse, -(inverse @ move.offset[:, :, None])[:, :, 0], None)
    torch.testing.assert_close(inverse_move.points(move.points(points)), points, atol=1e-3, rtol=0)


@settings(max_examples=25, deadline=None)
@given(affine_moves)
def test_a_smooth_image_is_restored_by_the_inverse_transform(move):
    picture = ndimage.gaussian_filter(np.random.default_rng(0).random((H, W)), 4.0)
    x = torch.tensor(picture, dtype=torch.float32)[None, None]
    x = (x - x.min()) / (x.max() - x.min())
    inverse = torch.linalg.inv(move.matrix)
    inverse_move = Resampling(move.size, move.shape, inverse, -(inverse @ move.offset[:, :, None])[:, :, 0], None)
    is_inside = (
        inverse_move.apply(move.apply(torch.ones_like(x), "constant", 0), "constant", 0) > 0.999
    )  # pixels that stayed inside the image
    restored = inverse_move.apply(move.apply(x, "constant", 0), "constant", 0)
    assert float((restored - x).abs()[is_inside].max() if is_inside.any() else 0) < 0.06
    labels = (x * 4).long()
    is_equal = inverse_move.apply(move.apply(labels, "constant", 9), "constant", 9) == labels
    assert float(is_equal[is_inside].float().mean() if is_inside.any() else 1) > 0.85


def test_flips_and_windows_are_undone_exactly():
    x = torch.rand(3, 2, H, W, generator=generator(6))
    is_flipped = torch.tensor([True, False, True])[:, None, None, None]
    points = torch.rand(3, 4, 2, generator=generator(7)) * 40
    for axis in (2, 3):
        flip = Flip((H, W), is_flipped, axis)
        assert torch.equal(flip.apply(flip.apply(x, "constant", 0), "constant", 0), x)
        torch.testing.assert_close(flip.points(flip.points(points)), points)
    start = torch.tensor([[-3, 2], [0, 0], [4, -5]])
    crop, inverse_crop = Window((H + 9, W + 9), start), Window((H, W), -start)
    restored = inverse_crop.apply(crop.apply(x, "constant", 0), "constant", -1)
    assert torch.equal(restored[1], x[1])
    assert torch.equal(restored[0][:, :, 2:], x[0][:, :, 2:])
    torch.testing.assert_close(inverse_crop.points(crop.points(points)), points)


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(1, 40), st.floats(3, 9))
def test_points_under_a_displacement_solve_its_equation(seed, alpha, sigma):
    """r + d(r) = q, where scipy interpolates d at the solution r."""
    move = elastic_move(seed, alpha, max(sigma, alpha**0.4))
    points = torch.rand(1, 30, 2, generator=generator(seed)) * torch.tensor([W - 8, H - 8]) + 4
    result = move.points(points)[0].double().numpy()
    assert move.displacement is not None
    field = move.displacement[0].double().numpy()
    d = np.stack([ndimage.map_coordinates(part, result.T[::-1] - 0.5, order=1, mode="nearest") for part in field], 1)
    np.testing.assert_allclose(result + d, points[0].numpy(), atol=0.02)


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.floats(0.6, 1.5), st.floats(-20, 20))
def test_areas_grow_by_the_square_of_the_zoom(angle, zoom, shear):
    """Shear and rotation preserve areas; a zoom of z multiplies them by z^2."""
    move = affine_move(angle, shear=shear, zoom=zoom)
    mask = torch.zeros(1, 1, H, W, dtype=torch.bool)
    mask[..., 13:27, 19:33] = True  # 14 x 14 at the centre: at most 21 pixels wide after a zoom of 1.5
    result = int(move.apply(mask, "constant", False).sum())
    assert abs(result - 14 * 14 * zoom**2) < 2 * 14 * zoom * 1.07 + 1  # a sheared row and column of pixels
    corners = torch.tensor([[[19.0, 13.0], [33.0, 13.0], [33.0, 27.0], [19.0, 27.0]]])
    x, y = move.points(corners)[0].double().unbind(1)
    area = 0.5 * abs(float((x * y.roll(-1) - y * x.roll(-1)).sum()))  # the shoelace formula
    assert area == pytest.approx(14 * 14 * zoom**2, rel=1e-3)


def test_points_are_found_under_displacements_that_almost_fold():
    """Where neighbouring displacements differ by more than a pixel, the iteration r = q - d(r) does not converge."""
    errors: list[np.ndarray] = []
    for seed in range(20):
        move = elastic_move(seed, 2.5 * 5**2, 5.0)
        points = torch.rand(1, 100, 2, generator=generator(seed)) * torch.tensor([W - 12, H - 12]) + 6
        result, field = move.points(points)[0].double().numpy(), move.displacement
        assert field is not None
        sample_positions = result.T[::-1] - 0.5
        d = np.stack(
            [ndimage.map_coordinates(part, sample_positions, order=1, mode="nearest") for part in field[0].numpy()], 1
        )
        errors.append(np.abs(result + d - points[0].numpy()).max(1))
    assert float((np.concatenate(errors) < 0.02).mean()) > 0.999


def test_pixel_k_covers_the_interval_from_k_to_k_plus_1():
    """The corners of the image are transformed to the corners of a flip, a window and an enlargement."""
    corners = torch.tensor([[[0.0, 0.0], [W, H]]])
    assert Flip((H, W), torch.ones(1, 1, 1, 1, dtype=torch.bool), 3).points(corners).tolist() == [[[W, 0], [0, H]]]
    assert Window((H, W), torch.tensor([[2, 3]])).points(corners).tolist() == [[[-3, -2], [W - 3, H - 2]]]
    result = affine_move(zoom=2.0).points(corners)
    torch.testing.assert_close(result, torch.tensor([[[-W / 2, -H / 2], [1.5 * W, 1.5 * H]]]))
    quarter = affine_move(angle=90.0).points(torch.tensor([[[W / 2 + 5, H / 2]]]))  # counter-clockwise, to the top
    torch.testing.assert_close(quarter, torch.tensor([[[W / 2, H / 2 - 5]]]))


def test_windows_of_a_fixed_size_lie_at_all_integer_positions():
    """On images that contain pixel coordinates: windows are exact copies, and all positions occur."""
    v, u = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    x = torch.stack((u, v)).expand(900, 2, 6, 8)
    y = random_affine(x, generator(0), size=(4, 5)).apply(x, "constant", -1)
    assert y.shape == (900, 2, 4, 5)
    torch.testing.assert_close(y, y.round(), atol=1e-4, rtol=0)
    first = y[:, :, 0, 0].round()
    torch.testing.assert_close(y[:, 0] - first[:, 0, None, None], u[:4, :5].expand(900, 4, 5), atol=1e-4, rtol=0)
    counts = torch.bincount((first[:, 1] * 4 + first[:, 0]).long(), minlength=12)
    assert len(counts) == 12  # 3 x 4 positions, 75 times each on average
    assert 40 < int(counts.min()) <= int(counts.max()) < 115


def test_a_smaller_image_lies_entirely_in_its_window():
    x = torch.rand(400, 1, 3, 4, generator=generator(1)) + 1
    y = random_affine(x, generator(2), size=(5, 7)).apply(x, "constant", 0)[:, 0]
    positions = set()
    for image, window in zip(x[:, 0], y, strict=True):
        rows, columns = (window > 0.5).any(1).nonzero().flatten(), (window > 0.5).any(0).nonzero().flatten()
        top, left = int(rows[0]), int(columns[0])
        torch.testing.assert_close(window[top : top + 3, left : left + 4], image, atol=1e-4, rtol=0)
        torch.testing.assert_close(window.sum(), image.sum(), atol=1e-2, rtol=0)
        positions.add((top, left))
    assert positions == {(top, left) for top in range(3) for left in range(4)}


def test_scales_are_uniform_in_their_range():
    """On images that contain pixel coordinates, neighbouring pixels differ by one over the scale."""
    x = torch.arange(40.0).expand(2000, 1, 4, 40)
    y = random_affine(x, generator(3), scale=(0.75, 1.5), size=(4, 12)).apply(x, "nearest", 0)
    scale = 1 / (y[:, 0, 2, 7] - y[:, 0, 2, 6])
    assert 0.7499 < float(scale.min()) < 0.76
    assert 1.49 < float(scale.max()) < 1.5001
    assert float(scale.mean()) == pytest.approx(1.125, abs=0.015)  # three standard errors
    assert float(scale.std()) == pytest.approx(0.75 / np.sqrt(12), rel=0.05)
