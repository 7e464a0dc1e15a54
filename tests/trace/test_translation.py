"""Traces of colorizers: they contain both networks and the gradients of training."""

import pytest
import torch

from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.data.source import Batch
from pellucid.generators import l1, pix2pix, zhang
from pellucid.layers import Mode
from pellucid.nested import flatten
from pellucid.objective import merge_turns
from tests.generators.test_translation import smooth_images

IMAGES = smooth_images(2, 16, 16).float()


def make_model(objective):
    return Model(objective, input_shape=(3, None, None), precision="float64")


def test_trace_of_the_generator_update_contains_both_networks():
    model = make_model(pix2pix(width=2, levels=2, field=16, discriminator_width=2, l1=0.0))
    trace = model.trace(IMAGES, torch.zeros(2), train=False)
    losses, dparams = merge_turns(model.objective.gradients(model.params, Batch(IMAGES.double(), None), Mode()))
    torch.testing.assert_close(trace["loss"], losses["generator"])
    for path, gradient in flatten(dparams["generator"]).items():
        layer, _, name = path.rpartition(".")
        torch.testing.assert_close(trace[f"pair.generator.{layer}.d{name}"], gradient)
    assert "discriminator.dx" in trace
    assert trace["discriminator.conv1.x"].shape[1] == 3  # L, a and b


def test_trace_of_a_regression_contains_its_loss():
    model = make_model(l1(width=2, levels=2))
    trace = model.trace(IMAGES, torch.zeros(2), train=False)
    losses, _ = merge_turns(model.objective.gradients(model.params, Batch(IMAGES.double(), None), Mode()))
    torch.testing.assert_close(trace["loss"], losses["loss"])


def test_trace_of_a_loss_on_encoded_colours_is_refused():
    with pytest.raises(PellucidError, match="Zhang has a loss on encoded colours; use l1, mse or pix2pix"):
        make_model(zhang(width=2, levels=2)).trace(IMAGES, torch.zeros(2))
