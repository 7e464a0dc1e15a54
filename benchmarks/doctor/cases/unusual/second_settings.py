"""Mistakes of the second list in networks, losses, optimizers and pretrained weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.doctor import scores
from benchmarks.doctor.cases.unusual.data import (
    CLASSES,
    POINTS,
    Parts,
    arrays,
    digits,
    numbers,
    repictured,
    sided,
    streets,
)
from benchmarks.doctor.cases.unusual.sound import (
    IGNORE,
    block,
    detector,
    digit_net,
    generator,
    pointer,
    regressor,
    segmenter,
    small_detector,
    small_vae,
    small_wgan,
)
from benchmarks.doctor.cases.unusual.transferred import NEW_CLASSES, few_new_digits, only, scaled, transfer
from benchmarks.doctor.fit import Case, Fit, Pair
from pellucid import AdamW, Model
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.data.source import Batch
from pellucid.generators import VAE, WGANGP
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sigmoid, Softmax
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import BinaryCrossEntropy, HeatMaps, SoftmaxCrossEntropy
from pellucid.nested import map_tree
from pellucid.objective import Gradients
from pellucid.optim import Adam
from pellucid.sweep import backward

ACCURACY, PRECISION, LIKENESS = "accuracy", "average precision", "likeness"


def softmax_of_one(seed: int) -> Pair:
    """Put a softmax behind the only output of a network for two classes."""
    parts = Parts(*(arrays(part.x, part.y[:, None].float()) for part in sided(seed)))

    def accuracy(model: Model) -> float:
        return float(((model.predict(parts.test.x) > 0.5) == (parts.test.y > 0.5)).float().mean())

    def fit(*last: Layer) -> Fit:
        def begin() -> Model:
            return Model(digit_net(1, *last), BinaryCrossEntropy(), Adam(3e-3), seed=seed, input_shape=(1, 8, 8))

        return Fit(begin, parts.train, parts.validation, scores.finite(accuracy), 6, 32)

    return Pair(fit(Softmax()), fit(), ACCURACY)


def sigmoid_layers(seed: int) -> Pair:
    """End four hidden layers in sigmoids."""

    def net(last: Callable[[], Layer]) -> Sequential:
        hidden = {f"hidden{k}": Sequential(dense=Dense(64), act=last()) for k in range(4)}
        return Sequential(**hidden, out=Dense(1))

    parts = numbers(seed)
    wrong, _ = regressor(seed, parts, net(Sigmoid))
    sound, _ = regressor(seed, parts, net(ReLU))
    return Pair(wrong, sound, "explained variance")


def rate_of_fine_tuning(seed: int) -> Pair:
    """Train a detector from scratch with the rate for a pretrained one."""
    wrong, _ = detector(seed, optimizer=AdamW(1e-5))
    sound, _ = detector(seed)
    return Pair(wrong, sound, PRECISION)


def box_loss_tiny(seed: int) -> Pair:
    """Divide the loss of the boxes by a large number."""
    sound, _ = detector(seed)
    wrong, _ = detector(seed, replace(small_detector(), weights={"box": 2e-3}))
    return Pair(wrong, sound, PRECISION)


def weight_too_large(seed: int) -> Pair:
    """Weight one pixel in a hundred a thousand times as much as the others."""
    walker, names = CLASSES.index("pedestrian"), ("rest", "pedestrian")
    parts = Parts(*(arrays(part.x, (part.y == walker).long(), names) for part in streets(seed)))
    wrong, _ = segmenter(seed, parts, SoftmaxCrossEntropy(ignore=IGNORE, class_weights=(0.002, 1.998)), 2)
    sound, _ = segmenter(seed, parts, SoftmaxCrossEntropy(ignore=IGNORE, class_weights=(0.4, 1.6)), 2)
    return Pair(wrong, sound, "mean IoU")


def map_positions_not_scaled(seed: int) -> Pair:
    """Take positions in the image for positions on the heat maps."""

    def net() -> Sequential:
        layers = {f"stage{k}": Sequential(**block(32, 2 if k < 2 else 1)) for k in range(5)}
        return Sequential(**layers, out=Conv2d(len(POINTS), 1))

    wrong, _ = pointer(seed, net(), HeatMaps(stride=1, decode="quarter"))
    sound, _ = pointer(seed, net(), HeatMaps(stride=4, decode="quarter"))
    return Pair(wrong, sound, "nearness")


def vae_kl_mean(seed: int) -> Pair:
    """Average the divergence over the latent values, and multiply it by 0.1."""
    wrong, _ = generator(seed, small_vae(weights={"kl": 0.1 / 8}), Adam(2e-3))
    sound, _ = generator(seed, small_vae(), Adam(2e-3))
    return Pair(wrong, sound, LIKENESS)


@dataclass(frozen=True)
class HandMadeVAE(VAE):
    """A VAE written by hand, which multiplies the noise by the variance."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return the two losses and the gradients of both networks."""
        images, count = batch.images, len(batch.images)
        y, encoder_cache = self.encoder.forward(params["encoder"], images, mode)
        mean, log_variance = y.chunk(2, 1)
        variance = log_variance.exp()
        noise = self.latents(count, mode.rng, images)
        logits, decoder_cache = self.generator.forward(params["generator"], mean + variance * noise, mode)
        reconstruction, dlogits = BinaryCrossEntropy(reduction="batch")(logits, images)
        kl = (mean**2 + variance - 1 - log_variance).sum() / (2 * count)
        dz, dgenerator = backward(self.generator, params["generator"], decoder_cache, dlogits, consume=True)
        dlog_variance = dz * noise * variance + (variance - 1) / (2 * count)
        dy = torch.cat([dz + mean / count, dlog_variance], 1)
        _, dencoder = backward(self.encoder, params["encoder"], encoder_cache, dy, consume=True)
        return {"reconstruction": reconstruction, "kl": kl}, {"generator": dgenerator, "encoder": dencoder}


