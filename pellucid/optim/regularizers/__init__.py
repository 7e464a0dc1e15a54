"""Regularizers: what keeps weights small; biases and the parameters of normalisation are left alone."""

from pellucid.optim.regularizers.base import Regularizer, add_penalties, in_order, shrink_weights
from pellucid.optim.regularizers.elastic_net import ElasticNet
from pellucid.optim.regularizers.l1 import L1
from pellucid.optim.regularizers.l2 import L2
from pellucid.optim.regularizers.max_norm import MaxNorm

REGULARIZERS: dict[str, type[Regularizer] | type[MaxNorm]] = {
    "l1": L1,
    "l2": L2,
    "elastic_net": ElasticNet,
    "max_norm": MaxNorm,
}

__all__ = [
    "L1",
    "L2",
    "REGULARIZERS",
    "ElasticNet",
    "MaxNorm",
    "Regularizer",
    "add_penalties",
    "in_order",
    "shrink_weights",
]
