"""Samples of each layer for the contract tests: every option, odd sizes, and inputs with ties."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.layers import (
    GRU,
    LSTM,
    RNN,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Crop,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LocalContrastNorm,
    LocalResponseNorm,
    LogSoftmax,
    LpPool2d,
    MaxPool2d,
    MaxUnpool2d,
    Multiply,
    Pad2d,
    PadChannels,
    Reshape,
    RoIAlign,
    RoIPool,
    SoftArgmax,
    Softmax,
    Upsample,
)
from tests.layers.elementwise import ELEMENTWISE
from tests.oracle import Sample, normal


def whole_numbers(shape: Any, rng: torch.Generator) -> Tensor:
    """Draw from -1, 0 and 1, which gives many ties and zeros."""
    return torch.randint(-1, 2, shape, generator=rng).double()


def draw_around(kinks: tuple[float, ...]) -> Any:
    """Return a function that draws numbers below, between and above the kinks."""
    low, high = (min(kinks), max(kinks)) if kinks else (0.0, 0.0)
    return lambda shape, rng: (1 + high - low) * normal(shape, rng) + (low + high) / 2


def draw_on(kinks: tuple[float, ...]) -> Any:
    """Return a function that draws the kinks, and the kinks plus and minus 1."""
    values = torch.tensor([kink + step for kink in kinks for step in (-1, 0, 1)], dtype=torch.float64)
    return lambda shape, rng: values[torch.randint(len(values), shape, generator=rng)]


def draw_pooled(kernel: Any, stride: Any, padding: Any, image_size: tuple[int, int]) -> Any:
    """Return a function that draws (x, switches) by max pooling of images of `image_size`, and then shifts x."""

    def make(shape: Any, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        image = normal((*shape[0][:2], *image_size), rng)
        pooled, switches = F.max_pool2d(image, kernel, stride, padding, return_indices=True)
        assert pooled.shape == shape[0]
        return pooled - 1.5, switches

    return make


def draw_regions(stride: float, min_size: float = 1.0, margin: float = 0.0) -> Any:
    """Return a function that draws (maps, regions), one region for each map.

    Regions are in images of `stride` times the maps' size, and may exceed them by the fraction `margin` of that size.
    """

    def make(shape: Any, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        n, _, height, width = shape[0]
        size = stride * torch.tensor([width, height], dtype=torch.float64)
        corners = torch.rand(n, 2, 2, generator=rng, dtype=torch.float64) * (1 + 2 * margin) - margin
        low, high = corners.amin(1) * size, corners.amax(1) * size + min_size
        image = torch.randint(0, n, (n, 1), generator=rng).double()
        return normal(shape[0], rng), torch.cat([image, low, high], 1)

    return make


def draw_whole_regions(shape: Any, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw maps with many ties, and regions with integer corners, the last of them far outside."""
    _, region_rows = draw_regions(1.0)(shape, rng)
    region_rows[-1, 1:] += 1000.0
    return whole_numbers(shape[0], rng), region_rows.round()


LINEAR = [
    Sample(Dense(4), (5,)),
    Sample(Dense(1, bias=False), (3,)),
    Sample(Dense(3), (4, 5)),
    Sample(Dense(2, init_weight="orthogonal", init_bias="normal"), (1,)),
    Sample(Conv2d(4, 3), (3, 7, 6)),
    Sample(Conv2d(4, (3, 2), stride=(2, 1), padding=(1, 0)), (3, 7, 6)),
    Sample(Conv2d(2, 2, stride=3), (1, 9, 7)),
    Sample(Conv2d(6, 3, padding=2, dilation=2, groups=2), (4, 6, 5)),
    Sample(Conv2d(6, 3, padding=1, groups=3, bias=False), (3, 5, 5)),
    Sample(Conv2d(8, 3, stride=2, padding=1, groups=4), (4, 6, 7)),
    Sample(Conv2d(3, 1, bias=False), (2, 1, 1)),
    Sample(Conv2d(3, 3, padding="same"), (2, 5, 6)),
    Sample(Conv2d(3, (2, 4), padding="same"), (2, 5, 6)),
    Sample(Conv2d(3, (2, 3), padding="same", dilation=(3, 1), groups=3), (3, 5, 6)),
    Sample(Conv2d(2, 3, padding=(1, 2), dilation=(2, 1), stride=2), (2, 8, 5)),
    Sample(Conv2d(5, (6, 5)), (2, 6, 5)),
    Sample(ConvTranspose2d(4, 3), (3, 4, 5)),
    Sample(ConvTranspose2d(2, 2, stride=2), (4, 3, 5)),
    Sample(ConvTranspose2d(4, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 2)), (2, 4, 3)),
    Sample(ConvTranspose2d(4, 3, padding=1, dilation=2, groups=2), (6, 4, 5)),
    Sample(ConvTranspose2d(6, 3, stride=2, output_padding=1, groups=3, bias=False), (3, 3, 3)),
    Sample(ConvTranspose2d(2, 3, stride=1, dilation=2, output_padding=1), (2, 3, 4)),
    Sample(ConvTranspose2d(2, (3, 2), stride=(1, 2), dilation=(1, 3)), (2, 3, 4)),
    Sample(ConvTranspose2d(3, 1, bias=False), (2, 1, 1)),
]

