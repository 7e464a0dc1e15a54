"""Healthy trainings of classification and regression: the doctor should report no cause in them.

Functions that return a `MakeTraining` return a function that makes the described training from a seed.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.doctor.cases.usual.learning import pretrained_modifiers
from benchmarks.doctor.cases.usual.parts import MyFlatten, MyLogSoftmax, MySigmoid, PickedLoss
from benchmarks.doctor.cases.usual.pictures import with_labels
from benchmarks.doctor.cases.usual.sound import sound_training
from benchmarks.doctor.cases.usual.training import Training
from benchmarks.doctor.material import friedman, rotated_digits
from benchmarks.doctor.settings import conv, mlp
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
    Identity,
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
from pellucid.models.resnet import basic_body, residual_block
from pellucid.optim import SGD, Adagrad, Adam, AdamW, MaxNorm, Momentum, Nesterov, RMSprop
from pellucid.optim.regularizers import L1, L2, ElasticNet
from pellucid.optim.schedules import Cosine, InverseTime, OneCycle, ReduceOnPlateau, Step, Warmup

MakeTraining = Callable[[int], Training]


def _variant(name: str, **changes: Any) -> MakeTraining:
    """Return a function that makes `sound_training(name)` with some fields changed."""
    return lambda seed: sound_training(name, seed, **changes)


def _net(*layers: Layer, last: Layer | None = None) -> Callable[[int], Layer]:
    return lambda classes: Sequential(*layers, Dense(classes), *([] if last is None else [last]))


def _first_examples(name: str, count: int, **changes: Any) -> MakeTraining:
    """Train on the first `count` examples."""

    def begin(seed: int) -> Training:
        training = sound_training(name, seed, **changes)
        assert isinstance(training.train, Dataset)
        return training.replace(train=training.train.subset(range(count)))

    return begin


def _some_classes(name: str, labels: tuple[int, ...], **changes: Any) -> MakeTraining:
    """Train on the classes with the given labels."""

    def begin(seed: int) -> Training:
        training = sound_training(name, seed, **changes)
        return training.replace(
            train=_select_classes(training.train, labels), validation=_select_classes(training.validation, labels)
        )

    return begin


def _select_classes(data: Any, labels: tuple[int, ...]) -> Dataset:
    selected = data.subset(torch.isin(data.y, torch.tensor(labels)).nonzero().flatten())
    y = torch.tensor([labels.index(label) for label in selected.y.tolist()])
    return Dataset.from_arrays(selected.x, y, [data.classes[label] for label in labels])


def _weighted_classes(seed: int) -> Training:
    """Train with half of the examples of five classes removed, and class weights that compensate for it."""
    training = sound_training("mnist-plain", seed)
    data = _halved(training.train)
    weights = 1 / torch.bincount(data.y, minlength=10).double()
    weighted = SoftmaxCrossEntropy(class_weights=tuple((weights / weights.mean()).tolist()))
    return training.replace(train=data, loss=weighted)


def _imbalanced(seed: int) -> Training:
    """Train with half of the examples of five classes removed."""
    training = sound_training("mnist-mlp", seed)
    return training.replace(train=_halved(training.train))


def _halved(data: Any) -> Dataset:
    """Keep every second example of the first five classes, and all examples of the others."""
    return data.subset(((data.y < 5) | (torch.arange(len(data)) % 2 == 0)).nonzero().flatten())


def _few_wrong_labels(seed: int) -> Training:
    """Train with 2 % wrong labels."""
    training = sound_training("mnist", seed)
    data, rng = training.train, torch.Generator().manual_seed(seed)
    assert isinstance(data, Dataset)
    wrong = torch.rand(len(data), generator=rng) < 0.02
    return training.replace(train=with_labels(data, torch.where(wrong, (data.y + 1) % 10, data.y)))


def _regression(
    loss: Any, net: Callable[[int], Layer], optimizer: Any, epochs: int, pictures: bool = False
) -> MakeTraining:
    """Train a regression: of a function of ten numbers, or of the rotation of digits if `pictures`."""

    def begin(seed: int) -> Training:
        parts = rotated_digits(seed) if pictures else friedman(seed)
        return Training(*parts, net, optimizer, epochs, loss=loss, seed=seed, scale=False)

    return begin


def _fine_tuned(freeze: bool) -> MakeTraining:
    """Train on ten digits, starting from features trained on the first five."""

    def begin(seed: int) -> Training:
        copy_features, copy_and_freeze = pretrained_modifiers(seed)
        modify = copy_and_freeze if freeze else copy_features
        return sound_training("mnist", seed, net=conv(16, 32), modify=modify, optimizer=Momentum(0.01), epochs=4)

    return begin


def _batch_size(size: int, **changes: Any) -> MakeTraining:
    return _variant("digits", batch_size=size, **changes)


SMALL_LAYERS = (
    Conv2d(12, 3, padding=1),
    ReLU(),
    MaxPool2d(2),
    Conv2d(24, 3, padding=1),
    ReLU(),
    MaxPool2d(2),
    Flatten(),
)
AVERAGED_NET = _net(Conv2d(12, 3, padding=1), Tanh(), AvgPool2d(2), Conv2d(24, 3, padding=1), Tanh(), Flatten())
GLOBAL_POOL_NET = _net(
    Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(2), Conv2d(32, 3, padding=1), BatchNorm(), ReLU(),
    AdaptiveAvgPool2d(1), Flatten(),
)  # fmt: skip
RESIDUAL_NET = _net(
    Conv2d(12, 3, padding=1), BatchNorm(), ReLU(), residual_block(Identity(), basic_body(12, 1)),
    residual_block(Identity(), basic_body(12, 1)), MaxPool2d(2), Flatten(),
)  # fmt: skip
DEEPER_NET = _net(
    Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(2),
    Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), Conv2d(16, 3, padding=1), BatchNorm(), ReLU(), MaxPool2d(2),
    Flatten(),
)  # fmt: skip
GROUP_NORM_NET = _net(Conv2d(16, 3, padding=1), GroupNorm(4), ReLU(), MaxPool2d(2), Flatten(), Dense(32), ReLU())
INSTANCE_NORM_NET = _net(Conv2d(16, 3, padding=1), InstanceNorm2d(), ReLU(), MaxPool2d(2), Flatten(), Dense(32), ReLU())
LAYER_NORM_NET = _net(Flatten(), Dense(64), LayerNorm(), ReLU(), Dense(32), LayerNorm(), ReLU())
OWN_LAYERS_NET = _net(Conv2d(12, 3, padding=1), ReLU(), MaxPool2d(2), MyFlatten(), Dense(32), MySigmoid())

HEALTHY: Mapping[str, MakeTraining] = {
    "tanh, average pooling, Nesterov": _variant("digits", net=AVERAGED_NET, optimizer=Nesterov(0.01), epochs=10),
    "tanh, Adagrad": _variant("digits-mlp", net=mlp(Tanh, 48), optimizer=Adagrad(0.02), epochs=15),
    "GELU, AdamW": _variant("digits-mlp", net=mlp(GELU, 64), optimizer=AdamW(3e-3)),
    "ELU, RMSprop": _variant("digits-mlp", net=mlp(ELU, 48, 32), optimizer=RMSprop(1e-3), epochs=15),
    "leaky ReLU": _variant("digits-mlp", net=mlp(LeakyReLU, 64, 32)),
    "sigmoid, Adam": _variant("digits-mlp", net=mlp(Sigmoid, 48), optimizer=Adam(1e-2), epochs=15),
    "group norm": _variant("digits", net=GROUP_NORM_NET, optimizer=Adam(3e-3)),
    "instance norm": _variant("digits", net=INSTANCE_NORM_NET, optimizer=Adam(3e-3), epochs=12),
    "layer norm": _variant("digits-mlp", net=LAYER_NORM_NET),
    "plain convolutions, Adam": _variant("digits", net=_net(*SMALL_LAYERS), optimizer=Adam(3e-3)),
    "residual": _variant("digits", net=RESIDUAL_NET, epochs=6),
    "global average pooling": _variant("digits", net=GLOBAL_POOL_NET, optimizer=Adam(1e-2), epochs=12),
    "four convolutions": _variant("mnist", net=DEEPER_NET, optimizer=Adam(3e-3), epochs=3),
    "quadratic loss on classes": _variant("digits-mlp", loss=Quadratic(), epochs=15),
    "binary cross-entropy on classes": _variant("digits-mlp", loss=BinaryCrossEntropy()),
    "hinge loss": _variant("digits-mlp", loss=Hinge()),
    "log-softmax": _variant("digits", net=_net(*SMALL_LAYERS, last=LogSoftmax()), loss=NegativeLogLikelihood()),
    "label smoothing": _variant("digits", loss=SoftmaxCrossEntropy(label_smoothing=0.05)),
    "L1": _variant("mnist-mlp", options={"regularizer": L1(0.02)}),
    "elastic net": _variant("mnist-mlp", options={"regularizer": ElasticNet(0.01, 0.5)}),
    "L2 on convolutions": _variant("mnist-plain", options={"regularizer": L2(0.5)}),
    "max-norm": _variant("mnist-mlp", options={"regularizer": MaxNorm(3.0)}),
    "decoupled decay": _variant("digits", optimizer=AdamW(3e-3), options={"regularizer": L2(0.01, decoupled=True)}),
    "clipping": _variant("mnist-plain", options={"clip": 5.0}),
    "one cycle": _variant("digits", optimizer=Adam(1e-2), options={"schedule": OneCycle()}),
    "steps": _variant("digits", options={"schedule": Step(0.3, at_times=(0.5, 0.8), unit="run")}),
    "cosine": _variant("mnist", options={"schedule": Cosine()}),
    "plateau": _variant("digits-mlp", options={"schedule": ReduceOnPlateau(patience=3)}, epochs=15),
    "inverse time": _variant("digits-mlp", optimizer=SGD(0.3), options={"schedule": InverseTime(400, 400)}, epochs=15),
    "short warmup": _variant("mnist-plain", options={"schedule": Warmup(60, Step(0.5, at_times=(0.7,), unit="run"))}),
    "dropout 0.2": _variant("mnist", net=conv(12, 24, dropout=0.2)),
    "dropout 0.4, wide": _variant("mnist-mlp", net=mlp(ReLU, 256, dropout=0.4), epochs=10),
    "batches of 8": _batch_size(8, optimizer=Momentum(0.005), epochs=5),
    "batches of 128": _batch_size(128, optimizer=Adam(5e-3), epochs=15),
    "batches of 256": _variant("mnist-mlp", batch_size=256, optimizer=Adam(5e-3), epochs=15),
    "early stopping": _variant("digits-mlp", epochs=40, callbacks=lambda: [EarlyStopping(6)]),
    "small rotations": _variant("mnist", augment=Augment(rotate=8.0, zoom=0.05), epochs=6),
    "shifted signs of the road": _variant("arrows", augment=Augment(shift=0.05, brightness=0.1), epochs=12),
    "flipped photographs": _variant("cifar", augment=Augment(flip=True)),
    "brighter and darker hands": _variant("signs", augment=Augment(brightness=0.1, shift=0.04), epochs=12),
    "elastic digits": _variant("mnist", augment=Augment(elastic_alpha=6.0, elastic_sigma=4.0), epochs=6),
    "photographs": _variant("cifar", optimizer=Momentum(0.02)),
    "hands": _variant("signs", net=conv(12, 24, 24), optimizer=Momentum(0.02), epochs=12),
    "arrows": _variant("arrows", net=conv(8, 16, 16), optimizer=RMSprop(2e-3)),
    "digits in corners": _variant("places", net=conv(12, 24), optimizer=Adam(3e-3), epochs=8),
    "clusters": _variant("clusters"),
    "two classes": _some_classes("mnist", (3, 8)),
    "three photographs": _some_classes("cifar", (0, 2, 4)),
    "five hands": _some_classes("signs", (0, 1, 2, 3, 4)),
    "class weights": _weighted_classes,
    "imbalanced 2:1": _imbalanced,
    "two wrong labels in a hundred": _few_wrong_labels,
    "700 digits": _first_examples("digits", 700, epochs=14),
    "1,000 of MNIST": _first_examples("mnist", 1000, epochs=10),
    "numbers, quadratic loss": _regression("quadratic", mlp(Tanh, 32), Adam(5e-3), 25),
    "numbers, Huber loss": _regression(Huber(), mlp(ReLU, 48), Adam(3e-3), 20),
    "numbers, L1 loss": _regression("l1", mlp(GELU, 48), Adam(3e-3), 25),
    "tilt": _regression("quadratic", conv(8, 16, 16), Adam(2e-3), 8, pictures=True),
    "bfloat16": _variant("mnist-mlp", options={"precision": "bf16"}),
    "fine-tuned": _fine_tuned(False),
    "frozen pretrained features": _fine_tuned(True),
    "layers of one's own": _variant("digits", net=OWN_LAYERS_NET, optimizer=Adam(5e-3), epochs=10),
    "a loss of one's own": _variant(
        "digits", net=_net(*SMALL_LAYERS, last=MyLogSoftmax()), loss=PickedLoss(), optimizer=Adam(3e-3)
    ),
    "dropout behind features": _variant(
        "digits", net=_net(*SMALL_LAYERS, Dropout(0.3), Dense(64), ReLU()), optimizer=Adam(3e-3)
    ),
}
