"""Mistakes of the fifth list in networks, losses, optimizers, evaluation and pretrained weights, and some in data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import (
    FACE_SIDE,
    POINTS,
    Parts,
    arrays,
    digits,
    numbers,
    repictured,
    streets,
    tinted,
)
from benchmarks.doctor.cases.unusual.fourth_settings import features, learned, plain, tuned
from benchmarks.doctor.cases.unusual.second_data import ACCURACY, EXPLAINED, IOU, NEARNESS, PRECISION, drawn
from benchmarks.doctor.cases.unusual.second_settings import LIKENESS, copied
from benchmarks.doctor.cases.unusual.sound import (
    IGNORE,
    block,
    classifier,
    detector,
    generator,
    point_net,
    pointer,
    pooled,
    regressor,
    segmenter,
    small_detector,
    small_gan,
    small_unet,
    small_vae,
    translator,
)
from benchmarks.doctor.cases.unusual.third_data import IMAGES
from benchmarks.doctor.cases.unusual.unopened_keypoints import STRIDE
from benchmarks.doctor.fit import Case, Fit, Pair
from pellucid import AdamW, Model
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.data.source import Arrays, Batch
from pellucid.generators import GAN, VAE, Pix2Pix, Regression, pix2pix
from pellucid.layers import (
    BatchNorm,
    Conv2d,
    Dense,
    Flatten,
    InstanceNorm2d,
    MaxPool2d,
    ReLU,
    Sigmoid,
    SoftArgmax,
    Tanh,
)
from pellucid.layers.base import Layer, Mode, Params
from pellucid.layers.batchnorm import BatchCache, RunningCache
from pellucid.losses import L1, Coordinates, HeatMaps, SoftmaxCrossEntropy
from pellucid.losses.adversarial import ADVERSARIAL
from pellucid.objective import Gradients
from pellucid.optim import Adam
from pellucid.optim.schedules import Memory, Plan, Progress, ReduceOnPlateau, Schedule
from pellucid.sweep import backward

NORM_NAMES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class LeftInTraining(BatchNorm):
    """A batch normalisation that stays in training mode."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, BatchCache | RunningCache]:
        """Normalise by the statistics of the batch in every mode."""
        return super().forward(params, x, Mode(train=True, rng=mode.rng, keep=mode.keep))


def batch_statistics_in_use(seed: int) -> Pair:
    """Use the statistics of eight images of one class."""

    def net(norm: BatchNorm) -> Sequential:
        maps = {f"stage{k}": Sequential(conv=Conv2d(16, 3, padding=1), norm=norm, relu=ReLU()) for k in range(3)}
        return Sequential(first=norm, **maps, pool=MaxPool2d(2), flatten=Flatten(), out=Dense(10))

    train, validation, test = tinted(seed)
    parts = Parts(train, validation.subset(validation.y.argsort(stable=True)), test)

    def by_class(model: Model) -> float:
        groups = [(k, x) for k in range(10) for x in test.x[test.y == k].split(8)]
        return sum(float((model.predict(x).argmax(1) == k).sum()) for k, x in groups) / len(test)

    wrong, sound = (classifier(seed, parts, net(norm))[0] for norm in (LeftInTraining(), BatchNorm()))
    score = scores.finite(by_class)
    return Pair(wrong.but(score=score), sound.but(score=score), ACCURACY)


def adam_epsilon(seed: int) -> Pair:
    """Set epsilon to 1."""
    wrong, _ = classifier(seed, optimizer=Adam(3e-3, epsilon=1.0))
    sound, _ = classifier(seed)
    return Pair(wrong, sound, ACCURACY)


def inputs_not_scaled(seed: int) -> Pair:
    """Measure three of the ten inputs in thousands of units."""
    scale = torch.ones(10)
    scale[[2, 6, 8]] = 5000.0
    parts = numbers(seed)
    sound, _ = regressor(seed, parts)
    return Pair(regressor(seed, Parts(*(arrays(part.x * scale, part.y) for part in parts)))[0], sound, EXPLAINED)


