"""Feature pyramids: backbones with folded norms equal the networks of the zoo, and FPN equals PyTorch's functions."""

from collections import Counter
from typing import get_args

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine.base import walk
from pellucid.layers import BatchNorm, GroupNorm
from pellucid.layers.base import Mode
from pellucid.models import MODELS, features
from pellucid.models.fpn import fpn
from pellucid.models.pyramid import Pyramid, backbone_name, pyramid, pyramid_params, strides
from tests.oracle import assert_close, randomized


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), [("mobilenet_v2", "stage7"), ("resnet18", "stage4"), ("vgg11", "block5")])
def test_features_of_a_pyramid_equal_those_of_the_network_of_the_zoo(name, stage):
    zoo = features(MODELS[name]())
    rng = torch.Generator().manual_seed(0)
    params = randomized(zoo.init((3, 64, 64), rng)[0], rng)
    for path, tensor in _leaves(params):
        if path.endswith("running_var"):
            tensor.abs_().add_(0.5)
    x = torch.randn(1, 3, 64, 96, generator=rng, dtype=torch.float64)
    maps, _ = pyramid(name).forward(pyramid_params(name, params, 1e-5), x, Mode())
    y = x
    for name_, layer in zoo.layers.items():
        y, _ = layer.forward(params[name_], y, Mode())
        if name_ == stage:
            break
    assert_close(maps[2], y, 1e-8, "the coarse map")
    assert [map_.shape[2:] for map_ in maps] == [(8, 12), (4, 6), (2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(Pyramid))
def test_every_backbone_is_recognized_and_has_maps_of_its_strides(name):
    net = pyramid(name)
    with torch.device("meta"):
        _, maps = net.init((3, 75, 130), torch.Generator())
    sizes = [(-(-75 // stride), -(-130 // stride)) for stride in strides(name)]  # rounded up
    assert [map_shape[1:] for map_shape in maps] == sizes
    assert backbone_name(net) == name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "airbench96", "resnet18", "vgg11"])
def test_group_normalization_replaces_every_batch_normalization(name):
    groups = 4
    counts = Counter(type(layer) for _, layer in walk(pyramid(name, groups)))
    params, maps = pyramid(name, groups).init((3, 64, 96), torch.Generator().manual_seed(0))
    assert counts[BatchNorm] == 0
    assert (counts[GroupNorm] > 0) == (name != "vgg11")  # which has no normalization
    assert maps == pyramid(name).init((3, 64, 96), torch.Generator())[1]
    # An image's maps do not depend on the others of its batch, whose statistics the running ones would need.
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    for both, alone in zip(*(pyramid(name, groups).forward(params, y, Mode(True))[0] for y in (x, x[:1])), strict=True):
        assert_close(both[:1], alone, 1e-4, name)


def test_unknown_backbones_are_refused_naming_the_nearest():
    with pytest.raises(PellucidError, match="no backbone 'mobilenet'; did you mean 'mobilenet_v2'"):
        pyramid("mobilenet")
    assert backbone_name(fpn(8)) is None


def test_fpn_adds_the_enlarged_coarser_map_to_the_finer_one():
    net, rng = fpn(8, groups=2), torch.Generator().manual_seed(0)
    shapes = ((3, 7, 10), (4, 4, 5), (5, 2, 3))
    params = randomized(net.init(shapes, rng)[0], rng)
    maps = tuple(torch.randn(2, *shape, generator=rng, dtype=torch.float64) for shape in shapes)

    def conv(name, x, padding):
        conv_params = params[name]
        y = F.conv2d(x, conv_params["conv"]["weight"], padding=padding)
        return F.group_norm(y, 2, conv_params["norm"]["weight"], conv_params["norm"]["bias"])

    coarser, expected_maps = None, []
    for level in (3, 2, 1):
        x = conv(f"lateral{level}", maps[level - 1], 0)
        if coarser is not None:
            height, width = x.shape[2:]
            x = x + F.interpolate(coarser, scale_factor=2, mode="nearest")[:, :, :height, :width]
        coarser = x
        expected_maps.insert(0, conv(f"out{level}", x, 1))
    for actual, expected in zip(net.forward(params, maps, Mode())[0], expected_maps, strict=True):
        assert_close(actual, expected, 1e-10, "a map")


def _leaves(params, prefix=""):
    for name, value in params.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
