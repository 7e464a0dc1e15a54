"""Mistakes of the fourth list in networks, losses, training loops and pretrained weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import FACE_SIDE, POINTS, digits, numbers, repictured
from benchmarks.doctor.cases.unusual.second_data import ACCURACY, EXPLAINED, IOU, NEARNESS, PRECISION
from benchmarks.doctor.cases.unusual.second_settings import LIKENESS, copied
from benchmarks.doctor.cases.unusual.sound import (
    IGNORE,
    backbone,
    block,
    classifier,
    detector,
    generator,
    pointer,
    regressor,
    segmenter,
    small_detector,
    small_gan,
    small_unet,
)
from benchmarks.doctor.cases.unusual.third_settings import Encoded
from benchmarks.doctor.cases.unusual.unopened_keypoints import STRIDE, map_net
from benchmarks.doctor.fit import Case, Fit, Pair
from pellucid import Model
from pellucid.combine import Sequential, Shared
from pellucid.combine.base import add_up_tree
from pellucid.data.source import Batch
from pellucid.detectors import SingleStage
from pellucid.generators import GAN
from pellucid.layers import (
    AdaptiveAvgPool2d,
    BatchNorm,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    ReLU,
    SiLU,
)
from pellucid.layers.base import Layer, Mode, Params
from pellucid.layers.dropout import DropoutCache
from pellucid.losses import Dice, HeatMaps, SoftmaxCrossEntropy
from pellucid.losses.adversarial import ADVERSARIAL, Adversarial
from pellucid.losses.targets import position_targets
from pellucid.models.fpn import fpn
from pellucid.nested import flatten, leaves
from pellucid.objective import Gradients, Supervised
from pellucid.optim import SGD, Adam, Momentum
from pellucid.sweep import backward
from pellucid.training.callbacks import Callback, EarlyStopping, Training

STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class FunctionalDropout(Dropout):
    """A dropout that does not know whether the network is trained."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DropoutCache]:
        """Drop values in every mode."""
        return super().forward(params, x, Mode(train=True, rng=mode.rng or torch.default_generator, keep=mode.keep))


def dropout_in_use(seed: int) -> Pair:
    """Drop units in validation and use."""

    def net(dropout: Layer) -> Sequential:
        ending: dict[str, Layer] = {"flatten": Flatten(), "dense": Dense(64), "relu": ReLU(), "drop": dropout}
        maps = {"one": Sequential(**block(16)), "two": Sequential(**block(32)), "drop0": dropout, "pool": MaxPool2d(2)}
        return Sequential(**maps, **ending, out=Dense(10))

    wrong, _ = classifier(seed, net=net(FunctionalDropout(0.5)))
    sound, _ = classifier(seed, net=net(Dropout(0.5)))
    return Pair(wrong, sound, ACCURACY)


def stopped_at_first_plateau(seed: int) -> Pair:
    """Stop a slow start with a patience of one epoch."""
    hidden = {f"hidden{k}": Sequential(dense=Dense(32), relu=ReLU()) for k in range(6)}
    net = Sequential(flatten=Flatten(), **hidden, out=Dense(10))
    usual, _ = classifier(seed, net=net, optimizer=SGD(0.01))
    sound = usual.but(epochs=120, further={"callbacks": [EarlyStopping(10)]})
    return Pair(sound.but(further={"callbacks": [EarlyStopping(1)]}), sound, ACCURACY)


class Averaged(Callback):
    """Replaces the weights by their mean over all steps; images: to compute the running statistics anew, or None."""

    def __init__(self, images: Tensor | None = None) -> None:
        self.images = images
        self.sums: dict[str, Tensor] = {}

    def on_start(self, training: Training) -> None:
        """Begin with nothing."""
        self.sums = {}

    def on_step(self, training: Training) -> None:
        """Add the weights."""
        for path, tensor in flatten(training.model.params).items():
            if not path.endswith(STATISTICS):
                self.sums[path] = self.sums.get(path, torch.zeros_like(tensor)) + tensor

    def on_end(self, training: Training) -> None:
        """Replace the weights."""
        for path, tensor in flatten(training.model.params).items():
            if path in self.sums:
                tensor.copy_(self.sums[path] / training.step)
        objective = training.model.objective
        if self.images is not None and isinstance(objective, Supervised):
            for images in (self.images.float() / 255).split(50):
                objective.net.forward(training.model.params, images, Mode(train=True))


