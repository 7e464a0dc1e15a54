"""Networks of the zoo with few filters agree with PyTorch's functions and autograd, and with central differences."""

from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.fuse import fuse
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.models import MODELS, features, head
from pellucid.verify import verify
from tests.models.zoo import VARIANTS, thin_network
from tests.oracle import Sample, autograd, difference, forward_backward, leaves

# With these image sides, the last maps have more than one pixel, so batch norm averages over several values.
SIDES = {
    "alexnet": 63, "zfnet": 63, "vgg11": 64, "vgg16_bn": 64, "googlenet": 64, "inception_v3": 107, "resnet18": 64,
    "resnet34": 64, "resnet50": 64, "resnet20": 16, "densenet121": 64, "mobilenet_v2": 64, "squeezenet1_1": 64,
    "efficientnet_b0": 64,
}  # fmt: skip
CASES = [
    *((name, {}, side) for name, side in SIDES.items()),
    ("alexnet", {"original": True}, 67),
    ("googlenet", {"original": True}, 64),
    *VARIANTS,
]


def small_sample(name: str, side: int, **options: Any) -> Sample:
    """Return a sample of the network with few filters; its random parameters include the running statistics."""
    divisor = 4 if name == "resnet20" else 32
    return Sample(thin_network(MODELS[name](**options), divisor), (3, side, side), train=True)


@pytest.mark.parametrize(("name", "options", "side"), CASES)
def test_gradients_of_whole_networks_equal_autograd(name: str, options: dict[str, Any], side: int) -> None:
    sample = small_sample(name, side, **options)
    params, x = sample.inputs(3)
    y, dy, dx, dparams = forward_backward(sample.layer, params, x, sample.mode())
    expected_y, expected_dx, expected_dparams = autograd(sample.layer, params, x, sample.mode(), dy)
    assert leaves(y).keys() == leaves(expected_y).keys()
    for path, leaf in leaves(expected_y).items():
        assert difference(leaves(y)[path], leaf) < 1e-9, path
    assert dparams.keys() == expected_dparams.keys()
    for path, leaf in {**expected_dx, **expected_dparams}.items():
        assert difference({**dx, **dparams}[path], leaf) < 1e-7, path


@pytest.mark.parametrize(("name", "options", "side"), CASES)
def test_the_fused_form_of_whole_networks_computes_the_same(name: str, options: dict[str, Any], side: int) -> None:
    sample = small_sample(name, side, **options)
    params, x = sample.inputs(3)
    y, dy, _, dparams = forward_backward(sample.layer, params, x, sample.mode())
    fused_y, _, _, fused_dparams = forward_backward(fuse(sample.layer), params, x, sample.mode(), dy)
    assert leaves(fused_y).keys() == leaves(y).keys()
    assert fused_dparams.keys() == dparams.keys()
    for path, leaf in {**leaves(y), **dparams}.items():
        # 1.4e-12 in a bias of mobilenet_v2 on an Intel Xeon, whose true gradient is 0.
        assert difference({**leaves(fused_y), **fused_dparams}[path], leaf) < 1e-11, path


# One network per family: the side of its images, and blocks that are omitted since other blocks are like them.
FAMILIES: dict[str, tuple[int, tuple[str, ...]]] = {
    "alexnet": (63, ()),
    "zfnet": (63, ()),
    "vgg11_bn": (32, ()),
    "googlenet": (32, ("inception4b", "inception4c", "inception4d", "inception4e", "inception5a", "inception5b")),
    "inception_v3": (75, ("mixed5c", "mixed5d", "mixed6c", "mixed6d", "mixed6e", "mixed7c")),
    "resnet18": (32, ("stage3",)),
    "resnet50": (32, ("stage3", "stage4")),
    "resnet20": (16, ("stage3",)),
    "densenet121": (32, ("block3", "transition3")),
    "mobilenet_v2": (32, ("stage4", "stage5", "stage6")),
    "squeezenet1_1": (32, ("fire6", "fire7", "fire8", "fire9")),
}


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_verify_agrees_on_one_network_of_each_family(name: str) -> None:
    side, omitted_blocks = FAMILIES[name]
    net = small_sample(name, side).layer
    assert isinstance(net, Sequential)
    feature_layers = {part: layer for part, layer in features(net).layers.items() if part not in omitted_blocks}
    assert len(feature_layers) == len(features(net).layers) - len(omitted_blocks)
    short_net = thin_network(Sequential(features=Sequential(**feature_layers), head=head(net)), 1, repeats=False)
    sample = Sample(short_net, (3, side, side), train=True)  # because of the norms, no channel is 0 for all images
    params, x = sample.inputs(3)
    verification = verify(short_net, params, x, torch.arange(3), SoftmaxCrossEntropy(), sample.mode(), samples=2)
    assert verification.ok, verification.culprit
    assert all(row.autograd is not None for row in verification.rows)
    assert verification.rows[0].largest > 0  # the gradient of the image is not zero
