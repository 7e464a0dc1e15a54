"""Data and models for the tests of training: 8x8 digits and networks that train within milliseconds."""

import torch
from sklearn.datasets import load_digits

from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import SGD, Adam
from pellucid.optim.schedules import OneCycle
from pellucid.training.callbacks import Callback


def digits(start=0, end=300):
    result = load_digits()
    return Dataset.from_arrays(result.images[start:end, None].astype("float32") / 16, result.target[start:end])


def small_mlp(**options):
    """Return a 64-16-10 network with plain SGD, with which layers are updated during the backward pass."""
    return Model(mlp((64, 16, 10)), optimizer=SGD(0.5), **options)


def small_conv(**options):
    """Return a model with every kind of state: running statistics, dropout, Adam's moments, a schedule."""
    net = Sequential(
        conv=Conv2d(4, 3, padding=1, bias=False),
        norm=BatchNorm(),
        relu=ReLU(),
        pool=MaxPool2d(2),
        flatten=Flatten(),
        dropout=Dropout(0.2),
        dense=Dense(10),
    )
    return Model(net, optimizer=Adam(0.01), schedule=OneCycle(), **options)


class StopAt(Callback):
    """Raises Stopped after a step, like an error in the training loop."""

    def __init__(self, step):
        self.step = step

    def on_step(self, training):
        if training.step == self.step:
            raise Stopped


class Stopped(Exception):  # noqa: N818
    pass


def flip(x, rng):
    """Augment: mirror a random half of the batch."""
    is_flipped = torch.rand(len(x), generator=rng) < 0.5
    return torch.where(is_flipped[:, None, None, None], x.flip(3), x)
