"""Features learned from the digits 0 to 4, and few examples of the digits 5 to 9 to use them for."""

import torch

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual import data
from benchmarks.doctor.cases.unusual.data import Parts, repictured
from benchmarks.doctor.cases.unusual.sound import block
from benchmarks.doctor.fit import Fit
from pellucid import Model
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.layers import Dense, Flatten, MaxPool2d, ReLU
from pellucid.optim import Adam

NEW_CLASSES = ("5", "6", "7", "8", "9")


def only(part: Dataset, low: int, high: int) -> Dataset:
    """Return the digits from `low` to below `high`, with classes from 0."""
    selected = part.subset(((part.y >= low) & (part.y < high)).nonzero().flatten())
    return Dataset.from_arrays(selected.x, selected.y - low, [str(k) for k in range(low, high)])


def pretrained(seed: int) -> Model:
    """Return a classifier of the digits 0 to 4 with a new head for five other classes."""
    train = only(data.digits(seed).train, 0, 5)
    features = Sequential(one=Sequential(**block(16)), two=Sequential(**block(32)), pool=MaxPool2d(2))
    head = Sequential(flatten=Flatten(), dense=Dense(32), relu=ReLU(), scores=Dense(5))
    model = Model(
        Sequential(features=features, head=head), optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8),
        classes=train.classes,
    )  # fmt: skip
    model.fit(train, epochs=8, batch_size=32, verbose=False)
    model.replace_head(NEW_CLASSES)
    return model


def few_new_digits(seed: int) -> Parts:
    """Return 60 training, and all validation and test digits from 5 to 9."""
    train, validation, test = (only(part, 5, 10) for part in data.digits(seed))
    return Parts(train.subset(torch.arange(60)), validation, test)


def transfer(seed: int, rate: float = 3e-3) -> tuple[Fit, Parts]:
    """Learn five new digits on frozen features."""
    parts = few_new_digits(seed)

    def begin() -> Model:
        model = pretrained(seed)
        model.freeze("features.*")
        model.compile(Adam(rate), "softmax_cross_entropy")
        return model

    return Fit(begin, parts.train, parts.validation, scores.accuracy(parts.test), 20, 10), parts


def scaled(part: Dataset, factor: float, shift: float) -> Dataset:
    """Return the images as floats, multiplied and shifted."""
    return repictured(part, part.x.float() / 255 * factor + shift)