def averaged_without_statistics(seed: int) -> Pair:
    """Average the weights, and keep the running statistics of the last ones."""
    maps = {f"stage{k}": Sequential(**block(24)) for k in range(8)}
    net = Sequential(**maps, pool=MaxPool2d(2), flatten=Flatten(), out=Dense(10))
    usual, parts = classifier(seed, net=net, optimizer=SGD(0.2))
    sound = usual.but(epochs=8, further={"callbacks": [Averaged(torch.cat([parts.train.x] * 3))]})
    return Pair(sound.but(further={"callbacks": [Averaged()]}), sound, ACCURACY)


def dropout_after_output(seed: int) -> Pair:
    """Apply dropout to the output of a regression."""
    parts = numbers(seed)

    def net(**last: Layer) -> Sequential:
        hidden = {"dense": Dense(32), "relu": ReLU(), "more": Dense(32), "act": ReLU()}
        return Sequential(**hidden, out=Dense(1), **last)

    wrong, _ = regressor(seed, parts, net(drop=Dropout(0.5)))
    sound, _ = regressor(seed, parts, net())
    return Pair(wrong, sound, EXPLAINED)


def suppression_off(seed: int) -> Pair:
    """Suppress nothing."""
    wrong, _ = detector(seed, replace(small_detector(), nms_threshold=1.0))
    sound, _ = detector(seed)
    return Pair(wrong, sound, PRECISION)


def head_norm_shared(seed: int) -> Pair:
    """Normalise the maps of all levels by the same running statistics."""
    layers = {"conv": Conv2d(16, 3, padding=1), "norm": BatchNorm(), "relu": ReLU()}
    head = Shared(Sequential(**layers, out=Conv2d(3 + 4, 3, padding=1)))
    nets = backbone(16), fpn(16, 2, groups=2), head
    wrong, _ = detector(seed, SingleStage(3, *nets, strides=(4, 8), scale=3.0, weights={"box": 2.0}))
    sound, _ = detector(seed)
    return Pair(wrong, sound, PRECISION)


@dataclass(frozen=True)
class DiceOfLogits(Dice):
    """The Dice loss of the outputs themselves."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        targets = position_targets(self, y, target, None, self.ignore)
        t = torch.zeros_like(y).scatter_(1, targets.classes, targets.keep_mask)
        y, axes = y * targets.keep_mask, (0, 2, 3)
        both, total = 2 * (y * t).sum(axes, keepdim=True), (y + t).sum(axes, keepdim=True) + 1e-6
        dy = (both / total - 2 * t) / total / y.shape[1] * targets.keep_mask
        return 1 - (both / total).mean(), dy


@dataclass(frozen=True)
class DiceOfArgmax(Dice):
    """The Dice loss of the classes with the highest outputs, which has no gradient."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and a gradient of 0."""
        chosen = torch.zeros_like(y).scatter_(1, y.argmax(1, keepdim=True), 1e3)
        return super().compute(chosen, target)[0], torch.zeros_like(y)


def dice_of_logits(seed: int) -> Pair:
    """Leave the softmax before the Dice loss out."""
    wrong, _ = segmenter(seed, loss=DiceOfLogits(ignore=IGNORE))
    sound, _ = segmenter(seed, loss=Dice(ignore=IGNORE))
    return Pair(wrong, sound, IOU)


def dice_of_argmax(seed: int) -> Pair:
    """Compute the Dice loss of the chosen classes."""
    wrong, _ = segmenter(seed, loss=DiceOfArgmax(ignore=IGNORE))
    sound, _ = segmenter(seed, loss=Dice(ignore=IGNORE))
    return Pair(wrong, sound, IOU)


def sum_over_pixels(seed: int) -> Pair:
    """Sum the loss over the pixels, and keep the rate for their mean."""
    usual, parts = segmenter(seed)

    def begin(loss: SoftmaxCrossEntropy) -> Model:
        return Model(
            small_unet(7), loss, Momentum(0.1), seed=seed, classes=parts.train.classes,
            input_shape=tuple(parts.train.x.shape[1:]),
        )  # fmt: skip

    sound = usual.but(begin=lambda: begin(SoftmaxCrossEntropy(ignore=IGNORE)))
    wrong = sound.but(begin=lambda: begin(SoftmaxCrossEntropy(ignore=IGNORE, reduction="sum")))
    return Pair(wrong, sound, IOU)


