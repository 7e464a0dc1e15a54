"""Loading published files into networks: all tensors are checked before any parameter changes."""

import pytest
import safetensors.torch
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten
from pellucid.models import MODELS, convnet, lenet, resnet18, squeezenet1_1
from pellucid.nested import flatten
from pellucid.weights import MismatchError
from pellucid.weights.catalogue import CATALOGUE
from pellucid.weights.names import load_weights
from pellucid.weights.names.families import NAMINGS
from tests.weights import published_names as published
from tests.weights.published_names import Shapes


def random_tensors(shapes: Shapes) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    counters = {name for name in shapes if name.endswith("tracked")}
    return {
        name: torch.tensor(3) if name in counters else torch.rand(shape, generator=rng)
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory):
    """Return a file with the names and shapes of torchvision's SqueezeNet, and its tensors."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    tensors = random_tensors(published.squeezenet1_1())
    torch.save(tensors, path)
    return path, tensors


def initial_params(net):
    return net.init((3, 64, 64), torch.Generator().manual_seed(1))[0]


def test_all_tensors_of_a_file_are_loaded(squeezenet_file):
    path, tensors = squeezenet_file
    net = squeezenet1_1()
    params = initial_params(net)
    before = {name: tensor.clone() for name, tensor in flatten(params).items()}
    loaded = flatten(load_weights(net, params, path))
    assert torch.equal(loaded["features.fire2.expand.expand3x3.weight"], tensors["features.3.expand3x3.weight"])
    assert torch.equal(loaded["head.scores.bias"], tensors["classifier.1.bias"])
    assert list(loaded) == list(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in flatten(params).items())


def test_part_features_loads_the_features_and_keeps_the_head(squeezenet_file):
    path, tensors = squeezenet_file
    net = squeezenet1_1(classes=5)
    params = initial_params(net)
    loaded = load_weights(net, params, path, "features")
    assert loaded["head"] is params["head"]
    assert torch.equal(loaded["features"]["conv1"]["weight"], tensors["features.0.weight"])


def test_scores_of_another_number_of_classes_are_reported(squeezenet_file):
    net = squeezenet1_1(classes=5)
    with pytest.raises(MismatchError) as info:
        load_weights(net, initial_params(net), squeezenet_file[0])
    assert [str(mismatch) for mismatch in info.value.mismatches] == [
        "head.scores.weight is float32 1000x512x1x1, not float32 5x512x1x1",
        "head.scores.bias is float32 1000, not float32 5",
    ]


def test_all_differences_are_listed_in_one_error(tmp_path):
    tensors = random_tensors(published.squeezenet1_1())
    del tensors["features.0.bias"]
    tensors["features.3.squeeze.bias"] = torch.zeros(17)
    tensors["classifier.1.bias"] = tensors["classifier.1.bias"].double()
    tensors["more"] = torch.zeros(2)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    net = squeezenet1_1()
    with pytest.raises(MismatchError) as info:
        load_weights(net, initial_params(net), tmp_path / "a.safetensors")
    assert [str(mismatch) for mismatch in info.value.mismatches] == [
        "features.conv1.bias is missing",
        "more is not in the network",
        "features.fire2.squeeze.bias is float32 17, not float32 16",
        "head.scores.bias is float64 1000, not float32 1000",
    ]
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_of_16_bits_become_float32(dtype, tmp_path):
    tensors = {name: tensor.to(dtype) for name, tensor in random_tensors(published.squeezenet1_1()).items()}
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    net = squeezenet1_1()
    weight = load_weights(net, initial_params(net), tmp_path / "a.safetensors")["head"]["scores"]["weight"]
    assert torch.equal(weight, tensors["classifier.1.weight"].float())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "layer1.0.conv1.weight",
            float("nan"),
            "contains NaN or infinity in features.stage1.block1.residual.body.conv1",
        ),
        ("bn1.bias", float("inf"), "contains NaN or infinity in features.stem.norm.bias"),
        ("bn1.running_var", -1.0, "contains a negative variance in features.stem.norm.running_var"),
    ],
)
def test_invalid_values_are_refused_with_the_name_of_the_file(name, value, message, tmp_path):
    tensors = random_tensors(published.resnet((2, 2, 2, 2), False))
    tensors[name].view(-1)[-1] = value
    torch.save(tensors, tmp_path / "a.pth")
    net = resnet18()
    with pytest.raises(PellucidError) as info:
        load_weights(net, initial_params(net), tmp_path / "a.pth")
    assert str(info.value).startswith(f"{tmp_path / 'a.pth'} {message}")


def test_file_of_another_network_is_refused(tmp_path, squeezenet_file):
    net = resnet18()
    with pytest.raises(PellucidError, match=r"has tensor names that no known file of resnet18 has \(features.0.weight"):
        load_weights(net, initial_params(net), squeezenet_file[0])


def test_the_error_names_the_network_options_that_the_weights_need(tmp_path):
    torch.save({"conv1_conv/conv1_conv/kernel:0": torch.zeros(7, 7, 3, 64)}, tmp_path / "a.pth")
    for net in (MODELS["resnet50"](), MODELS["resnet50"](epsilon=1.001e-5)):
        with pytest.raises(PellucidError, match=r"build it with resnet50\(epsilon=1\.001e-05, stride_first=True\)"):
            load_weights(net, {}, tmp_path / "a.pth")


def test_network_without_published_weights_is_refused(squeezenet_file):
    with pytest.raises(PellucidError, match="not made of 'features' and 'head'"):
        load_weights(Sequential(flatten=Flatten(), scores=Dense(2)), {}, squeezenet_file[0])
    for net in (lenet(), convnet(), MODELS["resnet20"]()):
        with pytest.raises(PellucidError, match="no published weights are known for this network"):
            load_weights(net, {}, squeezenet_file[0])


def test_an_unknown_part_is_reported(squeezenet_file):
    net = squeezenet1_1()
    with pytest.raises(PellucidError, match="no part 'feature' in params; the parts are 'features', 'head'"):
        load_weights(net, initial_params(net), squeezenet_file[0], "feature")


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_catalogue_entry_has_a_network_and_an_input_scaling(name):
    model, _, variant = name.partition("-")
    library = "Keras" if variant.startswith("keras") else "torchvision"
    (naming,) = (naming for naming in NAMINGS if model in naming.models and naming.library.startswith(library))
    MODELS[model](**naming.model_arguments)
    assert naming.inputs is not None
    assert (naming.inputs.order == "BGR") == (model.startswith(("vgg", "resnet")) and "keras" in name)


@pytest.mark.parametrize(
    ("library", "model", "expected"),
    [
        # (1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0 - 0.406) / 0.225
        ("torchvision", "resnet50", (2.2489, -2.0357, -1.8044)),
        ("Keras", "densenet121", (2.2489, -2.0357, -1.8044)),
        ("Keras", "mobilenet_v2", (1.0, -1.0, -1.0)),
        ("torchvision", "inception_v3", (1.0, -1.0, -1.0)),
        # red, green, blue: 255 - 123.68, 0 - 116.779, 0 - 103.939
        ("Keras", "vgg16", (131.32, -116.779, -103.939)),
    ],
)
def test_scaled_red_pixel_has_the_expected_values(library, model, expected):
    inputs = next(naming.inputs for naming in NAMINGS if model in naming.models and naming.library.startswith(library))
    assert inputs is not None
    scaled = [(value - mean) / std for value, mean, std in zip((1, 0, 0), inputs.mean, inputs.std, strict=True)]
    assert scaled == pytest.approx(expected, abs=1e-4)
