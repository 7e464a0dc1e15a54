"""Estimators with scikit-learn's interface: networks, linear models as networks of one layer, nearest neighbours."""

from pellucid.estimators.linear import ElasticNet, Lasso, LinearRegression, Ridge
from pellucid.estimators.neighbors import KNeighborsClassifier

__all__ = ["ElasticNet", "KNeighborsClassifier", "Lasso", "LinearRegression", "Ridge"]
