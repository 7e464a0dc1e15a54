"""pix2pix: a generator trained against a discriminator that classifies patches of image pairs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_choice, check_flag
from pellucid.combine import Sequential
from pellucid.combine.base import add_up_tree, init_child
from pellucid.data.source import Batch
from pellucid.fuse import fuse
from pellucid.generators.base import input_gradient, parameter_gradients
from pellucid.generators.perceptual import copy_trained_weights, feature_network, perceptual_distance, perceptual_value
from pellucid.generators.translation import To, TranslationPair, Translator
from pellucid.layers.base import Layer, Mode, Params, memory_format
from pellucid.losses import L1
from pellucid.losses.adversarial import ADVERSARIAL, Adversarial, GANLoss
from pellucid.models.pix2pix import Field, NormName, patch_discriminator, unet_generator
from pellucid.nested import map_tree
from pellucid.objective import Gradients, Losses, seeded_generator
from pellucid.sweep import backward


@dataclass(frozen=True)
class Pix2Pix(Translator):
    """A generator and a conditional discriminator, whose input is a pair: an input and a real or generated image.

    Each step first updates the discriminator by its scores of real and of generated pairs. Then it updates the
    generator by the absolute error and by the updated discriminator's scores of the generated pairs. Losses:
    "discriminator", "generator" and "l1", weighted by `weights`; the function `pix2pix` sets the weights 1/2, 1 and
    100.
    gan: the name of the loss in `losses.adversarial`.
    noise: whether `predict` uses dropout and batch statistics, as in the paper, so a prediction depends on a seed and
        on the other images; by default it uses running statistics and no dropout.
    features: a frozen `feature_network`, which adds the loss "perceptual"; only for to="image".
    Source: Isola et al. 2017, equations 1 to 4 and section 3.3.
    """

    untrained: ClassVar[tuple[str, ...]] = ("features",)
    discriminator: Layer
    _: KW_ONLY
    gan: GANLoss = "non_saturating"
    noise: bool = False
    features: Layer | None = None

    def __post_init__(self) -> None:
        """Raise PellucidError for features unless `to` is "image", and for an unknown loss."""
        super().__post_init__()
        check_choice(self, get_args(GANLoss), gan=self.gan)
        check_flag(self, noise=self.noise)
        if self.features is not None and self.to != "image":
            raise PellucidError(f"Pix2Pix: the perceptual loss is for to='image'; leave it out with to={self.to!r}")

    @property
    def adversarial(self) -> Adversarial:
        """The adversarial losses of the discriminator and the generator."""
        return ADVERSARIAL[self.gan]

    @property
    def start_net(self) -> Layer | None:
        """The pretrained pyramid of the perceptual loss, or None without this loss."""
        return self.features.layers["maps"] if isinstance(self.features, Sequential) else None

    @property
    def start_missing(self) -> str:
        """The message for missing trained weights of the perceptual loss; empty without this loss."""
        return "objective.perceptual needs trained features" if self.features is not None else ""

    def start(self, params: Params, trained: Params, mean: Sequence[float], std: Sequence[float]) -> None:
        """Copy trained weights, and the mean and std of its inputs, into the network of the perceptual loss."""
        copy_trained_weights(params["features"], trained, tuple(mean), tuple(std))

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters; the discriminator receives the channels of the generator's input and output."""
        params, output_shape = super().init(shape, rng)
        input_shape = self.padded_shape(self.generator_input_shape(shape))
        channels = input_shape[0] + (3 if self.to == "rgb" else output_shape[0])
        params["discriminator"], _ = init_child("discriminator", self.discriminator, (channels, *input_shape[1:]), rng)
        if self.features is not None:
            params["features"], _ = init_child("features", self.features, (3, *input_shape[1:]), rng)
        return params, output_shape

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's losses and gradients, then the generator's with the updated discriminator."""
        x, real = self.pair(batch, mode)
        generated, generator_cache = self.generator.forward(params["generator"], x, mode)  # (N, 2 or 3, H, W)

        loss_real, dparams_real = self.discriminator_gradients(
            params, _concatenate_channels(x, real), is_real=True, mode=mode
        )
        pair = _concatenate_channels(x, generated)
        loss_fake, dparams_fake = self.discriminator_gradients(params, pair, is_real=False, mode=mode)
        yield {"discriminator": loss_real + loss_fake}, {"discriminator": add_up_tree(dparams_real, dparams_fake)}

        scores, cache = self.discriminator.forward(params["discriminator"], pair, mode)
        del pair
        value, dscores = self.adversarial.generator(scores)
        dpair = input_gradient(self.discriminator, params["discriminator"], cache, dscores)
        distance, dy = L1("mean")(generated, real)
        dy = self.weight("l1") * dy + self.weight("generator") * dpair[:, x.shape[1] :]
        del dpair
        losses = {"generator": value, "l1": distance}
        if self.features is not None:
            losses["perceptual"], dperceptual = perceptual_distance(self.features, params["features"], generated, real)
            dy += self.weight("perceptual") * dperceptual
        _, dparams = backward(self.generator, params["generator"], generator_cache, dy, consume=True)
        yield losses, {"generator": dparams}

    def discriminator_gradients(self, params: Params, pair: Tensor, is_real: bool, mode: Mode) -> tuple[Tensor, Params]:
        """Return the discriminator's loss on real or generated pairs, and its gradients times the loss weight."""
        scores, cache = self.discriminator.forward(params["discriminator"], pair, mode)
        value, dscores = self.adversarial.discriminator_term(scores, is_real)
        dscores = self.weight("discriminator") * dscores
        return value, parameter_gradients(self.discriminator, params["discriminator"], cache, dscores)

    def predict(self, params: Params, images: Tensor, hints: Tensor | None = None) -> Tensor:
        """Return the predictions of `Translator.predict`; with `noise`, use batch statistics and dropout of seed 0."""
        if not self.noise:
            return super().predict(params, images, hints)
        return self.result(self._predict_with_noise(params, self.pad(self.read(images, hints))), images)

    def runner(self, params: Params) -> Callable[[Tensor], Tensor]:
        """Return a function that maps the generator's inputs to its outputs, as in `predict`."""
        return partial(self._predict_with_noise, params) if self.noise else super().runner(params)

    def _predict_with_noise(self, params: Params, x: Tensor) -> Tensor:
        """Return the generator's outputs in training mode, with dropout of seed 0; parameters are not changed."""
        copies = map_tree(Tensor.clone, params["generator"])  # training mode updates running statistics
        return self.generator.forward(copies, x, Mode(train=True, rng=seeded_generator(x.device), keep=False))[0]

    def losses(self, params: Params, pair: TranslationPair, y: Tensor) -> Losses:
        """Return the losses of the discriminator and the generator, without gradients."""
        x, real = pair
        mode = Mode(keep=False)
        real_scores, generated_scores = (
            self.discriminator.forward(params["discriminator"], _concatenate_channels(x, image), mode)[0]
            for image in (real, y)
        )
        losses = {
            "discriminator": self.adversarial.discriminator(real_scores, generated_scores).value,
            "generator": self.adversarial.generator(generated_scores)[0],
            "l1": L1("mean")(y, real)[0],
        }
        if self.features is not None:
            losses["perceptual"] = perceptual_value(self.features, params["features"], y, real)
        return losses

    def fused(self) -> "Pix2Pix":
        """Return the objective with fused forms of its networks."""
        return self.with_nets(
            {"generator": fuse(self.generator), "discriminator": fuse(self.discriminator, need_dx=True)}
        )


