"""A discriminator and its generator, by what they might have measured."""

from dataclasses import replace

import pytest

from pellucid.doctor.checks.discriminator import CHECK, dominance_evidence
from pellucid.run.history import History
from tests.doctor.examined import case

BALANCED = [1.3] * 30  # near 2 ln 2, where neither is ahead


def history(discriminator: list[float], generator: list[float]) -> History:
    pairs = zip(discriminator, generator, strict=True)
    names = ("epoch", "train_discriminator_loss", "train_generator_loss")
    return History([dict(zip(names, (k, *pair), strict=True)) for k, pair in enumerate(pairs, 1)])


def test_a_win_after_five_epochs_is_found() -> None:
    losses = [1.2] * 5 + [0.03] * 25, [1.0] * 5 + [5.0] * 25
    (found,) = CHECK.look(replace(case(), history=history(*losses)))
    assert (found.check, found.path) == ("discriminator", "training")
    assert found.evidence["certain_since_epoch"] == 6
    assert found.evidence["discriminator_loss"] == 0.03
    assert found.evidence["generator_loss"] == 5.0


@pytest.mark.parametrize(
    ("discriminator", "generator"),
    [
        (BALANCED, [0.8] * 30),
        ([0.03] * 8 + [1.2] * 22, [5.0] * 8 + [1.0] * 22),  # a lead at first that passes
        ([0.03] * 30, [6 - 0.15 * k for k in range(30)]),  # the generator is catching up
        ([0.03] * 6, [5.0] * 6),  # too few epochs to tell
    ],
)
def test_what_is_normal_is_quiet(discriminator: list[float], generator: list[float]) -> None:
    assert dominance_evidence(discriminator, generator) is None
    assert not CHECK.look(replace(case(), history=history(discriminator, generator)))


def test_other_histories_are_quiet() -> None:
    assert not CHECK.look(case(epochs=2))
    assert not CHECK.look(case())
