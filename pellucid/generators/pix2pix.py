"""pix2pix: a generator that a discriminator of pairs judges, patch by patch."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import add_up_tree, init_child
from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.fuse import fuse
from pellucid.generators.base import to_input
from pellucid.generators.perceptual import perceptual_distance, perceptual_value, trained_maps
from pellucid.generators.translation import Pair, To, Translator
from pellucid.layers.base import Layer, Mode, Params, memory_format
from pellucid.losses import L1
from pellucid.losses.adversarial import ADVERSARIAL, Adversarial, GANLoss
from pellucid.models.pix2pix import Field, Norm, patch_discriminator, unet_generator
from pellucid.objective import Gradients, Losses, seeded
from pellucid.sweep import backward
from pellucid.tree import map_tree


@dataclass(frozen=True)
class Pix2Pix(Translator):
    """A generator with a discriminator, which reads what the generator reads beside the real or the generated image.

    The discriminator learns first, by the scores of a real and of a generated pair; then the generator learns by the
    new scores of its pair, and by the absolute error. Losses: "discriminator", weighted by 1/2; "generator"; and "l1",
    weighted by 100 unless `weights` says otherwise. gan: the loss of `losses.adversarial`. noise: whether `predict`
    keeps dropout and the statistics of the batch as in training, which is the paper's choice and makes a prediction
    depend on a seed and on the other images; by default it uses running statistics and no dropout. features: of a
    trained network, `trained_maps`, which does not learn; with them the generator of images also learns by the loss
    "perceptual".
    Source: Isola et al. 2017, equations 1 to 4 and section 3.3.
    """

    discriminator: Layer
    _: KW_ONLY
    gan: GANLoss = "non_saturating"
    noise: bool = False
    features: Layer | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for features of colours."""
        super().__post_init__()
        if self.features is not None and self.to != "image":
            raise PellucidError("Pix2Pix: the perceptual loss is of images; leave it out with to='colour'")

    @property
    def adversarial(self) -> Adversarial:
        """The losses of both sides."""
        return ADVERSARIAL[self.gan]

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters, those of the discriminator for what the generator reads and makes."""
        params, out = super().init(shape, rng)
        read = self.padded(self.reads(shape))
        params["discriminator"], _ = init_child("discriminator", self.discriminator, (read[0] + out[0], *read[1:]), rng)
        if self.features is not None:
            params["features"], _ = init_child("features", self.features, (3, *read[1:]), rng)
        return params, out

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the losses and gradients of the discriminator, and after it has learned those of the generator."""
        x, real = self.pair(batch, mode)
        made, making = self.generator.forward(params["generator"], x, mode)  # (N, 2 or 3, H, W)

        on_real, dparams = self.judge(params, _beside(x, real), True, mode)
        on_made, dmore = self.judge(params, _beside(x, made), False, mode)
        yield {"discriminator": on_real + on_made}, {"discriminator": add_up_tree(dparams, dmore)}

        of_made, on_made = self.discriminator.forward(params["discriminator"], _beside(x, made), mode)
        value, dscores = self.adversarial.generator(of_made)
        dpair = to_input(self.discriminator, params["discriminator"], on_made, dscores)
        distance, dy = L1("mean")(made, real)
        dy = self.weight("l1") * dy + self.weight("generator") * dpair[:, x.shape[1] :]
        losses = {"generator": value, "l1": distance}
        if self.features is not None:
            losses["perceptual"], dmade = perceptual_distance(self.features, params["features"], made, real)
            dy += self.weight("perceptual") * dmade
        _, dparams = backward(self.generator, params["generator"], making, dy, consume=True)
        yield losses, {"generator": dparams}

    def judge(self, params: Params, pair: Tensor, real: bool, mode: Mode) -> tuple[Tensor, Params]:
        """Return the discriminator's loss on pairs that are real or not, and its weighted gradients."""
        scores, cache = self.discriminator.forward(params["discriminator"], pair, mode)
        value, dscores = self.adversarial.judge(scores, real)
        dscores = self.weight("discriminator") * dscores
        return value, backward(self.discriminator, params["discriminator"], cache, dscores, consume=True)[1]

    def predict(self, params: Params, images: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return a and b, or images, as Translator does; with `noise` by batch statistics and dropout of seed 0."""
        if not self.noise:
            return super().predict(params, images, hints)
        return self.result(self._with_noise(params, self.pad(self.read(images, hints))), images)

    def runner(self, params: Params) -> Callable[[Tensor], Tensor]:
        """Return a function from what the generator reads to its outputs as predicted."""
        return partial(self._with_noise, params) if self.noise else super().runner(params)

    def _with_noise(self, params: Params, x: Tensor) -> Tensor:
        """Return the generator's outputs in training mode, with dropout of seed 0."""
        held = map_tree(Tensor.clone, params["generator"])  # running statistics are updated in training mode
        return self.generator.forward(held, x, Mode(True, seeded(x.device), keep=False))[0]

    def compare(self, params: Params, pair: Pair, y: Tensor) -> Losses:
        """Return the losses of both sides."""
        x, real = pair
        mode = Mode(keep=False)
        of_real, of_made = (
            self.discriminator.forward(params["discriminator"], _beside(x, one), mode)[0] for one in (real, y)
        )
        losses = {
            "discriminator": self.adversarial.discriminator(of_real, of_made).value,
            "generator": self.adversarial.generator(of_made)[0],
            "l1": L1("mean")(y, real)[0],
        }
        if self.features is not None:
            losses["perceptual"] = perceptual_value(self.features, params["features"], y, real)
        return losses

    def fused(self) -> "Pix2Pix":
        """Return the objective over fused forms of its networks, each of which runs as a whole."""
        return self.with_nets(
            {"generator": fuse(self.generator), "discriminator": fuse(self.discriminator, need_dx=True)}
        )


def pix2pix(
    to: To = "colour",
    width: int = 32,
    levels: int = 4,
    norm: Norm = "batch",
    dropout: float = 0.5,
    hints: bool = False,
    field: Field = 70,
    discriminator_width: int = 32,
    gan: GANLoss = "non_saturating",
    l1: float = 100.0,
    perceptual: float = 0.0,
    noise: bool = False,
) -> Pix2Pix:
    """Return pix2pix with its U-Net and its discriminator of patches.

    width, levels, norm, dropout: see `unet_generator`; the paper's width and levels are 64 and 8, for images of 256
    pixels. hints: whether it reads dots of colour. field, discriminator_width: the discriminator's receptive field and
    width, see `patch_discriminator`. l1: the weight of the absolute error. perceptual: the weight of the distance in
    MobileNetV2's features, which recipes read from start.weights; for to="image".
    """
    for name, weight in (("l1", l1), ("perceptual", perceptual)):
        if weight < 0:
            raise PellucidError(f"pix2pix: {name} must be 0 or more, not {weight}")
    weights = {"discriminator": 0.5, "l1": l1} | ({"perceptual": perceptual} if perceptual else {})
    return Pix2Pix(
        unet_generator(2 if to == "colour" else 3, width, levels, norm, dropout),
        patch_discriminator(field, discriminator_width, norm),
        to=to, hints=hints, multiple=2**levels, gan=gan, noise=noise, weights=weights,
        features=trained_maps("mobilenet_v2") if perceptual else None,
    )  # fmt: skip


def _beside(x: Tensor, y: Tensor) -> Tensor:
    """Return both images as channels of one, in the memory format of y: a single channel has none of its own."""
    return torch.cat([x, y], 1).contiguous(memory_format=memory_format(y))
