"""Linear regression by its dual form."""

import numpy as np
import torch
from sklearn.linear_model import Ridge

from pellucid.doctor.measure.reference import RIDGE, linear_error


def test_it_is_ridge_regression() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 8, generator=rng), torch.randn(60, 2, generator=rng)
    fit, rest = x[:30].double().numpy(), x[30:].double().numpy()
    centred = fit - fit.mean(0)
    oracle = Ridge(RIDGE * float((centred**2).sum(1).mean())).fit(fit, y[:30].numpy())
    expected = float(np.square(oracle.predict(rest) - y[30:].numpy()).mean())
    assert abs(linear_error(x, y) - expected) < 1e-6 * expected


def test_constant_inputs_predict_the_mean() -> None:
    y = torch.arange(10.0)
    assert abs(linear_error(torch.ones(10, 3), y) - float((y[5:] - y[:5].mean()).square().mean())) < 1e-9
