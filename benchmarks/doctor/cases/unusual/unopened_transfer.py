"""Mistakes in transfer learning and in own layers of the unopened half."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.doctor.cases.unusual.data import digits
from benchmarks.doctor.cases.unusual.sound import block, classifier
from benchmarks.doctor.cases.unusual.transferred import only, pretrained, transfer
from benchmarks.doctor.fit import Case, Pair
from pellucid import Model
from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten, ReLU
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.optim import Adam

MEASURE = "accuracy"


class ShapeCache(NamedTuple):
    """A view of one zero with the shape of the input."""

    zeros: Tensor


@dataclass(frozen=True)
class Positions(Layer):
    """Rows of features, one for each position of the maps; `viewed`: by a reshape without a permutation."""

    viewed: bool = False

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return the shape (H W, C)."""
        channels, height, width = shape
        return {}, (height * width, channels)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ShapeCache]:
        """Return (N, H W, C)."""
        positions = x if self.viewed else x.permute(0, 2, 3, 1)
        return positions.reshape(len(x), -1, x.shape[1]), ShapeCache(x.new_zeros(()).expand(x.shape))

    def backward(self, params: Params, cache: ShapeCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the gradient in the input's shape."""
        n, channels, height, width = cache.zeros.shape
        if self.viewed:
            return dy.reshape(n, channels, height, width), {}
        return dy.reshape(n, height, width, channels).permute(0, 3, 1, 2), {}


@dataclass(frozen=True)
class Mean(Layer):
    """The mean over positions."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return the shape (C,)."""
        return {}, (shape[-1],)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ShapeCache]:
        """Return (N, C)."""
        return x.mean(1), ShapeCache(x.new_zeros(()).expand(x.shape))

    def backward(self, params: Params, cache: ShapeCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the gradient, shared by the positions."""
        return (dy[:, None] / cache.zeros.shape[1]).expand(cache.zeros.shape), {}


def copied(model: Model, old: Model) -> Model:
    """Copy the features of a pretrained model, and freeze them."""
    for path, tensor in model.weights.items():
        if path.startswith("features."):
            tensor.copy_(old.weights[path])
    model.freeze("features.*")
    return model


def view_for_permute(seed: int) -> Pair:
    """Reshape maps into rows of features without permuting the axes."""

    def net(viewed: bool) -> Sequential:
        maps = {"one": Sequential(**block(16)), "two": Sequential(**block(16))}
        rows = {"rows": Positions(viewed), "dense": Dense(48), "relu": ReLU(), "mean": Mean()}
        return Sequential(**maps, **rows, out=Dense(10))

    wrong, _ = classifier(seed, net=net(True))
    sound, _ = classifier(seed, net=net(False))
    return Pair(wrong.but(epochs=8), sound.but(epochs=8), MEASURE)


def rate_destroys(seed: int) -> Pair:
    """Fine-tune with the learning rate of another optimizer."""
    usual, _ = transfer(seed)

    def begin(rate: float) -> Model:
        model = pretrained(seed)
        model.compile(Adam(rate), "softmax_cross_entropy")
        return model

    sound = usual.but(begin=lambda: begin(1e-3))
    return Pair(sound.but(begin=lambda: begin(0.1)), sound, MEASURE)


def narrow(seed: int) -> Model:
    """Return a model with few, deep features, and a linear head for five digits."""
    features = {f"stage{k}": Sequential(**block(width, 1 + k // 2)) for k, width in enumerate((16, 16, 16, 6))}
    head = {"flatten": Flatten(), "scores": Dense(5)}
    return Model(
        Sequential(features=Sequential(**features), head=Sequential(**head)), optimizer=Adam(3e-3), seed=seed,
        input_shape=(1, 8, 8), classes=5,
    )  # fmt: skip


def weights_not_loaded(seed: int) -> Pair:
    """Freeze features into which nothing was loaded."""
    usual, _ = transfer(seed)

    def begin(loaded: bool) -> Model:
        old, new = narrow(seed), narrow(seed + 100)
        old.fit(only(digits(seed).train, 0, 5), epochs=10, batch_size=32, verbose=False)
        return copied(new, old if loaded else new)

    sound = usual.but(begin=lambda: begin(True), epochs=40)
    return Pair(sound.but(begin=lambda: begin(False)), sound, MEASURE)


CASES: Mapping[str, Case] = {
    "own-view-for-permute": view_for_permute,
    "trf-rate-destroys": rate_destroys,
    "trf-weights-not-loaded": weights_not_loaded,
}
