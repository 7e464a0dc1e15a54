"""A small network of the usual kind, trained shortly: what can be learned from the same examples without much care."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.combine import Sequential
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.losses import Quadratic, SoftmaxCrossEntropy
from pellucid.optim import Adam
from pellucid.optim.schedules import Cosine
from pellucid.training.model import BaseModel

if TYPE_CHECKING:
    from pellucid.doctor.case import Case

SIDE = 8  # pixels, from which on there is something to convolve
LARGEST = 64  # pixels that a side is brought down to by strides
RATE, BATCH = 2e-3, 32
TINY = 1e-12


def small_network(case: "Case") -> "Case":
    """Return the case of the small network with the same examples: inputs normalized, Adam, a rate that falls to 0.

    Targets that are numbers are standardised.
    """
    if not case.classifies:
        case = standardised(case)
    shape = tuple(case.train.x.shape[1:])
    outputs = _outputs(case)
    loss: Any = SoftmaxCrossEntropy() if case.classifies else Quadratic()
    net = Sequential(*_body(shape), Dense(outputs))

    def begin() -> BaseModel:
        return BaseModel(
            net, loss, Adam(RATE), metrics=(), schedule=Cosine(), seed=case.model.seed, input_shape=shape
        )  # fmt: skip

    batch = min(BATCH, len(case.train))
    return replace(
        case, model=begin(), begin=begin, batch_size=batch, epochs=0, history=None, stopped="", augment=None, steps=0,
        trainable=True,
    )  # fmt: skip


def standardised(case: "Case") -> "Case":
    """Return the case with targets of mean 0 and deviation 1 in training, and by the same numbers in validation."""
    y = case.train.y.double()
    mean, std = y.mean(0, keepdim=True), y.std(0, correction=0, keepdim=True).clamp_min(TINY)
    train, held = (
        part and replace(part, y=((part.y - mean) / std).float()) for part in (case.train, case.validation)
    )  # fmt: skip
    return replace(case, train=train, validation=held)


def _outputs(case: "Case") -> int:
    if not case.classifies:
        return max(case.train.y[0].numel(), 1)
    return max(int(case.train.y.max()) + 1, *(out for out in case.model.output_shape[:1] if isinstance(out, int)), 2)


def _body(shape: tuple[int, ...]) -> list[Layer]:
    if len(shape) != 3 or min(shape[1:]) < SIDE:
        return [Flatten(), BatchNorm(), Dense(64), ReLU(), Dense(64), ReLU()]
    stride = max(min(shape[1:]) // LARGEST, 1)
    layers: list[Layer] = [BatchNorm()]
    for filters, step in ((16, stride), (32, 1)):
        layers += [Conv2d(filters, 3, stride=step, padding=1), BatchNorm(), ReLU(), MaxPool2d(2)]
    return [*layers, Flatten()]