def pix2pix(
    to: To = "colour",
    width: int = 32,
    levels: int = 4,
    norm: NormName = "batch",
    dropout: float = 0.5,
    hints: bool = False,
    field: Field = 70,
    discriminator_width: int = 32,
    gan: GANLoss = "non_saturating",
    l1: float = 100.0,
    perceptual: float = 0.0,
    noise: bool = False,
) -> Pix2Pix:
    """Return pix2pix with the U-Net generator and the patch discriminator of the paper.

    width, levels, norm, dropout: see `unet_generator`; the paper's width and levels are 64 and 8, for images of 256
    pixels. hints: whether the generator receives colour hints. field, discriminator_width: the discriminator's
    receptive field and width, see `patch_discriminator`. l1: the weight of the absolute error. perceptual: the weight
    of the distance in MobileNetV2's features, only for to="image"; recipes read the weights of MobileNetV2 from
    start.weights. Raises PellucidError for a negative weight.
    """
    for name, weight in (("l1", l1), ("perceptual", perceptual)):
        if weight < 0:
            raise PellucidError(f"pix2pix: {name} must be 0 or more, not {weight}")
    weights = {"discriminator": 0.5, "l1": l1} | ({"perceptual": perceptual} if perceptual else {})
    return Pix2Pix(
        unet_generator(2 if to == "colour" else 3, width, levels, norm, dropout),
        patch_discriminator(field, discriminator_width, norm),
        to=to, hints=hints, multiple=2**levels, gan=gan, noise=noise, weights=weights,
        features=feature_network("mobilenet_v2") if perceptual else None,
    )  # fmt: skip


def _concatenate_channels(x: Tensor, y: Tensor) -> Tensor:
    """Concatenate the channels of x and y in the memory format of y, because that of a single channel is ambiguous."""
    return torch.cat([x, y], 1).contiguous(memory_format=memory_format(y))
