"""The lesson on the DeconvNet, compared with NumPy and with PyTorch's own backward pass under other rules."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pellucid.lessons import LessonSettings
from pellucid.lessons.deconvnet import GUIDE, RELU_RULES, SUMS, pictures, rules, sent_back, switches, trained

SIGNAL = ((-2.0, 5.0, 1.0), (3.0, -4.0, 0.0), (1.0, -1.0, 2.0))


def returned_by(rule: str, z: Any, dy: Any) -> Any:
    """Return what a ReLU with the sums z returns for the signal dy, for arrays and tensors."""
    kept = {"gradient": z > 0, "DeconvNet": dy > 0, "guided": (z > 0) & (dy > 0)}
    return dy * kept[rule]


def test_the_three_rules_are_those_of_numpy():
    numbers = rules(LessonSettings(), SIGNAL).numbers
    assert set(numbers) == set(RELU_RULES)
    for rule, values in numbers.items():
        assert values == (returned_by(rule, np.array(SUMS), np.array(SIGNAL)) + 0.0).tolist()


def test_pooled_values_return_to_their_places():
    pixels = np.random.default_rng(0).permutation(16).reshape(4, 4) % 10 + np.arange(16).reshape(4, 4) / 100
    numbers = switches(LessonSettings(), tuple(map(tuple, pixels.tolist()))).numbers
    pooled, places = F.max_pool2d(torch.tensor(pixels)[None, None], 2, return_indices=True)
    assert np.allclose(numbers["pooled"], pooled[0, 0])
    assert np.allclose(numbers["sent back"], F.max_unpool2d(pooled, places, 2)[0, 0])


@pytest.mark.parametrize("rule", RELU_RULES)
@pytest.mark.parametrize(("image", "target"), [(1, 4), (11, 3)])
def test_what_reaches_the_pixels_is_pytorchs(rule: str, image: int, target: int):
    class Rectify(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(z)
            return z.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
            return returned_by(rule, ctx.saved_tensors[0], dy)

    model, images, _ = trained(0)
    weights = {(name, kind): value for name, layer in model.params.items() for kind, value in layer.items()}
    with torch.enable_grad():
        x = images[image : image + 1].clone().requires_grad_()
        y = F.conv2d(x, weights["conv2d1", "weight"], weights["conv2d1", "bias"], padding=1)
        y = F.max_pool2d(Rectify.apply(y), 2)
        y = Rectify.apply(F.conv2d(y, weights["conv2d2", "weight"], weights["conv2d2", "bias"], padding=1))
        y = F.linear(y.flatten(1), weights["dense1", "weight"], weights["dense1", "bias"])
        y[0, target].backward()
        y = y.detach()
    assert x.grad is not None
    expected = x.grad[0, 0]
    actual = sent_back(model, images[image : image + 1], target, RELU_RULES[rule])
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    numbers = pictures(LessonSettings(), image, target).numbers
    assert numbers["score of the target"] == pytest.approx(float(y[0, target]), rel=1e-4)
    assert numbers["predicted"] == int(y.argmax())


def test_the_network_has_learned_the_digits_that_the_guide_names():
    model, images, classes = trained(0)
    assert float((model(images).argmax(1) == classes).float().mean()) > 0.93
    assert [int(classes[k]) for k in GUIDE.sliders["pictures"][0].values] == [4, 8, 7, 2]


def test_the_answers_of_the_exercises():
    returned, places = GUIDE.exercises
    assert returned.answer == returned_by("DeconvNet", np.array([3, -1, 2]), np.array([-4, 5, 1])).sum()
    _, switched = F.max_pool2d(torch.rand(1, 1, 8, 8), 2, return_indices=True)
    assert places.answer == 64 - switched.numel()