POOLS = [
    Sample(MaxPool2d(2), (3, 6, 8)),
    Sample(MaxPool2d(2), (2, 7, 5)),
    Sample(MaxPool2d(2, ceil_mode=True), (2, 7, 5)),
    Sample(MaxPool2d(3, stride=2, padding=1), (2, 7, 6)),
    Sample(MaxPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 8, 6)),
    Sample(MaxPool2d((2, 3), stride=(3, 1), padding=(1, 0), dilation=(1, 2)), (2, 6, 7)),
    Sample(MaxPool2d((2, 3), stride=(3, 1), padding=(1, 0)), (2, 6, 7)),
    Sample(MaxPool2d(2, stride=3, padding=1, ceil_mode=True), (2, 5, 8)),
    Sample(MaxPool2d(3, stride=1), (2, 5, 5)),
    Sample(MaxPool2d(1), (2, 3, 3)),
    Sample(MaxPool2d(3, stride=2, padding=1), (2, 7, 6), make=whole_numbers, smooth=False),
    Sample(MaxPool2d(2, ceil_mode=True), (3, 5, 7), make=whole_numbers, smooth=False),
    Sample(AvgPool2d(2), (3, 6, 5)),
    Sample(AvgPool2d(3, stride=2, padding=1), (2, 7, 6)),
    Sample(AvgPool2d(3, stride=2, padding=1, count_include_pad=False), (2, 7, 6)),
    Sample(AvgPool2d(3, stride=2, padding=1, ceil_mode=True), (2, 8, 6)),
    Sample(AvgPool2d((2, 3), stride=(1, 2), padding=(0, 1), ceil_mode=True, count_include_pad=False), (2, 5, 8)),
    Sample(AvgPool2d((5, 4)), (2, 5, 4)),
    Sample(AvgPool2d(2, dilation=2), (3, 6, 5)),
    Sample(AvgPool2d(3, stride=2, padding=1, dilation=(1, 2)), (2, 7, 6)),
    Sample(AvgPool2d((2, 3), stride=(3, 1), padding=(1, 0), dilation=(3, 2), count_include_pad=False), (2, 9, 7)),
    Sample(AvgPool2d(3, stride=2, padding=1, ceil_mode=True, dilation=2), (2, 8, 6)),
    Sample(AvgPool2d(2, stride=3, padding=1, ceil_mode=True, count_include_pad=False, dilation=3), (2, 6, 8)),
    Sample(AvgPool2d(2, stride=2, padding=1, dilation=3), (2, 2, 5)),
    Sample(AvgPool2d(1, stride=2, dilation=2), (2, 4, 3)),
    Sample(AvgPool2d(2, stride=3, padding=1, ceil_mode=True), (2, 5, 8)),
    Sample(AvgPool2d((2, 4), stride=(1, 2), padding=(0, 2), ceil_mode=True, dilation=(2, 1)), (2, 5, 1)),
    Sample(AvgPool2d((4, 2), stride=(2, 1), padding=(2, 0), ceil_mode=True, dilation=(1, 2)), (2, 1, 5)),
    Sample(LpPool2d(2), (3, 6, 5)),
    Sample(LpPool2d((3, 2), stride=(2, 1)), (2, 7, 6)),
    Sample(LpPool2d(2, ceil_mode=True), (2, 7, 5)),
    Sample(LpPool2d(2, p=3), (2, 6, 4)),
    Sample(LpPool2d(3, p=1.5, stride=2, ceil_mode=True), (2, 6, 8)),
    Sample(LpPool2d(2, p=1), (2, 4, 4)),
    Sample(LpPool2d(2, stride=1, dilation=2), (3, 6, 5)),
    Sample(LpPool2d((2, 3), p=3, ceil_mode=True, dilation=(3, 2)), (2, 8, 9)),
    Sample(LpPool2d(3, p=1.5, stride=(2, 3), dilation=(1, 2)), (2, 6, 9)),
    Sample(LpPool2d(3, stride=2), (2, 7, 7), make=whole_numbers, smooth=False),
    Sample(AdaptiveAvgPool2d(), (3, 5, 4)),
    Sample(AdaptiveAvgPool2d((2, 3)), (2, 5, 7)),
    Sample(AdaptiveAvgPool2d((4, 1)), (2, 6, 5)),
    Sample(AdaptiveAvgPool2d(5), (2, 3, 4)),
    Sample(MaxUnpool2d(2), ((3, 3, 4), (3, 3, 4)), make=draw_pooled(2, None, 0, (6, 8))),
    Sample(MaxUnpool2d(2, size=(7, 5)), ((2, 3, 2), (2, 3, 2)), make=draw_pooled(2, None, 0, (7, 5))),
    Sample(
        MaxUnpool2d((2, 3), stride=(2, 4), padding=(1, 0)),
        ((2, 4, 3), (2, 4, 3)),
        make=draw_pooled((2, 3), (2, 4), (1, 0), (6, 11)),
    ),
]