def threshold_of_display(seed: int) -> Pair:
    """Evaluate only detections with scores of at least 0.7."""
    wrong, _ = detector(seed, replace(small_detector(), score_threshold=0.7))
    sound, _ = detector(seed)
    return Pair(wrong, sound, PRECISION)


@dataclass(frozen=True)
class Polynomial(Plan):
    """A rate that falls to 0 in a given number of steps."""

    steps: int

    def at(self, now: Progress) -> float:
        """Return the factor."""
        return max(0.0, 1 - now.step / self.steps) ** 0.9


def rate_ends_early(seed: int) -> Pair:
    """End the schedule after 12 of 125 steps."""
    usual, parts = segmenter(seed)

    def fit(steps: int) -> Fit:
        def begin() -> Model:
            return Model(
                small_unet(7), SoftmaxCrossEntropy(ignore=IGNORE), AdamW(1e-2), seed=seed, schedule=Polynomial(steps),
                classes=parts.train.classes, input_shape=tuple(parts.train.x.shape[1:]),
            )  # fmt: skip

        return usual.but(begin=begin)

    return Pair(fit(12), fit(125), IOU)


def expectation_of_probabilities(seed: int) -> Pair:
    """Squeeze heat maps to 0 to 1 before a soft arg max."""

    def net(**last: Layer) -> Sequential:
        stages = {f"stage{k}": Sequential(**block(32, 2 if k < 2 else 1)) for k in range(5)}
        return Sequential(**stages, out=Conv2d(len(POINTS), 1), **last)

    wrong, _ = pointer(seed, net(sigmoid=Sigmoid(), expectation=SoftArgmax()))
    sound, _ = pointer(seed, net(expectation=SoftArgmax()))
    return Pair(wrong, sound, NEARNESS)


@dataclass(frozen=True)
class OfScore(ReduceOnPlateau):
    """A schedule that watches a score, which is better if it is higher, and waits for lower values."""

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the new state after an epoch."""
        return super().observe(memory, 1 / (1 + loss))


def plateau_of_accuracy(seed: int) -> Pair:
    """Lower the rate unless a score falls."""
    usual, _ = pointer(seed)

    def fit(schedule: Schedule) -> Fit:
        def begin() -> Model:
            return Model(
                point_net(), Coordinates(size=(FACE_SIDE, FACE_SIDE)), AdamW(3e-3), seed=seed, schedule=schedule,
                input_shape=(3, FACE_SIDE, FACE_SIDE), metrics=(),
            )  # fmt: skip

        return usual.but(begin=begin)

    return Pair(fit(OfScore(patience=0)), fit(ReduceOnPlateau(patience=3)), NEARNESS)


def convolutions_unpadded(seed: int) -> Pair:
    """Lose a border of the maps by each convolution."""

    def net(padding: int) -> Sequential:
        stages = {
            f"stage{k}": Sequential(
                conv=Conv2d(32, 3, stride=2 if k < 2 else 1, padding=padding, bias=False), norm=BatchNorm(), relu=ReLU()
            )
            for k in range(5)
        }
        return Sequential(**stages, out=Conv2d(len(POINTS), 1))

    wrong, sound = (pointer(seed, net(k), HeatMaps(stride=STRIDE, decode="quarter"))[0] for k in (0, 1))
    return Pair(wrong, sound, NEARNESS)


def brightness_normalised_away(seed: int) -> Pair:
    """Restore noisy photographs of many exposures with instance normalisation."""
    rng = drawn(seed)

    def exposed(images: Tensor) -> tuple[Tensor, Tensor]:
        true = images.float() / 255 * (0.3 + 0.7 * torch.rand(len(images), 1, 1, 1, generator=rng))
        return (true + 0.1 * torch.randn(true.shape, generator=rng)).clamp(0, 1), true

    parts = Parts(*(arrays(*exposed(part.x)) for part in streets(seed)))

    def fit(norm: dict[str, Layer]) -> Fit:
        stages = {f"stage{k}": Sequential(conv=Conv2d(16, 3, padding=1), **norm, relu=ReLU()) for k in range(3)}
        net = Sequential(**stages, out=Conv2d(3, 3, padding=1), tanh=Tanh())
        usual, _ = translator(seed, Regression(net, L1("mean"), to="image"))
        return usual.but(train=parts.train, validation=parts.validation, score=scores.images(parts.test), epochs=8)

    return Pair(fit({"norm": InstanceNorm2d()}), fit({}), IMAGES)


def no_distance(seed: int) -> Pair:
    """Give the distance from the target no weight."""

    def net(weight: float) -> Pix2Pix:
        return pix2pix("image", width=12, levels=3, dropout=0.0, field=16, discriminator_width=12, l1=weight)

    usual, parts = translator(seed)

    def fit(weight: float) -> Fit:
        def begin() -> Model:
            shape = tuple(parts.train.x.shape[1:])
            return Model(net(weight), optimizer=Adam(2e-3, beta1=0.5), seed=seed, input_shape=shape, metrics=())

        return usual.but(begin=begin)

    return Pair(fit(0.0), fit(100.0), IMAGES)


def some_inverted(seed: int) -> Pair:
    """Read a part of the images inverted."""
    sound, parts = generator(seed)
    rng = drawn(seed)

    def read(part: Arrays) -> Arrays:
        is_inverted = torch.rand(len(part), generator=rng) < 0.4
        return arrays(torch.where(is_inverted[:, None, None, None], 255 - part.x, part.x), part.y)

    return Pair(sound.but(train=read(parts.train), validation=read(parts.validation)), sound, LIKENESS)


@dataclass(frozen=True)
class OfLogits(VAE):
    """A VAE whose generated images are the decoder's outputs."""

    def generate(self, params: Params, z: Tensor) -> Tensor:
        """Return the outputs."""
        return self.generator.forward(params["generator"], z, Mode(keep=False))[0]