def global_pooling(seed: int) -> Pair:
    """Average the maps before the coordinates are computed."""

    def net(**pool: Layer) -> Sequential:
        stages = {f"stage{k}": Sequential(**block(16 * 2**k, 2)) for k in range(3)}
        ending = {"flatten": Flatten(), "dense": Dense(64), "relu": ReLU(), "out": Dense(2 * len(POINTS))}
        return Sequential(**stages, **pool, **ending)

    loss = Encoded(size=(FACE_SIDE, FACE_SIDE))
    wrong, _ = pointer(seed, net(pool=AdaptiveAvgPool2d(1)), loss)
    sound, _ = pointer(seed, net(), loss)
    return Pair(wrong, sound, NEARNESS)


def sees_too_little(seed: int) -> Pair:
    """Compute heat maps from seven pixels around each cell."""
    stages = {f"stage{k}": Sequential(**block(32, 2)) for k in range(2)}
    small = Sequential(**stages, out=Conv2d(len(POINTS), 1))
    wrong, _ = pointer(seed, small, HeatMaps(stride=STRIDE, decode="quarter"))
    sound, _ = pointer(seed, map_net(), HeatMaps(stride=STRIDE, decode="quarter"))
    return Pair(wrong, sound, NEARNESS)


@dataclass(frozen=True)
class DrawnOnce(GAN):
    """A GAN that uses the same latent vectors in every step."""

    def latents(self, count: int, rng: torch.Generator | None, like: Tensor) -> Tensor:
        """Return the same vectors."""
        return torch.randn((count, self.latent), generator=torch.Generator().manual_seed(1), dtype=like.dtype)

    def sample(self, params: Params, count: int, rng: torch.Generator) -> Tensor:
        """Generate images from new vectors."""
        return self.generate(params, super().latents(count, rng, leaves(params)[0]))


def noise_drawn_once(seed: int) -> Pair:
    """Draw the noise before the training."""
    right = small_gan()
    wrong, _ = generator(seed, DrawnOnce(right.generator, right.latent, right.discriminator))
    sound, _ = generator(seed, right)
    return Pair(wrong, sound, LIKENESS)


@dataclass(frozen=True)
class NeverShown(GAN):
    """A GAN whose discriminator gets the real images twice."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's losses of real images, then the generator's."""
        loss: Adversarial = ADVERSARIAL[self.loss]
        images, value, grads = 2 * batch.images - 1, torch.zeros(()), list[Params]()
        for _ in range(2):
            y, cache = self.discriminator.forward(params["discriminator"], images, mode)
            term, dy = loss.discriminator_term(y, True)
            value = value + term
            grads.append(backward(self.discriminator, params["discriminator"], cache, dy, consume=True)[1])
        yield {"discriminator": value}, {"discriminator": add_up_tree(*grads)}
        z = self.latents(len(images), mode.rng, images)
        generated, cache = self.generator.forward(params["generator"], z, mode)
        yield self.generator_turn(params, params["discriminator"], generated, cache, loss, mode)


def fakes_never_shown(seed: int) -> Pair:
    """Give the discriminator real images for both of its losses."""
    right = small_gan()
    wrong, _ = generator(seed, NeverShown(right.generator, right.latent, right.discriminator))
    sound, _ = generator(seed, right)
    return Pair(wrong, sound, LIKENESS)


