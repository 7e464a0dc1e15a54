"""Estimators with scikit-learn's interface: networks, linear models as networks of one layer, nearest neighbours."""

from pellucid.estimators.linear import ElasticNet, Lasso, LinearRegression, Ridge
from pellucid.estimators.logistic import LogisticRegression, Perceptron, SoftmaxRegression
from pellucid.estimators.neighbors import KNeighborsClassifier
from pellucid.estimators.network import NetworkClassifier, NetworkRegressor

__all__ = [
    "ElasticNet",
    "KNeighborsClassifier",
    "Lasso",
    "LinearRegression",
    "LogisticRegression",
    "NetworkClassifier",
    "NetworkRegressor",
    "Perceptron",
    "Ridge",
    "SoftmaxRegression",
]
