"""FCN and U-Net: parameters by hand, any image size, gradients against autograd, and positions of pixels."""

from itertools import pairwise

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import walk
from pellucid.fuse import fuse
from pellucid.layers import Dropout, Layer, Mode
from pellucid.layers.base import Params
from pellucid.models import MODELS, fcn8, fcn16, fcn32, features, mobilenet_v2, unet
from pellucid.models.fcn import backbone_path
from pellucid.nested import flatten, map_tree
from tests.models.zoo import init_on_meta, thin_network
from tests.oracle import Sample, autograd, difference, forward_backward, leaves

NETWORKS: dict[str, tuple[Layer, tuple[int, int]]] = {
    "fcn32 mobilenet": (thin_network(fcn32(4), 32), (66, 35)),
    "fcn16 mobilenet": (thin_network(fcn16(4), 32), (66, 35)),
    "fcn8 mobilenet": (thin_network(fcn8(4), 32), (66, 35)),
    "fcn8 vgg": (thin_network(fcn8(4, "vgg11_bn"), 32), (65, 39)),
    "fcn8 cifar": (thin_network(fcn8(4, "airbench96"), 16), (13, 18)),
    "unet": (unet(4, 2), (21, 34)),
    "unet norm": (unet(4, 2, norm=True), (33, 18)),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


@each_network
def test_gradients_equal_autograd_and_those_of_the_fused_form(name: str) -> None:
    net, size = NETWORKS[name]
    sample = Sample(net, (3, *size), train=True)
    params, x = sample.inputs(2)
    y, dy, dx, dparams = forward_backward(net, params, x, sample.mode())
    assert tuple(next(iter(leaves(y).values())).shape) == (2, 4, *size)
    expected_y, expected_dx, expected_dparams = autograd(net, params, x, sample.mode(), dy)
    assert difference(y, expected_y) < 1e-9
    assert dparams.keys() == expected_dparams.keys()
    for path, leaf in {**expected_dx, **expected_dparams}.items():
        assert difference({**dx, **dparams}[path], leaf) < 1e-7, path
    fused_y, _, _, fused_dparams = forward_backward(fuse(net), params, x, sample.mode(), dy)
    assert difference(fused_y, y) < 1e-12
    for path, leaf in dparams.items():
        assert difference(fused_dparams[path], leaf) < 1e-11, path


def test_the_unet_of_the_paper_has_31_million_parameters() -> None:
    """The network of figure 1 of the paper, with biases, for RGB images and 2 classes."""
    widths = [64, 128, 256, 512, 1024]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in zip([3, *widths], widths, strict=False))
    up = sum(4 * a * b + b + 9 * a * b + b + 9 * b * b + b for b, a in pairwise(widths))
    params, _ = init_on_meta(unet(), (3, 64, 64))
    assert sum(leaf.numel() for leaf in flatten(params).values()) == down + up + 64 * 2 + 2 == 31_031_810


def test_fcn8_reads_the_expansions_of_blocks_6_and_13() -> None:
    """They have 192 and 576 channels at strides 8 and 16, as Keras' block_6_expand and block_13_expand."""
    _, out = init_on_meta(features(fcn8()), (3, 180, 240))
    assert out == ((1280, 6, 8), (576, 12, 15), (192, 23, 30))
    _, out = init_on_meta(features(fcn8(backbone="vgg16")), (3, 180, 240))
    assert out == ((512, 6, 8), (512, 12, 15), (256, 23, 30))


def test_features_of_fcn8_equal_those_of_mobilenet_with_other_paths() -> None:
    mobilenet, net = mobilenet_v2(epsilon=1e-3), fcn8(epsilon=1e-3)
    rng = torch.Generator().manual_seed(0)
    mobilenet_params, _ = mobilenet.init((3, 64, 64), rng)
    fcn_params, _ = net.init((3, 64, 64), rng)
    mobilenet_leaves = flatten(mobilenet_params["features"])
    fcn_leaves = flatten(fcn_params["features"])
    assert {backbone_path(path) for path in fcn_leaves} == set(mobilenet_leaves)
    for path, leaf in fcn_leaves.items():
        leaf.copy_(mobilenet_leaves[backbone_path(path)])
    x = torch.randn(2, 3, 64, 64, generator=rng)
    maps, _ = features(net).forward(fcn_params["features"], x, Mode())
    expected, _ = features(mobilenet).forward(mobilenet_params["features"], x, Mode())
    assert torch.equal(maps[0], expected)


def response_to_pixel(net: Layer, params: Params, size: tuple[int, int], pixel: tuple[int, int]) -> torch.Tensor:
    """Return the output (H, W) of the head for maps that are 1 at one pixel of the last maps and 0 elsewhere."""
    maps = features(net).init((3, *size), torch.Generator())[1]
    zeros = [torch.zeros(1, *shape) for shape in maps] if isinstance(maps[0], tuple) else [torch.zeros(1, *maps)]
    zeros[0][0, :, pixel[0], pixel[1]] = 1
    head = net.layers["head"]
    head_params = {
        name: map_tree(torch.zeros_like, layer_params) if name.startswith("scores_") else layer_params
        for name, layer_params in params["head"].items()
    }
    scores = head_params["scores"]
    head_params["scores"] = {"weight": torch.ones_like(scores["weight"]), "bias": scores["bias"]}
    y, _ = head.forward(head_params, tuple(zeros) if len(zeros) > 1 else zeros[0], Mode())
    return y[0, 0]


@pytest.mark.parametrize("make", [fcn32, fcn16, fcn8])
def test_a_pixel_of_the_last_maps_is_upsampled_around_its_position_in_the_image(make: type) -> None:
    """MobileNetV2 pads each side by a row, so pixel (i, j) of its last maps is centred on (32 i, 32 j) of the image."""
    net = make(3)
    params, _ = net.init((3, 180, 240), torch.Generator().manual_seed(0))
    response = response_to_pixel(net, params, (180, 240), (2, 3))
    peak = int(response.argmax())
    assert divmod(peak, response.shape[1]) == (64, 96)
    assert torch.allclose(response[64 - 31 : 64 + 32], response[64 - 31 : 64 + 32].flip(0), atol=1e-6)
    pooling_net = make(3, "vgg11")
    params, _ = pooling_net.init((3, 64, 96), torch.Generator().manual_seed(0))
    response = response_to_pixel(pooling_net, params, (64, 96), (0, 1))
    rows, columns = (response >= response.max() - 1e-6).nonzero(as_tuple=True)
    assert columns.double().mean() == 32 + 15.5  # the middle of pixels 32 to 63
    assert rows.double().mean() == 15.5


def test_the_only_dropout_is_before_the_scores() -> None:
    dropout_paths = [path for path, layer in walk(fcn8()) if isinstance(layer, Dropout)]
    assert dropout_paths == ["head.dropout"]


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(PellucidError, match="no backbone 'mobilnet_v2'; did you mean 'mobilenet_v2'"):
        MODELS["fcn8"](5, "mobilnet_v2")
