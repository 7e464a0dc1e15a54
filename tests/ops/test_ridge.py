"""Ridge regression beside scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from pellucid.ops.ridge import PENALTIES, fit_ridge


@pytest.mark.parametrize(("n", "d", "k", "noise"), [(60, 5, 1, 0.1), (40, 80, 3, 1.0), (200, 30, 2, 5.0)])
def test_ridge_is_that_of_scikit_learn(n: int, d: int, k: int, noise: float) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + rng.normal(size=d)
    y = x @ rng.normal(size=(d, k)) + noise * rng.normal(size=(n, k))
    mean_variance = np.linalg.svd(x - x.mean(0), compute_uv=False) @ np.linalg.svd(x - x.mean(0), compute_uv=False) / d
    expected = RidgeCV(alphas=PENALTIES.numpy() * mean_variance).fit(x, y)
    weight, bias = fit_ridge(torch.from_numpy(x), torch.from_numpy(y))
    np.testing.assert_allclose(weight.T.numpy().squeeze(), np.squeeze(expected.coef_), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(bias.numpy().squeeze(), np.squeeze(expected.intercept_), rtol=1e-6, atol=1e-8)
