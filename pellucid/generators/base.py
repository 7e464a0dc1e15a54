"""The interface of generators of images from latent vectors."""

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.combine.base import init_child
from pellucid.config import to_config
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.objective import Evaluated, Objective, merged, seeded
from pellucid.rules.simple import own
from pellucid.sweep import backward
from pellucid.tree import leaves

Prior = Literal["normal", "uniform"]


@dataclass(frozen=True)
class Generator(Objective):
    """An objective that learns to draw images like those of the data, whose targets it does not read.

    generator: from latent vectors (N, latent). prior: of their values, N(0, 1) or uniform in -1 to 1. Images of data,
    and samples, have values in 0 to 1.
    """

    generator: Layer
    latent: int
    _: KW_ONLY
    prior: Prior = "normal"

    def latents(self, count: int, rng: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw latent vectors (count, latent) of the dtype of `like`, on the device of `rng`."""
        device = like.device if rng is None else rng.device
        size = (count, self.latent)
        if self.prior == "uniform":
            return torch.rand(size, generator=rng, device=device, dtype=like.dtype) * 2 - 1
        return torch.randn(size, generator=rng, device=device, dtype=like.dtype)

    def draw(self, params: Params, z: Tensor) -> Tensor:
        """Return the images (N, C, H, W) of latent vectors (N, latent), values in 0 to 1, in evaluation mode.

        Here of a generator whose images have values in -1 to 1; a subclass overrides it for others.
        """
        return (self.generator.forward(params["generator"], z, Mode(keep=False))[0] + 1) / 2

    def sample(self, params: Params, count: int, rng: torch.Generator) -> Tensor:
        """Draw images (count, C, H, W), values in 0 to 1."""
        return self.draw(params, self.latents(count, rng, leaves(params)[0]))

    def predict(self, params: Params, images: Any) -> Tensor:
        """Return as many samples as there are images, the same each time."""
        return self.sample(params, len(images), seeded(leaves(params)[0].device))

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates batches; its outputs are samples, new ones for each batch."""
        rng = seeded(leaves(params)[0].device)

        def evaluate(batch: Batch) -> Evaluated:
            drawn = self.sample(params, len(batch.images), rng)
            return Evaluated(drawn, batch, merged(self.gradients(params, batch, Mode(rng=rng)))[0])

        return evaluate

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return its configuration for a weights file, as JSON values."""
        return {"objective": to_config(self, [type(self), *custom])}


def drawn(name: str, net: Layer, shape: Any, images: Any, rng: torch.Generator) -> Params:
    """Draw the parameters of a network that outputs images; PellucidError unless they are of the shape `images`."""
    params, out = init_child(name, net, shape, rng)
    if tuple(out) != tuple(images):
        made, given = (" x ".join(map(str, one)) for one in (out, images))
        raise PellucidError(
            f"{name} outputs images of {made}, but those of the data are {given}; give a generator of their size and "
            "channels"
        )
    return params


def to_input(net: Layer, params: Params, cache: Cache, dy: Any) -> Tensor:
    """Return only the gradient with respect to the network's input; `cache` is emptied."""
    return backward(net, params, cache, dy, rules=lambda path, layer: own, consume=True)[0]
