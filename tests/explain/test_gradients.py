"""Saliency and input times gradient, for examples and batches, against PyTorch's automatic differentiation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.explain import explain, input_x_gradient, saliency
from pellucid.layers import Mode
from tests.explain.networks import CLASSES, NETWORKS, network_and_batch
from tests.oracle import assert_close, autograd
from tests.references import reference_forward


def gradient(net: Any, params: Any, x: Tensor, classes: Tensor) -> Tensor:
    dy = torch.nn.functional.one_hot(classes, CLASSES).double()
    return autograd(net, params, x, Mode(), dy)[1][""]


@pytest.mark.parametrize("name", NETWORKS)
def test_saliency_is_the_absolute_gradient_of_each_examples_class(name: str) -> None:
    net, params, x = network_and_batch(name, examples=3)
    classes = torch.tensor([2, 0, 2])
    expected = gradient(net, params, x, classes)
    assert_close(saliency(net, params, x, classes, signed=True), expected, 1e-11)
    assert_close(saliency(net, params, x, classes), expected.abs(), 1e-11)
    assert_close(input_x_gradient(net, params, x, [2, 0, 2]), x * expected, 1e-11)


def test_one_class_is_the_target_of_all_examples_and_none_is_the_predicted_class() -> None:
    net, params, x = network_and_batch("gated", examples=8)
    assert_close(saliency(net, params, x, 1), gradient(net, params, x, torch.tensor([1] * 8)).abs(), 1e-11)
    predicted = reference_forward(net, params, x, Mode()).argmax(1)
    assert len(set(predicted.tolist())) > 1
    assert_close(saliency(net, params, x), gradient(net, params, x, predicted).abs(), 1e-11)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("saliency", {}),
        ("integrated_gradients", {"steps": 5}),
        ("guided_backprop", {}),
        ("deconvnet", {}),
        ("gradcam", {"layer": "relu2"}),
        ("gradcam_plus_plus", {}),
        ("guided_gradcam", {}),
        ("lrp", {}),
        ("lrp", {"composite": "epsilon_plus_flat"}),
        ("lrp", {"composite": "epsilon_alpha2_beta1"}),
    ],
    ids=str,
)
def test_a_batch_is_explained_as_its_examples_one_by_one(method: str, options: dict[str, Any]) -> None:
    net, params, x = network_and_batch("vgg", examples=3)
    classes = torch.tensor([1, 2, 0])
    batch_maps = explain(net, params, x, method, classes, **options)
    single_maps = [explain(net, params, x[i : i + 1], method, classes[i : i + 1], **options) for i in range(3)]
    assert_close(batch_maps, torch.cat(single_maps), 1e-11)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["saliency", "guided_backprop", "deconvnet", "lrp"])
def test_arguments_are_unchanged(name: str, method: str) -> None:
    net, params, x = network_and_batch(name)
    params_before, x_before = network_and_batch(name)[1:]
    explain(net, params, x, method, 0)
    assert_close(params, params_before, 0.0)
    assert torch.equal(x, x_before)
