"""Layer categories used by rules."""

from pellucid.layers.adaptiveavgpool2d import AdaptiveAvgPool2d
from pellucid.layers.add import Add
from pellucid.layers.avgpool2d import AvgPool2d
from pellucid.layers.base import Layer
from pellucid.layers.batchnorm import BatchNorm
from pellucid.layers.conv2d import Conv2d
from pellucid.layers.convtranspose2d import ConvTranspose2d
from pellucid.layers.dense import Dense
from pellucid.layers.elu import ELU
from pellucid.layers.gelu import GELU
from pellucid.layers.groupnorm import GroupNorm
from pellucid.layers.instancenorm2d import InstanceNorm2d
from pellucid.layers.layernorm import LayerNorm
from pellucid.layers.leakyrelu import LeakyReLU
from pellucid.layers.localcontrastnorm import LocalContrastNorm
from pellucid.layers.localresponsenorm import LocalResponseNorm
from pellucid.layers.logsoftmax import LogSoftmax
from pellucid.layers.lppool2d import LpPool2d
from pellucid.layers.relu import ReLU
from pellucid.layers.relu6 import ReLU6
from pellucid.layers.sigmoid import Sigmoid
from pellucid.layers.softmax import Softmax
from pellucid.layers.tanh import Tanh
from pellucid.layers.upsample import Upsample

Kinds = tuple[type[Layer], ...]

CONVOLUTIONS: Kinds = (Conv2d, ConvTranspose2d)
WEIGHTED: Kinds = (Dense, *CONVOLUTIONS)  # a matrix of weights and a bias, of any shape
RECTIFIERS: Kinds = (ReLU, ReLU6, LeakyReLU)
SMOOTH_RECTIFIERS: Kinds = (ELU, GELU)  # near to max(x, 0), and to a rectifier far from 0
ACTIVATIONS: Kinds = (*RECTIFIERS, ELU, GELU, Sigmoid, Tanh, Softmax, LogSoftmax)
CONTRAST_NORMS: Kinds = (LocalContrastNorm, LocalResponseNorm)  # across maps at one place, without learned values
NORMS: Kinds = (BatchNorm, InstanceNorm2d, GroupNorm, LayerNorm, *CONTRAST_NORMS)
AVERAGES: Kinds = (AvgPool2d, AdaptiveAvgPool2d, LpPool2d, Upsample)
SUMS: Kinds = (Add, *AVERAGES)  # an output is a sum of shares, one from each input
