"""A training of a WGAN-GP with averaged weights, which tests interrupt: see tests/training/killed.py."""

from pellucid import Adam, Model
from tests.generators.small import wgan_gp
from tests.training.small import digits


def train(run, callbacks=()):
    """Train in a run folder, resuming from its last checkpoint; return the hash of both networks' weights."""
    optimizers = {"generator": Adam(0.001, beta1=0.5), "critic": Adam(0.002, beta1=0.5)}
    model = Model(wgan_gp(), optimizer=optimizers, average=0.9)
    model.fit(
        digits(0, 60), epochs=6, batch_size=15, validation=digits(60, 80), callbacks=callbacks,
        run=run, resume=True, checkpoint_seconds=0.0, verbose=False,
    )  # fmt: skip
    return model.sha256()
