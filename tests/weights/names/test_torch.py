"""Names of torchvision's and timm's files: each tensor is mapped to one parameter of the network, of equal shape."""

import pytest
import torch
from torch import Tensor

from pellucid.models import MODELS
from pellucid.nested import flatten
from pellucid.weights import match
from pellucid.weights.names.loading import source_of
from pellucid.weights.names.naming import fit_architecture, translate
from tests.models.zoo import init_on_meta
from tests.weights import published_names as published
from tests.weights.published_names import Shapes

TORCHVISION_OR_TIMM = "torchvision or timm"
PUBLISHED_NETWORKS: list[tuple[str, dict[str, object], Shapes, str]] = [
    ("alexnet", {}, published.alexnet(), "torchvision"),
    ("vgg11", {}, published.vgg(published.VGG11, False), TORCHVISION_OR_TIMM),
    ("vgg16", {}, published.vgg(published.VGG16, False), TORCHVISION_OR_TIMM),
    ("vgg11_bn", {}, published.vgg(published.VGG11, True), TORCHVISION_OR_TIMM),
    ("vgg16_bn", {}, published.vgg(published.VGG16, True), TORCHVISION_OR_TIMM),
    ("vgg16", {}, published.timm_vgg16(), TORCHVISION_OR_TIMM),
    ("resnet18", {}, published.resnet((2, 2, 2, 2), False), TORCHVISION_OR_TIMM),
    ("resnet34", {}, published.resnet((3, 4, 6, 3), False), TORCHVISION_OR_TIMM),
    ("resnet50", {}, published.resnet((3, 4, 6, 3), True), TORCHVISION_OR_TIMM),
    ("resnet101", {}, published.resnet((3, 4, 23, 3), True), TORCHVISION_OR_TIMM),
    ("resnet152", {}, published.resnet((3, 8, 36, 3), True), TORCHVISION_OR_TIMM),
    ("densenet121", {}, published.densenet121(old=True), TORCHVISION_OR_TIMM),
    ("densenet121", {}, published.densenet121(old=False), TORCHVISION_OR_TIMM),
    ("mobilenet_v2", {}, published.mobilenet_v2(), "torchvision"),
    ("mobilenet_v2", {}, published.timm_mobilenet_v2(), "timm"),
    ("squeezenet1_1", {}, published.squeezenet1_1(), "torchvision"),
    ("googlenet", {"auxiliary": True}, published.googlenet(), "torchvision"),
    ("googlenet", {}, published.googlenet(), "torchvision"),
    ("inception_v3", {"auxiliary": True}, published.inception_v3(), TORCHVISION_OR_TIMM),
    ("inception_v3", {}, published.inception_v3(), TORCHVISION_OR_TIMM),
]
SIDES = {"inception_v3": 299}


def meta_tensors(shapes: Shapes) -> dict[str, Tensor]:
    """Return tensors without data by name: int64 for counters of batches, float32 for all others."""
    dtypes = {name: torch.int64 if name.endswith("tracked") else torch.float32 for name in shapes}
    return {name: torch.empty(shape, dtype=dtypes[name], device="meta") for name, shape in shapes.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "shapes", "library"), PUBLISHED_NETWORKS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_tensors_match_the_parameters_of_their_network(name, options, shapes, library, prefix):
    net, tensors = MODELS[name](**options), {prefix + key: tensor for key, tensor in meta_tensors(shapes).items()}
    params, _ = init_on_meta(net, (3, SIDES.get(name, 224), SIDES.get(name, 224)))
    source = source_of(net, tensors, "file.pth")
    assert (source.model, source.naming.library) == (name, library)
    known, unknown = translate(source.naming, name, tensors)
    expected = flatten(params)
    assert unknown == {}
    assert match(expected, fit_architecture(source.naming, expected, known)) == []


@pytest.mark.parametrize(
    ("name", "published_name", "path"),
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
def test_published_name_is_translated_to_the_path(name, published_name, path):
    tensor = torch.zeros(3)
    naming = source_of(MODELS[name](), [published_name], "file.pth").naming
    assert list(translate(naming, name, {published_name: tensor})[0]) == [path]


@pytest.mark.parametrize(
    ("name", "surplus_name"),
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
def test_unknown_tensor_names_are_reported_as_surplus(name, surplus_name):
    shapes = {
        "resnet18": published.resnet((2, 2, 2, 2), False), "vgg16": published.vgg(published.VGG16, False),
        "squeezenet1_1": published.squeezenet1_1(), "mobilenet_v2": published.mobilenet_v2(),
        "densenet121": published.densenet121(False), "inception_v3": published.inception_v3(),
    }[name]  # fmt: skip
    net, tensors = MODELS[name](), meta_tensors({**shapes, surplus_name: (3,)})
    params, _ = init_on_meta(net, (3, SIDES.get(name, 224), SIDES.get(name, 224)))
    naming = source_of(net, tensors, "file.pth").naming
    known, unknown = translate(naming, name, tensors)
    expected = flatten(params)
    differences = match(expected, {**fit_architecture(naming, expected, known), **unknown})
    assert [difference.expected for difference in differences] == [None]
