"""Training and validation images of different sizes, such as crops and whole images."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.doctor import case_of, diagnose
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import BinaryCrossEntropy, Quadratic, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam

N_CLASSES = 3


def brightest_channel(x: Tensor) -> Tensor:
    return x.mean((2, 3)).argmax(1)


TARGETS: dict[str, tuple[Callable[[Tensor], Tensor], type, int]] = {
    "classes": (brightest_channel, SoftmaxCrossEntropy, N_CLASSES),
    "labels": (lambda x: F.one_hot(brightest_channel(x), N_CLASSES).float(), BinaryCrossEntropy, N_CLASSES),
    "values": (lambda x: x.mean((2, 3)), Quadratic, N_CLASSES),
    "masks": (lambda x: (x[:, 0] > 0).long(), SoftmaxCrossEntropy, 2),
    "maps": (lambda x: 2 * x[:, :1], Quadratic, 1),
}


def drawn(count: int, side: int, seed: int) -> Tensor:
    """Return noise, in which one channel is brighter."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, N_CLASSES, side, side, generator=rng)
    x[torch.arange(count), torch.randint(0, N_CLASSES, (count,), generator=rng)] += 1
    return x


@pytest.mark.parametrize("sides", [(8, 16), (12, 8), (16, 20)])
@pytest.mark.parametrize("kind", TARGETS)
def test_sound_parts_of_different_sizes_are_not_blamed(kind: str, sides: tuple[int, int]) -> None:
    target_of, loss, n_outputs = TARGETS[kind]
    x, validation_x = drawn(120, sides[0], 0), drawn(60, sides[1], 1)
    layers: dict[str, Layer] = {"conv": Conv2d(16, 3, padding=1), "relu": ReLU()}
    if kind in ("masks", "maps"):
        layers |= {"out": Conv2d(n_outputs, 1)}
    else:
        layers |= {"pool": AdaptiveAvgPool2d(1), "flat": Flatten(), "out": Dense(n_outputs)}
    model = Model(
        Sequential(**layers), loss=loss(), optimizer=Adam(0.01), metrics=(), seed=0, input_shape=(N_CLASSES, None, None)
    )
    validation = (validation_x, target_of(validation_x))
    model.fit(x, target_of(x), validation=validation, epochs=20, batch_size=20, verbose=False)
    found = diagnose(case_of(model, x, target_of(x), validation=validation, batch_size=20, epochs=20))
    assert not {finding.check for finding in found.findings if finding.is_fault} - {"overfitting"}


@pytest.mark.parametrize("sides", [(8, 16), (16, 12)])
def test_other_labels_are_found_with_parts_of_different_sizes(sides: tuple[int, int]) -> None:
    x, validation_x = drawn(200, sides[0], 0), drawn(100, sides[1], 1)
    net = Sequential(
        conv=Conv2d(16, 3, padding=1), relu=ReLU(), pool=AdaptiveAvgPool2d(1), flat=Flatten(), out=Dense(N_CLASSES)
    )
    model = Model(net, optimizer=Adam(0.01), seed=0, input_shape=(N_CLASSES, None, None))
    validation = (validation_x, brightest_channel(validation_x))
    other_labels = brightest_channel(x).roll(1)
    model.fit(x, other_labels, validation=validation, epochs=10, batch_size=20, verbose=False)
    found = diagnose(case_of(model, x, other_labels, validation=validation, batch_size=20, epochs=10))
    assert found.findings[0].check in ("shuffled-labels", "shifted-labels")
