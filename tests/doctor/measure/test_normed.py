"""What batch normalization puts out."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor.measure.activity import activity
from pellucid.doctor.measure.normed import normed
from pellucid.layers import BatchNorm
from pellucid.model import Model


def test_scale_and_shift_are_undone_and_channels_scaled_away_left_out() -> None:
    it = Model(Sequential(norm=BatchNorm()), input_shape=(3,), loss="quadratic", metrics=())
    it.weights["norm.weight"].copy_(torch.tensor([-2.0, 0.0, 3.0]))
    it.weights["norm.bias"].copy_(torch.tensor([5.0, 1.0, -1.0]))
    it.weights["norm.running_mean"].fill_(1.0)
    it.weights["norm.running_var"].fill_(4.0)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    mean, std = normed(it, activity(it, x)["norm"])
    assert torch.allclose(mean, ((x - 1) / 2).mean(0)[[0, 2]], atol=1e-4)
    assert torch.allclose(std, (x / 2).std(0, correction=0)[[0, 2]], atol=1e-4)
