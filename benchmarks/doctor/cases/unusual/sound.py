"""The sound training of each task, seconds long, that the mistakes are put into."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual import data
from benchmarks.doctor.cases.unusual.data import Parts, arrays
from benchmarks.doctor.fit import Fit
from pellucid import AdamW, Model
from pellucid.combine import Graph, Sequential, Shared
from pellucid.data.source import Arrays
from pellucid.detectors import SingleStage
from pellucid.generators import GAN, VAE, WGANGP, Regression, l1
from pellucid.layers import (
    AdaptiveAvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    GroupNorm,
    MaxPool2d,
    ReLU,
)
from pellucid.layers.base import Layer
from pellucid.losses import Coordinates, SoftmaxCrossEntropy
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.models.fpn import fpn
from pellucid.models.gmmn import dense_decoder, dense_encoder
from pellucid.optim import Adam

IGNORE = 255


def block(filters: int, stride: int = 1, norm: bool = True) -> dict[str, Layer]:
    """Return a 3 x 3 convolution, batch normalisation and a ReLU."""
    layers: dict[str, Layer] = {"conv": Conv2d(filters, 3, stride=stride, padding=1, bias=not norm)}
    return layers | ({"norm": BatchNorm()} if norm else {}) | {"relu": ReLU()}


def backbone(channels: int = 16) -> Graph:
    """Return maps at the strides 4 and 8."""
    nodes: dict[str, Any] = {}
    for k in range(3):
        nodes[f"stage{k}"] = (Sequential(**block(channels, 2)), f"stage{k - 1}" if k else "input")
    return Graph(nodes, ("stage1", "stage2"))


def small_detector(scale: float = 3.0, classes: int = 3, channels: int = 16) -> SingleStage:
    """Return a detector of cells. scale: the side of an anchor in strides."""
    out = Conv2d(classes + 4, 3, padding=1)
    head = Shared(Sequential(conv=Conv2d(channels, 3, padding=1), norm=GroupNorm(2), relu=ReLU(), out=out))
    nets = backbone(channels), fpn(channels, 2, groups=2), head
    return SingleStage(classes, *nets, strides=(4, 8), scale=scale, weights={"box": 2.0})


def detector(seed: int, net: Any = None, optimizer: Any = None) -> tuple[Fit, Parts]:
    """Find the cells of blood smears."""
    parts = data.cells(seed)

    def begin() -> Model:
        return Model(
            small_detector() if net is None else net, optimizer=optimizer or AdamW(1e-2), seed=seed, metrics=(),
            classes=parts.train.classes, input_shape=tuple(parts.train.images.shape[1:]),
        )  # fmt: skip

    return Fit(begin, parts.train, parts.validation, scores.precision(parts.test), 8, 8), parts


def small_unet(classes: int, width: int = 12) -> Graph:
    """Return a U-Net of three levels for images whose sides are multiples of 4."""
    from pellucid.layers import Concat

    nodes: dict[str, Any] = {
        "one": (Sequential(**block(width)), "input"),
        "two": (Sequential(pool=MaxPool2d(2), **block(2 * width)), "one"),
        "three": (Sequential(pool=MaxPool2d(2), **block(4 * width)), "two"),
        "up2": (ConvTranspose2d(2 * width, 2, stride=2), "three"),
        "cat2": (Concat(), "two", "up2"),
        "merged2": (Sequential(**block(2 * width)), "cat2"),
        "up1": (ConvTranspose2d(width, 2, stride=2), "merged2"),
        "cat1": (Concat(), "one", "up1"),
        "scores": (Sequential(**block(width), out=Conv2d(classes, 1)), "cat1"),
    }
    return Graph(nodes, ("scores",))


def segmenter(seed: int, parts: Parts | None = None, loss: Any = None, classes: int = 7) -> tuple[Fit, Parts]:
    """Classify the pixels of streets."""
    parts = data.streets(seed) if parts is None else parts
    shape, names = tuple(parts.train.x.shape[1:]), parts.train.classes

    def begin() -> Model:
        return Model(
            small_unet(classes), loss or SoftmaxCrossEntropy(ignore=IGNORE), AdamW(1e-2), seed=seed, classes=names,
            input_shape=shape,
        )  # fmt: skip

    return Fit(begin, parts.train, parts.validation, scores.overlap(parts.test, IGNORE), 5, 8), parts


def point_net(outputs: int = 2 * len(data.POINTS), last: Layer | None = None) -> Sequential:
    """Return a network of coordinates."""
    layers: dict[str, Layer] = {f"stage{k}": Sequential(**block(16 * 2**k, 2)) for k in range(3)}
    ending: dict[str, Layer] = {"flatten": Flatten(), "dense": Dense(64), "relu": ReLU(), "out": Dense(outputs)}
    return Sequential(**layers, **ending, **({} if last is None else {"last": last}))


def pointer(seed: int, net: Any = None, loss: Any = None) -> tuple[Fit, Parts]:
    """Locate the eyes, the nose and the mouth of faces."""
    parts, side = data.faces(seed), data.FACE_SIDE

    def begin() -> Model:
        return Model(
            net or point_net(), loss or Coordinates(size=(side, side)), AdamW(3e-3), seed=seed,
            input_shape=(3, side, side), metrics=(),
        )  # fmt: skip

    return Fit(begin, parts.train, parts.validation, scores.nearness(parts.test), 12), parts


def coloured(seed: int) -> Parts:
    """Return streets without targets."""
    return Parts(*(arrays(part.x, torch.zeros(len(part.x))) for part in data.streets(seed)))


def colorizer(seed: int, net: Regression | None = None) -> tuple[Fit, Parts]:
    """Predict the colours of streets from their lightness."""
    parts = coloured(seed)

    def begin() -> Model:
        shape = tuple(parts.train.x.shape[1:])
        return Model(net or l1(width=12, levels=3), optimizer=Adam(3e-3), seed=seed, input_shape=shape, metrics=())

    return Fit(begin, parts.train, parts.validation, scores.colours(parts.test), 6, 8), parts


def sketched(part: Arrays) -> Arrays:
    """Return the masks of streets as pictures of plain colours, and the streets as their targets."""
    palette = torch.tensor([[0.2, 0.4, 0.9], [0.7, 0.3, 0.2], [0.3, 0.3, 0.3], [0.6, 0.6, 0.5], [0.1, 0.6, 0.2],
                            [0.9, 0.8, 0.1], [0.9, 0.1, 0.6]])  # fmt: skip
    return arrays(palette[part.y].permute(0, 3, 1, 2).contiguous(), part.x.float() / 255)


def translator(seed: int, net: Regression | None = None) -> tuple[Fit, Parts]:
    """Paint streets from pictures of their classes."""
    parts = Parts(*map(sketched, data.streets(seed)))

    def begin() -> Model:
        shape, objective = tuple(parts.train.x.shape[1:]), net or l1("image", width=12, levels=3)
        return Model(objective, optimizer=Adam(3e-3), seed=seed, input_shape=shape, metrics=())

    return Fit(begin, parts.train, parts.validation, scores.images(parts.test), 6, 8), parts


def small_gan(**options: Any) -> GAN:
    """Return DCGAN for images of 8 x 8."""
    return GAN(dcgan_generator(8, 1, 32), 16, dcgan_discriminator(8, 32), **options)


def generator(seed: int, net: Any = None, optimizer: Any = None, epochs: int = 20) -> tuple[Fit, Parts]:
    """Generate digits."""
    parts = Parts(*(arrays(part.x, part.y) for part in data.digits(seed)))

    def begin() -> Model:
        return Model(
            net or small_gan(), optimizer=optimizer or Adam(2e-3, beta1=0.5), seed=seed, input_shape=(1, 8, 8),
            metrics=(),
        )  # fmt: skip

    return Fit(begin, parts.train, parts.validation, scores.likeness(parts.test), epochs, 50), parts


def small_wgan(norm: bool = False) -> WGANGP:
    """Return WGAN-GP for images of 8 x 8."""
    return WGANGP(dcgan_generator(8, 1, 32), 16, dcgan_discriminator(8, 32, norm=norm), critic_steps=2)


def small_vae(**options: Any) -> VAE:
    """Return a VAE for images of 8 x 8."""
    return VAE(dense_decoder((1, 8, 8), (128,)), 8, dense_encoder(16, (128,)), **options)


def digit_net(classes: int = 10, *last: Layer, norm: bool = True) -> Sequential:
    """Return a small network for digits of 8 x 8."""
    rest: dict[str, Layer] = {"flatten": Flatten(), "dense": Dense(32), "relu": ReLU(), "out": Dense(classes)}
    ending = {f"last{k}": layer for k, layer in enumerate(last)}
    first, second = Sequential(**block(12, norm=norm)), Sequential(**block(24, norm=norm))
    return Sequential(first=first, second=second, pool=MaxPool2d(2), **rest, **ending)


def classifier(
    seed: int, parts: Parts | None = None, net: Any = None, optimizer: Any = None, **options: Any
) -> tuple[Fit, Parts]:
    """Classify digits."""
    parts = data.digits(seed) if parts is None else parts
    names = parts.train.classes

    def begin() -> Model:
        return Model(
            net or digit_net(len(names)), optimizer=optimizer or Adam(3e-3), seed=seed, classes=names,
            input_shape=tuple(parts.train.x.shape[1:]), **options,
        )  # fmt: skip

    return Fit(begin, parts.train, parts.validation, scores.accuracy(parts.test), 6, 32), parts


def regressor(seed: int, parts: Parts, net: Any = None, loss: Any = "quadratic", **options: Any) -> tuple[Fit, Parts]:
    """Predict numbers from numbers."""

    def begin() -> Model:
        usual = Sequential(dense=Dense(32), relu=ReLU(), more=Dense(32), act=ReLU(), out=Dense(parts.train.y.shape[1]))
        return Model(net or usual, loss, Adam(5e-3), seed=seed, input_shape=tuple(parts.train.x.shape[1:]), **options)

    return Fit(begin, parts.train, parts.validation, scores.explained(parts.test), 15, 32), parts


def pooled(classes: int) -> Sequential:
    """Return a network with features for pictures of any size."""
    features = Sequential(one=Sequential(**block(16)), two=Sequential(**block(32, 2)), three=Sequential(**block(32)))
    return Sequential(
        features=features, head=Sequential(pool=AdaptiveAvgPool2d(1), flatten=Flatten(), out=Dense(classes))
    )


def unit(x: Tensor) -> Tensor:
    """Return pixels 0 to 255 as floats 0 to 1."""
    return x.float() / 255
