"""Run lengths and polygons of masks equal those of pycocotools."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from pellucid.base.errors import PellucidError
from pellucid.ops import masks as masks_module
from pellucid.ops.masks import (
    decompress,
    encode_rle,
    fill_spans,
    outline_length,
    outline_polygons,
    polygon_spans,
    run_lengths,
    run_spans,
    span_box,
    span_outline,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools


def fill_runs(counts: list[int], size: tuple[int, int]) -> torch.Tensor:
    return fill_spans(run_spans(counts, size), size)


def fill_polygons(polygons: list[list[float]], size: tuple[int, int]) -> torch.Tensor:
    return fill_spans(polygon_spans(polygons, size), size)


def random_masks(count: int) -> list[np.ndarray]:
    """Return random masks of various sizes: some are empty, some are full, some have few long runs."""
    rng = np.random.default_rng(0)
    result = [np.zeros((1, 1), bool), np.ones((1, 1), bool), np.ones((1, 7), bool), np.zeros((7, 1), bool)]
    for k in range(count):
        height, width = rng.integers(1, 60, 2)
        mask = rng.random((height, width)) < rng.random()
        result.append(mask.repeat(9, 0).repeat(5, 1) if k % 3 == 0 else mask)
    return result


def test_compressed_run_lengths_equal_pycocotools():
    for mask in random_masks(300):
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        text = expected["counts"].decode()
        assert encode_rle(torch.from_numpy(mask)) == text
        assert np.array_equal(fill_runs(decompress(text), mask.shape).numpy(), mask)


def test_long_runs_equal_pycocotools():
    mask = np.zeros((2100, 1800), bool)
    mask[3:2000, 7:1700] = True
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert encode_rle(torch.from_numpy(mask)) == text
    assert np.array_equal(fill_runs(decompress(text), mask.shape).numpy(), mask)


def test_run_lengths_are_column_major_and_begin_with_the_background():
    mask = torch.tensor([[True, False], [True, True]])
    assert run_lengths(mask) == [0, 2, 1, 1]
    assert torch.equal(fill_runs([0, 2, 1, 1], (2, 2)), mask)
    assert run_lengths(torch.zeros(2, 2, dtype=torch.bool)) == [4]
    for result in random_masks(30):
        run_length_object = coco.frPyObjects(
            {"size": [*result.shape], "counts": run_lengths(torch.from_numpy(result))}, *result.shape
        )
        assert np.array_equal(coco.decode(run_length_object), result)


@pytest.mark.parametrize("step", [0, 0.1, 1])  # step of the grid of the corners; 0: no grid
def test_polygons_equal_pycocotools(step):
    rng = np.random.default_rng(1)
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(1, 50, 2))
        polygons = [rng.random((rng.integers(3, 10), 2)) * [width + 8, height + 8] - 4 for _ in range(2)]
        flat = [(p if not step else (p / step).round() * step).flatten().tolist() for p in polygons]
        expected = coco.decode(coco.merge(coco.frPyObjects(flat, height, width)))
        assert np.array_equal(fill_polygons(flat, (height, width)).numpy(), expected)


def test_a_box_as_polygon_is_its_pixels():
    expected = torch.zeros(6, 8, dtype=torch.bool)
    expected[1:4, 2:7] = True
    assert torch.equal(fill_polygons([[2, 1, 7, 1, 7, 4, 2, 4]], (6, 8)), expected)


@pytest.mark.parametrize("text", ["~", "o", "51", "é", "\x00", "0" * 20])
def test_damaged_run_lengths_are_refused(text):
    with pytest.raises(PellucidError, match="RLE"):
        fill_runs(decompress(text), (3, 5))


@pytest.mark.parametrize("counts", [[3], [20, -5], [], [16]])
def test_run_lengths_of_another_size_are_refused(counts):
    with pytest.raises(PellucidError, match="does not fit a mask of 3x5"):
        fill_runs(counts, (3, 5))


@pytest.mark.parametrize("polygon", [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, float("nan")]])
def test_polygons_of_fewer_points_are_refused(polygon):
    with pytest.raises(PellucidError, match="three points"):
        fill_polygons([polygon], (5, 5))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8, 1.0])  # filled pixels: parts, holes, parts in holes
def test_filled_outlines_equal_the_mask(fraction):
    rng = np.random.default_rng(2)
    for _ in range(60):
        height, width = (int(side) for side in rng.integers(1, 20, 2))
        mask = rng.random((height, width)) < fraction
        polygons = outline_polygons(torch.from_numpy(mask))
        assert np.array_equal(fill_polygons(polygons, (height, width)).numpy(), mask)
        if polygons:
            filled = coco.decode(coco.merge(coco.frPyObjects(polygons, height, width)))
            assert np.array_equal(filled, mask)


def test_outlines_have_a_polygon_for_each_part_and_only_its_corners():
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[1:4, 2:7] = True
    assert outline_polygons(mask) == [[2, 1, 7, 1, 7, 4, 2, 4]]
    mask[4, 7] = True  # touches at a corner only
    assert len(outline_polygons(mask)) == 2
    assert outline_polygons(torch.zeros(3, 3, dtype=torch.bool)) == []


def test_spans_have_the_box_outline_and_pixels_of_their_mask():
    for mask in random_masks(100):
        height, width = mask.shape
        spans = run_spans(run_lengths(torch.from_numpy(mask)), mask.shape)
        assert np.array_equal(fill_spans(spans, mask.shape).numpy(), mask)
        rows, columns = np.nonzero(mask)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if rows.size else (0, 0, 0, 0)
        assert span_box(spans, height) == box
        padded = np.pad(mask, 1)
        sides = (padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum()
        assert span_outline(spans, height) == sides
        for new_size in ((height // 2 + 1, width // 3 + 1), (3 * height + 1, 2 * width + 1), (height + 3, width)):
            rows, columns = (
                ((np.arange(n) + 0.5) * (side / n)).astype(int) for n, side in zip(new_size, mask.shape, strict=True)
            )
            assert np.array_equal(fill_spans(spans, mask.shape, new_size).numpy(), mask[np.ix_(rows, columns)])


@pytest.mark.heavy
@pytest.mark.slow
def test_polygons_drawn_in_parts_equal_pycocotools(monkeypatch):
    monkeypatch.setattr(masks_module, "_MAX_POINTS", 7)
    test_polygons_equal_pycocotools(0)


def test_the_length_of_outlines_is_the_sum_of_their_sides():
    assert outline_length([[0, 0, 10, 0, 10, 5, 0, 5], [1, 1, 2, 1, 2, 3]]) == 10 + 5 + 10 + 5 + 1 + 2 + 2
    assert outline_length([]) == 0
