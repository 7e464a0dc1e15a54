"""Small networks: numbers of parameters by hand, output shapes, and messages about invalid arguments."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import walk
from pellucid.layers import Dropout, LogSoftmax, Mode, ReLU, Sigmoid, Softmax
from pellucid.layers.initializers import INITIALIZERS
from pellucid.models import MODELS, convnet, lenet, mlp
from pellucid.models.mlp import ACTIVATIONS, OUTPUT_ACTIVATIONS
from pellucid.nested import flatten
from pellucid.sweep import forward


def init_params(net, shape):
    return net.init(shape, torch.Generator().manual_seed(0))


def count_learned(net, shape):
    params, _ = init_params(net, shape)
    buffers = {f"{path}.{name}" for path, layer in walk(net) for name in layer.buffers}
    return sum(tensor.numel() for path, tensor in flatten(params).items() if path not in buffers)


def output_shapes(net, shape):
    shapes = {}
    params, _ = init_params(net, shape)
    forward(
        net, params, torch.zeros(2, *shape), Mode(), lambda path, layer, x, y, cache: shapes.update({path: y.shape[1:]})
    )
    return shapes


def test_nielsens_network_has_23860_parameters():
    assert count_learned(mlp((784, 30, 10)), (1, 28, 28)) == 784 * 30 + 30 + 30 * 10 + 10 == 23_860


def test_lenet_5_has_61706_parameters():
    by_hand = (25 + 1) * 6 + (25 * 6 + 1) * 16 + (400 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10
    assert count_learned(lenet(), (1, 28, 28)) == by_hand == 61_706


def test_lenet_outputs_the_maps_of_the_paper():
    shapes = output_shapes(lenet(), (1, 28, 28))
    expected = {"conv1": (6, 28, 28), "pool1": (6, 14, 14), "conv2": (16, 10, 10), "pool2": (16, 5, 5)}
    assert {name: shapes[f"features.{name}"] for name in expected} == expected
    assert [shapes[f"head.{name}"] for name in ("dense1", "dense2", "scores")] == [(120,), (84,), (10,)]


def test_the_conv_net_has_288170_parameters():
    pairs = [(1, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    by_hand = sum(9 * n_in * n_out + 2 * n_out for n_in, n_out in pairs) + (128 + 1) * 10
    assert count_learned(convnet(), (1, 28, 28)) == by_hand == 288_170


def test_the_conv_net_halves_twice_and_averages():
    shapes = output_shapes(convnet(7, width=4), (3, 20, 24))
    assert [shapes[f"features.block{k}"] for k in (1, 2, 3)] == [(4, 10, 12), (8, 5, 6), (16, 5, 6)]
    assert shapes["head.pool"] == (16, 1, 1)
    assert shapes["head.scores"] == (7,)


def test_the_layers_of_an_mlp_have_numbered_names():
    net = mlp((4, 3, 3, 2), dropout=0.2, output="softmax")
    names = ["flatten", "dense1", "sigmoid1", "dropout1", "dense2", "sigmoid2", "dropout2"]
    assert list(features_and_head(net)[0].children) == names
    assert list(features_and_head(net)[1].children) == ["scores", "output"]
    assert features_and_head(net)[0].children["dropout2"] == Dropout(0.2)
    assert isinstance(features_and_head(net)[1].children["output"], Softmax)


def test_an_mlp_ends_in_logits_unless_an_output_activation_is_given():
    assert [list(part.children) for part in features_and_head(mlp((4, 2)))] == [["flatten"], ["scores"]]
    assert list(features_and_head(mlp((4, 3, 2), activation="relu"))[0].children) == ["flatten", "dense1", "relu1"]
    assert features_and_head(mlp((4, 3, 2), activation="relu"))[0].children["relu1"] == ReLU()
    assert features_and_head(mlp((4, 2), output="sigmoid"))[1].children["output"] == Sigmoid()
    assert features_and_head(mlp((4, 2), output="log_softmax"))[1].children["output"] == LogSoftmax()


def features_and_head(net):
    """Return the features and the head of a network."""
    assert list(net.children) == ["features", "head"]
    return net.children["features"], net.children["head"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": (4,)}, "has no layer"),
        ({"sizes": (0, 3)}, "number of inputs"),
        ({"sizes": (4, 0)}, "units"),
        ({"sizes": (4, 3), "activation": "sigmoud"}, "did you mean 'sigmoid'"),
        ({"sizes": (4, 3), "output": "softmaxx"}, "did you mean 'softmax'"),
        ({"sizes": (4, 3, 2), "init_weight": "hee"}, "did you mean 'he'"),
        ({"sizes": (4, 3, 2), "dropout": 1.5}, "rate"),
    ],
)
def test_invalid_arguments_of_an_mlp_are_named(arguments, message):
    with pytest.raises(PellucidError, match=message):
        mlp(**arguments)


@pytest.mark.parametrize("name", MODELS)
def test_the_docstring_of_every_model_names_its_source(name):
    assert "Source:" in (MODELS[name].__doc__ or "") or "Nielsen" in (MODELS[name].__doc__ or "")


@pytest.mark.parametrize("net", [mlp((784, 8, 10)), lenet(), convnet()], ids=["mlp", "lenet", "convnet"])
def test_the_small_models_output_ten_classes(net):
    assert init_params(net, (1, 28, 28))[1] == (10,)


def test_the_docstring_of_mlp_names_every_activation_and_initializer():
    docstring_words = (mlp.__doc__ or "").replace(",", " ").replace(".", " ").replace(";", " ").split()
    assert {*ACTIVATIONS, *OUTPUT_ACTIVATIONS, *INITIALIZERS} - {"none", "bilinear"} <= set(docstring_words)
