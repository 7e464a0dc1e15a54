"""Faults of training and of outputs: learning rates, architecture, normalization, dropout, calibration, GANs.

Functions that return a `Make` return a function that trains a setting with the described fault, and returns the case.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.faults.drawing import AlwaysDropout, AlwaysNoise
from benchmarks.doctor.faults.ways import (
    DENSE_ONLY,
    Make,
    layers_of,
    scale_rate,
    train_with,
)
from benchmarks.doctor.settings import Setting
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.doctor import Case, case_of
from pellucid.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from pellucid.layers.base import Layer
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.optim.regularizers import L2

CONV_ONLY = (
    ("digits-conv", "mnist-conv", "signs-norm"),
    "the fault brings a convolutional network of its own, one for each data set",
)
RELU_MLP_ONLY = (
    ("digits-relu", "mnist-relu"),
    "the fault brings two layers of ReLUs, which are trained as these two are",
)
LARGE_DIGITS_ONLY = (
    ("mnist-tanh", "mnist-relu", "mnist-conv", "signs-norm"),
    "12 examples of each digit of 8 x 8 pixels suffice",
)
SLOW_ONLY = (
    ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "digits-conv", "mnist-conv", "signs-norm"),
    "mnist-norm learns enough in one epoch",
)
WITHOUT_ADAM = (
    ("digits-sigmoid", "digits-conv", "mnist-tanh", "mnist-conv", "mnist-norm", "signs-norm"),
    "the others train by Adam, which bears 30 times its rate but for dead units, a fault of their own",
)


def append_layers(*layers: Layer, **changes: Any) -> Make:
    """Append layers after the last one."""

    def make(setting: Setting) -> Case:
        return setting.replace(
            net=lambda classes: Sequential(*layers_of(setting.net(classes)), *layers), **changes
        ).train()

    return make


def regress(last: Layer, scale: Callable[[Tensor], Tensor]) -> Make:
    """Train a regression on the scaled class index, with a network that ends in `last`."""

    def make(setting: Setting) -> Case:
        train, validation = setting.parts()
        net = Sequential(Flatten(), Dense(32), Tanh(), Dense(1), last)

        def begin() -> Model:
            return Model(net, "quadratic", Adam(2e-3), metrics=(), seed=setting.seed, input_shape=train.x.shape[1:])

        model = begin()
        pairs = [(part.x, scale(part.y.float())[:, None]) for part in (train, validation)]
        history = model.fit(*pairs[0], epochs=8, batch_size=32, validation=pairs[1], verbose=False)
        return case_of(model, *pairs[0], validation=pairs[1], history=history, epochs=8, begin=begin)

    return make


def single_softmax(setting: Setting) -> Case:
    """Train to classify even and odd digits with a softmax over one output."""
    net = Sequential(Flatten(), Dense(32), ReLU(), Dense(1), Softmax())
    return setting.replace(net=lambda classes: net, loss="quadratic", change=parity).train()


def parity(data: Dataset, part: str) -> Dataset:
    """Return the data with two classes, even and odd labels."""
    return Dataset.from_arrays(data.x, data.y % 2, classes=("even", "odd"), name=data.name)


def few_examples(n_per_class: int, epoch_factor: int) -> Make:
    """Train on `n_per_class` examples of each class, for `epoch_factor` times as many epochs."""

    def change(data: Dataset, part: str) -> Dataset:
        if part == "validation":
            return data
        return data.subset(torch.cat([(data.y == label).nonzero()[:n_per_class, 0] for label in data.y.unique()]))

    return lambda setting: setting.replace(change=change, epochs=setting.epochs * epoch_factor).train()


def narrow_mlp(units: int) -> Callable[[int], Layer]:
    """Return a function that builds a network whose first hidden layer has only `units` units."""
    return lambda classes: Sequential(Flatten(), Dense(units), ReLU(), Dense(16), ReLU(), Dense(classes))


def tiny_conv(classes: int) -> Layer:
    """Return a convolutional network with one filter, pooling over 4 x 4 pixels and two hidden units."""
    return Sequential(Conv2d(1, 3, padding=1), ReLU(), MaxPool2d(4), Flatten(), Dense(2), ReLU(), Dense(classes))


def dropout_mlp(scale_rate: float) -> Callable[[int], Layer]:
    """Return a function that builds a network with dropout before each dense layer."""
    return lambda classes: Sequential(
        Flatten(),
        Dropout(scale_rate),
        Dense(48),
        ReLU(),
        Dropout(scale_rate),
        Dense(48),
        ReLU(),
        Dropout(scale_rate),
        Dense(classes),
    )


def normed_mlp(classes: int) -> Layer:
    """Return a network with batch normalization after each hidden dense layer."""
    return Sequential(Flatten(), Dense(48), BatchNorm(), ReLU(), Dense(48), BatchNorm(), ReLU(), Dense(classes))


def random_layer(layer: Layer) -> Make:
    """Insert a layer that is random in every mode before the last layer."""

    def make(setting: Setting) -> Case:
        def net(classes: int) -> Layer:
            *first_layers, last = layers_of(setting.net(classes))
            return Sequential(*first_layers, layer, last)

        return setting.replace(net=net).train()

    return make


FAULTS: tuple[Fault, ...] = (
    Fault("learning-rate-too-high", "30 times", scale_rate(30), *WITHOUT_ADAM),
    Fault("learning-rate-too-high", "100 times", scale_rate(100)),
    Fault("learning-rate-too-high", "300 times", scale_rate(300)),
    Fault("learning-rate-too-low", "a 100th", scale_rate(1 / 100)),
    Fault("learning-rate-too-low", "a 300th", scale_rate(1 / 300)),
    Fault("learning-rate-too-low", "a 1,000th", scale_rate(1e-3)),
    Fault("wrong-output", "ReLU before softmax", append_layers(ReLU())),
    Fault("wrong-output", "sigmoid before softmax", append_layers(Sigmoid())),
    Fault("wrong-output", "tanh before softmax", append_layers(Tanh())),
    Fault("wrong-output", "log-softmax under squared error", append_layers(LogSoftmax(), loss=Quadratic())),
    Fault("wrong-output", "dropout behind the last layer", append_layers(Dropout(0.5))),
    Fault("wrong-output", "numbers above 1 by a sigmoid", regress(Sigmoid(), lambda y: y), *DENSE_ONLY),
    Fault("wrong-output", "standardised numbers by a ReLU", regress(ReLU(), lambda y: (y - 4.5) / 2.9), *DENSE_ONLY),
    Fault("wrong-output", "a softmax over one output", single_softmax, *DENSE_ONLY),
    Fault("overfitting", "3 examples of each class", few_examples(3, 10)),
    Fault("overfitting", "12 examples of each class", few_examples(12, 6), *LARGE_DIGITS_ONLY),
    Fault("underfitting", "one hidden unit", train_with(net=narrow_mlp(1)), *DENSE_ONLY),
    Fault("underfitting", "one filter and two units", train_with(net=tiny_conv), *CONV_ONLY),
    Fault("underfitting", "dropout of 0.9", train_with(net=dropout_mlp(0.9)), *RELU_MLP_ONLY),
    Fault("underfitting", "a regularizer 10,000 times too strong", train_with(model={"regularizer": L2(3e3)})),
    Fault("underfitting", "one epoch of large batches", train_with(epochs=1, batch_size=256), *SLOW_ONLY),
    Fault("batch-norm-tiny-batches", "batches of 2", train_with(net=normed_mlp, batch_size=2), *DENSE_ONLY),
    Fault("dropout-at-inference", "dropout in every mode", random_layer(AlwaysDropout(0.3))),
    Fault("dropout-at-inference", "noise in every mode", random_layer(AlwaysNoise(0.2))),
)  # fmt: skip
