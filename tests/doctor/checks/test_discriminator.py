"""Dominance of a discriminator over its generator, in hand-written histories of losses."""

from dataclasses import replace

import pytest

from pellucid.doctor.checks.discriminator import CHECK, dominance_evidence
from pellucid.run.history import History
from tests.doctor.small_cases import make_case

BALANCED_LOSSES = [1.3] * 30  # near 2 ln 2, at which neither network dominates


def history(discriminator: list[float], generator: list[float]) -> History:
    pairs = zip(discriminator, generator, strict=True)
    names = ("epoch", "train_discriminator_loss", "train_generator_loss")
    return History([dict(zip(names, (k, *pair), strict=True)) for k, pair in enumerate(pairs, 1)])


def test_dominance_after_five_epochs_is_found() -> None:
    losses = [1.2] * 5 + [0.03] * 25, [1.0] * 5 + [5.0] * 25
    (finding,) = CHECK.find(replace(make_case(), history=history(*losses)))
    assert (finding.check, finding.path) == ("discriminator", "training")
    assert finding.evidence["certain_since_epoch"] == 6
    assert finding.evidence["discriminator_loss"] == 0.03
    assert finding.evidence["generator_loss"] == 5.0


@pytest.mark.parametrize(
    ("discriminator", "generator"),
    [
        (BALANCED_LOSSES, [0.8] * 30),
        ([0.03] * 8 + [1.2] * 22, [5.0] * 8 + [1.0] * 22),  # the dominance ends
        ([0.03] * 30, [6 - 0.15 * k for k in range(30)]),  # the generator's loss falls
        ([0.03] * 6, [5.0] * 6),  # too few epochs
    ],
)
def test_usual_losses_have_no_finding(discriminator: list[float], generator: list[float]) -> None:
    assert dominance_evidence(discriminator, generator) is None
    assert not CHECK.find(replace(make_case(), history=history(discriminator, generator)))


def test_histories_without_a_discriminator_have_no_finding() -> None:
    assert not CHECK.find(make_case(epochs=2))
    assert not CHECK.find(make_case())
