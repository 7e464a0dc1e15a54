"""Mistakes in networks and in user-defined layers."""

from collections.abc import Callable

from benchmarks.doctor.cases.usual.parts import (
    Detached,
    MyDense,
    MyDropout,
    MyFlatten,
    MyLogSoftmax,
    MySigmoid,
    MySoftmax,
    PickedLoss,
    Rounded,
    UnitLength,
)
from benchmarks.doctor.cases.usual.sound import sound_training
from benchmarks.doctor.cases.usual.training import compare
from benchmarks.doctor.fit import Pair
from pellucid import Model
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.layers import AvgPool2d, BatchNorm, Conv2d, Dense, Dropout, Flatten, Identity, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import BinaryCrossEntropy
from pellucid.optim import SGD, Adam, Momentum

Net = Callable[[int], Layer]


def _stack_layers(*layers: Layer, last: Layer | None = None) -> Net:
    """Return a function that builds a network: the layers, a dense layer for the class scores, and `last`."""
    return lambda classes: Sequential(*layers, Dense(classes), *([] if last is None else [last]))


HIDDEN_LAYERS = (Flatten(), Dense(48), ReLU())
CONV_LAYERS = (Conv2d(8, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(16, 3, padding=1), ReLU(), MaxPool2d(2))


def softmax_layer(seed: int) -> Pair:
    right = sound_training("mnist", seed, net=_stack_layers(*HIDDEN_LAYERS), optimizer=SGD(0.05), epochs=8)
    return compare(right.replace(net=_stack_layers(*HIDDEN_LAYERS, last=MySoftmax())), right)


def sigmoid_twice(seed: int) -> Pair:
    right = sound_training(
        "mnist", seed, net=_stack_layers(*HIDDEN_LAYERS), optimizer=SGD(0.05), epochs=8, loss=BinaryCrossEntropy()
    )
    return compare(right.replace(net=_stack_layers(*HIDDEN_LAYERS, last=MySigmoid())), right)


def nll_of_probabilities(seed: int) -> Pair:
    right = sound_training(
        "mnist-plain",
        seed,
        net=_stack_layers(*CONV_LAYERS, Flatten(), last=MyLogSoftmax()),
        loss=PickedLoss(),
        optimizer=SGD(0.05),
    )
    return compare(right.replace(net=_stack_layers(*CONV_LAYERS, Flatten(), last=MySoftmax())), right)


def softmax_over_batch(seed: int) -> Pair:
    right = sound_training(
        "digits", seed, net=_stack_layers(*HIDDEN_LAYERS, last=MyLogSoftmax()), loss=PickedLoss(), optimizer=Adam(3e-3)
    )
    wrong = right.replace(net=_stack_layers(*HIDDEN_LAYERS, last=MyLogSoftmax(0)))

    def one_at_a_time(model: Model) -> float:
        return float((model.predict(right.validation.x, batch_size=1).argmax(1) == right.validation.y).float().mean())

    return Pair(wrong.fit(one_at_a_time), right.fit(one_at_a_time), "accuracy on one picture at a time")


def view_across_batch(seed: int) -> Pair:
    right = sound_training("digits", seed, net=_stack_layers(*CONV_LAYERS, MyFlatten()), optimizer=Adam(3e-3))
    return compare(right.replace(net=_stack_layers(*CONV_LAYERS, MyFlatten(mixed=True))), right)


def no_activation(seed: int) -> Pair:
    def net(act: Layer) -> Net:
        return _stack_layers(
            Conv2d(12, 3, padding=1), act, AvgPool2d(2), Conv2d(24, 3, padding=1), act, AvgPool2d(2), Flatten(),
            Dense(48), act,
        )  # fmt: skip

    right = sound_training("mnist", seed, net=net(ReLU()), optimizer=Adam(2e-3), epochs=5)
    return compare(right.replace(net=net(Identity())), right)


def keep_probability(seed: int) -> Pair:
    def net(rate: float) -> Net:
        return _stack_layers(*CONV_LAYERS, Flatten(), Dropout(rate), Dense(48), ReLU(), Dropout(rate))

    right = sound_training("mnist", seed, net=net(0.1), optimizer=Momentum(0.01), epochs=5)
    return compare(right.replace(net=net(0.95)), right)


def unscaled_dropout(seed: int) -> Pair:
    def net(drop: Layer) -> Net:
        return _stack_layers(
            Conv2d(12, 3, padding=1), ReLU(), MaxPool2d(2), drop, Conv2d(24, 3, padding=1), BatchNorm(), ReLU(),
            MaxPool2d(2), Flatten(), drop, Dense(48), BatchNorm(), ReLU(),
        )  # fmt: skip

    right = sound_training("mnist", seed, net=net(Dropout(0.6)), optimizer=Adam(2e-3))
    return compare(right.replace(net=net(MyDropout(0.6))), right)


def norm_momentum(seed: int) -> Pair:
    def net(momentum: float) -> Net:
        norm = BatchNorm(momentum)
        return _stack_layers(Flatten(), Dense(48), norm, ReLU(), Dense(32), norm, ReLU())

    right = sound_training("digits", seed, net=net(0.01), batch_size=8, epochs=5, optimizer=Adam(1e-3))
    assert isinstance(right.train, Dataset)
    right = right.replace(train=right.train.subset(range(1296)))  # avoids a last batch of one example
    return compare(right.replace(net=net(0.99)), right)


def too_much_pooling(seed: int) -> Pair:
    small = _stack_layers(Conv2d(8, 5, stride=4), ReLU(), MaxPool2d(6), Conv2d(16, 1), ReLU(), Flatten())
    right = sound_training("mnist-plain", seed, net=_stack_layers(*CONV_LAYERS, Flatten()), optimizer=Adam(2e-3))
    return compare(right.replace(net=small), right)


def uniform_weights(seed: int) -> Pair:
    right = sound_training("mnist", seed, net=_stack_layers(*HIDDEN_LAYERS), optimizer=SGD(0.05), epochs=6)
    wrong = right.replace(net=lambda classes: Sequential(Flatten(), MyDense(48), ReLU(), MyDense(classes)))
    return compare(wrong, right)


def wrong_derivative(seed: int) -> Pair:
    def net(wrong: bool) -> Net:
        return _stack_layers(Flatten(), Dense(48), MySigmoid(wrong), Dense(32), MySigmoid(wrong))

    right = sound_training("digits", seed, net=net(False), optimizer=Adam(5e-3), epochs=12)
    return compare(right.replace(net=net(True)), right)


def rounding_layer(seed: int) -> Pair:
    def net(middle: Layer) -> Net:
        return _stack_layers(Conv2d(6, 3, padding=1), ReLU(), MaxPool2d(4), Flatten(), Dense(24), middle, ReLU())

    right = sound_training("signs", seed, net=net(Identity()))
    return compare(right.replace(net=net(Rounded())), right)


def detached_features(seed: int) -> Pair:
    def net(end: Layer) -> Net:
        return _stack_layers(
            Conv2d(6, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(4), Conv2d(8, 3, padding=1), BatchNorm(), ReLU(),
            MaxPool2d(4), Flatten(), end,
        )  # fmt: skip

    right = sound_training("signs", seed, net=net(Identity()))
    return compare(right.replace(net=net(Detached())), right)


def norm_of_zero(seed: int) -> Pair:
    def net(middle: Layer) -> Net:
        return _stack_layers(*CONV_LAYERS[:3], middle, *CONV_LAYERS[3:], Flatten())

    right = sound_training("mnist-plain", seed, net=net(Identity()), scale=False)
    return compare(right.replace(net=net(UnitLength())), right)


CASES = {
    "softmax-layer": softmax_layer,
    "sigmoid-twice": sigmoid_twice,
    "nll-of-probabilities": nll_of_probabilities,
    "softmax-over-batch": softmax_over_batch,
    "view-across-batch": view_across_batch,
    "no-activation": no_activation,
    "keep-probability": keep_probability,
    "unscaled-dropout": unscaled_dropout,
    "norm-momentum": norm_momentum,
    "too-much-pooling": too_much_pooling,
    "uniform-weights": uniform_weights,
    "wrong-derivative": wrong_derivative,
    "rounding-layer": rounding_layer,
    "detached-features": detached_features,
    "norm-of-zero": norm_of_zero,
}