def features(activation: Layer, count: int = 4, **ending: Layer) -> dict[str, Layer]:
    """Return convolutions with this activation, and what follows them."""
    strides = (2 if k in (count // 2, count - 1) else 1 for k in range(count))
    stages = [Sequential(**{**block(16, stride), "relu": activation}) for stride in strides]
    return {f"stage{k}": stage for k, stage in enumerate(stages)} | ending


def on_features(layers: dict[str, Layer], seed: int, channels: int = 1) -> Model:
    """Return a classifier of digits with a linear head on these features."""
    net = Sequential(features=Sequential(**layers), head=Sequential(flatten=Flatten(), scores=Dense(10)))
    return Model(net, optimizer=Adam(3e-3), seed=seed, input_shape=(channels, 8, 8), classes=10)


def learned(layers: dict[str, Layer], seed: int, model_seed: int) -> Model:
    """Return a classifier that has learned 900 digits."""
    old = on_features(layers, model_seed)
    old.fit(digits(seed).train.subset(torch.arange(900)), epochs=8, batch_size=32, verbose=False)
    return old


def plain(model: Model, old: Model) -> None:
    """Copy the pretrained features as they are."""
    copied(model, old, "features.")


def tuned(
    seed: int, new: dict[str, Layer], old: dict[str, Layer], load: Callable[[Model, Model], None] = plain,
    channels: int = 1,
) -> Fit:  # fmt: skip
    """Learn 100 digits on frozen features, which `load` copies from a model that has learned others."""
    train, validation, test = digits(seed)
    parts = (train.subset(torch.arange(900, 1000)), validation, test)
    few, held, used = (repictured(part, part.x.repeat(1, channels, 1, 1)) for part in parts)

    def begin() -> Model:
        model = on_features(new, seed, channels)
        load(model, learned(old, seed, seed))
        model.freeze("features.*")
        return model

    return Fit(begin, few, held, scores.accuracy(used), 20, 10)


def flattened_in_other_order(seed: int) -> Pair:
    """Load the weights of a dense layer in the order of positions with channels."""
    layers = features(ReLU(), flatten=Flatten(), dense=Dense(32), act=ReLU())

    def load(model: Model, old: Model) -> None:
        plain(model, old)
        weight = model.weights["features.dense.weight"]
        weight.copy_(weight.reshape(32, 16, 2, 2).permute(0, 2, 3, 1).reshape(32, 64))

    return Pair(tuned(seed, layers, layers, load), tuned(seed, layers, layers), ACCURACY)


def other_activation(seed: int) -> Pair:
    """Load features of a network with SiLU into one with ReLU."""
    old = features(SiLU(), 8)
    return Pair(tuned(seed, features(ReLU(), 8), old), tuned(seed, old, old), ACCURACY)


def networks_averaged(seed: int) -> Pair:
    """Average the features of two networks."""
    layers = features(ReLU())

    def load(model: Model, old: Model) -> None:
        plain(model, learned(layers, seed, seed + 50))
        for path, tensor in model.weights.items():
            if path.startswith("features."):
                tensor.lerp_(old.weights[path], 0.5)

    return Pair(tuned(seed, layers, layers, load), tuned(seed, layers, layers), ACCURACY)


def first_kernels_repeated(seed: int) -> Pair:
    """Repeat the first kernels for three channels."""
    layers, first = features(ReLU()), "features.stage0.conv.weight"

    def fit(factor: float) -> Fit:
        def load(model: Model, old: Model) -> None:
            copied(model, old, "features.", (first,))
            model.weights[first].copy_(old.weights[first].repeat(1, 3, 1, 1) * factor)

        return tuned(seed, layers, layers, load, 3)

    return Pair(fit(1.0), fit(1 / 3), ACCURACY)


CASES: dict[str, Case] = {
    "cls-dropout-in-use": dropout_in_use,
    "cls-stopped-at-first-plateau": stopped_at_first_plateau,
    "cls-averaged-without-statistics": averaged_without_statistics,
    "reg-dropout-after-output": dropout_after_output,
    "det-suppression-off": suppression_off,
    "det-head-norm-shared": head_norm_shared,
    "seg-dice-of-logits": dice_of_logits,
    "seg-dice-of-argmax": dice_of_argmax,
    "seg-sum-over-pixels": sum_over_pixels,
    "kpt-global-pooling": global_pooling,
    "kpt-sees-too-little": sees_too_little,
    "gen-noise-drawn-once": noise_drawn_once,
    "gen-fakes-never-shown": fakes_never_shown,
    "trf-flattened-in-other-order": flattened_in_other_order,
    "trf-other-activation": other_activation,
    "trf-networks-averaged": networks_averaged,
    "trf-first-kernels-repeated": first_kernels_repeated,
}
