"""The HTML page about a network: its text, figures and numbers."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential
from pellucid.data import Dataset
from pellucid.explain import TopPatches
from pellucid.explain.page import patch_sheet, patch_tiles, write_page
from pellucid.explain.page_contents import activation_path, page_contents
from pellucid.explain.retrained import retrain_variants
from pellucid.layers import GELU, AdaptiveAvgPool2d, Add, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from tests.explain.networks import NETWORKS
from tests.pages import without_script


def small_model_and_data(channels: int = 1) -> tuple[Model, Dataset]:
    net = Sequential(
        conv1=Conv2d(4, 3), pool=MaxPool2d(2), norm=BatchNorm(), act=GELU(), conv2=Conv2d(20, 3), relu=ReLU(),
        mean=AdaptiveAvgPool2d(1), flat=Flatten(), dense=Dense(6), out=Dense(3),
    )  # fmt: skip
    model = Model(net, input_shape=(channels, 12, 12), classes=("a", "b", "<c>"),
                  preprocess={"mean": [0.4] * channels, "std": [0.2] * channels})  # fmt: skip
    model.params["conv2"]["bias"][5] = -100.0  # this map is never active
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (30, channels, 12, 12), generator=rng, dtype=torch.uint8)
    return model, Dataset.from_arrays(x, torch.arange(30) % 3, ("a", "b", "<c>"), "noise")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_is_self_contained_and_describes_its_figures(channels: int, tmp_path: Path) -> None:
    model, data = small_model_and_data(channels)
    result = page_contents(model, data, "small")
    assert [layer.path for layer in result.layers] == ["conv1", "conv2"]
    assert [layer.output for layer in result.layers] == ["act", "relu"]
    assert [layer.field_size for layer in result.layers] == [(4, 4), (8, 8)]
    assert result.layers[1].n_silent >= 1
    assert 5 not in [patches.map for patches in result.layers[1].top]
    assert len(result.layers[1].top) <= 16
    assert result.accuracy == model.evaluate(data)["accuracy"]
    assert result.ablations[0].accuracy == result.accuracy
    assert [row.name for row in result.ablations] == ["nothing", "conv1", "conv2", "dense"]
    assert all(maximum.scores[-1] > maximum.scores[0] for _, maximum in result.class_maxima)
    for _, maximum in result.class_maxima:
        assert 0 <= float(maximum.x.min()) <= float(maximum.x.max()) <= 1

    index = write_page(tmp_path / "page", result)
    text = index.read_text("utf-8")
    HTMLParser().feed(text)
    assert not re.search(r'(src|href)="(?!#|data:)', text), "nothing from elsewhere"
    assert "<c>" not in without_script(text)
    for words in ("small", "noise", "DeconvNet", "not retrained", "evolution"):
        assert words in " ".join(text.split())
    names = {path.name for path in (tmp_path / "page" / "figures").iterdir()}
    assert {"patches-conv1.png", "filters-conv2.npz", "hidden-0-class.png", "best.npz"} <= names
    with np.load(tmp_path / "page" / "figures" / "hidden-0.npz") as values:
        assert values["image"].shape == (channels, 12, 12)


@pytest.mark.slow
def test_the_page_names_the_training_that_its_epochs_are_from(tmp_path: Path) -> None:
    net = Sequential(conv1=Conv2d(2, 3), relu=ReLU(), flat=Flatten(), out=Dense(3))
    model = Model(net, input_shape=(1, 6, 6), classes=("a", "b", "c"))
    x = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    data = Dataset.from_arrays(x, torch.arange(6) % 3, ("a", "b", "c"), "noise")
    retraining = retrain_variants(model, data, data, 1, [])
    for epochs, words in ((None, "from scratch, for this page"), ({0: model.params}, "those of its training")):
        text = write_page(
            tmp_path / "page", page_contents(model, data, "small", epochs=epochs, retraining=retraining)
        ).read_text("utf-8")
        assert words in " ".join(text.split())


def test_maps_are_shown_after_the_activation_of_the_convolution() -> None:
    model, _ = small_model_and_data()
    assert activation_path(model.net, "conv1") == "act"
    net = Sequential(conv1=Conv2d(2, 1), conv2=Conv2d(2, 1), relu=ReLU())
    assert activation_path(net, "conv1") == "conv1"
    assert activation_path(net, "conv2") == "relu"


@pytest.mark.parametrize(
    ("name", "path", "output"),
    [
        ("resnet", "stem", "relu"),
        ("resnet", "block1.sum.body.conv1", "block1.sum.body.relu"),
        ("resnet", "block1.sum.body.conv2", "block1.sum.body.conv2"),  # followed by the sum with the block's input
        ("inception", "stem", "stem"),
        ("inception", "mixed.a", "mixed.a"),
        ("inception", "mixed.b.conv2d1", "mixed.b.conv2d1"),  # followed by the concatenation with other branches
        ("u-net", "level.deeper.conv", "level.deeper.relu"),
        ("siamese", "fork.left", "fork.left"),
        ("siamese", "fork.right.conv2d1", "fork.right.tanh1"),
        ("siamese", "shared.layer.conv", "shared.layer.relu"),
        ("recurrent", "step", "step"),
    ],
)
def test_activation_paths_end_before_a_merge(name: str, path: str, output: str) -> None:
    assert activation_path(NETWORKS[name], path) == output


def test_in_a_graph_the_activation_must_read_only_the_convolution() -> None:
    inner = Sequential(norm=BatchNorm(), relu=ReLU())
    nodes = {
        "conv1": (Conv2d(2, 1), "input"), "act": (inner, "conv1"), "conv2": (Conv2d(2, 1), "act"),
        "sum": (Add(), "conv2", "act"), "relu": (ReLU(), "sum"), "conv3": (Conv2d(2, 1), "relu"),
    }  # fmt: skip
    net = Sequential(graph=Graph(nodes, ("conv3",)), relu=ReLU())
    result = [activation_path(net, f"graph.{name}") for name in ("conv1", "conv2", "conv3")]
    assert result == ["graph.act.relu", "graph.conv2", "graph.conv3"]


def test_a_page_about_a_network_without_convolutions_is_refused() -> None:
    model = Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 4, 4))
    data = Dataset.from_arrays(torch.zeros(3, 1, 4, 4), torch.arange(3), ("a", "b", "c"), "nothing")
    with pytest.raises(PellucidError, match="not a convolutional classifier"):
        page_contents(model, data, "flat")


def test_patches_cut_off_by_the_border_keep_their_position() -> None:
    images = torch.zeros(2, 1, 4, 4)
    images[1] = 1
    corners = torch.tensor([[0, 0, 3, 3], [0, 2, 2, 4]])  # the border cuts off the second at the top and on the right
    deconvolution = torch.zeros(2, 1, 4, 4)
    deconvolution[0, 0, 1, 1] = -2
    patches = TopPatches("conv", 5, torch.tensor([0, 1]), torch.tensor([3.0, 2.0]), corners, deconvolution)
    left, right = patch_tiles(patches, images)
    assert left.shape == right.shape == (11, 11)
    assert left[1, 1] == 0
    assert left[0, 0] == 0.5
    assert right[:3, :3].tolist() == [[0] * 3] * 3
    assert right[:3, 4:7].tolist() == [[0.5] * 3, [1, 1, 0.5], [1, 1, 0.5]]
    assert patch_sheet([patches], images).axes[0].get_title(loc="left") == "5: 3"
