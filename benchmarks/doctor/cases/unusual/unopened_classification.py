"""Mistakes in classification of the unopened half."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import Parts, digits, relabelled, repictured
from benchmarks.doctor.cases.unusual.sound import classifier, digit_net
from benchmarks.doctor.fit import Case, Pair
from pellucid import Model
from pellucid.data import Dataset
from pellucid.layers import ReLU
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.optim import SGD, Adam, Momentum
from pellucid.optim.regularizers import L2

MEASURE = "accuracy"


class SoftmaxCache(NamedTuple):
    """The output."""

    y: Tensor


@dataclass(frozen=True)
class HandMadeSoftmax(Layer):
    """A softmax over the classes."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Keep the shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, SoftmaxCache]:
        """Return probabilities."""
        y = x.softmax(1)
        return y, SoftmaxCache(y)

    def backward(self, params: Params, cache: SoftmaxCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the gradient of the logits."""
        return cache.y * (dy - (dy * cache.y).sum(1, keepdim=True)), {}


def batch_of_one(seed: int) -> Pair:
    """Normalise over batches of one example."""
    usual, parts = classifier(seed)
    sound = usual.but(train=parts.train.subset(torch.arange(300)), epochs=4)
    return Pair(sound.but(batch_size=1), sound, MEASURE)


def class_order_differs(seed: int) -> Pair:
    """Number the classes of validation and test by another listing."""
    sound, parts = classifier(seed)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(seed))
    held, used = (relabelled(part, order[part.y]) for part in (parts.validation, parts.test))
    return Pair(sound.but(validation=held, score=scores.accuracy(used)), sound, MEASURE)


def constant_init(seed: int) -> Pair:
    """Begin with equal weights."""
    sound, _ = classifier(seed, net=digit_net(norm=False))

    def begin() -> Model:
        model = sound.begin()
        for tensor in model.weights.values():
            tensor.fill_(0.05)
        return model

    return Pair(sound.but(begin=begin), sound, MEASURE)


def last_classes_held_out(seed: int) -> Pair:
    """Hold out the last fifth of data that are sorted by class."""
    parts = digits(seed)
    both = Dataset.from_arrays(
        torch.cat([parts.train.x, parts.validation.x]), torch.cat([parts.train.y, parts.validation.y]),
        parts.train.classes,
    )  # fmt: skip
    ordered, cut = both.subset(both.y.argsort(stable=True)), len(both) * 4 // 5
    mixed = both.subset(torch.randperm(len(both), generator=torch.Generator().manual_seed(seed)))
    first, last = torch.arange(cut), torch.arange(cut, len(both))
    wrong, _ = classifier(seed, Parts(ordered.subset(first), ordered.subset(last), parts.test))
    sound, _ = classifier(seed, Parts(mixed.subset(first), mixed.subset(last), parts.test))
    return Pair(wrong, sound, MEASURE)


def rate_of_sgd_for_adam(seed: int) -> Pair:
    """Keep the learning rate of SGD when the optimizer becomes Adam."""
    wrong, _ = classifier(seed, net=digit_net(norm=False), optimizer=Adam(0.2))
    sound, _ = classifier(seed, net=digit_net(norm=False), optimizer=SGD(0.2))
    return Pair(wrong, sound, MEASURE)


def relu_before_softmax(seed: int) -> Pair:
    """Put a ReLU behind the last layer."""
    wrong, _ = classifier(seed, net=digit_net(10, ReLU(), norm=False))
    sound, _ = classifier(seed, net=digit_net(norm=False))
    return Pair(wrong, sound, MEASURE)


def softmax_twice(seed: int) -> Pair:
    """Put a softmax behind the last layer, and another one into the loss."""
    wrong, _ = classifier(seed, net=digit_net(10, HandMadeSoftmax(), norm=False))
    sound, _ = classifier(seed, net=digit_net(norm=False))
    return Pair(wrong.but(epochs=2), sound.but(epochs=2), MEASURE)


def sorted_unshuffled(seed: int) -> Pair:
    """Read batches in the order of the classes."""
    sound, parts = classifier(seed)
    ordered = parts.train.subset(parts.train.y.argsort(stable=True))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for begin in range(0, len(ordered), 32):
            yield ordered.x[begin : begin + 32], ordered.y[begin : begin + 32]

    steps = -(-len(ordered) // 32)
    return Pair(sound.but(train=batches, further={"steps_per_epoch": steps}), sound, MEASURE)


def test_in_training(seed: int) -> Pair:
    """Validate on copies of training images."""
    usual, parts = classifier(seed, net=digit_net(norm=False))
    train = parts.train.subset(torch.arange(80))
    true = scores.accuracy(parts.test)

    def honest(validation: Dataset) -> scores.Score:
        reported = scores.accuracy(validation)
        return lambda model: 1 - abs(reported(model) - true(model))

    sound = usual.but(train=train, epochs=40, score=honest(parts.validation))
    copied = train.subset(torch.arange(60))
    return Pair(sound.but(validation=copied, score=honest(copied)), sound, "1 - overestimate of the accuracy")


def validation_not_normalised(seed: int) -> Pair:
    """Normalise the training images only."""
    parts = digits(seed)
    plain = [repictured(part, part.x.float() / 255) for part in parts]
    mean, std = plain[0].x.mean(), plain[0].x.std()
    normal = Parts(*(repictured(part, (part.x - mean) / std) for part in plain))
    sound, _ = classifier(seed, normal)
    return Pair(sound.but(validation=plain[1], score=scores.accuracy(plain[2])), sound, MEASURE)


def weight_decay(seed: int) -> Pair:
    """Penalise large weights so much that they vanish."""
    wrong, _ = classifier(seed, net=digit_net(norm=False), optimizer=Momentum(0.05), regularizer=L2(500.0))
    sound, _ = classifier(seed, net=digit_net(norm=False), optimizer=Momentum(0.05), regularizer=L2(0.5))
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "cls-batch-of-one": batch_of_one,
    "cls-class-order-differs": class_order_differs,
    "cls-constant-init": constant_init,
    "cls-last-classes-held-out": last_classes_held_out,
    "cls-rate-of-sgd-for-adam": rate_of_sgd_for_adam,
    "cls-relu-before-softmax": relu_before_softmax,
    "cls-softmax-twice": softmax_twice,
    "cls-sorted-unshuffled": sorted_unshuffled,
    "cls-test-in-training": test_in_training,
    "cls-validation-not-normalised": validation_not_normalised,
    "cls-weight-decay": weight_decay,
}
