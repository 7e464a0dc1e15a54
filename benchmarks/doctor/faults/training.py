"""Faults of training and of outputs: learning rates, architecture, normalization, dropout, calibration, GANs.

Functions that return a `Make` return a function that trains a setting with the described fault, and returns the case.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.faults.drawing import AlwaysDropout, AlwaysNoise
from benchmarks.doctor.faults.ways import (
    DENSE_ONLY,
    NORM_ONLY,
    Make,
    alter_trained,
    layers_of,
    modify_start,
    replace_layers,
    scale_rate,
    train_with,
    trainable_tensors,
)
from benchmarks.doctor.settings import Setting
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.doctor import Case, case_of
from pellucid.doctor.passes import trainable_layers
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
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.optim import Adam
from pellucid.optim.regularizers import L2
from pellucid.run.history import History

CONV_ONLY = (
    ("digits-conv", "mnist-conv", "signs-norm"),
    "the fault brings a convolutional network of its own, one for each data set",
)
RELU_MLP_ONLY = (
    ("digits-relu", "mnist-relu"),
    "the fault brings two layers of ReLUs, which are trained as these two are",
)
ERRING_ONLY = (
    ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "mnist-conv", "mnist-norm", "signs-norm"),
    "digits-conv errs in one or two of 100 examples, too few to tell how sure it should be",
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


def layer_rate(index: int, factor: float) -> Make:
    """Multiply the learning rate of one layer by `factor`; index: its index among the trainable layers."""

    def alter(model: Model) -> None:
        path, _ = trainable_layers(model)[index]
        model.scale_rate(f"{path}.*", factor)

    return modify_start(alter)


def scale_first_layer(model: Model) -> None:
    """Multiply the weights of the first layer by 300, which the normalization after it hides."""
    trainable_tensors(model)[0].mul_(300.0)


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


def norm_momentum(value: float) -> Make:
    """Train with the momentum `value` in all batch normalization."""

    def change(layer: Layer) -> Layer:
        return replace(layer, momentum=value) if isinstance(layer, BatchNorm) else layer

    return lambda setting: replace_layers(setting, change).train()


def frozen_norms(setting: Setting) -> Case:
    """Fine-tune trained weights with frozen batch normalization on inputs from 0 to 255, not standardised."""
    trained_weights = {path: value.clone() for path, value in setting.train().model.weights.items()}

    def alter(model: Model) -> None:
        for path, value in flatten(model.params).items():
            value.copy_(trained_weights[path])
        model.freeze("batchnorm*")

    return modify_start(alter, model={"preprocess": raw_pixels(setting)})(setting)


def raw_pixels(setting: Setting) -> dict[str, list[float]]:
    """Return preprocessing that scales pixels to 0 to 255."""
    channels = 3 if setting.data == "signs" else 1
    return {"mean": [0.0] * channels, "std": [1 / 255] * channels}


def random_layer(layer: Layer) -> Make:
    """Insert a layer that is random in every mode before the last layer."""

    def make(setting: Setting) -> Case:
        def net(classes: int) -> Layer:
            *first_layers, last = layers_of(setting.net(classes))
            return Sequential(*first_layers, layer, last)

        return setting.replace(net=net).train()

    return make


def scale_outputs(factor: float) -> Make:
    """Multiply the outputs by `factor` after training, like a forgotten temperature."""

    def modify(model: Model) -> None:
        for name in ("weight", "bias"):
            trainable_tensors(model, name)[-1].mul_(factor)

    return alter_trained(modify)


def gan_history(losses: Callable[[float], Mapping[str, float]]) -> Make:
    """Replace the history by one of 30 epochs with invented, noisy losses of a generator and a discriminator."""

    def make(setting: Setting) -> Case:
        case = setting.train()
        rng = torch.Generator().manual_seed(setting.seed)
        rows: list[dict[str, Any]] = []
        history = case.history or History()
        for epoch in range(30):
            noise = torch.rand(3, generator=rng).tolist()
            noisy_losses = {
                name: min(value * (0.8 + 0.4 * noise_value), 1.0 if "accuracy" in name else 100.0)
                for (name, value), noise_value in zip(losses(epoch / 29).items(), noise, strict=False)
            }
            rows.append({**history.rows[min(epoch, len(history) - 1)], "epoch": epoch + 1, **noisy_losses})
        return replace(case, history=History(rows, history.layers))

    return make


def early_win(t: float) -> dict[str, float]:
    """Return losses of a discriminator that wins after a tenth of the training; t: the time from 0 to 1."""
    return {"train_discriminator_loss": max(1.2 * (1 - 10 * t), 0.02), "train_generator_loss": min(1 + 20 * t, 6.0)}


def late_win(t: float) -> dict[str, float]:
    """Return losses of a discriminator that wins half-way through the training; t: the time from 0 to 1."""
    return {
        "train_discriminator_loss": 0.9 if t < 0.5 else 0.05,
        "train_generator_loss": 1.0 if t < 0.5 else 4.5,
    }


FAULTS: tuple[Fault, ...] = (
    Fault("update-ratio", "the first layer learns 10,000 times too slowly", layer_rate(0, 1e-4)),
    Fault("update-ratio", "the last layer learns 10,000 times too slowly", layer_rate(-1, 1e-4)),
    Fault("update-ratio", "weights 300 times too large before a norm", modify_start(scale_first_layer), *NORM_ONLY),
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
    Fault("batch-norm", "statistics that are never updated", norm_momentum(0.0), *NORM_ONLY),
    Fault("batch-norm", "a momentum of 0.0001", norm_momentum(1e-4), *NORM_ONLY),
    Fault("batch-norm", "batches of 2", train_with(net=normed_mlp, batch_size=2), *DENSE_ONLY),
    Fault("batch-norm", "batches of 4", train_with(net=normed_mlp, batch_size=4), *DENSE_ONLY),
    Fault("batch-norm", "frozen with statistics of other inputs", frozen_norms, *NORM_ONLY),
    Fault("dropout-at-inference", "dropout in every mode", random_layer(AlwaysDropout(0.3))),
    Fault("dropout-at-inference", "noise in every mode", random_layer(AlwaysNoise(0.2))),
    Fault("miscalibration", "labels smoothed by 0.6", train_with(loss=SoftmaxCrossEntropy(0.6))),
    Fault("miscalibration", "outputs 6 times too large", scale_outputs(6.0), *ERRING_ONLY),
    Fault("miscalibration", "outputs a fifth of what they should be", scale_outputs(0.2)),
    Fault("discriminator", "certain after three epochs", gan_history(early_win), synthetic=True),
    Fault("discriminator", "certain half way", gan_history(late_win), synthetic=True),
)  # fmt: skip
