"""A frozen layer hands dx on to what learns before it, and stays as it is."""

import copy

import pytest
import torch

from pellucid.fuse.frozen import FrozenLayer
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Layer, LayerNorm, Mode
from tests.oracle import Sample, assert_close, autograd, cotangent, leaves


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("layer", [Dense(4), Conv2d(3, 2), BatchNorm(epsilon=0.1), LayerNorm(), Dropout()], ids=repr)
def test_a_frozen_layer_has_the_dx_of_evaluation_and_no_gradients(layer: Layer, train: bool) -> None:
    params, x = Sample(layer, (5,) if isinstance(layer, Dense) else (2, 4, 5)).inputs()
    before = copy.deepcopy(params)
    frozen = FrozenLayer(layer)
    y, cache = frozen.forward(params, x, Mode(train, torch.Generator().manual_seed(0)))
    dy = cotangent(y)
    dx, dparams = frozen.backward(params, cache, dy)
    expected_y, expected_dx, _ = autograd(layer, params, x, Mode(), dy)
    assert_close(y, expected_y, 1e-12, "y")
    assert_close(leaves(dx), expected_dx, 1e-10, "dx")
    assert dparams == {}
    assert_close(params, before, 0.0, "params")
