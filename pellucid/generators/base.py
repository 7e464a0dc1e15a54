"""The base class of objectives that generate images from latent vectors."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_whole
from pellucid.combine.base import init_child
from pellucid.data.seeds import BatchDraws
from pellucid.data.source import Batch
from pellucid.extend.config import to_config
from pellucid.fuse import without_dx
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.nested import leaves
from pellucid.objective import BatchEvaluation, Objective, merge_turns, seeded_generator
from pellucid.rules.without_weights import own
from pellucid.sweep import backward

Prior = Literal["normal", "uniform"]


@dataclass(frozen=True)
class Generator(Objective):
    """Base class of objectives that learn to sample images like the training images; targets are ignored.

    Training images and samples have values in 0 to 1.
    generator: maps latent vectors (N, latent) to images.
    prior: distribution of the latent values, N(0, 1) or uniform in -1 to 1.
    """

    generator: Layer
    latent: int
    _: KW_ONLY
    prior: Prior = "normal"

    def __post_init__(self) -> None:
        """Raise PellucidError for latent vectors without values, and for an unknown prior."""
        super().__post_init__()
        check_whole(self, latent=self.latent)
        check_choice(self, get_args(Prior), prior=self.prior)

    def latents(self, count: int, rng: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw latent vectors (count, latent) with the dtype of `like`, on the device of `rng` (or else of `like`)."""
        device = like.device if rng is None else rng.device
        size = (count, self.latent)
        if self.prior == "uniform":
            return torch.rand(size, generator=rng, device=device, dtype=like.dtype) * 2 - 1
        return torch.randn(size, generator=rng, device=device, dtype=like.dtype)

    @abstractmethod
    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Generate images (N, C, H, W), with values in 0 to 1, from latent vectors (N, latent) in evaluation mode."""

    def sample(self, params: Params, count: int, rng: torch.Generator) -> Tensor:
        """Generate images (count, C, H, W), with values in 0 to 1, from latent vectors drawn from `rng`."""
        return self.generate(params, self.latents(count, rng, leaves(params)[0]))

    def predict(self, params: Params, images: Any) -> Tensor:
        """Return samples drawn with a fixed seed, as many as there are images."""
        return self.sample(params, len(images), seeded_generator(leaves(params)[0].device))

    def evaluator(self, params: Params, count: int, first: int = 0) -> Callable[[Batch], BatchEvaluation]:
        """Return a function that evaluates batches; it draws new samples for each batch as outputs."""
        draws = BatchDraws(seeded_generator(leaves(params)[0].device), first)

        def evaluate(batch: Batch) -> BatchEvaluation:
            rng = draws.next()
            samples = self.sample(params, len(batch.images), rng)
            return BatchEvaluation(samples, batch, merge_turns(self.gradients(params, batch, Mode(rng=rng)))[0])

        return evaluate

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return the objective's configuration for a weights file, as JSON values."""
        return {"objective": to_config(self, [type(self), *custom])}


def initial_parameters(name: str, net: Layer, shape: Any, images: Any, rng: torch.Generator) -> Params:
    """Draw the parameters of a network for inputs of `shape`; raise PellucidError unless it outputs shape `images`."""
    params, output_shape = init_child(name, net, shape, rng)
    if tuple(output_shape) != tuple(images):
        actual, expected = (" x ".join(map(str, sizes)) for sizes in (output_shape, images))
        raise PellucidError(
            f"{name} outputs images of {actual}, but the data have {expected}; give a generator of this size and "
            "number of channels"
        )
    return params


def input_gradient(net: Layer, params: Params, cache: Cache, dy: Any) -> Tensor:
    """Return the gradient with respect to the network's input, without parameter gradients; empties `cache`."""
    return backward(net, params, cache, dy, rules=lambda path, layer: own, consume=True)[0]


def parameter_gradients(net: Layer, params: Params, cache: Cache, dy: Any) -> Params:
    """Return the gradients of the parameters, without that of the network's input; empties `cache`."""
    return backward(without_dx(net), params, cache, dy, consume=True)[1]
