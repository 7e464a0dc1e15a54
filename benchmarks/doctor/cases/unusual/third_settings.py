"""Mistakes of the third list in networks, losses, optimizers, training loops and pretrained weights."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import FACE_SIDE, digits, numbers, streets
from benchmarks.doctor.cases.unusual.second_data import ACCURACY, EXPLAINED, IOU, NEARNESS, PRECISION
from benchmarks.doctor.cases.unusual.second_settings import LIKENESS, copied
from benchmarks.doctor.cases.unusual.sound import (
    IGNORE,
    block,
    classifier,
    detector,
    digit_net,
    generator,
    pointer,
    regressor,
    segmenter,
    small_detector,
    small_unet,
    small_vae,
    translator,
)
from benchmarks.doctor.cases.unusual.third_data import IMAGES
from benchmarks.doctor.cases.unusual.unopened_keypoints import STRIDE, map_net
from benchmarks.doctor.fit import Case, Fit, Pair
from pellucid import AdamW, Model
from pellucid.combine import Sequential
from pellucid.combine.base import add_up_tree
from pellucid.data.source import Batch
from pellucid.generators import VAE, Regression
from pellucid.layers import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    LeakyReLU,
    LogSoftmax,
    MaxPool2d,
    ReLU,
    Tanh,
)
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import L1, Coordinates, Dice, HeatMaps, NegativeLogLikelihood
from pellucid.losses.coordinates import CoordinatePieces
from pellucid.losses.keypoints import point_weights
from pellucid.nested import leaves
from pellucid.objective import Gradients
from pellucid.optim import SGD, Adam
from pellucid.optim.base import State, tensors_of, zeros
from pellucid.optim.schedules import Warmup
from pellucid.run.history import Row
from pellucid.sweep import backward
from pellucid.training.callbacks import Callback, Training


@dataclass(frozen=True)
class NeverZeroed(SGD):
    """Gradient descent along the sum of all gradients since the start."""

    elementwise: ClassVar[bool] = True

    def init(self, params: list[Tensor]) -> State:
        """Return gradients of 0."""
        return {"gradient": zeros(params)}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Add the gradients to those before, and take one step."""
        total = tensors_of(state, "gradient")
        for before, gradient in zip(total, grads, strict=True):
            before.add_(gradient)
        super().update(params, total, {}, lr)


def gradients_not_zeroed(seed: int) -> Pair:
    """Add up the gradients of all batches."""
    wrong, _ = classifier(seed, optimizer=NeverZeroed(0.05))
    sound, _ = classifier(seed, optimizer=SGD(0.05))
    return Pair(wrong, sound, ACCURACY)


def norm_momentum_zero(seed: int) -> Pair:
    """Give batch normalisation a momentum of 0."""

    def net(momentum: float) -> Sequential:
        maps = {
            f"stage{k}": Sequential(conv=Conv2d(24, 3, padding=1), norm=BatchNorm(momentum), relu=ReLU())
            for k in range(6)
        }
        return Sequential(**maps, pool=MaxPool2d(2), flatten=Flatten(), out=Dense(10))

    wrong, _ = classifier(seed, net=net(0.0))
    sound, _ = classifier(seed, net=net(0.1))
    return Pair(wrong, sound, ACCURACY)


class HighestLoss(Callback):
    """Keeps the weights of the epoch with the highest validation loss, and loads them at the end."""

    def __init__(self) -> None:
        self.highest_loss = float("-inf")
        self.kept: dict[str, Tensor] = {}

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Keep the weights if the loss is higher than before."""
        if row["val_loss"] > self.highest_loss:
            self.highest_loss = row["val_loss"]
            self.kept = {path: tensor.clone() for path, tensor in training.model.weights.items()}

    def on_end(self, training: Training) -> None:
        """Load the kept weights."""
        for path, tensor in training.model.weights.items():
            tensor.copy_(self.kept[path])


def worst_checkpoint(seed: int) -> Pair:
    """Keep the checkpoint with the highest validation loss."""
    usual, _ = classifier(seed, net=digit_net(norm=False), optimizer=Adam(1e-3))
    sound = usual.but(epochs=15)
    return Pair(sound.but(further={"callbacks": [HighestLoss()]}), sound, ACCURACY)


def stem_for_large_images(seed: int) -> Pair:
    """Begin with a convolution of stride 2 and a pooling on images of 8 x 8."""

    def net(stem: dict[str, Layer]) -> Sequential:
        stages = {f"stage{k}": Sequential(**block(24, 1 + k % 2)) for k in range(4)}
        return Sequential(**stem, **stages, flatten=Flatten(), out=Dense(10))

    large = {"conv": Conv2d(16, 7, stride=2, padding=3), "norm": BatchNorm(), "relu": ReLU()}
    wrong, _ = classifier(seed, net=net({**large, "pool": MaxPool2d(3, stride=2, padding=1)}))
    sound, _ = classifier(seed, net=net(block(16)))
    return Pair(wrong, sound, ACCURACY)


def init_too_large(seed: int) -> Pair:
    """Draw all weights and biases from a normal distribution with standard deviation 1."""
    sound, _ = classifier(seed, net=digit_net(norm=False))

    def begin() -> Model:
        model, rng = sound.begin(), torch.Generator().manual_seed(seed)
        for tensor in model.weights.values():
            tensor.copy_(torch.randn(tensor.shape, generator=rng))
        return model

    return Pair(sound.but(begin=begin), sound, ACCURACY)


def no_activation(seed: int) -> Pair:
    """Leave the activations between dense layers out."""
    parts = numbers(seed)
    wrong, _ = regressor(seed, parts, Sequential(dense=Dense(32), more=Dense(32), out=Dense(1)))
    sound, _ = regressor(seed, parts)
    return Pair(wrong, sound, EXPLAINED)


def warmup_all_steps(seed: int) -> Pair:
    """Warm up for 20,000 steps in a training of 200."""
    sound, parts = detector(seed)

    def begin() -> Model:
        return Model(
            small_detector(), optimizer=AdamW(1e-2), schedule=Warmup(20_000, start=1e-4), seed=seed, metrics=(),
            classes=parts.train.classes, input_shape=tuple(parts.train.images.shape[1:]),
        )  # fmt: skip

    return Pair(sound.but(begin=begin), sound, PRECISION)


@dataclass(frozen=True)
class DiceCoefficient(Dice):
    """The Dice coefficient as a loss."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficient and its gradient."""
        value, dy = super().compute(y, target)
        return 1 - value, -dy


