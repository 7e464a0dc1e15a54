"""Losses of generator and discriminator equal their definitions, and gradients PyTorch's automatic differentiation."""

import math

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.losses.adversarial import ADVERSARIAL


def losses_by_definition(name, real, fake):
    """Return (discriminator's loss, generator's loss) by the papers' formulas, with D = sigmoid(score)."""
    if name == "non_saturating":
        dreal, dfake = F.logsigmoid(real), F.logsigmoid(-fake)
        return -dreal.mean() - dfake.mean(), -F.logsigmoid(fake).mean()
    if name == "least_squares":
        return ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2, ((fake - 1) ** 2).mean() / 2
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean(), -fake.mean()


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_losses_and_gradients_are_those_of_the_papers(name):
    rng = torch.Generator().manual_seed(0)
    real, fake = (3 * torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((4, 1, 3, 2), (5, 1, 2, 2)))
    real.requires_grad_()
    fake.requires_grad_()
    expected, expected_generator_loss = losses_by_definition(name, real, fake)
    actual = ADVERSARIAL[name].discriminator(real.detach(), fake.detach())
    torch.testing.assert_close(actual.value, expected.detach())
    for gradient, expected_gradient in zip(actual[1:], torch.autograd.grad(expected, (real, fake)), strict=True):
        torch.testing.assert_close(gradient, expected_gradient)
    value, dfake = ADVERSARIAL[name].generator(fake.detach())
    torch.testing.assert_close(value, expected_generator_loss.detach())
    torch.testing.assert_close(dfake, torch.autograd.grad(expected_generator_loss, fake)[0])


def test_losses_of_equal_scores_for_real_and_generated_images_equal_the_formula():
    zero_scores = torch.zeros(2, 1)
    assert ADVERSARIAL["non_saturating"].discriminator(zero_scores, zero_scores).value.item() == pytest.approx(
        2 * math.log(2)
    )
    assert ADVERSARIAL["least_squares"].discriminator(zero_scores, zero_scores).value == 0.5
    assert ADVERSARIAL["hinge"].discriminator(zero_scores, zero_scores).value == 2


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_extreme_scores_are_finite_and_half_precision_is_computed_in_float32(name):
    extreme_scores = torch.tensor([-1e4, 1e4])
    result = ADVERSARIAL[name].discriminator(extreme_scores, extreme_scores)
    assert all(bool(one.isfinite().all()) for one in result)
    half_scores = torch.tensor([0.3, -0.7, 2.0]).bfloat16()
    value, dscores = ADVERSARIAL[name].generator(half_scores)
    assert value.dtype is torch.float32
    assert dscores.dtype is torch.bfloat16
    assert value == ADVERSARIAL[name].generator(half_scores.float())[0]


def test_an_empty_batch_of_scores_is_refused():
    with pytest.raises(PellucidError, match="without scores has no adversarial loss; leave it out"):
        ADVERSARIAL["hinge"].generator(torch.zeros(0, 1))
