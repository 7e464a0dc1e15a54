"""Healthy trainings of all tasks: of these the doctor should name no cause."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual import data
from benchmarks.doctor.cases.unusual import sound as usual
from benchmarks.doctor.cases.unusual.data import CELLS, SWAPS, Parts, arrays
from benchmarks.doctor.cases.unusual.parts import HandMadeReLU, SquaredDifference
from benchmarks.doctor.cases.unusual.transferred import pretrained, transfer
from benchmarks.doctor.fit import Fit
from pellucid import Model
from pellucid.combine import Sequential
from pellucid.data import Augment
from pellucid.generators import dcgan, gmmn, mse, pix2pix
from pellucid.layers import GELU, BatchNorm, Conv2d, Dense, Dropout, Flatten, LayerNorm, MaxPool2d, ReLU, Tanh
from pellucid.losses import Focal, HeatMaps, Huber, SoftmaxCrossEntropy
from pellucid.ops.image_objects import Objects
from pellucid.optim import AdamW, Momentum
from pellucid.optim.regularizers import L2
from pellucid.optim.schedules import Cosine, OneCycle, Step

MakeFit = Callable[[int], Fit]
FLIP = Augment(flip=True)


def _variant(
    make: Callable[..., tuple[Fit, Parts]], *arguments: Any, changes: Mapping[str, Any] = {}, **options: Any
) -> MakeFit:
    """Return a usual training with other values."""
    return lambda seed: make(seed, *arguments, **options)[0].but(**changes)


def _mlp_net(layer: Any, norm: Any = None) -> Sequential:
    rows = {f"row{k}": Sequential(dense=Dense(48), **({"norm": norm} if norm else {}), act=layer) for k in range(2)}
    return Sequential(flatten=Flatten(), **rows, out=Dense(10))


def _dropout_net(rate: float) -> Sequential:
    return Sequential(flatten=Flatten(), dense=Dense(96), relu=ReLU(), dropout=Dropout(rate), out=Dense(10))


def _regression(**options: Any) -> MakeFit:
    return lambda seed: usual.regressor(seed, data.numbers(seed), **options)[0]


def _digit_variant(name: str) -> MakeFit:
    return lambda seed: usual.classifier(seed, getattr(data, name)(seed))[0]


def _few_examples(seed: int) -> Fit:
    """Classify with 250 examples."""
    sound, parts = usual.classifier(seed)
    return sound.but(train=parts.train.subset(torch.arange(250)), epochs=20)


def _red_cells(seed: int) -> Fit:
    """Find the red cells alone."""

    def only_red(one: Objects) -> Objects:
        return one.take(one.labels == CELLS.index("RBC"))

    parts = Parts(*(replace(part.but(only_red), classes=CELLS[:1]) for part in data.cells(seed)))

    def begin() -> Model:
        return Model(
            usual.small_detector(classes=1), optimizer=AdamW(1e-2), seed=seed, metrics=(), classes=CELLS[:1],
            input_shape=(3, *data.CELL_SIZE),
        )  # fmt: skip

    return Fit(begin, parts.train, parts.validation, scores.precision(parts.test), 8, 8)


def _ignored_border(seed: int) -> Fit:
    """Segment streets of which annotators left a border out."""
    sound, parts = usual.segmenter(seed)
    y = parts.train.y.clone()
    y[:, :4], y[:, :, :4] = usual.IGNORE, usual.IGNORE
    return sound.but(train=arrays(parts.train.x, y, parts.train.classes))


def _road_or_rest(seed: int) -> Fit:
    """Tell the road from the rest."""
    road = data.CLASSES.index("road")
    parts = Parts(*(arrays(part.x, (part.y == road).long(), ("rest", "road")) for part in data.streets(seed)))
    return usual.segmenter(seed, parts, classes=2)[0]


def _unlabelled_points(seed: int) -> Fit:
    """Locate key-points of which some are not annotated."""
    sound, parts = usual.pointer(seed)
    unseen = torch.rand(parts.train.y.shape[:2], generator=torch.Generator().manual_seed(seed)) < 0.2
    return sound.but(train=arrays(parts.train.x, parts.train.y.masked_fill(unseen[..., None], 0.0)))


def _heat_maps(seed: int) -> Fit:
    """Locate key-points by heat maps."""
    layers = {f"stage{k}": Sequential(**usual.block(32, 2 if k < 2 else 1)) for k in range(6)}
    net = Sequential(**layers, out=Conv2d(len(data.POINTS), 1))
    return usual.pointer(seed, net, HeatMaps(stride=4))[0]


def _fine_tuned(seed: int) -> Fit:
    """Train all of a pretrained network with a low learning rate."""
    sound, _ = transfer(seed)

    def begin() -> Model:
        model = pretrained(seed)
        model.compile(AdamW(1e-3), "softmax_cross_entropy")
        return model

    return sound.but(begin=begin)


def _slower_features(seed: int) -> Fit:
    """Train pretrained features with a tenth of the learning rate."""
    usual_fit = _fine_tuned(seed)

    def begin() -> Model:
        model = usual_fit.begin()
        model.scale_rate("features.*", 0.1)
        return model

    return usual_fit.but(begin=begin)


def _streamed(sound: Fit, x: Tensor, y: Any, seed: int) -> Fit:
    """Read shuffled batches from a function."""

    def batches(epoch: int) -> Iterator[tuple[Tensor, Any]]:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(100 * seed + epoch))
        for index in order.split(sound.batch_size):
            yield x[index], y[index] if isinstance(y, Tensor) else [y[k] for k in index.tolist()]

    return sound.but(train=batches, further={"steps_per_epoch": -(-len(x) // sound.batch_size)})


def _streamed_digits(seed: int) -> Fit:
    sound, parts = usual.classifier(seed)
    return _streamed(sound, parts.train.x, parts.train.y, seed)


def _streamed_streets(seed: int) -> Fit:
    sound, parts = usual.segmenter(seed)
    return _streamed(sound, parts.train.x, parts.train.y, seed)


def _streamed_cells(seed: int) -> Fit:
    sound, parts = usual.detector(seed)
    return _streamed(sound, parts.train.images, parts.train.objects, seed)


def _opened_network(module: Callable[[], nn.Module]) -> MakeFit:
    """Train a network of PyTorch that was opened."""

    def make(seed: int) -> Fit:
        sound, parts = usual.classifier(seed)

        def begin() -> Model:
            torch.manual_seed(seed)
            return pellucid.open(
                module(), torch.rand(2, 1, 8, 8), optimizer=AdamW(3e-3), classes=parts.train.classes, seed=seed
            )

        return sound.but(begin=begin)

    return make


def _torch_mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _torch_convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


_classifier, _detector, _segmenter, _pointer = usual.classifier, usual.detector, usual.segmenter, usual.pointer
_OWN_LAYER_NET = Sequential(flatten=Flatten(), dense=Dense(64), act=HandMadeReLU(), out=Dense(10))
_POOLED_NET = Sequential(
    one=Sequential(**usual.block(16)), pool=MaxPool2d(2), norm=BatchNorm(), flatten=Flatten(), out=Dense(10)
)

HEALTHY: Mapping[str, MakeFit] = {
    "digits": _variant(_classifier),
    "digits, dense, tanh": _variant(_classifier, net=_mlp_net(Tanh()), changes={"epochs": 12}),
    "digits, layer normalisation, GELU": _variant(
        _classifier, net=_mlp_net(GELU(), LayerNorm()), changes={"epochs": 10}
    ),
    "digits, dropout": _variant(_classifier, net=_dropout_net(0.3), changes={"epochs": 12}),
    "digits, pooled": _variant(_classifier, net=_POOLED_NET),
    "digits, momentum, cosine": _variant(_classifier, optimizer=Momentum(0.05), schedule=Cosine()),
    "digits, one cycle": _variant(_classifier, optimizer=AdamW(1e-2), schedule=OneCycle()),
    "digits, steps": _variant(_classifier, schedule=Step(0.3, at_times=(0.6, 0.85), unit="run")),
    "digits, L2": _variant(_classifier, regularizer=L2(0.5)),
    "digits, label smoothing": _variant(_classifier, loss=SoftmaxCrossEntropy(label_smoothing=0.05)),
    "digits, small batches": _variant(_classifier, optimizer=AdamW(1e-3), changes={"batch_size": 8, "epochs": 4}),
    "digits, large batches": _variant(_classifier, optimizer=AdamW(1e-2), changes={"batch_size": 128, "epochs": 10}),
    "digits, augmented": _variant(_classifier, changes={"augment": Augment(rotate=8.0, shift=0.05), "epochs": 8}),
    "digits, clipped": _variant(_classifier, clip=5.0),
    "250 digits": _few_examples,
    "red and blue digits": _digit_variant("tinted"),
    "digits and mirrored digits": _digit_variant("sided"),
    "numbers": _regression(),
    "numbers, Huber loss": _regression(loss=Huber()),
    "numbers, a loss of one's own": _regression(loss=SquaredDifference(), metrics=()),
    "cells": _variant(_detector),
    "cells, mirrored": _variant(_detector, changes={"augment": FLIP}),
    "cells, larger anchors": _variant(_detector, usual.small_detector(scale=4.0)),
    "cells, momentum": _variant(_detector, optimizer=Momentum(0.02)),
    "red cells": _red_cells,
    "streets": _variant(_segmenter),
    "streets, mirrored": _variant(_segmenter, changes={"augment": FLIP}),
    "streets, focal loss": _variant(_segmenter, loss=Focal(ignore=usual.IGNORE)),
    "streets with void": _ignored_border,
    "roads": _road_or_rest,
    "faces": _variant(_pointer),
    "faces, heat maps": _heat_maps,
    "faces, mirrored": _variant(_pointer, changes={"augment": Augment(flip=True, swaps=SWAPS)}),
    "faces, some points unlabelled": _unlabelled_points,
    "colours": _variant(usual.colorizer),
    "colours, squared error": _variant(usual.colorizer, mse(width=12, levels=3)),
    "painted streets": _variant(usual.translator),
    "painted streets, pix2pix": _variant(
        usual.translator, pix2pix("image", width=12, levels=3, discriminator_width=8, field=16)
    ),
    "DCGAN": _variant(usual.generator),
    "DCGAN, least squares": _variant(usual.generator, dcgan(8, 1, 32, 16, loss="least_squares")),
    "WGAN-GP": _variant(usual.generator, usual.small_wgan()),
    "VAE": _variant(usual.generator, usual.small_vae(), AdamW(2e-3)),
    "GMMN": _variant(usual.generator, gmmn(8, 1), AdamW(1e-3)),
    "frozen features": lambda seed: transfer(seed)[0],
    "fine-tuned": _fine_tuned,
    "fine-tuned, slower features": _slower_features,
    "a layer of one's own": _variant(_classifier, net=_OWN_LAYER_NET),
    "streamed digits": _streamed_digits,
    "streamed streets": _streamed_streets,
    "streamed cells": _streamed_cells,
    "opened dense network": _opened_network(_torch_mlp),
    "opened convolutions": _opened_network(_torch_convolutions),
}