def vae_logits_as_images(seed: int) -> Pair:
    """Leave the sigmoid out where images are generated."""
    right = small_vae()
    wrong, _ = generator(seed, OfLogits(right.generator, right.latent, right.encoder), Adam(2e-3))
    sound, _ = generator(seed, right, Adam(2e-3))
    return Pair(wrong, sound, LIKENESS)


@dataclass(frozen=True)
class OneOptimizer(GAN):
    """A GAN in which the step after the discriminator's loss updates the generator."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the discriminator's loss with the gradients of the generator, then the generator's loss with them."""
        loss, images = ADVERSARIAL[self.loss], 2 * batch.images - 1
        z = self.latents(len(images), mode.rng, images)
        generated, cache = self.generator.forward(params["generator"], z, mode)
        losses, _ = self.discriminator_turn(params["discriminator"], images, generated, loss, mode)
        fake, fake_cache = self.discriminator.forward(params["discriminator"], generated, mode)
        _, dfake = loss.discriminator_term(fake, False)
        dgenerated, _ = backward(self.discriminator, params["discriminator"], fake_cache, dfake, consume=True)
        _, dgenerator = backward(self.generator, params["generator"], cache, dgenerated, consume=True)
        yield losses, {"generator": dgenerator}
        generated, cache = self.generator.forward(params["generator"], z, mode)
        yield self.generator_turn(params, params["discriminator"], generated, cache, loss, mode)


def optimizer_of_other_network(seed: int) -> Pair:
    """Update the generator where the discriminator should be updated."""
    right = small_gan()
    wrong, _ = generator(seed, OneOptimizer(right.generator, right.latent, right.discriminator))
    sound, _ = generator(seed, right)
    return Pair(wrong, sound, LIKENESS)


