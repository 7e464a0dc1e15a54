"""The importance of settings, compared with the shares of variance that are known for a formula."""

import numpy as np
import pytest

from pellucid.report.figures.compared import SettingAxis
from pellucid.tuning.page import MIN_TRIALS, importances


def results_of_random_settings(count=400):
    """Return the axes of three settings and the results 3 log10(lr) + 3 √2 momentum; the third has no effect.

    log10(lr) is uniform in (-3, -2) and momentum in (0, 1), so the variances of the terms are as 9 to 18.
    """
    rng = np.random.default_rng(0)
    lr, momentum, clip = 10.0 ** rng.uniform(-3, -2, count), rng.random(count), rng.random(count)
    axes = SettingAxis("lr", [*lr], log=True), SettingAxis("momentum", [*momentum]), SettingAxis("clip", [*clip])
    return axes, [*(3 * np.log10(lr) + 3 * np.sqrt(2) * momentum)]


def test_importances_are_the_shares_of_variance_of_independent_settings():
    # The mean squared error after permuting the values of one term is twice the variance of this term.
    result = importances(*results_of_random_settings())
    assert [key for key, _ in result] == ["momentum", "lr", "clip"]
    assert dict(result) == pytest.approx({"momentum": 2 / 3, "lr": 1 / 3, "clip": 0.0}, abs=0.05)
    assert sum(share for _, share in result) == pytest.approx(1.0)


def test_importances_are_empty_without_enough_trials_settings_or_differences():
    axes, results = results_of_random_settings(MIN_TRIALS)
    assert importances(axes, results)
    assert importances(axes, results[: MIN_TRIALS - 1]) == []
    assert importances(axes[:1], results) == []
    assert importances(axes, [1.0] * MIN_TRIALS) == []
