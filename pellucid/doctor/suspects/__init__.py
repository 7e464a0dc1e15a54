"""Suspects: whatever may be the cause of a failing training, each with the same training without it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Suspect
from pellucid.doctor.suspects import parts, settings

__all__ = ["Suspect", "suspects"]

SETTINGS = ("unnormalised-inputs", "batch-norm", "update-ratio")  # checks whose remedies change one particular thing
Ask = Callable[[Case], Iterator[Suspect]]
PARTICULAR: tuple[Ask, ...] = (
    parts.coupled_loss, parts.modes, parts.targets, parts.pretrained_scale,
    settings.regularizers, settings.frozen, settings.rates, settings.clip, settings.augment, settings.loss_options,
    settings.precision, settings.optimizer, settings.schedule, settings.tiny_batches, settings.dropout,
    parts.linear, parts.initialization, parts.reduced, settings.loss,
)  # fmt: skip
GENERAL: tuple[Ask, ...] = (
    settings.rate, settings.large_batches, settings.epochs, parts.size, parts.depth,
)  # fmt: skip


def suspects(case: Case, found: Sequence[Finding] = ()) -> list[Suspect]:
    """Return everything that may be why the training fails: particular settings before general ones.

    found: findings of checks, whose remedies are suspects too.
    """
    particular = [one for ask in PARTICULAR for one in ask(case)]
    general = [replace(one, general=True) for ask in GENERAL for one in ask(case)]
    return [*particular, *(Suspect(one, one.check not in SETTINGS) for one in found), *general]
