"""Smoothing of the colours of a film over its frames."""

from itertools import pairwise

import torch

from pellucid.tasks.colorize.colorizer import ColourSmoothing


def frame(left, level=40.0):
    """Return the lightness (1, 12, 16) of a bright square on a ground of two greys."""
    lightness = torch.full((1, 12, 16), level)
    lightness[:, :, 8:] += 20
    lightness[:, 4:8, left : left + 3] = 90
    return lightness


def test_static_pixels_keep_their_colours_and_others_take_the_new_ones():
    smoothing, rng = ColourSmoothing(), torch.Generator().manual_seed(0)
    previous = None
    for left in range(12):
        lightness, ab = frame(left), 30 * torch.randn(2, 12, 16, generator=rng)
        result = smoothing(lightness, ab)
        if previous is not None:
            static = (previous[0] == lightness)[0]
            assert torch.equal(result[:, static], previous[1][:, static])
            assert torch.equal(result[:, ~static], ab[:, ~static])
        previous = lightness, result


def test_noise_below_2_counts_as_static_and_slow_changes_do_not():
    smoothing, rng = ColourSmoothing(), torch.Generator().manual_seed(0)
    first = smoothing(frame(0), torch.zeros(2, 12, 16))
    for _ in range(5):
        noise = (torch.rand(1, 12, 16, generator=rng) - 0.5) * 4
        assert torch.equal(smoothing(frame(0) + noise, torch.full((2, 12, 16), 50.0)), first)
    levels = [smoothing(frame(0, 40.0 + step), torch.full((2, 12, 16), 50.0)).mean() for step in range(20)]
    assert levels[-1] > 20
    assert max(b - a for a, b in pairwise(levels)) < 25  # a gradual change


def test_smoothing_restarts_at_a_new_scene():
    smoothing = ColourSmoothing()
    smoothing(frame(0), torch.zeros(2, 12, 16))
    new_ab = torch.full((2, 12, 16), 50.0)
    new_scene = frame(0)
    new_scene[:, :7] += 30
    assert torch.equal(smoothing(new_scene, new_ab), new_ab)
    assert torch.equal(smoothing(torch.zeros(1, 5, 5), new_ab[:, :5, :5]), new_ab[:, :5, :5])  # another size
