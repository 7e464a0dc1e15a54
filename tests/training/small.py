"""What the tests of training train: 8x8 digits and networks that take milliseconds."""

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
    """64-16-10 under plain SGD, the path on which layers learn inside the sweep."""
    return Model(mlp((64, 16, 10)), optimizer=SGD(0.5), **options)


def small_conv(**options):
    """Everything that has state: running statistics, dropout, Adam's means, a schedule."""
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
    """Ends the process's training at a step, as an error would."""

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
