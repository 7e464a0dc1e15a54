"""Layers: one per file, each with its forward and its backward pass.

To add a layer, import it here and add its name to `__all__`, which determines LAYERS, and to `pellucid/__init__.pyi`.
"""

from pellucid.layers.adaptiveavgpool2d import AdaptiveAvgPool2d
from pellucid.layers.add import Add
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Cache, Layer, Mode, Params, Shape, Trait
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.concat import Concat
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.crop import Crop
from pellucid.layers.dense import Dense
from pellucid.layers.dropout import Dropout
from pellucid.layers.elu import ELU
from pellucid.layers.flatten import Flatten
from pellucid.layers.gelu import GELU
from pellucid.layers.groupnorm import GroupNorm
from pellucid.layers.gru import GRU
from pellucid.layers.hardsigmoid import HardSigmoid
from pellucid.layers.hardswish import HardSwish
from pellucid.layers.identity import Identity
from pellucid.layers.initializers import INITIALIZERS
from pellucid.layers.instancenorm2d import InstanceNorm2d
from pellucid.layers.layernorm import LayerNorm
from pellucid.layers.leakyrelu import LeakyReLU
from pellucid.layers.localcontrastnorm import LocalContrastNorm
from pellucid.layers.localresponsenorm import LocalResponseNorm
from pellucid.layers.logsoftmax import LogSoftmax
from pellucid.layers.lppool2d import LpPool2d
from pellucid.layers.lstm import LSTM
from pellucid.layers.maxpool2d import MaxPool2d
from pellucid.layers.maxunpool2d import MaxUnpool2d
from pellucid.layers.multiply import Multiply
from pellucid.layers.pad2d import Pad2d
from pellucid.layers.padchannels import PadChannels
from pellucid.layers.relu import ReLU
from pellucid.layers.relu6 import ReLU6
from pellucid.layers.reshape import Reshape
from pellucid.layers.rnn import RNN
from pellucid.layers.roialign import RoIAlign
from pellucid.layers.roipool import RoIPool
from pellucid.layers.sigmoid import Sigmoid
from pellucid.layers.silu import SiLU
from pellucid.layers.softargmax import SoftArgmax
from pellucid.layers.softmax import Softmax
from pellucid.layers.tanh import Tanh
from pellucid.layers.upsample import Upsample

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "INITIALIZERS",
    "LAYERS",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool2d",
    "Add",
    "AvgPool2d",
    "BatchNorm",
    "Cache",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "Crop",
    "Dense",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNorm2d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LocalContrastNorm",
    "LocalResponseNorm",
    "LogSoftmax",
    "LpPool2d",
    "MaxPool2d",
    "MaxUnpool2d",
    "Mode",
    "Multiply",
    "Pad2d",
    "PadChannels",
    "Params",
    "ReLU",
    "ReLU6",
    "Reshape",
    "RoIAlign",
    "RoIPool",
    "Shape",
    "SiLU",
    "Sigmoid",
    "SoftArgmax",
    "Softmax",
    "Tanh",
    "Trait",
    "Upsample",
]

_exported_values = [globals()[name] for name in __all__ if name != "LAYERS"]
LAYERS: tuple[type[Layer], ...] = tuple(
    value for value in _exported_values if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
)