def vae_variance_as_deviation(seed: int) -> Pair:
    """Multiply the noise by the variance."""
    right = small_vae()
    wrong, _ = generator(seed, HandMadeVAE(right.generator, right.latent, right.encoder), Adam(2e-3))
    sound, _ = generator(seed, right, Adam(2e-3))
    return Pair(wrong, sound, LIKENESS)


@dataclass(frozen=True)
class WrongSign(WGANGP):
    """A Wasserstein GAN with the wrong sign of the generator's loss."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        """Yield the critic's losses and gradients, then the generator's with the wrong sign."""
        for losses, grads in super().gradients(params, batch, mode):
            if "generator" in losses:
                yield {"generator": -losses["generator"]}, map_tree(lambda gradient: -gradient, grads)
            else:
                yield losses, grads


def critic_unconstrained(seed: int) -> Pair:
    """Leave the gradient penalty out."""
    right, optimizer = small_wgan(), Adam(5e-3)
    wrong, _ = generator(seed, replace(right, penalty=0.0), optimizer, 20)
    sound, _ = generator(seed, right, optimizer, 20)
    return Pair(wrong, sound, LIKENESS)


def generator_sign(seed: int) -> Pair:
    """Turn the sign of the generator's loss."""
    right, optimizer = small_wgan(), Adam(2e-3, beta1=0.0, beta2=0.9)
    turned = WrongSign(right.generator, right.latent, right.critic, critic_steps=right.critic_steps)
    wrong, _ = generator(seed, turned, optimizer, 20)
    sound, _ = generator(seed, right, optimizer, 20)
    return Pair(wrong, sound, LIKENESS)


def copied(model: Model, old: Model, prefix: str, but: tuple[str, ...] = ()) -> None:
    """Copy the weights whose names begin with `prefix` and do not end with one of `but`."""
    for path, tensor in model.weights.items():
        if path.startswith(prefix) and not path.endswith(but):
            tensor.copy_(old.weights[path])


def trained_on_old(seed: int, net: Sequential) -> Model:
    """Return a classifier of the digits 0 to 4."""
    train = only(digits(seed).train, 0, 5)
    model = Model(net, optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8), classes=train.classes)
    model.fit(train, epochs=8, batch_size=32, verbose=False)
    return model


