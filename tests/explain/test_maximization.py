"""Activation maximization: linear networks with a known maximum, and comparison with real digits."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain import scores
from pellucid.explain.maximization import maximize, variation_gradient
from pellucid.explain.parts import upto
from pellucid.layers import Conv2d, Dense, Flatten, Mode
from pellucid.model import Model
from pellucid.run.folder import weights_file
from pellucid.tasks.pictures import held_out
from tests.oracle import assert_close, normal

LINEAR = Sequential(flat=Flatten(), scores=Dense(2))
WEIGHT = torch.tensor([[1.0, -2.0, 0.5, -0.1], [0.0, 1.0, 0.0, 0.0]])
PARAMS = {"flat": {}, "scores": {"weight": WEIGHT, "bias": torch.tensor([0.25, 0.0])}}


def test_a_linear_score_is_maximized_at_the_bounds() -> None:
    maximum = maximize(LINEAR, PARAMS, 0, (1, 2, 2), steps=400, low=-0.5, high=1.0)
    assert maximum.x.flatten().tolist() == [1, -0.5, 1, -0.5]
    assert maximum.scores[-1] == pytest.approx(1 + 1 + 0.5 + 0.05 + 0.25)
    assert len(maximum.scores) == 401
    assert all(after >= before for before, after in zip(maximum.scores, maximum.scores[1:], strict=False))


def test_decay_converges_to_the_known_maximum() -> None:
    maximum = maximize(LINEAR, PARAMS, 0, (1, 2, 2), steps=300, rate=0.2, decay=0.1, start=0.5)
    direction = WEIGHT[0] / WEIGHT[0].square().mean().sqrt()
    assert_close(maximum.x.flatten(), 0.5 + 0.2 * 0.9 / 0.1 * direction, 1e-5)


def test_the_variation_penalty_is_the_gradient_of_the_squared_differences() -> None:
    x = normal((2, 2, 4, 5), torch.Generator().manual_seed(0)).requires_grad_()
    total = x.diff(dim=2).square().sum() + x.diff(dim=3).square().sum()
    (expected,) = torch.autograd.grad(total, x)
    assert_close(variation_gradient(x.detach()), expected, 1e-12)


def test_jitter_blur_and_variation_reduce_noise() -> None:
    net = Sequential(conv=Conv2d(1, 3, padding=1, bias=False), flat=Flatten(), scores=Dense(1))
    params, _ = net.init((1, 12, 12), torch.Generator().manual_seed(1))
    rough = maximize(net, params, 0, (1, 12, 12), low=0.0, high=1.0, start=0.5)
    for options in ({"blur": 0.8}, {"variation": 0.5}, {"jitter": 2, "blur": 0.6}):
        smooth = maximize(net, params, 0, (1, 12, 12), low=0.0, high=1.0, start=0.5, **options)
        assert smooth.x.diff(dim=3).square().mean() < 0.5 * rough.x.diff(dim=3).square().mean()
        assert smooth.scores[-1] > smooth.scores[0]


def test_the_same_seed_gives_the_same_picture() -> None:
    first, repeated, other = (maximize(LINEAR, PARAMS, 1, (1, 2, 2), seed=seed, jitter=1) for seed in (0, 0, 1))
    assert torch.equal(first.x, repeated.x)
    assert not torch.equal(first.x, other.x)


@pytest.mark.real
@pytest.mark.parametrize("target", ["features.conv2[3]", "features.conv2[7, 4, 4]", 4])
def test_the_activation_rises_far_above_that_of_real_pictures(target: int | str) -> None:
    model = Model.load(weights_file("mnist-lenet"))
    digits = held_out(model, None).x[:500].float() / 255
    maximum = maximize(model.net, model.params, target, (1, 28, 28), steps=40, low=0.0, high=1.0, start=0.5)
    real = scores(model.net, model.params, digits, target)
    assert maximum.scores[-1] > 1.3 * float(real.max())
    assert maximum.scores[-1] > 3 * float(real.mean())
    assert 0 <= float(maximum.x.min()) <= float(maximum.x.max()) <= 1
    target_net = upto(model.net, "features.conv2") if isinstance(target, str) else model.net
    assert target_net.forward(model.params, maximum.x, Mode())[0].isfinite().all()


def test_the_maximum_of_a_first_filter_is_white_where_its_weights_are_positive() -> None:
    model = Model.load(weights_file("mnist-lenet"))
    maximum = maximize(
        model.net, model.params, "features.conv1[2, 9, 9]", (1, 28, 28), 100, low=0.0, high=1.0, start=0.5
    )
    weight, bias = model.weights["features.conv1.weight"][2], model.weights["features.conv1.bias"][2]
    assert maximum.scores[-1] == pytest.approx(float(weight.clamp_min(0).sum() + bias), abs=1e-4)
    assert torch.equal(maximum.x[0, 0, 7:12, 7:12] > 0.5, weight[0] > 0)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (None, {}, "target must be a class or a unit"),
        (0, {"steps": 0}, "steps must be a whole number of at least 1"),
        (0, {"blur": -1.0}, "blur must be a number of at least 0"),
        (5, {}, "target contains class 5, but the network has 2 outputs, numbered from 0"),
    ],
)
def test_invalid_arguments_are_refused(target: int | None, options: dict, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        maximize(LINEAR, PARAMS, target, (1, 2, 2), **options)


def test_a_network_of_vectors_is_refused() -> None:
    net = Sequential(scores=Dense(2))
    params, _ = net.init((4,), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match=r"an image shape \(C, H, W\), not \(4,\)"):
        maximize(net, params, 0, (4,))