# Regions have no gradient, so a central difference along them is meaningless.
REGIONS = [
    Sample(RoIAlign(3), ((2, 7, 6), (5,)), make=draw_regions(1.0), smooth=False),
    Sample(RoIAlign((2, 3), scale=0.25, sampling=2), ((2, 6, 5), (5,)), make=draw_regions(4.0), smooth=False),
    Sample(RoIAlign(2, 0.5), ((1, 8, 9), (5,)), batches=(5, 2), make=draw_regions(2.0, margin=0.3), smooth=False),
    Sample(RoIAlign((3, 1), sampling=3, aligned=False), ((2, 5, 7), (5,)), make=draw_regions(1.0, 0.1), smooth=False),
    Sample(
        RoIAlign(2, 0.5, aligned=False), ((3, 5, 4), (5,)), batches=(4,), make=draw_regions(2.0, 0.1, 0.3), smooth=False
    ),
    Sample(RoIAlign(2, 0.5), ((2, 1, 4), (5,)), make=draw_regions(2.0), smooth=False),
    Sample(RoIAlign(2, 0.5), ((2, 5, 4), (5,)), make=draw_whole_regions, smooth=False),
    Sample(RoIPool(3), ((2, 7, 6), (5,)), make=draw_regions(1.0), smooth=False),
    Sample(
        RoIPool((2, 3), scale=0.25), ((2, 6, 5), (5,)), batches=(5, 2), make=draw_regions(4.0, margin=0.3), smooth=False
    ),
    Sample(RoIPool(2, 0.5), ((2, 1, 4), (5,)), make=draw_regions(2.0), smooth=False),
    Sample(RoIPool(2), ((2, 5, 4), (5,)), make=draw_whole_regions, smooth=False),
]

