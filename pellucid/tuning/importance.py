"""The importance of each setting for the results of a sweep."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.report.figures.tuned import SettingAxis

MIN_TRIALS = 8  # the fewest trials for which importances are computed
N_TREES, N_REPEATS = 100, 10


def importances(settings: Sequence[SettingAxis], results: Sequence[float]) -> list[tuple[str, float]]:
    """Return (key, importance) of each setting, the largest first, with the sum 1; [] for too few trials or settings.

    A random forest is fitted to the results; the importance of a setting is how much of its explained variance is lost
    when the setting's values are permuted among the trials. Source: Breiman 2001, "Random forests", section 10.
    """
    if len(results) < MIN_TRIALS or len(settings) < 2 or len(set(results)) < 2:
        return []
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    columns = [
        np.log(setting.values) if setting.log else np.asarray(setting.values, dtype=np.float64) for setting in settings
    ]
    x, y = np.stack(columns, 1), np.asarray(results, dtype=np.float64)
    forest = RandomForestRegressor(N_TREES, random_state=0).fit(x, y)
    result: Any = permutation_importance(forest, x, y, n_repeats=N_REPEATS, random_state=0)
    means = result.importances_mean.clip(0)
    if not means.sum() > 0:
        return []
    shares = [(setting.key, float(share)) for setting, share in zip(settings, means / means.sum(), strict=True)]
    return sorted(shares, key=lambda pair: -pair[1])
