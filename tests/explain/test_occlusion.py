"""Occlusion against a loop over squares, Captum, and a linear network computed by hand."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain import occlude, occlusion, upto
from pellucid.layers import Conv2d, Dense, Flatten, Mode
from tests.explain.networks import NETWORKS, network_and_batch
from tests.oracle import assert_close
from tests.references import reference_forward


def outputs_by_square(
    net: Any, params: Any, x: Tensor, side: int, step: int, fill: float
) -> dict[tuple[int, int, int], Tensor]:
    """Return the outputs by (example, top, left) of the square, from one forward pass for each square."""
    outputs = {}
    for n in range(len(x)):
        top = 0
        while True:
            left = 0
            while True:
                hidden = x[n : n + 1].clone()
                hidden[:, :, top : top + side, left : left + side] = fill
                outputs[n, top, left] = reference_forward(net, params, hidden, Mode())[0]
                if left + side >= x.shape[3]:
                    break
                left += step
            if top + side >= x.shape[2]:
                break
            top += step
    return outputs


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_equal_one_forward_pass_for_each_square(name: str) -> None:
    net, params, x = network_and_batch(name)
    occluded = occlude(net, params, x, target=[1, 2], square=3, stride=2, fill=0.5, batch=3)
    assert occluded.score.shape == (2, 3, 3)  # the border cuts off the third square
    assert occluded.predicted is not None
    outputs = outputs_by_square(net, params, x, 3, 2, 0.5)
    assert len(outputs) == 2 * 9
    for (n, top, left), y in outputs.items():
        position = n, top // 2, left // 2
        assert_close(occluded.score[position], y[[1, 2][n]], 1e-11)
        assert int(occluded.predicted[position]) == int(y.argmax())
    assert occluded.corners[2, 1].tolist() == [4, 2, 6, 5]
    assert_close(occluded.baseline, reference_forward(net, params, x, Mode())[[0, 1], [1, 2]], 1e-11)


def test_a_pixel_has_the_mean_decrease_of_the_squares_that_hide_it() -> None:
    net, params, x = network_and_batch("vgg")
    result = occlusion(net, params, x, target=0, square=3, stride=2, fill=-1.0)
    outputs = outputs_by_square(net, params, x, 3, 2, -1.0)
    baseline = reference_forward(net, params, x, Mode())
    for n in range(2):
        for row in range(6):
            for column in range(6):
                decreases = [
                    baseline[n, 0] - y[0]
                    for (example, top, left), y in outputs.items()
                    if example == n and top <= row < top + 3 and left <= column < left + 3
                ]
                assert_close(result[n, 0, row, column], torch.stack(decreases).mean(), 1e-11)


@pytest.mark.skipif(find_spec("captum") is None, reason="Captum is not installed: pip install captum")
@pytest.mark.parametrize(("side", "step"), [(2, 1), (3, 2), (4, 4), (6, 5)])
def test_occlusion_equals_captums(side: int, step: int) -> None:
    from captum.attr import Occlusion

    net, params, x = network_and_batch("resnet")
    captum_occlusion = Occlusion(lambda images: reference_forward(net, params, images, Mode()))
    expected = captum_occlusion.attribute(
        x, (2, side, side), strides=(2, step, step), target=torch.tensor([1, 2]), baselines=0.25
    )
    actual = occlusion(net, params, x, torch.tensor([1, 2]), side, step, fill=0.25)
    assert_close(actual.expand(x.shape), expected, 1e-7)  # Captum adds up in float32


def test_the_score_of_a_map_is_its_total_activation() -> None:
    net, params, x = network_and_batch("vgg")
    occluded = occlude(net, params, x, "relu2[1, :, :]", square=2, stride=2)
    for (n, top, left), y in outputs_by_square(upto(net, "relu2"), params, x, 2, 2, 0.0).items():
        assert_close(occluded.score[n, top // 2, left // 2], y[1].sum(), 1e-11)
    assert occluded.predicted is None


def test_occlusion_of_probabilities_uses_the_given_function_of_the_outputs() -> None:
    net, params, x = network_and_batch("vgg")
    occluded = occlude(net, params, x, 1, 2, 2, read=lambda y: y.softmax(1))
    for (n, top, left), y in outputs_by_square(net, params, x, 2, 2, 0.0).items():
        assert_close(occluded.score[n, top // 2, left // 2], y.softmax(0)[1], 1e-11)
    assert float(occluded.baseline.max()) < 1


def test_the_default_target_is_the_predicted_class_of_the_unoccluded_image() -> None:
    net, params, x = network_and_batch("vgg")
    predicted = reference_forward(net, params, x, Mode()).argmax(1)
    assert_close(occlusion(net, params, x, None, 3, 3), occlusion(net, params, x, predicted, 3, 3), 1e-12)


def test_the_score_of_a_linear_network_falls_by_the_hidden_contributions() -> None:
    net = Sequential(flat=Flatten(), scores=Dense(1, bias=False))
    weight = torch.arange(1.0, 17.0)[None]
    actual = occlusion(net, {"flat": {}, "scores": {"weight": weight}}, torch.ones(1, 1, 4, 4), 0, square=2, stride=2)
    expected = torch.tensor([[14.0, 22.0], [46.0, 54.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(actual[0, 0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"square": 7}, "a square of 7 pixels exceeds the image"),
        ({"square": 2, "stride": 3}, "leaves pixels that no square of 2 hides"),
        ({"square": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, int], message: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match=message):
        occlusion(net, params, x, 0, **options)


def test_inputs_that_are_no_images_are_refused() -> None:
    net = Sequential(conv=Conv2d(1, 1))
    with pytest.raises(PellucidError, match="images"):
        occlude(net, {}, torch.ones(3, 4), 0)