def narrow() -> Sequential:
    """Return a network with few, deep features and a linear head."""
    maps = {f"stage{k}": Sequential(**block(width, 1 + k // 2)) for k, width in enumerate((16, 16, 16, 8))}
    return Sequential(features=Sequential(**maps), head=Sequential(flatten=Flatten(), scores=Dense(5)))


def running_statistics_lost(seed: int) -> Pair:
    """Load the parameters of pretrained layers without their running statistics."""

    def raw(part: Dataset) -> Dataset:
        return scaled(part, 255.0, 0.0)  # the first normalisation scales the pixels

    def net() -> Sequential:
        maps = {f"stage{k}": Sequential(**block(16, 1 + (k == 2))) for k in range(4)}
        return Sequential(features=Sequential(**maps), head=Sequential(flatten=Flatten(), scores=Dense(5)))

    def begin(but: tuple[str, ...]) -> Model:
        old = Model(net(), optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8), classes=5)
        old.fit(raw(only(digits(seed).train, 0, 5)), epochs=8, batch_size=32, verbose=False)
        model = Model(net(), optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8), classes=NEW_CLASSES)
        copied(model, old, "features.", but)
        model.freeze("features.*")
        return model

    train, validation, test = map(raw, few_new_digits(seed))
    sound = Fit(lambda: begin(()), train, validation, scores.accuracy(test), 10, 10)
    return Pair(sound.but(begin=lambda: begin(("running_mean", "running_var"))), sound, ACCURACY)


def logits_as_features(seed: int) -> Pair:
    """Put the new head on the scores of the old classes."""
    usual, _ = transfer(seed)

    def layers() -> dict[str, Layer]:
        maps = {"one": Sequential(**block(16)), "two": Sequential(**block(32)), "pool": MaxPool2d(2)}
        return {**maps, "flatten": Flatten(), "dense": Dense(32), "relu": ReLU(), "scores": Dense(5)}

    def begin(names: tuple[str, ...]) -> Model:
        old = trained_on_old(seed, Sequential(features=Sequential(**layers())))
        kept = {name: layer for name, layer in layers().items() if name in names}
        model = Model(Sequential(features=Sequential(**kept), head=Sequential(scores=Dense(5))), optimizer=Adam(1e-2),
                      seed=seed, input_shape=(1, 8, 8), classes=NEW_CLASSES)  # fmt: skip
        copied(model, old, "features.")
        model.freeze("features.*")
        return model

    every = tuple(layers())
    return Pair(usual.but(begin=lambda: begin(every)), usual.but(begin=lambda: begin(every[:4])), ACCURACY)


def frozen_for_unlike_pictures(seed: int) -> Pair:
    """Keep features of bright strokes for pictures of dark, noisy strokes."""
    noise = torch.Generator().manual_seed(seed)

    def unlike(part: Any) -> Any:
        darkness = 255 - part.x.float() + 40 * torch.randn(part.x.shape, generator=noise)
        return repictured(part, darkness.clamp(0, 255).round().to(torch.uint8))

    train, validation, test = map(unlike, few_new_digits(seed))

    def begin(frozen: bool) -> Model:
        old = trained_on_old(seed, narrow())
        model = Model(narrow(), optimizer=Adam(3e-3), seed=seed, input_shape=(1, 8, 8), classes=NEW_CLASSES)
        copied(model, old, "features.")
        if frozen:
            model.freeze("features.*")
        return model

    sound = Fit(lambda: begin(False), train, validation, scores.accuracy(test), 40, 10)
    return Pair(sound.but(begin=lambda: begin(True)), sound, ACCURACY)


CASES: dict[str, Case] = {
    "cls-softmax-of-one": softmax_of_one,
    "reg-sigmoid-layers": sigmoid_layers,
    "det-rate-of-fine-tuning": rate_of_fine_tuning,
    "det-box-loss-tiny": box_loss_tiny,
    "seg-weight-too-large": weight_too_large,
    "kpt-map-positions-not-scaled": map_positions_not_scaled,
    "gen-vae-kl-mean": vae_kl_mean,
    "gen-vae-variance-as-deviation": vae_variance_as_deviation,
    "gen-critic-unconstrained": critic_unconstrained,
    "gen-generator-sign": generator_sign,
    "trf-running-statistics-lost": running_statistics_lost,
    "trf-logits-as-features": logits_as_features,
    "trf-frozen-for-unlike-pictures": frozen_for_unlike_pictures,
}
