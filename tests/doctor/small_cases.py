"""Cases for the tests of the doctor: four classes that a tiny network learns quickly, and unusual networks."""

from dataclasses import replace
from typing import Any

import torch

from pellucid.combine import Fork, Parallel, Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.remedies import rebuilt
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Dropout, Flatten, Identity, MaxPool2d, ReLU, Tanh
from pellucid.model import Model
from pellucid.optim import SGD


def corners(n: int = 64, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (n, 1, 4, 4) of noise in which the corner of the class is bright, and the labels (n,)."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = 0.2 * torch.rand(n, 1, 4, 4, generator=rng)
    for k, label in enumerate(y.tolist()):
        top, left = 2 * (label // 2 % 2), 2 * (label % 2)
        x[k, 0, top : top + 2, left : left + 2] += 0.7
    return x, y


def dense_net(outputs: int = 4) -> Sequential:
    return Sequential(flatten=Flatten(), dense1=Dense(12), relu=ReLU(), dense2=Dense(outputs))


def conv_net(outputs: int = 4) -> Sequential:
    """Return a network with running statistics, dropout and a skip connection."""
    body = Sequential(conv=Conv2d(3, 3, padding=1), tanh=Tanh())
    return Sequential(
        conv1=Conv2d(3, 3, padding=1), norm=BatchNorm(), relu=ReLU(), block=Parallel((Identity(), body), Add()),
        pool=MaxPool2d(2), flatten=Flatten(), dropout=Dropout(0.3), scores=Dense(outputs),
    )  # fmt: skip


def two_heads() -> Sequential:
    return Sequential(flatten=Flatten(), dense=Dense(6), relu=ReLU(), heads=Fork(left=Dense(4), right=Dense(4)))


def make_model(net: Any = None, **options: Any) -> Model:
    options = {"optimizer": SGD(0.5), "input_shape": (1, 4, 4), **options}
    return Model(net or dense_net(), **options)


def make_case(net: Any = None, epochs: int = 0, batch_size: int = 16, **options: Any) -> Case:
    """Return the case of a model on the four corners, trained for `epochs`."""
    x, y = corners()
    model, history = make_model(net, **options), None
    if epochs:
        history = model.fit(x, y, epochs=epochs, batch_size=batch_size, verbose=False)
    held_out = corners(40, seed=1)
    return case_of(model, x, y, validation=held_out, history=history, batch_size=batch_size, epochs=epochs)


def with_rate(case: Case, factor: float) -> Case:
    """Return the case with the learning rate multiplied by `factor`."""
    optimizer = case.model.optimizer
    return rebuilt(case, optimizer=replace(optimizer, lr=optimizer.lr * factor))
