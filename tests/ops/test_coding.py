"""Offsets of boxes from anchors: values by hand, decoding, and its gradient."""

import math

import pytest
import torch

from pellucid.ops.coding import MAX_LOG_SIZE, decode, decode_gradient, encode
from tests.ops.boxes import random_boxes

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)


def test_offsets_equal_those_by_hand():
    anchor, box = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[5.0, 10.0, 25.0, 20.0]])
    # Centres (5, 10) and (15, 15), sizes (10, 20) and (20, 10).
    assert encode(box, anchor)[0].tolist() == pytest.approx([1.0, 0.25, math.log(2), -math.log(2)])
    assert encode(box, anchor, DEVIATIONS)[0].tolist() == pytest.approx([10.0, 2.5, 5 * math.log(2), -5 * math.log(2)])
    assert decode(torch.tensor([[1.0, 0.25, math.log(2), -math.log(2)]]), anchor)[0].tolist() == pytest.approx(
        box[0].tolist()
    )


def test_decoding_is_the_inverse_of_encoding():
    boxes, anchors = random_boxes(50), random_boxes(50, seed=1)
    torch.testing.assert_close(decode(encode(boxes, anchors, DEVIATIONS), anchors, DEVIATIONS), boxes)


def test_decoded_sizes_are_limited():
    anchor = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    box = decode(torch.tensor([[0.0, 0.0, 99.0, 1.0]]), anchor)[0]
    assert box[2] - box[0] == pytest.approx(1000.0)
    assert pytest.approx(math.log(62.5)) == MAX_LOG_SIZE


def test_gradient_of_decoding_equals_autograd():
    anchors = random_boxes(30, seed=1)
    offsets = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    offsets[:5, 2:] += 50  # beyond the limit
    dboxes = torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    leaf = offsets.clone().requires_grad_()
    scaled = leaf * torch.tensor(DEVIATIONS)
    size = anchors[:, 2:] - anchors[:, :2]
    centre = anchors[:, :2] + size / 2 + scaled[:, :2] * size
    half = size * scaled[:, 2:].clamp(max=math.log(1000 / 16)).exp() / 2
    (expected,) = torch.autograd.grad(torch.cat([centre - half, centre + half], 1), leaf, dboxes)
    torch.testing.assert_close(decode_gradient(dboxes, offsets, anchors, DEVIATIONS), expected)
