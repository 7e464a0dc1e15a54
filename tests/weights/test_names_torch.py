"""Every tensor of torchvision's and timm's files has its place in our networks, of its shape, and none is left."""

import pytest
import torch
from torch import Tensor

from pellucid.models import MODELS
from pellucid.nested import flatten
from pellucid.weights import match
from pellucid.weights.names.loading import source_of
from pellucid.weights.names.naming import settle, translate
from tests.models.zoo import meta
from tests.weights import published_names as published
from tests.weights.published_names import Shapes

BOTH = "torchvision or timm"
CASES: list[tuple[str, dict[str, object], Shapes, str]] = [
    ("alexnet", {}, published.alexnet(), "torchvision"),
    ("vgg11", {}, published.vgg(published.VGG11, False), BOTH),
    ("vgg16", {}, published.vgg(published.VGG16, False), BOTH),
    ("vgg11_bn", {}, published.vgg(published.VGG11, True), BOTH),
    ("vgg16_bn", {}, published.vgg(published.VGG16, True), BOTH),
    ("vgg16", {}, published.timm_vgg16(), BOTH),
    ("resnet18", {}, published.resnet((2, 2, 2, 2), False), BOTH),
    ("resnet34", {}, published.resnet((3, 4, 6, 3), False), BOTH),
    ("resnet50", {}, published.resnet((3, 4, 6, 3), True), BOTH),
    ("resnet101", {}, published.resnet((3, 4, 23, 3), True), BOTH),
    ("resnet152", {}, published.resnet((3, 8, 36, 3), True), BOTH),
    ("densenet121", {}, published.densenet121(old=True), BOTH),
    ("densenet121", {}, published.densenet121(old=False), BOTH),
    ("mobilenet_v2", {}, published.mobilenet_v2(), "torchvision"),
    ("mobilenet_v2", {}, published.timm_mobilenet_v2(), "timm"),
    ("squeezenet1_1", {}, published.squeezenet1_1(), "torchvision"),
    ("googlenet", {"auxiliary": True}, published.googlenet(), "torchvision"),
    ("googlenet", {}, published.googlenet(), "torchvision"),
    ("inception_v3", {"auxiliary": True}, published.inception_v3(), BOTH),
    ("inception_v3", {}, published.inception_v3(), BOTH),
]
SIDES = {"inception_v3": 299}


def empty(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors that are only shapes; the counters are whole numbers."""
    kinds = {name: torch.int64 if name.endswith("tracked") else torch.float32 for name in shapes}
    return {name: torch.empty(shape, dtype=kinds[name], device="meta") for name, shape in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "shapes", "library"), CASES)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_fits_its_network(name, options, shapes, library, prefix):
    net, tensors = MODELS[name](**options), {prefix + key: tensor for key, tensor in empty(shapes).items()}
    params, _ = meta(net, (3, SIDES.get(name, 224), SIDES.get(name, 224)))
    source = source_of(net, tensors, "file.pth")
    assert (source.model, source.naming.library) == (name, library)
    known, unknown = translate(source.naming, name, tensors)
    expected = flatten(params)
    assert unknown == {}
    assert match(expected, settle(source.naming, expected, known)) == []


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("vgg16", "features.28.weight", "features.block5.conv3.weight"),
        ("vgg16_bn", "features.41.running_var", "features.block5.norm3.running_var"),
        ("alexnet", "classifier.4.bias", "head.dense2.bias"),
        ("resnet50", "layer3.5.bn2.running_mean", "features.stage3.block6.residual.body.norm2.running_mean"),
        ("resnet18", "layer2.0.downsample.1.weight", "features.stage2.block1.residual.shortcut.norm.weight"),
        ("densenet121", "features.denseblock3.denselayer24.norm.2.bias", "features.block3.layer24.added.norm2.bias"),
        ("mobilenet_v2", "features.1.conv.0.0.weight", "features.stage1.block1.body.depthwise.weight"),
        ("mobilenet_v2", "features.17.conv.3.bias", "features.stage7.block1.body.project_norm.bias"),
        ("mobilenet_v2", "blocks.5.2.conv_pwl.weight", "features.stage6.block3.body.project.weight"),
        ("googlenet", "inception4e.branch3.1.conv.weight", "features.inception4e.branch5x5.conv.weight"),
        ("inception_v3", "Mixed_7c.branch3x3dbl_3b.conv.weight",
         "features.mixed7c.branch3x3double.ends.tall.conv.weight"),
        ("squeezenet1_1", "features.12.expand3x3.weight", "features.fire9.expand.expand3x3.weight"),
        ("resnet50", "resnet.encoder.stages.0.layers.2.layer.1.normalization.bias",
         "features.stage1.block3.residual.body.norm2.bias"),
    ],
)  # fmt: skip
def test_single_names(name, theirs, ours):
    tensor = torch.zeros(3)
    naming = source_of(MODELS[name](), [theirs], "file.pth").naming
    assert list(translate(naming, name, {theirs: tensor})[0]) == [ours]


@pytest.mark.parametrize(
    ("name", "stray"),
    [
        ("resnet18", "layer1.0.conv1.scale"),
        ("resnet18", "layer1.0.bn1.extra.weight"),
        ("resnet18", "layer5.0.conv1.weight"),
        ("vgg16", "features.31.weight"),
        ("squeezenet1_1", "features.13.squeeze.weight"),
        ("mobilenet_v2", "features.19.0.weight"),
        ("mobilenet_v2", "features.2.conv.4.weight"),
        ("mobilenet_v2", "blocks.7.0.conv_pw.weight"),
        ("densenet121", "features.denseblock1.denselayer1.norm3.weight"),
        ("inception_v3", "Mixed_7b.branch9x9.conv.weight"),
        ("resnet18", f"layer1.{'9' * 5000}.conv1.weight"),
        ("squeezenet1_1", f"features.{'9' * 5000}.squeeze.weight"),
        ("mobilenet_v2", f"features.{'9' * 5000}.0.weight"),
        ("densenet121", f"features.denseblock1.denselayer{'9' * 5000}.norm1.weight"),
    ],
)
def test_a_tensor_without_a_place_is_surplus(name, stray):
    shapes = {
        "resnet18": published.resnet((2, 2, 2, 2), False), "vgg16": published.vgg(published.VGG16, False),
        "squeezenet1_1": published.squeezenet1_1(), "mobilenet_v2": published.mobilenet_v2(),
        "densenet121": published.densenet121(False), "inception_v3": published.inception_v3(),
    }[name]  # fmt: skip
    net, tensors = MODELS[name](), empty({**shapes, stray: (3,)})
    params, _ = meta(net, (3, SIDES.get(name, 224), SIDES.get(name, 224)))
    naming = source_of(net, tensors, "file.pth").naming
    known, unknown = translate(naming, name, tensors)
    expected = flatten(params)
    differences = match(expected, {**settle(naming, expected, known), **unknown})
    assert [difference.expected for difference in differences] == [None]
