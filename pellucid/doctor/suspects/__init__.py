"""What may be the cause of a training that fails: each suspect, with the same training without it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding
from pellucid.doctor.suspects import data, network, own, settings
from pellucid.doctor.suspects.suspect import Suspect

__all__ = ["Suspect", "suspects"]

SETTINGS = ("unnormalised-inputs", "batch-norm", "update-ratio")  # checks whose remedies change one particular thing
Ask = Callable[[Case], Iterator[Suspect]]
PARTICULAR: tuple[Ask, ...] = (
    own.coupled_loss, own.modes, data.targets, data.pretrained_scale,
    settings.regularizers, settings.frozen, settings.rates, settings.clip, settings.augment, settings.loss_options,
    settings.precision, settings.optimizer, settings.schedule, settings.tiny_batches, settings.dropout,
    network.linear, network.initialization, network.reduced, settings.loss,
)  # fmt: skip
GENERAL: tuple[Ask, ...] = (
    settings.rate, settings.large_batches, settings.epochs, network.size, network.depth,
)  # fmt: skip


def suspects(case: Case, found: Sequence[Finding] = ()) -> list[Suspect]:
    """Return every setting of the training that could be its fault: particular ones before general ones.

    found: findings of checks, whose remedies are suspects too.
    """
    particular = [one for ask in PARTICULAR for one in ask(case)]
    general = [replace(one, general=True) for ask in GENERAL for one in ask(case)]
    return [*particular, *(Suspect(one, one.check not in SETTINGS) for one in found), *general]
