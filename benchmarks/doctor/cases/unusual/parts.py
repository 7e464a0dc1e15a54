"""Layers, losses and objectives of users' own, with the mistakes of the opened half in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.combine.base import add_up_tree
from pellucid.data.source import Batch
from pellucid.generators import GAN
from pellucid.generators.base import input_gradient
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses.adversarial import ADVERSARIAL
from pellucid.losses.base import Loss
from pellucid.objective import Gradients
from pellucid.sweep import backward
from pellucid.training.callbacks import Callback, Training


class InputCache(NamedTuple):
    """One tensor."""

    x: Tensor


@dataclass(frozen=True)
class HandMadeReLU(Layer):
    """A ReLU; `inverted`: its backward pass lets through what it should stop."""

    inverted: bool = False

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Keep the shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Cut negative values off."""
        return x.clamp(min=0), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the gradient where the input was positive."""
        return dy * ((cache.x < 0) if self.inverted else (cache.x > 0)), {}


@dataclass(frozen=True)
class SquaredDifference(Loss):
    """Half the mean squared difference; `broadcast`: of each output from the targets of all examples."""

    broadcast: bool = False

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy) for outputs (N, 1)."""
        difference = y - (target.reshape(-1) if self.broadcast else target.reshape(y.shape))  # (N, N) or (N, 1)
        return difference.square().mean() / 2, difference.sum(1, keepdim=True) / difference.numel()


@dataclass(frozen=True)
class Undetached(GAN):
    """A GAN whose generator also follows the discriminator's loss on the generated images."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's losses with the gradients of both networks, then the generator's."""
        loss, images = ADVERSARIAL[self.loss], 2 * batch.images - 1
        z = self.latents(len(images), mode.rng, images)
        generated, generator_cache = self.generator.forward(params["generator"], z, mode)
        real, real_cache = self.discriminator.forward(params["discriminator"], images, mode)
        fake, fake_cache = self.discriminator.forward(params["discriminator"], generated, mode)
        value, dreal, dfake = loss.discriminator(real, fake)
        _, real_grads = backward(self.discriminator, params["discriminator"], real_cache, dreal, consume=True)
        dgenerated, fake_grads = backward(self.discriminator, params["discriminator"], fake_cache, dfake, consume=True)
        _, generator_grads = backward(self.generator, params["generator"], generator_cache, dgenerated, consume=True)
        yield (
            {"discriminator": value},
            {"discriminator": add_up_tree(real_grads, fake_grads), "generator": generator_grads},
        )

        generated, generator_cache = self.generator.forward(params["generator"], z, mode)
        scores, cache = self.discriminator.forward(params["discriminator"], generated, mode)
        value, dscores = loss.generator(scores)
        dgenerated = input_gradient(self.discriminator, params["discriminator"], cache, dscores)
        _, dparams = backward(self.generator, params["generator"], generator_cache, dgenerated, consume=True)
        yield {"generator": value}, {"generator": dparams}


class OwnAverage(Callback):
    """A moving average of the weights with one decay from the first step on, which replaces them at the end."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.averages: dict[str, Tensor] = {}

    def on_start(self, training: Training) -> None:
        """Begin with the initial weights."""
        self.averages = {path: tensor.clone() for path, tensor in training.model.weights.items()}

    def on_step(self, training: Training) -> None:
        """Move towards the weights."""
        for path, tensor in training.model.weights.items():
            self.averages[path].lerp_(tensor, 1 - self.decay)

    def on_end(self, training: Training) -> None:
        """Replace the weights."""
        for path, tensor in training.model.weights.items():
            tensor.copy_(self.averages[path])
