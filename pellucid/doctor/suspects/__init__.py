"""Suspects: possible causes of a failing training, each with the same training without that cause."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Finding, Suspect
from pellucid.doctor.suspects import architecture, objectives, parts, settings

__all__ = ["Suspect", "replaced_parts", "suspects"]

SETTINGS = ("unnormalised-inputs", "batch-norm", "update-ratio")  # checks whose remedies change a single setting
SuspectSource = Callable[[Case], Iterator[Suspect]]
PARTICULAR: tuple[SuspectSource, ...] = (
    parts.coupled_loss, parts.modes, parts.targets, parts.angles, parts.pretrained_scale,
    settings.regularizers, settings.frozen, settings.rates, settings.clip, settings.augment, settings.loss_options,
    settings.average, settings.precision, settings.optimizer, settings.schedule, settings.tiny_batches,
    settings.dropout, architecture.linear, parts.initialization, architecture.reduced, settings.loss,
)  # fmt: skip
GENERAL: tuple[SuspectSource, ...] = (
    settings.rate, settings.large_batches, settings.epochs, architecture.size, architecture.depth,
)  # fmt: skip
# Those that read nothing but the settings, the networks and the data of a case of any task:
OF_ANY_TASK: tuple[SuspectSource, ...] = (
    settings.frozen, settings.rates, settings.augment, objectives.image_range, objectives.own_objective,
    objectives.ending, settings.ignored_class, settings.loss_options, settings.loss_defaults, settings.class_balance,
    objectives.loss_weights, objectives.network_rates, settings.average, settings.clip, settings.precision,
    settings.optimizer, settings.schedule, partial(settings.tiny_batches, few=16, usual=16), objectives.batch_norms,
    settings.rate,
)  # fmt: skip


def replaced_parts(case: Any) -> list[Suspect]:
    """Return a suspect for each part of a training, of any task, that can be replaced by a plain default.

    case: see `experiments.with_causes`. Learning rates, which are general, are last.
    """
    return [replace(one, general=source is settings.rate) for source in OF_ANY_TASK for one in source(case)]


def suspects(case: Case, findings: Sequence[Finding] = ()) -> list[Suspect]:
    """Return the possible causes of a failing training: particular settings before general ones.

    findings: findings of checks, whose remedies are suspects too.
    """
    particular = [candidate for source in PARTICULAR for candidate in source(case)]
    general = [replace(candidate, general=True) for source in GENERAL for candidate in source(case)]
    return [*particular, *(Suspect(finding, finding.check not in SETTINGS) for finding in findings), *general]
