"""Suspects: possible causes of a failing training, each with the same training without that cause."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Suspect
from pellucid.doctor.suspects import architecture, parts, settings

__all__ = ["Suspect", "suspects"]

SETTINGS = ("unnormalised-inputs", "batch-norm", "update-ratio")  # checks whose remedies change a single setting
SuspectSource = Callable[[Case], Iterator[Suspect]]
PARTICULAR: tuple[SuspectSource, ...] = (
    parts.coupled_loss, parts.modes, parts.targets, parts.pretrained_scale,
    settings.regularizers, settings.frozen, settings.rates, settings.clip, settings.augment, settings.loss_options,
    settings.precision, settings.optimizer, settings.schedule, settings.tiny_batches, settings.dropout,
    architecture.linear, parts.initialization, architecture.reduced, settings.loss,
)  # fmt: skip
GENERAL: tuple[SuspectSource, ...] = (
    settings.rate, settings.large_batches, settings.epochs, architecture.size, architecture.depth,
)  # fmt: skip


def suspects(case: Case, findings: Sequence[Finding] = ()) -> list[Suspect]:
    """Return the possible causes of a failing training: particular settings before general ones.

    findings: findings of checks, whose remedies are suspects too.
    """
    particular = [candidate for source in PARTICULAR for candidate in source(case)]
    general = [replace(candidate, general=True) for source in GENERAL for candidate in source(case)]
    return [*particular, *(Suspect(finding, finding.check not in SETTINGS) for finding in findings), *general]