SHAPES = [
    Sample(Flatten(), (3, 4, 5)),
    Sample(Flatten(), (6,)),
    Sample(Flatten(), ()),
    Sample(Reshape((2, 3, 4)), (24,)),
    Sample(Reshape((6, 4)), (2, 3, 4)),
    Sample(Reshape((4, 3, 2)), (2, 3, 4)),
    Sample(Reshape(()), (1,)),
    Sample(Reshape((3, -1, 2)), (2, 3, 4)),
    Sample(Reshape((-1,)), (5, 2)),
    Sample(Pad2d(1), (2, 3, 4)),
    Sample(Pad2d((1, 0, 2, 3)), (2, 3, 4)),
    Sample(Pad2d((2, 1, 0, 2), kind="reflect"), (2, 3, 4)),
    Sample(Pad2d((2, 1, 0, 4), kind="replicate"), (2, 3, 4)),
    Sample(Pad2d(0, kind="reflect"), (2, 3, 4)),
    Sample(Pad2d(3, kind="replicate"), (1, 1, 1)),
    Sample(Pad2d((1, 0, 2, 3), kind="constant", value=-1.5), (2, 3, 4)),
    Sample(Pad2d((2, 1, 0, 3), kind="circular"), (2, 3, 4)),
    Sample(Pad2d((1, 2, 1, 2), kind="circular"), (2, 4, 5)),
    Sample(Pad2d(3, kind="circular"), (2, 3, 3)),
    Sample(Pad2d(-1), (2, 3, 4)),
    Sample(Pad2d((-1, 2, 1, -2), kind="constant", value=0.5), (2, 3, 4)),
    Sample(Pad2d((2, -1, -1, 1), kind="reflect"), (2, 3, 4)),
    Sample(Pad2d((-4, 5, 1, -1), kind="replicate"), (2, 3, 4)),
    Sample(Pad2d((-1, 2, 1, -2), kind="circular"), (2, 3, 4)),
    Sample(Pad2d((2, -1, -1, 2), kind="circular"), (2, 3, 4)),
    Sample(PadChannels(0, 3), (3, 2, 4)),
    Sample(PadChannels(2, 1), (2, 3, 3)),
    Sample(PadChannels(0, 0), (1, 2, 2)),
    Sample(Upsample(2), (2, 3, 4)),
    Sample(Upsample((1, 3)), (2, 3, 4)),
    Sample(Upsample(size=(5, 7)), (2, 3, 4)),
    Sample(Upsample(size=3), (2, 5, 4)),
    Sample(Upsample(2, kind="bilinear"), (2, 3, 4)),
    Sample(Upsample((3, 2), kind="bilinear", align_corners=True), (2, 3, 4)),
    Sample(Upsample(size=(5, 3), kind="bilinear"), (2, 3, 4)),
    Sample(Upsample(size=(5, 1), kind="bilinear", align_corners=True), (2, 3, 4)),
    Sample(Upsample(1.7), (2, 3, 4)),
    Sample(Upsample((0.6, 2.5), kind="bilinear"), (2, 3, 4)),
    Sample(Upsample((0.6, 2.5), kind="bilinear", align_corners=True), (2, 3, 4)),
    Sample(Upsample(2, kind="nearest-exact"), (2, 3, 4)),
    Sample(Upsample((1.4, 0.6), kind="nearest-exact"), (2, 3, 4)),
    Sample(Upsample(size=(5, 3), kind="nearest-exact"), (2, 3, 4)),
    Sample(Upsample(2, kind="bicubic"), (2, 3, 4)),
    Sample(Upsample((1.7, 0.6), kind="bicubic"), (2, 3, 4)),
    Sample(Upsample(size=(5, 3), kind="bicubic", align_corners=True), (2, 3, 4)),
    Sample(Upsample(1.25), (2, 3, 3)),
    Sample(Upsample((2.2, 1.3)), (2, 3, 3)),
    Sample(Upsample(1.3, kind="nearest-exact"), (2, 3, 3)),
    Sample(Upsample(1.25, kind="bilinear"), (2, 3, 3)),
    Sample(Upsample(1.25, kind="bilinear", align_corners=True), (2, 3, 3)),
    Sample(Upsample(1.25, kind="bicubic"), (2, 3, 3)),
    Sample(Upsample((1.1, 1), kind="bicubic"), (2, 3, 4)),
    Sample(Upsample((1.25, 0.5), kind="bicubic"), (2, 3, 8)),
    Sample(Upsample(1.25, kind="bicubic", align_corners=True), (2, 3, 3)),
    Sample(Upsample(1.25, kind="bilinear", antialias=True), (2, 3, 3)),
    Sample(Upsample((1.25, 0.5), kind="bilinear", antialias=True), (2, 3, 8)),
    Sample(Upsample((0.4, 1.25), kind="bilinear", antialias=True), (2, 8, 3)),
    Sample(Upsample((1.2, 0.5), kind="bilinear", antialias=True), (2, 4, 3)),
    Sample(Upsample(1.25, kind="bicubic", antialias=True), (2, 2, 5)),
    Sample(Upsample((2.5, 1.3), kind="bicubic", antialias=True), (2, 2, 3)),
    Sample(Upsample(0.4, kind="bilinear", antialias=True), (2, 9, 8)),
    Sample(Upsample((0.5, 2), kind="bilinear", antialias=True), (2, 6, 3)),
    Sample(Upsample(size=(2, 3), kind="bilinear", antialias=True), (2, 7, 10)),
    Sample(Upsample(size=(3, 1), kind="bilinear", antialias=True), (2, 7, 5)),
    Sample(Upsample((0.3, 0.7), kind="bicubic", antialias=True), (2, 9, 8)),
    Sample(Upsample(2.5, kind="bicubic", antialias=True), (2, 3, 4)),
    Sample(Upsample(size=(4, 1), kind="bicubic", antialias=True), (2, 9, 6)),
    Sample(Upsample((2, 0.3), kind="bicubic", antialias=True), (2, 4, 5)),
]

