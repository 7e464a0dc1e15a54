"""User-defined objectives of two networks, written as in docs/your-own-parts.md."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

import pellucid
from pellucid import Adam, Dense, Flatten, Layer, LeakyReLU, Mode, Model, Momentum, Objective, Reshape, Sequential
from pellucid.constant import constant
from pellucid.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from tests.training.small import digits


@dataclass(frozen=True)
class Distill(Objective):
    """Distillation: a student learns from classes and from a teacher, which is trained, too; a sum of three losses."""

    student: Layer
    teacher: Layer

    def gradients(self, params, batch, mode):
        loss = SoftmaxCrossEntropy()
        y, cache = self.student.forward(params["student"], batch.images, mode)
        teacher_logits, teacher_cache = self.teacher.forward(params["teacher"], batch.images, mode)
        hard, dy = loss(y, batch.targets)
        soft, dy_soft = loss(y, constant(teacher_logits.softmax(1)))
        teacher_loss, dteacher_logits = loss(teacher_logits, batch.targets)
        dy = self.weight("hard") * dy + self.weight("soft") * dy_soft
        _, dstudent = self.student.backward(params["student"], cache, dy)
        _, dteacher = self.teacher.backward(params["teacher"], teacher_cache, self.weight("teacher") * dteacher_logits)
        return {"hard": hard, "soft": soft, "teacher": teacher_loss}, {"student": dstudent, "teacher": dteacher}

    def predict(self, params, images):
        return self.student.forward(params["student"], images, Mode())[0].softmax(1)


@dataclass(frozen=True)
class GAN(Objective):
    """A GAN: generator and discriminator are trained in turns."""

    generator: Layer
    discriminator: Layer
    latent: int = 4

    def init(self, shape, rng):
        generator, _ = self.generator.init((self.latent,), rng)
        discriminator, out = self.discriminator.init(shape, rng)
        return {"generator": generator, "discriminator": discriminator}, out

    def gradients(self, params, batch, mode):
        loss, images, n = BinaryCrossEntropy(), batch.images, len(batch.images)
        z = torch.randn(n, self.latent, generator=mode.rng, device=mode.rng.device, dtype=images.dtype)
        fakes, generator_cache = self.generator.forward(params["generator"], z, mode)
        real_and_fake, truth = torch.cat([images, fakes]), torch.cat([images.new_ones(n, 1), images.new_zeros(n, 1)])
        y, cache = self.discriminator.forward(params["discriminator"], real_and_fake, mode)
        value, dy = loss(y, truth)
        _, dparams = self.discriminator.backward(params["discriminator"], cache, dy)
        yield {"discriminator": value}, {"discriminator": dparams}
        y, cache = self.discriminator.forward(params["discriminator"], fakes, mode)  # after its update
        value, dy = loss(y, truth[:n])
        dfakes, _ = self.discriminator.backward(params["discriminator"], cache, dy)
        yield (
            {"generator": value},
            {"generator": self.generator.backward(params["generator"], generator_cache, dfakes)[1]},
        )

    def predict(self, params, images):
        return self.discriminator.forward(params["discriminator"], images, Mode())[0].sigmoid()


def distill(weights: Mapping[str, float] | None = None) -> Distill:
    student = Sequential(flatten=Flatten(), scores=Dense(10))
    teacher = Sequential(flatten=Flatten(), hidden=Dense(16), act=LeakyReLU(), scores=Dense(10))
    return Distill(student, teacher, weights=weights or {})


def gan() -> GAN:
    generator = Sequential(hidden=Dense(16), act=LeakyReLU(), pixels=Dense(64), image=Reshape((1, 8, 8)))
    discriminator = Sequential(flatten=Flatten(), hidden=Dense(16), act=LeakyReLU(), score=Dense(1))
    return GAN(generator, discriminator)


def gan_model(**options) -> Model:
    return Model(gan(), optimizer={"generator": Adam(0.01), "discriminator": Momentum(0.05)}, **options)


def train(run, extra=()):
    """Train the GAN in a run folder, resuming from its last checkpoint; return the hash of both networks."""
    pellucid.register(GAN)
    model = gan_model()
    model.fit(
        digits(), epochs=6, batch_size=20, validation=digits(300, 350), callbacks=extra,
        run=run, resume=True, checkpoint_seconds=0.0, verbose=False,
    )  # fmt: skip
    return model.sha256()
