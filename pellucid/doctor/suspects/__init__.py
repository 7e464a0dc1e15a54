"""Suspects: possible causes of a failing training, each with a remedy that an experiment can test."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pellucid.doctor.case import Case, has_flat_targets
from pellucid.doctor.finding import UNREACHABLE, Finding, Suspect
from pellucid.doctor.suspects import class_weights, layers, losses, objectives, pretrained, settings, targets
from pellucid.doctor.training_case import TrainingCase, optional_fields
from pellucid.objective import Supervised

__all__ = ["Suspect", "suspects"]

INPUT_SCALE_CHECK = "unnormalised-inputs"  # whose remedy is tried first: lower rates only make up for large inputs
OVERFITTING = "overfitting"  # whose remedy is tried at full length, and after all that may be its cause
SuspectSource = Callable[[Case], Iterator[Suspect]]
TaskSuspectSource = Callable[[TrainingCase], Iterator[Suspect]]
PARTICULAR_SOURCES: tuple[SuspectSource, ...] = (
    losses.coupled_loss_suspects, targets.box_suspects, targets.target_suspects,
    pretrained.pretrained_suspects, settings.regularizer_suspects, pretrained.frozen_suspects,
    settings.augment_suspects, losses.ignored_class_suspects, class_weights.inverted_weight_suspects,
    class_weights.loss_option_suspects,
    class_weights.class_balance_suspects, settings.clipping_suspects, settings.optimizer_suspects,
    settings.schedule_suspects, settings.tiny_batch_suspects, settings.dropout_suspects, layers.linear_suspects,
    layers.detach_suspects, layers.reshape_suspects, layers.padding_suspects, layers.activation_suspects,
    objectives.ending_suspects,
    layers.layer_suspects, losses.own_optimizer_suspects, losses.own_loss_suspects, layers.initialization_suspects,
    losses.loss_suspects,
    layers.layer_option_suspects, layers.narrow_suspects,
)  # fmt: skip
# The sources that also work for a Case of one network and one loss with other targets, such as masks.
SUPERVISED_SOURCES: tuple[SuspectSource, ...] = (
    losses.coupled_loss_suspects, settings.regularizer_suspects, layers.linear_suspects,
    layers.detach_suspects, layers.reshape_suspects, layers.initialization_suspects,
)  # fmt: skip
# The sources that read only the settings, the networks and the data, and so work for a case of any task.
ANY_TASK_SOURCES: tuple[TaskSuspectSource, ...] = (
    pretrained.frozen_suspects, settings.augment_suspects, settings.dropout_suspects,
    objectives.image_range_suspects, objectives.own_objective_suspects, objectives.ending_suspects,
    objectives.stride_suspects, losses.ignored_class_suspects, class_weights.inverted_weight_suspects,
    class_weights.loss_option_suspects,
    losses.default_option_suspects, class_weights.class_balance_suspects, objectives.loss_weight_suspects,
    objectives.network_rate_suspects, settings.clipping_suspects,
    settings.optimizer_suspects, settings.schedule_suspects, layers.layer_suspects, losses.own_optimizer_suspects,
    losses.own_loss_suspects, layers.layer_option_suspects,
    partial(settings.tiny_batch_suspects, usual_size=16),
)  # fmt: skip


def suspects(case: TrainingCase, findings: Sequence[Finding] = ()) -> list[Suspect]:
    """Return the possible causes of a failing training of any task: particular settings before general ones.

    findings: of the checks; those with remedies are suspects too, faults and unusual inputs as the first. General
    learning rates are last; for a training that stopped with an error, they follow the first, unless its targets are
    classes or vectors.
    """
    rates = [*settings.rate_suspects(case)]
    particular = [rate for rate in rates if rate.unusual]
    general = [rate for rate in rates if not rate.unusual]
    if has_flat_targets(case):
        particular += [candidate for source in PARTICULAR_SOURCES for candidate in source(case)]
    else:
        if isinstance(case, Case) and isinstance(case.model.objective, Supervised):
            particular += [candidate for source in SUPERVISED_SOURCES for candidate in source(case)]
        particular += [candidate for source in ANY_TASK_SOURCES for candidate in source(case)]
    first, symptoms = found_suspects(findings)
    first_keys = {one.remedy.key for one in first}
    usual = [*(one for one in particular if one.remedy.key not in first_keys), *symptoms]
    is_stopped = optional_fields(case).stopped and not has_flat_targets(case)
    return [*first, *general, *usual] if is_stopped else [*first, *usual, *general]


def found_suspects(findings: Sequence[Finding]) -> tuple[list[Suspect], list[Suspect]]:
    """Return the findings with remedies as suspects: the faults with unusual inputs, and the other symptoms."""
    with_remedy = [finding for finding in findings if finding.remedy is not None]
    tried_first = [Suspect(finding, unusual=finding.kind == UNREACHABLE) for finding in with_remedy if finding.is_fault]
    tried_first += [
        Suspect(finding, unusual=True)
        for finding in with_remedy
        if not finding.is_fault and finding.check == INPUT_SCALE_CHECK
    ]
    others = [finding for finding in with_remedy if not finding.is_fault and finding.check != INPUT_SCALE_CHECK]
    return tried_first, [Suspect(finding, general=True, unusual=finding.check == OVERFITTING) for finding in others]
