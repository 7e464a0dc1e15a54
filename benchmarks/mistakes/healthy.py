"""Healthy trainings, of other kinds than those of benchmarks/doctor: of these the doctor should name no cause."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.doctor.material import friedman, rotated_digits
from benchmarks.doctor.settings import conv, mlp
from benchmarks.mistakes.cases.learning import pretrained
from benchmarks.mistakes.cases.usual import usual
from benchmarks.mistakes.parts import MyFlatten, MyLogSoftmax, MySigmoid, Picked
from benchmarks.mistakes.pictures import labelled
from benchmarks.mistakes.training import Training
from pellucid import EarlyStopping
from pellucid.combine import Sequential
from pellucid.data import Augment, Dataset
from pellucid.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LeakyReLU,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from pellucid.layers.base import Layer
from pellucid.losses import BinaryCrossEntropy, Hinge, Huber, NegativeLogLikelihood, Quadratic, SoftmaxCrossEntropy
from pellucid.optim import SGD, Adagrad, Adam, AdamW, MaxNorm, Momentum, Nesterov, RMSprop
from pellucid.optim.regularizers import L1, L2, ElasticNet
from pellucid.optim.schedules import Cosine, InverseTime, OneCycle, ReduceOnPlateau, Step, Warmup

Begin = Callable[[int], Training]


def _as(name: str, **changes: Any) -> Begin:
    """Return a usual training with other values."""
    return lambda seed: usual(name, seed, **changes)


def _net(*layers: Layer, last: Layer | None = None) -> Callable[[int], Layer]:
    return lambda classes: Sequential(*layers, Dense(classes), *([] if last is None else [last]))


def _few(name: str, count: int, **changes: Any) -> Begin:
    """Train on the first so many examples."""

    def begin(seed: int) -> Training:
        training = usual(name, seed, **changes)
        assert isinstance(training.train, Dataset)
        return training.but(train=training.train.subset(range(count)))

    return begin


def _classes(name: str, kept: tuple[int, ...], **changes: Any) -> Begin:
    """Train on some of the classes."""

    def begin(seed: int) -> Training:
        training = usual(name, seed, **changes)
        return training.but(train=_only(training.train, kept), validation=_only(training.validation, kept))

    return begin


def _only(data: Any, kept: tuple[int, ...]) -> Dataset:
    picked = data.subset(torch.isin(data.y, torch.tensor(kept)).nonzero().flatten())
    y = torch.tensor([kept.index(label) for label in picked.y.tolist()])
    return Dataset.from_arrays(picked.x, y, [data.classes[label] for label in kept])


def _uneven(seed: int) -> Training:
    """Train on classes of which half have half as many examples, with weights that make up for it."""
    training = usual("mnist-plain", seed)
    data = training.train
    assert isinstance(data, Dataset)
    data = data.subset(((data.y < 5) | (torch.arange(len(data)) % 2 == 0)).nonzero().flatten())
    weights = 1 / torch.bincount(data.y, minlength=10).double()
    weighted = SoftmaxCrossEntropy(class_weights=tuple((weights / weights.mean()).tolist()))
    return training.but(train=data, loss=weighted)


def _two_percent(seed: int) -> Training:
    """Train with two wrong labels in a hundred."""
    training = usual("mnist", seed)
    data, rng = training.train, torch.Generator().manual_seed(seed)
    assert isinstance(data, Dataset)
    wrong = torch.rand(len(data), generator=rng) < 0.02
    return training.but(train=labelled(data, torch.where(wrong, (data.y + 1) % 10, data.y)))


def _numbers(loss: Any, net: Callable[[int], Layer], optimizer: Any, epochs: int, pictures: bool = False) -> Begin:
    """Train on numbers: a function of ten, or the tilt of a digit."""

    def begin(seed: int) -> Training:
        parts = tuple((part.x, part.y) for part in (rotated_digits(seed) if pictures else friedman(seed)))
        return Training(*parts, net, optimizer, epochs, loss=loss, seed=seed, scale=False)

    return begin


def _fine_tuned(freeze: bool) -> Begin:
    """Train on ten digits from features of the first five."""

    def begin(seed: int) -> Training:
        take, stop = pretrained(seed)
        touch = stop if freeze else take
        return usual("mnist", seed, net=conv(16, 32), touch=touch, optimizer=Momentum(0.01), epochs=4)

    return begin


def _batches(size: int, **changes: Any) -> Begin:
    return _as("digits", batch_size=size, **changes)


SMALL = (Conv2d(12, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(24, 3, padding=1), ReLU(), MaxPool2d(2), Flatten())
AVERAGED = _net(Conv2d(12, 3, padding=1), Tanh(), AvgPool2d(2), Conv2d(24, 3, padding=1), Tanh(), Flatten())
GLOBAL = _net(
    Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(2), Conv2d(32, 3, padding=1), BatchNorm(), ReLU(),
    AdaptiveAvgPool2d(1), Flatten(),
)  # fmt: skip
DEEPER = _net(
    Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(2),
    Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(2),
    Flatten(),
)  # fmt: skip
GROUPED = _net(Conv2d(16, 3, padding=1), GroupNorm(4), ReLU(), MaxPool2d(2), Flatten(), Dense(32), ReLU())
INSTANCE = _net(Conv2d(16, 3, padding=1), InstanceNorm2d(), ReLU(), MaxPool2d(2), Flatten(), Dense(32), ReLU())
LAYERED = _net(Flatten(), Dense(64), LayerNorm(), ReLU(), Dense(32), LayerNorm(), ReLU())
OWN = _net(Conv2d(12, 3, padding=1), ReLU(), MaxPool2d(2), MyFlatten(), Dense(32), MySigmoid())

HEALTHY: Mapping[str, Begin] = {
    "tanh, average pooling, Nesterov": _as("digits", net=AVERAGED, optimizer=Nesterov(0.01), epochs=10),
    "tanh, Adagrad": _as("digits-mlp", net=mlp(Tanh, 48), optimizer=Adagrad(0.02), epochs=15),
    "GELU, AdamW": _as("digits-mlp", net=mlp(GELU, 64), optimizer=AdamW(3e-3)),
    "ELU, RMSprop": _as("digits-mlp", net=mlp(ELU, 48, 32), optimizer=RMSprop(1e-3), epochs=15),
    "leaky ReLU": _as("digits-mlp", net=mlp(LeakyReLU, 64, 32)),
    "sigmoid, Adam": _as("digits-mlp", net=mlp(Sigmoid, 48), optimizer=Adam(1e-2), epochs=15),
    "group norm": _as("digits", net=GROUPED, optimizer=Adam(3e-3)),
    "instance norm": _as("digits", net=INSTANCE, optimizer=Adam(3e-3), epochs=12),
    "layer norm": _as("digits-mlp", net=LAYERED),
    "plain convolutions, Adam": _as("digits", net=_net(*SMALL), optimizer=Adam(3e-3)),
    "global average pooling": _as("digits", net=GLOBAL, optimizer=Adam(1e-2), epochs=12),
    "four convolutions": _as("mnist", net=DEEPER, optimizer=Adam(3e-3), epochs=3),
    "quadratic loss on classes": _as("digits-mlp", loss=Quadratic(), epochs=15),
    "binary cross-entropy on classes": _as("digits-mlp", loss=BinaryCrossEntropy()),
    "hinge loss": _as("digits-mlp", loss=Hinge()),
    "log-softmax": _as("digits", net=_net(*SMALL, last=LogSoftmax()), loss=NegativeLogLikelihood()),
    "label smoothing": _as("digits", loss=SoftmaxCrossEntropy(label_smoothing=0.05)),
    "L1": _as("mnist-mlp", options={"regularizer": L1(0.02)}),
    "elastic net": _as("mnist-mlp", options={"regularizer": ElasticNet(0.01, 0.5)}),
    "L2 on convolutions": _as("mnist-plain", options={"regularizer": L2(0.5)}),
    "max-norm": _as("mnist-mlp", options={"regularizer": MaxNorm(3.0)}),
    "decoupled decay": _as("digits", optimizer=AdamW(3e-3), options={"regularizer": L2(0.01, decoupled=True)}),
    "clipping": _as("mnist-plain", options={"clip": 5.0}),
    "one cycle": _as("digits", optimizer=Adam(1e-2), options={"schedule": OneCycle()}),
    "steps": _as("digits", options={"schedule": Step(0.3, at_times=(0.5, 0.8), unit="run")}),
    "cosine": _as("mnist", options={"schedule": Cosine()}),
    "plateau": _as("digits-mlp", options={"schedule": ReduceOnPlateau(patience=3)}, epochs=15),
    "inverse time": _as("digits-mlp", optimizer=SGD(0.3), options={"schedule": InverseTime(400, 400)}, epochs=15),
    "short warmup": _as("mnist-plain", options={"schedule": Warmup(60, Step(0.5, at_times=(0.7,), unit="run"))}),
    "dropout 0.2": _as("mnist", net=conv(12, 24, dropout=0.2)),
    "dropout 0.4, wide": _as("mnist-mlp", net=mlp(ReLU, 256, dropout=0.4), epochs=10),
    "batches of 8": _batches(8, optimizer=Momentum(0.005), epochs=5),
    "batches of 128": _batches(128, optimizer=Adam(5e-3), epochs=15),
    "batches of 256": _as("mnist-mlp", batch_size=256, optimizer=Adam(5e-3), epochs=15),
    "early stopping": _as("digits-mlp", epochs=40, callbacks=lambda: [EarlyStopping(6)]),
    "small rotations": _as("mnist", augment=Augment(rotate=8.0, zoom=0.05), epochs=6),
    "shifted signs of the road": _as("arrows", augment=Augment(shift=0.05, brightness=0.1), epochs=12),
    "flipped photographs": _as("cifar", augment=Augment(flip=True)),
    "brighter and darker hands": _as("signs", augment=Augment(brightness=0.1, shift=0.04), epochs=12),
    "elastic digits": _as("mnist", augment=Augment(elastic_alpha=6.0, elastic_sigma=4.0), epochs=6),
    "photographs": _as("cifar", optimizer=Momentum(0.02)),
    "hands": _as("signs", net=conv(12, 24, 24), optimizer=Momentum(0.02), epochs=12),
    "arrows": _as("arrows", net=conv(8, 16, 16), optimizer=RMSprop(2e-3)),
    "digits in corners": _as("places", net=conv(12, 24), optimizer=Adam(3e-3), epochs=8),
    "clusters": _as("clusters"),
    "two classes": _classes("mnist", (3, 8)),
    "three photographs": _classes("cifar", (0, 2, 4)),
    "five hands": _classes("signs", (0, 1, 2, 3, 4)),
    "class weights": _uneven,
    "two wrong labels in a hundred": _two_percent,
    "700 digits": _few("digits", 700, epochs=14),
    "1,000 of MNIST": _few("mnist", 1000, epochs=10),
    "numbers, quadratic loss": _numbers("quadratic", mlp(Tanh, 32), Adam(5e-3), 25),
    "numbers, Huber loss": _numbers(Huber(), mlp(ReLU, 48), Adam(3e-3), 20),
    "numbers, L1 loss": _numbers("l1", mlp(GELU, 48), Adam(3e-3), 25),
    "tilt": _numbers("quadratic", conv(8, 16, 16), Adam(2e-3), 8, pictures=True),
    "bfloat16": _as("mnist-mlp", options={"precision": "bf16"}),
    "fine-tuned": _fine_tuned(False),
    "frozen pretrained features": _fine_tuned(True),
    "layers of one's own": _as("digits", net=OWN, optimizer=Adam(5e-3), epochs=10),
    "a loss of one's own": _as("digits", net=_net(*SMALL, last=MyLogSoftmax()), loss=Picked(), optimizer=Adam(3e-3)),
    "dropout behind features": _as("digits", net=_net(*SMALL, Dropout(0.3), Dense(64), ReLU()), optimizer=Adam(3e-3)),
}
