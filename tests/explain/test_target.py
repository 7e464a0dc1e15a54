"""Targets of explanations: classes, units and maps, and the errors for anything else."""

from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Sequential, walk
from pellucid.explain import saliency, scores, upto
from pellucid.layers import Conv2d, Dense, Flatten, Mode, ReLU
from tests.explain.networks import NETWORKS, SHAPE, network_and_batch
from tests.oracle import assert_close, autograd, normal, randomized
from tests.references import reference_forward


@pytest.mark.parametrize(
    ("network", "path"),
    [(name, path) for name, net in NETWORKS.items() for path, _ in walk(net) if "shared" not in path],
)
def test_a_network_up_to_a_layer_outputs_that_layers_output(network: str, path: str) -> None:
    net, params, x = network_and_batch(network)
    outputs: dict[str, Any] = {}

    def watch(current_path: str, layer: Any, x: Any, y: Any, cache: Any) -> None:
        outputs.setdefault(current_path, y)

    from pellucid.sweep import forward

    forward(net, params, x, Mode(), watch)
    assert_close(reference_forward(upto(net, path), params, x, Mode()), outputs[path], 1e-11)


def test_a_node_that_repeats_a_layer_is_named_by_its_own_name() -> None:
    net, params, x = network_and_batch("recurrent")
    part = upto(net, "relu2")
    assert isinstance(part, Graph)
    assert list(part.nodes) == ["step", "relu1", "again", "relu2"]
    y = reference_forward(part, params, x, Mode())
    inner = Sequential(step=Conv2d(2, 3, padding=1), relu1=ReLU())
    once = reference_forward(inner, params, x, Mode())
    assert_close(y, reference_forward(inner, params, once, Mode()), 1e-12)


@pytest.mark.parametrize(
    ("target", "score_of"),
    [
        ("conv2[3, 1, 2]", lambda y: y[:, 3, 1, 2]),
        ("conv2[3,:,:]", lambda y: y[:, 3].flatten(1).sum(1)),
        ("conv2[:, 1, 2]", lambda y: y[:, :, 1, 2].sum(1)),
        ("conv2[3]", lambda y: y[:, 3].flatten(1).amax(1)),
        ("conv2[3, -1, 0]", lambda y: y[:, 3, 2, 0]),
        ("conv2[-4]", lambda y: y[:, 0].flatten(1).amax(1)),
        ("conv2[-1, :, :]", lambda y: y[:, 3].flatten(1).sum(1)),
        ("conv2[:, :, :]", lambda y: y.flatten(1).sum(1)),
    ],
)
def test_units_and_maps_are_named_by_path_and_index(target: str, score_of: Any) -> None:
    net, params, x = network_and_batch("vgg")
    part = upto(net, "conv2")
    y = reference_forward(part, params, x, Mode())
    assert_close(scores(net, params, x, target), score_of(y), 1e-12)
    outputs = y.clone().requires_grad_()
    (dy,) = torch.autograd.grad(score_of(outputs).sum(), outputs)
    assert_close(saliency(net, params, x, target, signed=True), autograd(part, params, x, Mode(), dy)[1][""], 1e-11)


def test_one_of_several_heads_is_named_by_its_path() -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(flat=Flatten(), heads=Fork(a=Dense(3), b=Dense(4)))
    params, x = randomized(net.init(SHAPE, rng)[0], rng), normal((2, *SHAPE), rng)
    weight = params["heads"]["b"]["weight"]
    assert_close(saliency(net, params, x, "heads.b[3]"), weight[3].abs().view(SHAPE).expand(2, *SHAPE), 1e-12)
    with pytest.raises(PellucidError, match="2 outputs; give the target as a path"):
        saliency(net, params, x, 0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "target contains class 3, but the network has 3 outputs, numbered from 0"),
        ([-1, 1], "target contains classes -1 to 1, but the network has 3 outputs"),
        (torch.tensor([0, 1, 2]), "one for each of 2 examples"),
        (0.5, "must be a class"),
        (["a", "b"], r"must be a class, .* not \['a', 'b'\]"),
        ([[0], [1, 2]], "must be a class"),
        ({"a": 1}, "must be a class"),
        (True, "must be a class"),
        ("conv2", "is not a unit; write a path and an index"),
        ("conv3[1]", "'conv3' is none of conv1, .*did you mean 'conv"),
        ("conv1.deep[1]", "a Conv2d has no part 'deep'"),
        ("conv2[9]", r"no index \[9\] in outputs of shape \(4, 3, 3\)"),
        ("conv2[1, 2]", r"no index \[1, 2\]"),
        ("conv2[-5]", r"no index \[-5\] in outputs of shape \(4, 3, 3\)"),
        ("3", "'3' is not a unit; .* or a class index"),
        ("conv2[" + "9" * 5000 + "]", "is not an index"),
        ("conv2[1.5]", "'1.5' is not an index"),
        ("conv2[--1]", "'--1' is not an index"),
        ("conv2[:]", "selects all maps"),
        ("conv2[]", "is not a unit"),
    ],
)
def test_invalid_arguments_are_refused(target: Any, message: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match=message):
        saliency(net, params, x, target)


def test_feature_map_outputs_are_refused_as_class_scores() -> None:
    rng = torch.Generator().manual_seed(0)
    net = Sequential(conv=Conv2d(3, 1))
    params, x = randomized(net.init(SHAPE, rng)[0], rng), normal((2, *SHAPE), rng)
    with pytest.raises(PellucidError, match=r"\(3, 6, 6\) are not scores of classes"):
        saliency(net, params, x)
    assert saliency(net, params, x, "conv[1, :, :]").shape == x.shape


def test_a_path_inside_a_repeated_node_is_refused() -> None:
    block = Sequential(conv=Conv2d(2, 3, padding=1), relu=ReLU())
    net = Graph({"a": (block, "input"), "b": ("a", "a")}, ("b",))
    with pytest.raises(PellucidError, match="runs more than once; give one of its nodes as a whole"):
        upto(net, "a.conv")
