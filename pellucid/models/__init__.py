"""Networks by family: functions that return a network; its parameters are drawn by `net.init`."""

from collections.abc import Callable

from pellucid.layers.base import Layer
from pellucid.models.convnet import convnet
from pellucid.models.lenet import lenet
from pellucid.models.mlp import mlp

# What recipes and the command line call `network.model`.
MODELS: dict[str, Callable[..., Layer]] = {"mlp": mlp, "lenet": lenet, "convnet": convnet}

__all__ = ["MODELS", "convnet", "lenet", "mlp"]
