"""Model.load_weights: published files and pellucid's own, checked before the model is changed."""

from pathlib import Path

import pytest
import torch

from pellucid import Dense, Flatten, Model, Sequential
from pellucid.base.errors import ArgumentError, PellucidError
from pellucid.models import resnet18, squeezenet1_1, vgg16
from pellucid.weights import MismatchError
from tests.weights import published_names as published
from tests.weights.names.test_loading import random_tensors


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    tensors = random_tensors(published.squeezenet1_1())
    torch.save(tensors, path)
    return path, tensors


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_published_file_gives_weights_and_scaling(precision: str, squeezenet: tuple[Path, dict[str, torch.Tensor]]):
    path, tensors = squeezenet
    model = Model(squeezenet1_1(), input_shape=(3, 64, 64), precision=precision)
    model.load_weights(path)
    result = model.weights["features.fire2.expand.expand3x3.weight"]
    assert result.dtype is model.dtype
    assert torch.equal(result.float(), tensors["features.3.expand3x3.weight"])
    assert model.preprocess["mean"] == pytest.approx([0.485, 0.456, 0.406])  # values of torchvision's documentation
    assert model.stats is not None
    assert model.stats.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert model.source == path


def test_part_features_loads_weights_for_other_classes(squeezenet: tuple[Path, dict[str, torch.Tensor]]):
    path, tensors = squeezenet
    own_preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    model = Model(squeezenet1_1(classes=5), input_shape=(3, 64, 64), preprocess=own_preprocess)
    before = {name: tensor.clone() for name, tensor in model.weights.items()}
    with pytest.raises(MismatchError, match=r"head\.scores\.weight is float32 1000x512x1x1, not float32 5x512x1x1"):
        model.load_weights(path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.weights.items())
    model.load_weights(path, part="features")
    assert torch.equal(model.weights["features.conv1.weight"], tensors["features.0.weight"])
    assert torch.equal(model.weights["head.scores.weight"], before["head.scores.weight"])
    assert model.preprocess == own_preprocess


def test_models_of_pellucid_are_loaded_by_name_and_by_file(tmp_path: Path):
    shipped = Model.load("mnist-lenet")
    model = Model(shipped.net, input_shape=(1, 28, 28))
    model.load_weights("mnist-lenet")
    assert model.sha256() == shipped.sha256()
    assert model.preprocess.get("mean") == shipped.preprocess.get("mean")
    model.save(tmp_path / "own.safetensors")
    other_model = Model(shipped.net, input_shape=(1, 28, 28), seed=1)
    head = other_model.weights["head.scores.weight"].clone() if "head.scores.weight" in other_model.weights else None
    other_model.load_weights(tmp_path / "own.safetensors", part="features")
    assert torch.equal(other_model.weights["features.conv1.weight"], shipped.weights["features.conv1.weight"])
    assert head is None or torch.equal(other_model.weights["head.scores.weight"], head)


def test_a_detector_loads_the_weights_of_the_same_detector():
    shipped = Model.load("bccd")
    model = Model(shipped.objective, input_shape=(3, 64, 64))
    model.load_weights("bccd")
    assert model.sha256() == shipped.sha256()


@pytest.mark.parametrize(
    ("source", "part", "message"),
    [
        ("mnist-lenet", None, "does not fit the network"),
        ("mnist-lenett", None, "did you mean 'mnist-lenet'?"),
        ("resnet18", None, "resnet18-f37072fd.pth is missing; run `pellucid weights get resnet18` first"),
        ("mnist-lenet", "feature", "no part 'feature'"),
    ],
)
def test_invalid_files_and_arguments_are_reported_in_one_line(
    source: str, part: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path))
    with pytest.raises(PellucidError) as caught:
        Model(Sequential(features=Flatten(), head=Dense(2)), input_shape=(1, 28, 28)).load_weights(source, part)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_without_weights_needs_a_shape(squeezenet: tuple[Path, dict[str, torch.Tensor]]):
    with pytest.raises(PellucidError, match="give it input_shape"):
        Model(squeezenet1_1()).load_weights(squeezenet[0])


@pytest.mark.parametrize("network", [resnet18, vgg16])
@pytest.mark.parametrize("name", ["weights", "pretrained"])
def test_the_error_for_pretrained_arguments_names_load_weights(network, name: str):
    with pytest.raises(ArgumentError, match=rf"no argument '{name}'; load them: Model\(net, .*load_weights\(FILE\)"):
        network(**{name: "resnet18.pth"})
