"""Saliency, input times gradient and their batches, against PyTorch's automatic differentiation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.explain import explain, input_x_gradient, saliency
from pellucid.layers import Mode
from tests.explain.networks import CLASSES, NETWORKS, made
from tests.oracle import assert_close, autograd
from tests.references import reference_forward


def gradient(net: Any, params: Any, x: Tensor, classes: Tensor) -> Tensor:
    dy = torch.nn.functional.one_hot(classes, CLASSES).double()
    return autograd(net, params, x, Mode(), dy)[1][""]


@pytest.mark.parametrize("name", NETWORKS)
def test_saliency_is_the_absolute_gradient_of_each_examples_class(name: str) -> None:
    net, params, x = made(name, examples=3)
    classes = torch.tensor([2, 0, 2])
    expected = gradient(net, params, x, classes)
    assert_close(saliency(net, params, x, classes, signed=True), expected, 1e-11)
    assert_close(saliency(net, params, x, classes), expected.abs(), 1e-11)
    assert_close(input_x_gradient(net, params, x, [2, 0, 2]), x * expected, 1e-11)


def test_one_target_class_applies_to_all_examples_and_none_to_the_best_of_each() -> None:
    net, params, x = made("gated", examples=8)
    assert_close(saliency(net, params, x, 1), gradient(net, params, x, torch.tensor([1] * 8)).abs(), 1e-11)
    best = reference_forward(net, params, x, Mode()).argmax(1)
    assert len(set(best.tolist())) > 1
    assert_close(saliency(net, params, x), gradient(net, params, x, best).abs(), 1e-11)


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
    net, params, x = made("vgg", examples=3)
    classes = torch.tensor([1, 2, 0])
    together = explain(net, params, x, method, classes, **options)
    alone = [explain(net, params, x[i : i + 1], method, classes[i : i + 1], **options) for i in range(3)]
    assert_close(together, torch.cat(alone), 1e-11)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["saliency", "guided_backprop", "deconvnet", "lrp"])
def test_arguments_are_unchanged(name: str, method: str) -> None:
    net, params, x = made(name)
    before, same = made(name)[1:]
    explain(net, params, x, method, 0)
    assert_close(params, before, 0.0)
    assert torch.equal(x, same)
