"""Anchors equal the published ones, and priors have the published number and the sizes of the paper's formulas."""

import math

import pytest
import torch

from pellucid.ops.anchors import base_anchors, grid_anchors, ssd_priors

# From the comments in the reference code of Faster R-CNN: pixel coordinates from 1, the last pixel included.
PUBLISHED_ANCHORS = [
    (-83, -39, 100, 56),
    (-175, -87, 192, 104),
    (-359, -183, 376, 200),
    (-55, -55, 72, 72),
    (-119, -119, 136, 136),
    (-247, -247, 264, 264),
    (-35, -79, 52, 96),
    (-79, -167, 96, 184),
    (-167, -343, 184, 360),
]


def test_the_nine_anchors_are_those_published():
    expected = [[x0 - 1, y0 - 1, x1, y1] for x0, y0, x1, y1 in PUBLISHED_ANCHORS]
    assert base_anchors().tolist() == expected


def test_anchors_of_two_maps_are_shifted_row_by_row():
    bases = [torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 3.0]]), torch.tensor([[0.0, 0.0, 8.0, 6.0]])]
    result = grid_anchors(bases, [(2, 3), (1, 2)], [4, (6, 8)])
    first_map = [
        [4 * c + a, 4 * r + a, 4 * c + b, 4 * r + b] for r in range(2) for c in range(3) for a, b in ((0, 4), (1, 3))
    ]
    assert result.tolist() == [*first_map, [0, 0, 8, 6], [8, 0, 16, 6]]


def test_ssd300_has_8732_priors():
    priors = ssd_priors()
    assert priors.shape == (8732, 4)
    x, y = ((priors[:, :2] + priors[:, 2:]) / 2).T
    sizes = (priors[:, 2:] - priors[:, :2]).tolist()
    # The last map: one cell in the middle; sides 264 and sqrt(264 * 315), then ratios 2 and 1/2.
    assert x[-4:].tolist() == y[-4:].tolist() == [150.0] * 4
    wide, narrow, mean = 264 * math.sqrt(2), 264 / math.sqrt(2), math.sqrt(264 * 315)
    expected = [[264, 264], [mean, mean], [wide, narrow], [narrow, wide]]
    assert sizes[-4:] == [pytest.approx(size, rel=1e-5) for size in expected]
    # The first map: centres at (i + 1/2) * 8, four priors per cell, x varies first.
    assert x[:8].tolist() == pytest.approx([4.0] * 4 + [12.0] * 4, abs=1e-4)
    assert y[:8].tolist() == pytest.approx([4.0] * 8, abs=1e-4)
