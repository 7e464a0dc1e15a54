"""Networks for key-points on MobileNetV2: output shapes, gradients against autograd, and equal features."""

import pytest
import torch

from pellucid.fuse import fuse
from pellucid.layers import Layer, Mode
from pellucid.models import coordinates, features, heat_maps, mobilenet_v2, unet
from pellucid.models.keypoints import mobilenet_of
from pellucid.nested import flatten
from tests.models.zoo import init_on_meta, thin_network
from tests.oracle import Sample, autograd, difference, forward_backward, leaves


@pytest.mark.parametrize(
    ("net", "shape"),
    [(thin_network(heat_maps(), 32), (4, 13, 9)), (thin_network(coordinates(), 32), (4,))],
    ids=["maps", "coordinates"],
)
def test_gradients_equal_autograd_and_those_of_the_fused_form(net: Layer, shape: tuple[int, ...]) -> None:
    sample = Sample(net, (3, 50, 36), train=True)
    params, x = sample.inputs(2)
    y, dy, dx, dparams = forward_backward(net, params, x, sample.mode())
    assert tuple(next(iter(leaves(y).values())).shape) == (2, *shape)
    expected_y, expected_dx, expected_dparams = autograd(net, params, x, sample.mode(), dy)
    assert difference(y, expected_y) < 1e-9
    assert dparams.keys() == expected_dparams.keys()
    for path, leaf in {**expected_dx, **expected_dparams}.items():
        assert difference({**dx, **dparams}[path], leaf) < 1e-7, path
    fused_y, _, _, fused_dparams = forward_backward(fuse(net), params, x, sample.mode(), dy)
    assert difference(fused_y, y) < 1e-12
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-11, path


def test_output_shapes_and_numbers_of_parameters() -> None:
    """The heads reduce MobileNetV2's last 320 maps to 64; the buffers of batch normalizations are counted too."""
    narrow = 320 * 64  # a 1 x 1 convolution without bias
    norm = 4 * 64  # scale, shift, and running mean and variance
    params, out = init_on_meta(heat_maps(), (3, 112, 112))
    assert out == (68, 28, 28)
    merges = sum(3 * 3 * (64 + channels) * 64 for channels in (96, 32, 24))  # 3 x 3 convolutions after concatenations
    scores = 64 * 68 + 68
    assert sum(leaf.numel() for leaf in flatten(params["head"]).values()) == narrow + merges + 4 * norm + scores
    params, out = init_on_meta(coordinates(), (3, 112, 112))
    assert out == (136,)
    dense = 4 * 4 * 64 * 256 + 256  # over 64 maps of 4 x 4
    scores = 256 * 136 + 136
    assert sum(leaf.numel() for leaf in flatten(params["head"]).values()) == narrow + norm + dense + scores
    _, maps = init_on_meta(features(heat_maps()), (3, 112, 112))
    assert maps == ((320, 4, 4), (96, 7, 7), (32, 14, 14), (24, 28, 28))


def test_the_features_are_those_of_mobilenet() -> None:
    mobilenet, net = mobilenet_v2(epsilon=1e-3), heat_maps(epsilon=1e-3)
    assert mobilenet_of(net) == mobilenet_v2(epsilon=1e-3, pad="same")  # the network of Keras' weights
    assert mobilenet_of(coordinates(epsilon=1e-3)) == mobilenet_of(net)
    assert mobilenet_of(heat_maps()) == mobilenet_of(coordinates()) == mobilenet_v2()
    assert mobilenet_of(unet()) is mobilenet_of(mobilenet) is None
    rng = torch.Generator().manual_seed(0)
    mobilenet_params, _ = mobilenet.init((3, 64, 64), rng)
    net_params, _ = net.init((3, 64, 64), rng)
    mobilenet_leaves = flatten(mobilenet_params["features"])
    for path, leaf in flatten(net_params["features"]).items():
        leaf.copy_(mobilenet_leaves[path])
    x = torch.randn(2, 3, 64, 64, generator=rng)
    maps, _ = features(net).forward(net_params["features"], x, Mode())
    last, _ = features(mobilenet).layers["last"].forward(mobilenet_params["features"]["last"], maps[0], Mode())
    expected, _ = features(mobilenet).forward(mobilenet_params["features"], x, Mode())
    assert torch.equal(last, expected)
