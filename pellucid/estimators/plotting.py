"""The `plot` methods of estimators, drawn by pellucid.report.figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_array, check_is_fitted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class BoundaryPlot:
    """Mixin for the `plot` method of classifiers of two features."""

    def plot(self, X: Any, y: Any) -> "Figure":
        """Draw the class predicted at each point of the plane of two features, and the examples X (n, 2) with y (n,).

        Raises ValueError for another number of features.
        """
        from pellucid.report.figures.plane import decision_regions

        estimator: Any = self
        check_is_fitted(estimator)
        if estimator.n_features_in_ != 2:
            raise ValueError(
                f"plot draws classifiers of 2 features, and this one has {estimator.n_features_in_}; fit it to two"
            )
        points, labels = np.asarray(check_array(X), np.float64), np.searchsorted(estimator.classes_, np.asarray(y))

        def predict(plane: Any) -> Any:
            return np.searchsorted(estimator.classes_, estimator.predict(plane))

        return decision_regions(
            predict, points, labels, [str(name) for name in estimator.classes_], _feature_names(estimator, 2)
        )


class CoefficientPlot:
    """Mixin for the `plot_coefficients` method of linear models."""

    def plot_coefficients(self) -> "Figure":
        """Draw the coefficients as bars, one for each feature; for several classes, their norms over the classes."""
        from pellucid.report.figures.regression import coefficients

        estimator: Any = self
        check_is_fitted(estimator)
        return coefficients(_feature_names(estimator, estimator.n_features_in_), estimator.coef_)


class PathPlot:
    """Mixin for the `plot_path` method of linear models with a penalty."""

    def plot_path(self, X: Any, y: Any, alphas: Sequence[float]) -> "Figure":
        """Draw the coefficients against the penalty: one fit to X (n, n_features) and y (n,) for each of `alphas`."""
        from pellucid.report.figures.regression import coefficient_paths

        unfitted: list[Any] = [clone(self) for _ in alphas]
        fits = [model.set_params(alpha=alpha).fit(X, y) for model, alpha in zip(unfitted, sorted(alphas), strict=True)]
        names = _feature_names(fits[0], fits[0].n_features_in_)
        return coefficient_paths(names, sorted(alphas), {type(self).__name__: [fit.coef_ for fit in fits]})


def _feature_names(estimator: Any, n_features: int) -> list[str]:
    """Return the names of the features: the columns of a data frame, or x0, x1, ..."""
    return [str(name) for name in getattr(estimator, "feature_names_in_", [f"x{k}" for k in range(n_features)])]