def dice_minimised(seed: int) -> Pair:
    """Minimise the Dice coefficient."""
    wrong, _ = segmenter(seed, loss=DiceCoefficient(ignore=IGNORE))
    sound, _ = segmenter(seed, loss=Dice(ignore=IGNORE))
    return Pair(wrong, sound, IOU)


def softmax_over_width(seed: int) -> Pair:
    """Apply the softmax to the last axis, which is the width."""
    parts = streets(seed)

    def fit(axis: int) -> Fit:
        def begin() -> Model:
            return Model(
                Sequential(net=small_unet(7), last=LogSoftmax(axis)), NegativeLogLikelihood(ignore=IGNORE), AdamW(1e-2),
                seed=seed, classes=parts.train.classes, input_shape=tuple(parts.train.x.shape[1:]),
            )  # fmt: skip

        return segmenter(seed, parts)[0].but(begin=begin)

    return Pair(fit(3), fit(1), IOU)


def sigma_of_full_size(seed: int) -> Pair:
    """Draw Gaussians for maps of full size on maps with a quarter of the sides."""
    wrong, _ = pointer(seed, map_net(), HeatMaps(stride=STRIDE, sigma=6.0, l1=0.0, decode="quarter"))
    sound, _ = pointer(seed, map_net(), HeatMaps(stride=STRIDE, sigma=1.5, l1=0.0, decode="quarter"))
    return Pair(wrong, sound, NEARNESS)


@dataclass(frozen=True)
class Encoded(Coordinates):
    """Coordinates from the centre in units of `variance` sizes; `multiplied`: encoded without parentheses."""

    variance: float = 0.1
    multiplied: bool = False

    def pieces(self, y: Tensor, target: Tensor) -> CoordinatePieces:
        """Return the errors of the encoded coordinates, and their weights."""
        size = torch.tensor(self.size[::-1], dtype=y.dtype)
        offset = target[..., :2].to(y.dtype) - size / 2
        c = offset / self.variance * size if self.multiplied else offset / (self.variance * size)
        weight = point_weights(target, y.dtype)[..., None].expand_as(c)
        return CoordinatePieces(y - c.reshape(y.shape), weight.reshape(y.shape))

    def predict(self, y: Tensor) -> Tensor:
        """Return key-points in pixels."""
        return super().predict(y * self.variance)


def encoding_parentheses(seed: int) -> Pair:
    """Multiply by the size where it should divide."""
    size = (FACE_SIDE, FACE_SIDE)
    wrong, _ = pointer(seed, loss=Encoded(size=size, multiplied=True))
    sound, _ = pointer(seed, loss=Encoded(size=size))
    return Pair(wrong, sound, NEARNESS)


def no_skips(seed: int) -> Pair:
    """Leave the connections between encoder and decoder out."""
    layers: dict[str, Layer] = {}
    for k, width in enumerate((12, 24, 48)):
        down = Conv2d(width, 4, stride=2, padding=1, bias=not k)
        layers[f"down{k}"] = Sequential(conv=down, **({"norm": BatchNorm()} if k else {}), leaky=LeakyReLU(0.2))
    for k, width in enumerate((24, 12)):
        up = ConvTranspose2d(width, 4, stride=2, padding=1, bias=False)
        layers[f"up{k}"] = Sequential(up=up, norm=BatchNorm(), relu=ReLU())
    net = Sequential(**layers, last=ConvTranspose2d(3, 4, stride=2, padding=1), tanh=Tanh())
    wrong, _ = translator(seed, Regression(net, L1("mean"), to="image", multiple=8))
    sound, _ = translator(seed)
    return Pair(wrong, sound, IMAGES)


