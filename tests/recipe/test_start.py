"""The table [start] of a recipe: pretrained features and whitening filters."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from torch.nn import functional as F

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.data import load
from pellucid.layers import Add, Conv2d, Dense, Flatten, ReLU
from pellucid.layers.base import Layer, Mode
from pellucid.model import Model
from pellucid.models import features, mobilenet_v2
from pellucid.models.fcn import backbone_path, fcn8
from pellucid.models.keypoints import coordinates, heat_maps
from pellucid.nested import flatten
from pellucid.ops.ridge import PENALTIES
from pellucid.recipe.build import build_model
from pellucid.recipe.job import train
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.start import (
    SCORE_SCALE,
    VARIANCE_FLOOR,
    fit_head,
    trained_features,
    trained_objective,
    whitening_filters,
)
from tests.recipe.pictures import write_colour_folder
from tests.reports import without_report

SMALL_SETTINGS = {
    "data.size": 16, "network.model": "airbench", "network.classes": 3, "network.width": 4, "train.epochs": 1,
    "train.batch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def backbone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("backbone")
    settings = {
        **SMALL_SETTINGS,
        "data.standardize": True,
        "start.whiten": "features.stem.conv",
        "recipe.name": "backbone",
    }
    with without_report():
        return train("digits", out=out, progress=False, **{**settings, "data.name": str(data)}).path


def small_recipe(data: Path, **overrides: object):
    return load_recipe("digits", {**SMALL_SETTINGS, "data.name": str(data), **overrides})


def test_features_are_loaded_and_the_head_has_newly_drawn_weights(data: Path, backbone: Path) -> None:
    images = load(str(data), size=(16, 16)).train
    model = build_model(small_recipe(data, **{"start.weights": str(backbone)}), images)
    trained = Model.load(backbone / "weights" / "best.safetensors")
    newly_drawn = build_model(small_recipe(data), images)
    for path, tensor in model.weights.items():
        origin = trained if path.startswith("features.") else newly_drawn
        assert torch.equal(tensor, origin.weights[path]), path
    assert model.preprocess["mean"] == pytest.approx(trained.preprocess["mean"])
    assert model.preprocess["std"] == pytest.approx(trained.preprocess["std"])


def two_branch_net(left: str, right: str, filters: int = 4, relu_first: bool = False) -> Sequential:
    branches = Parallel({left: Conv2d(filters, 3, padding=1), right: Conv2d(filters, 1)}, Add())
    layers = {"relu": ReLU(), "twigs": branches} if relu_first else {"twigs": branches, "relu": ReLU()}
    return Sequential(features=Sequential(**layers), head=Sequential(flat=Flatten()))


def test_features_of_an_earlier_version_with_other_layer_names_are_loaded(tmp_path: Path) -> None:
    file, shape = tmp_path / "old.safetensors", (3, 8, 8)
    old = Model(two_branch_net("old", "older"), input_shape=shape)
    old.save(file)
    tensors = flatten(trained_features(str(file), two_branch_net("left", "right"), shape).params)
    assert list(tensors) == [f"twigs.{path}" for path in ("left.weight", "left.bias", "right.weight", "right.bias")]
    for tensor, stored in zip(tensors.values(), old.weights.values(), strict=True):
        assert torch.equal(tensor, stored)
    for different_net in (two_branch_net("left", "right", 5), two_branch_net("left", "right", relu_first=True)):
        with pytest.raises(PellucidError, match="differ from this network's"):
            trained_features(str(file), different_net, shape)


def test_standardize_recomputes_mean_and_standard_deviation(data: Path, backbone: Path) -> None:
    images = load(str(data), size=(16, 16)).train
    half = images.subset(range(len(images) // 2))
    model = build_model(small_recipe(data, **{"start.weights": str(backbone), "data.standardize": True}), half)
    pixels = half.x.double().numpy() / 255
    np.testing.assert_allclose(model.preprocess["mean"], pixels.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(model.preprocess["std"], pixels.std((0, 2, 3)), rtol=1e-5)


@pytest.mark.usefixtures("no_report")
def test_frozen_features_are_unchanged_and_learning_rates_apply(data: Path, backbone: Path, tmp_path: Path) -> None:
    settings = {"start.weights": str(backbone), "train.frozen": ["features.*"], "train.rates": ["head.*=0.5"]}
    run = train(small_recipe(data, **settings), out=tmp_path, progress=False)
    trained = Model.load(backbone / "weights" / "best.safetensors")
    for path, tensor in flatten(trained.params["features"]).items():
        assert torch.equal(run.model.weights[f"features.{path}"], tensor), path
    initial = build_model(run.recipe, load(str(data), size=(16, 16)).train)
    assert not torch.equal(run.model.weights["head.scores.weight"], initial.weights["head.scores.weight"])
    assert set(initial.rates.values()) == {0.5}
    assert initial.rates.keys() == {"head.scores.weight", "head.scores.bias"}


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "binary_cross_entropy"])
def test_a_linear_head_is_scikit_learns_ridge_regression_of_the_features(data: Path, backbone: Path, loss: str) -> None:
    images = load(str(data), size=(16, 16)).train
    settings = {"start.weights": str(backbone), "start.linear": True, "loss.name": loss}
    model = build_model(small_recipe(data, **settings), images)
    maps, _ = features(model.net).forward(model.params["features"], model.stats.apply(images.x), Mode())
    x = maps.mean((2, 3)).double().numpy()  # the inputs of head.scores
    y = np.eye(3)[images.y.numpy()]
    mean_variance = np.square(x - x.mean(0)).sum() / x.shape[1]
    scores = RidgeCV(alphas=PENALTIES.numpy() * mean_variance).fit(x, y).predict(x)
    logits, _ = model.net.forward(model.params, model.stats.apply(images.x), Mode())
    np.testing.assert_allclose(logits.numpy(), SCORE_SCALE * (scores - 0.5), rtol=1e-3, atol=1e-3)
    assert np.mean(scores.argmax(1) == images.y.numpy()) > 0.9


def test_a_linear_start_needs_a_last_layer_of_classes(data: Path) -> None:
    images = load(str(data), size=(16, 16)).train
    model = Model(Sequential(flat=Flatten(), out=Dense(3)), input_shape=(3, 16, 16))
    with pytest.raises(PellucidError, match=r"start\.linear: the network has no layer head\.scores"):
        fit_head(model, images)


def test_filters_whiten_the_training_images(backbone: Path, data: Path) -> None:
    images = load(str(data), size=(16, 16)).train
    model = Model.load(backbone / "weights" / "best.safetensors")
    built = build_model(load_recipe(backbone / "recipe.toml"), images)
    stem = built.weights["features.stem.conv.weight"]
    y = torch.nn.functional.conv2d(built.stats.apply(images.x), stem[:12]).permute(1, 0, 2, 3).reshape(12, -1)
    moments = (y @ y.T / y.shape[1]).numpy()
    np.testing.assert_allclose(moments - np.diag(np.diag(moments)), 0, atol=0.02)
    assert model.weights["features.stem.conv.weight"].shape == (24, 3, 2, 2)


def test_a_published_file_gives_features_and_scaling(tmp_path: Path) -> None:
    net = mobilenet_v2(3, epsilon=1e-3, pad="same")
    weights_file = Path(__file__).parents[3] / "shared" / "data" / "weights" / "mobilenet_v2_imagenet_no_top.h5"
    if not weights_file.is_file():
        pytest.skip("the published MobileNetV2 weights are not on this machine")
    result = trained_features(str(weights_file), net, (3, 32, 32))
    with h5py.File(weights_file) as file:
        kernel = np.array(file["Conv1/Conv1/kernel:0"])  # (kH, kW, in, out)
    stem = next(tensor for tensor in flatten(result.params).values() if tensor.shape == (32, 3, 3, 3))
    np.testing.assert_array_equal(stem.numpy(), kernel.transpose(3, 2, 0, 1))
    assert (result.mean, result.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(PellucidError, match=r"multiples of 32, not 100 x 96; set data\.size"):
        trained_features(str(weights_file), net, (3, 100, 96))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (fcn8(11, epsilon=1e-3), (3, 180, 240)),
        (heat_maps(epsilon=1e-3), (3, 112, 112)),
        (coordinates(epsilon=1e-3), (3, 112, 112)),
        (mobilenet_v2(10, epsilon=1e-3, pad="same"), (3, 96, 96)),
    ],
)
def test_networks_start_from_the_shipped_backbone_by_name(net: Layer, shape: tuple[int, int, int]) -> None:
    shipped = Model.load(shipped_files.pretrained_file("backbone"))
    result = trained_features("backbone", net, shape)
    assert (result.mean, result.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for path, tensor in flatten(result.params).items():
        assert torch.equal(tensor, shipped.weights[f"features.{backbone_path(path)}"]), path


@pytest.mark.parametrize(
    "name",
    [
        "bccd-single",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("bccd-ssd", "bccd-yolo3", "pennfudan-mask")),
    ],
)
def test_detectors_start_from_the_shipped_backbone_by_name(name: str) -> None:
    objective = load_recipe(name).build("objective")
    result = trained_objective("backbone", objective, (3, 64, 64))
    shipped = Model.load(shipped_files.pretrained_file("backbone"))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x = (images - 0.5) / 0.5
    assert objective.start_net is not None
    maps = objective.start_net.forward(result.params, x, Mode())[0]
    assert [map_.shape[-1] for map_ in maps] == [8, 4, 2]
    # Detectors pad both sides, fold batch normalization into the convolutions and have no last convolution.
    net, params = features(mobilenet_v2(epsilon=1e-3)), shipped.params["features"]
    assert isinstance(net, Sequential)
    last = net.layers["last"].forward(params["last"], maps[-1], Mode())[0]
    torch.testing.assert_close(last, net.forward(params, x, Mode())[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start.weights": "nowhere"}, "no model 'nowhere'"),
        ({"start.weights": "mnist-lenet"}, "the features of mnist-lenet differ from"),
        ({"start.weights": "cifar", "start.whiten": "features.stem.conv"}, "start.whiten must be left out"),
        ({"start.weights": "vgg16"}, "pellucid weights get vgg16"),
        ({"start.whiten": "features.stem.cnv"}, "features.stem.conv"),
        ({"start.whiten": "features.stage1.conv2"}, "does not read the images"),
        ({"train.frozen": ["nothing.*"]}, "nothing"),
        ({"train.frozen": ["*"]}, "every parameter is frozen"),
        ({"train.rates": ["head.*"]}, "pattern=factor"),
        ({"train.rates": ["head.*=-1"]}, "pattern=factor"),
        ({"train.rates": ["haed.*=0.1"]}, "haed"),
    ],
)
def test_invalid_settings_of_start_and_train_are_reported_in_one_line(
    data: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(PellucidError) as error:
        train(small_recipe(data, **settings), data=tmp_path, out=tmp_path / "runs", progress=False)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_features_of_another_width_are_refused(data: Path, backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(PellucidError, match="differ from this network's"):
        train(small_recipe(data, **{"start.weights": str(backbone), "network.width": 8}), out=tmp_path, progress=False)


def smooth_images(n: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Return images whose neighbouring pixels and channels are strongly correlated."""
    noise = torch.randn(n, channels, 20, 20, generator=torch.Generator().manual_seed(seed))
    blurred = F.avg_pool2d(noise, 3, 1)
    return blurred + 0.5 * blurred.mean(1, keepdim=True)