ACTIVATIONS = [
    *(
        Sample(layer, shape, make=draw_around(elementwise.kinks))
        for elementwise in ELEMENTWISE.values()
        for layer in elementwise.options
        for shape in ((7,), (2, 3, 4))
    ),
    *(
        Sample(layer, (2, 4, 5), make=draw_on(elementwise.kinks), smooth=False)
        for elementwise in ELEMENTWISE.values()
        if elementwise.kinks
        for layer in elementwise.options
    ),
    Sample(SoftArgmax(), (2, 3, 4)),
    Sample(SoftArgmax(), (1, 1, 5)),
    Sample(Softmax(), (5,)),
    Sample(Softmax(), (3, 2, 4)),
    Sample(Softmax(axis=3), (3, 2, 4)),
    Sample(Softmax(), (1,)),
    Sample(LogSoftmax(), (5,)),
    Sample(LogSoftmax(), (3, 2, 4)),
    Sample(LogSoftmax(axis=2), (3, 4)),
]

NORMS = [
    Sample(Dropout(), (9,)),
    Sample(Dropout(), (9,), train=True),
    Sample(Dropout(0.2), (2, 5, 4), train=True),
    Sample(Dropout(0.0), (4,), train=True),
    Sample(Dropout(0.4, channels=True), (5, 2, 3)),
    Sample(Dropout(0.4, channels=True), (5, 2, 3), train=True),
    Sample(Dropout(0.4, channels=True), (9,), train=True),
    Sample(BatchNorm(), (5,)),
    Sample(BatchNorm(), (5,), train=True, batches=(4, 2)),
    Sample(BatchNorm(epsilon=0.1), (3, 4, 5)),
    Sample(BatchNorm(momentum=0.3), (3, 4, 5), train=True),
    Sample(BatchNorm(momentum=1.0, epsilon=1e-3), (2, 1, 3), train=True),
    Sample(InstanceNorm2d(), (3, 4, 5)),
    Sample(InstanceNorm2d(epsilon=0.01, affine=True), (3, 2, 3)),
    Sample(GroupNorm(2), (4, 3, 5)),
    Sample(GroupNorm(1, epsilon=0.1), (3, 4, 4)),
    Sample(GroupNorm(2), (6,)),
    Sample(GroupNorm(4), (4, 3, 3)),
    Sample(LayerNorm(), (6,)),
    Sample(LayerNorm(), (3, 4, 5)),
    Sample(LayerNorm(shape=(5,), epsilon=0.01), (4, 5)),
    Sample(LayerNorm(shape=(4, 5)), (3, 4, 5)),
    Sample(LSTM(2), (3, 2)),
    Sample(LSTM(2, levels=2, bidirectional=True, bias=False), (2, 1)),
    Sample(GRU(2), (3, 2)),
    Sample(GRU(2, levels=2, bidirectional=True), (2, 1)),
    Sample(RNN(2), (3, 2)),
    Sample(RNN(2, 2, bidirectional=True, nonlinearity="relu"), (2, 1)),
    Sample(LocalResponseNorm(5), (7, 3, 4)),
    Sample(LocalResponseNorm(4, alpha=0.5, beta=0.6, k=2.0), (6, 3, 4)),
    Sample(LocalResponseNorm(3, alpha=1.0, beta=1.0), (2, 3, 3)),
    Sample(LocalResponseNorm(1, alpha=2.0), (3, 2, 2)),
    Sample(LocalContrastNorm(), (3, 8, 7)),
    Sample(LocalContrastNorm(size=3), (1, 6, 5)),
    Sample(LocalContrastNorm(size=5, epsilon=0.9), (2, 7, 6)),
    Sample(LocalContrastNorm(size=1), (2, 3, 4)),
]

MERGES = [
    Sample(Add(), ((2, 3, 4), (2, 3, 4))),
    Sample(Add(), ((5,), (5,), (5,))),
    Sample(Concat(), ((2, 3, 4), (1, 3, 4), (3, 3, 4))),
    Sample(Concat(), ((5,), (2,))),
    Sample(Concat(axis=3), ((2, 3, 4), (2, 3, 1))),
    Sample(Crop(), ((2, 5, 4), (3, 3, 4))),
    Sample(Crop(), ((1, 4, 5), (2, 2, 1))),
    Sample(Crop(), ((2, 3, 4), (1, 3, 4))),
    Sample(Multiply(), ((2, 3, 4), (2, 3, 4))),
    Sample(Multiply(), ((5,), (5,), (5,))),
    Sample(Multiply(), ((3, 4, 5), (3, 1, 1))),
    Sample(Multiply(), ((1, 4, 1), (3, 1, 5), (1, 1, 1))),
    Sample(
        Multiply(),
        ((5,), (5,), (5,)),
        make=lambda shape, rng: tuple(whole_numbers(input_shape, rng) for input_shape in shape),
    ),
]

SAMPLES: list[Sample] = [*LINEAR, *POOLS, *REGIONS, *SHAPES, *ACTIVATIONS, *NORMS, *MERGES]