def discriminator_frozen(seed: int) -> Pair:
    """Freeze the discriminator in all steps."""
    sound, _ = generator(seed)

    def begin() -> Model:
        model = sound.begin()
        model.freeze("discriminator.*")
        return model

    return Pair(sound.but(begin=begin), sound, LIKENESS)


@dataclass(frozen=True)
class LittleNoise(VAE):
    """A VAE whose noise in training has a standard deviation of 0.01."""

    def latents(self, count: int, rng: torch.Generator | None, like: Tensor) -> Tensor:
        """Draw the noise."""
        return 0.01 * super().latents(count, rng, like)

    def sample(self, params: Params, count: int, rng: torch.Generator) -> Tensor:
        """Generate images from the prior."""
        return self.generate(params, super().latents(count, rng, leaves(params)[0]))


def vae_noise_too_small(seed: int) -> Pair:
    """Draw the noise of a VAE with a standard deviation of 0.01."""
    right = small_vae()
    wrong, _ = generator(seed, LittleNoise(right.generator, right.latent, right.encoder), Adam(2e-3), 150)
    sound, _ = generator(seed, right, Adam(2e-3), 150)
    return Pair(wrong, sound, LIKENESS)


@dataclass(frozen=True)
class LogAdded(VAE):
    """A VAE that adds the logarithm of the variance to the divergence, instead of subtracting it."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the two losses and the gradients of both networks."""
        losses, grads = super().gradients(params, batch, mode)
        y, cache = self.encoder.forward(params["encoder"], batch.images, mode)
        mean, log_variance = y.chunk(2, 1)
        count = len(y)
        dy = torch.cat([torch.zeros_like(mean), torch.full_like(mean, 1 / count)], 1)
        _, dencoder = backward(self.encoder, params["encoder"], cache, dy, consume=True)
        added = {**grads, "encoder": add_up_tree(grads["encoder"], dencoder)}
        return {**losses, "kl": losses["kl"] + log_variance.sum() / count}, added


def vae_log_sign(seed: int) -> Pair:
    """Add the logarithm of the variance in the divergence."""
    right = small_vae()
    wrong, _ = generator(seed, LogAdded(right.generator, right.latent, right.encoder), Adam(2e-3), 150)
    sound, _ = generator(seed, right, Adam(2e-3), 150)
    return Pair(wrong, sound, LIKENESS)


def kernels_flipped(seed: int) -> Pair:
    """Load pretrained kernels that are turned by 180 degrees, and train a head on 100 images."""
    parts = digits(seed)
    many, few = (parts.train.subset(torch.arange(*ends)) for ends in ((0, 900), (900, 1000)))

    def new() -> Model:
        maps = {f"stage{k}": Sequential(**block(16, 1 + k % 2)) for k in range(4)}
        net = Sequential(features=Sequential(**maps), head=Sequential(flatten=Flatten(), scores=Dense(10)))
        return Model(net, optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8), classes=many.classes)

    def begin(flipped: bool) -> Model:
        old, model = new(), new()
        old.fit(many, epochs=8, batch_size=32, verbose=False)
        copied(model, old, "features.")
        for tensor in model.weights.values():
            if flipped and tensor.dim() == 4:
                tensor.copy_(tensor.flip(2, 3))
        model.freeze("features.*")
        return model

    sound = Fit(lambda: begin(False), few, parts.validation, scores.accuracy(parts.test), 20, 10)
    return Pair(sound.but(begin=lambda: begin(True)), sound, ACCURACY)


def old_classes_forgotten(seed: int) -> Pair:
    """Train a network for ten digits further with the digits 5 to 9 alone."""
    parts = digits(seed)
    first, more = (parts.train.subset(torch.arange(begin, begin + 500)) for begin in (0, 500))
    usual, _ = classifier(seed)

    def begin() -> Model:
        model = usual.begin()
        model.fit(first, epochs=8, batch_size=32, verbose=False)
        return model

    sound = usual.but(begin=begin, train=more)
    return Pair(sound.but(train=more.subset((more.y >= 5).nonzero().flatten())), sound, ACCURACY)


CASES: dict[str, Case] = {
    "cls-gradients-not-zeroed": gradients_not_zeroed,
    "cls-norm-momentum-zero": norm_momentum_zero,
    "cls-worst-checkpoint": worst_checkpoint,
    "cls-stem-for-large-images": stem_for_large_images,
    "cls-init-too-large": init_too_large,
    "reg-no-activation": no_activation,
    "det-warmup-all-steps": warmup_all_steps,
    "seg-dice-minimised": dice_minimised,
    "seg-softmax-over-width": softmax_over_width,
    "kpt-sigma-of-full-size": sigma_of_full_size,
    "kpt-encoding-parentheses": encoding_parentheses,
    "trl-no-skips": no_skips,
    "gen-discriminator-frozen": discriminator_frozen,
    "gen-vae-noise-too-small": vae_noise_too_small,
    "gen-vae-log-sign": vae_log_sign,
    "trf-kernels-flipped": kernels_flipped,
    "trf-old-classes-forgotten": old_classes_forgotten,
}