@pytest.mark.parametrize(("channels", "kernel"), [(3, (2, 2)), (1, (3, 3)), (3, (1, 2))])
def test_outputs_of_whitening_filters_have_covariance_one(channels: int, kernel: tuple[int, int]) -> None:
    images = smooth_images(400, channels)
    size = channels * kernel[0] * kernel[1]
    weight = whitening_filters(images, size, kernel)
    assert weight.shape == (size, channels, *kernel)
    y = F.conv2d(images, weight).permute(1, 0, 2, 3).reshape(size, -1).double().numpy()
    second_moments = y @ y.T / y.shape[1]
    patches = F.unfold(images, kernel).transpose(1, 2).reshape(-1, size).double().numpy()
    variances = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    # The variances are 1, except for VARIANCE_FLOOR, which keeps directions of pure noise from being amplified.
    np.testing.assert_allclose(second_moments, np.diag(variances / (variances + VARIANCE_FLOOR)), atol=1e-4)


def test_whitening_filters_are_sorted_by_variance_and_followed_by_their_negatives() -> None:
    images = smooth_images(200, 3)
    weight = whitening_filters(images, 24, (2, 2))
    assert torch.equal(weight[12:], -weight[:12])
    strengths = [1 / float(filter_.norm()) for filter_ in weight[:12]]
    assert strengths == sorted(strengths, reverse=True)
    assert torch.equal(whitening_filters(images, 5, (2, 2)), weight[:5])


def test_more_whitening_filters_than_twice_the_directions_are_refused() -> None:
    with pytest.raises(PellucidError, match="24 filters, not 25"):
        whitening_filters(smooth_images(10, 3), 25, (2, 2))
