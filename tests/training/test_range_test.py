"""The learning-rate range test, on a problem whose largest stable rate is known."""

import pytest
import torch

from pellucid import Dense, Model, Sequential
from pellucid.base.errors import PellucidError
from pellucid.losses import Quadratic
from pellucid.optim import SGD

CURVATURE = 4.0  # second derivative of the loss; gradient descent is stable for rates below 2 / CURVATURE


def regression_problem() -> tuple[Model, torch.Tensor, torch.Tensor]:
    """Return a linear regression without bias on orthogonal inputs, with noisy targets."""
    x = torch.eye(4).repeat(16, 1) * 4.0  # the mean of x x^T over the examples has the eigenvalues 4
    noise = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
    model = Model(Sequential(Dense(1, bias=False)), loss=Quadratic(), optimizer=SGD(0.1), input_shape=(4,))
    return model, x, 1 + noise


def test_the_largest_stable_rate_is_found() -> None:
    model, x, y = regression_problem()
    result = model.find_lr(x, y, batch_size=32, lowest=1e-3, highest=1e2, steps=200)
    assert result.suggestion < result.lowest < 3 * 2 / CURVATURE  # the averaged losses lag behind
    assert 2 / CURVATURE < result.rates[-1] < 100  # the test ends when the loss diverges
    assert result.losses[-1] > 4 * min(result.losses)


def test_find_lr_leaves_the_model_unchanged() -> None:
    model, x, y = regression_problem()
    before = model.sha256()
    first = model.find_lr(x, y, batch_size=2, steps=30)
    assert model.sha256() == before
    assert model.find_lr(x, y, batch_size=2, steps=30) == first
    assert model.optimizer.lr == 0.1
    assert first.plot().axes[0].get_xscale() == "log"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 5}, "find_lr: steps must be"),
        ({"lowest": 1.0, "highest": 0.1}, "find_lr: lowest and highest"),
        ({"lowest": 1e30, "highest": 1e38}, "the loss is not finite after"),
    ],
)
def test_invalid_options_and_rates_are_refused(options: dict, message: str) -> None:
    model, x, y = regression_problem()
    before = model.sha256()
    with pytest.raises(PellucidError, match=message):
        model.find_lr(x, y, **options)
    assert model.sha256() == before