def features_in_other_order(seed: int) -> Pair:
    """Compute features of shuffled images, and learn them with the labels in the order of the files."""
    old = learned(features(ReLU()), seed, seed)
    net = old.net
    assert isinstance(net, Sequential)
    train, validation, test = digits(seed)

    def computed(part: Dataset, order: Tensor | None = None) -> Dataset:
        x = part.x if order is None else part.x[order]
        maps, _ = net.layers["features"].forward(old.params["features"], x.float() / 255, Mode(keep=False))
        return repictured(part, maps.detach())

    few = train.subset(torch.arange(800, 1000))
    used = computed(test)

    def begin() -> Model:
        head = Sequential(flatten=Flatten(), dense=Dense(32), relu=ReLU(), scores=Dense(10))
        return Model(head, optimizer=Adam(3e-3), seed=seed, input_shape=tuple(used.x.shape[1:]), classes=few.classes)

    sound = Fit(begin, computed(few), computed(validation), scores.accuracy(used), 20, 10)
    shuffled = computed(few, torch.randperm(len(few), generator=drawn(seed)))
    return Pair(sound.but(train=shuffled), sound, ACCURACY)


def norm_weights_exchanged(seed: int) -> Pair:
    """Read the four tensors of each normalisation from the last to the first."""
    layers = features(ReLU())

    def load(model: Model, old: Model) -> None:
        plain(model, old)
        for path, tensor in model.weights.items():
            parent, _, name = path.rpartition(".")
            if parent.startswith("features.") and parent.endswith("norm"):
                stored = NORM_NAMES[len(NORM_NAMES) - 1 - NORM_NAMES.index(name)]
                tensor.copy_(old.weights[f"{parent}.{stored}"])

    return Pair(tuned(seed, layers, layers, load), tuned(seed, layers, layers), ACCURACY)


def layers_exchanged(seed: int) -> Pair:
    """Load the layers after the first one in the opposite order."""
    count = 6
    layers = features(ReLU(), count)

    def load(model: Model, old: Model) -> None:
        plain(model, old)
        for k in range(1, count):
            stage, other = f"features.stage{k}.", f"features.stage{count - k}."
            for path, tensor in model.weights.items():
                if path.startswith(stage):
                    tensor.copy_(old.weights[other + path.removeprefix(stage)])

    return Pair(tuned(seed, layers, layers, load), tuned(seed, layers, layers), ACCURACY)


def much_smaller_images(seed: int) -> Pair:
    """Use features of digits of 24 x 24 for digits of 8 x 8."""
    train, validation, test = digits(seed)

    def large(part: Dataset) -> Dataset:
        x = interpolate(part.x.float(), scale_factor=3.0, mode="bilinear", align_corners=False)
        return repictured(part, x.round().to(torch.uint8))

    def new() -> Model:
        return Model(pooled(10), optimizer=Adam(3e-3), seed=seed, input_shape=(1, None, None), classes=train.classes)

    def begin() -> Model:
        old, model = new(), new()
        old.fit(large(train.subset(torch.arange(800))), epochs=4, batch_size=32, verbose=False)
        copied(model, old, "features.")
        model.freeze("features.*")
        return model

    def fit(change: Callable[[Dataset], Dataset]) -> Fit:
        few, held, used = map(change, (train.subset(torch.arange(800, 1000)), validation, test))
        return Fit(begin, few, held, scores.accuracy(used), 20, 10)

    return Pair(fit(lambda part: part), fit(large), ACCURACY)


CASES: dict[str, Case] = {
    "cls-batch-statistics-in-use": batch_statistics_in_use,
    "cls-adam-epsilon": adam_epsilon,
    "reg-inputs-not-scaled": inputs_not_scaled,
    "det-threshold-of-display": threshold_of_display,
    "seg-rate-ends-early": rate_ends_early,
    "kpt-expectation-of-probabilities": expectation_of_probabilities,
    "kpt-plateau-of-accuracy": plateau_of_accuracy,
    "kpt-convolutions-unpadded": convolutions_unpadded,
    "trl-brightness-normalised-away": brightness_normalised_away,
    "trl-no-distance": no_distance,
    "gen-some-inverted": some_inverted,
    "gen-vae-logits-as-images": vae_logits_as_images,
    "gen-optimizer-of-other-network": optimizer_of_other_network,
    "trf-features-in-other-order": features_in_other_order,
    "trf-norm-weights-exchanged": norm_weights_exchanged,
    "trf-layers-exchanged": layers_exchanged,
    "trf-much-smaller-images": much_smaller_images,
}
