"""Suspects in the settings of a training, each with a remedy: the same training without the setting.

Remedies are tried for a few hundred steps if the training fails. The remedy of an unusual setting (`Suspect.unusual`)
is also tried if the training is only slightly worse than expected.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import map_layers, walk
from pellucid.data import Augment
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import leaves
from pellucid.doctor.redrawn import redrawn_suspects
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.training_case import TrainingCase
from pellucid.layers import BatchNorm, Dropout
from pellucid.operators import Attention
from pellucid.optim import Progress, Schedule
from pellucid.optim.schedules import Constant, Plan

DEFAULT_BATCH_SIZE = 32  # examples in a batch, in remedies
MIN_NORM_BATCH_SIZE = 8  # examples for batch normalization; statistics of fewer examples are noisy
NO_AUGMENTATION = {name: value for name, value in vars(Augment()).items() if name != "swaps"}  # swaps are no change
NO_MIRRORING: dict[str, Any] = {"flip": False, "vertical_flip": False}  # arguments of `Augment`
MAX_DROPOUT = 0.7  # dropout rate; higher ones are unusual
MAX_OPTION_RATIO = 5.0  # of an option of the optimizer to its default; a larger one is unusual
MIN_WEIGHT_GROWTH = 0.7  # `Case.weight_growth`; it is lower if a regularizer has shrunk the weights
MIN_SCHEDULE_STEPS = 25  # of a schedule that is examined
MAX_FACTOR = 1e9  # of the learning rate; larger factors of a schedule are counted as this
# The highest factor after the end of the training, relative to the one in it, from which the training ends too early.
MIN_LATER_RATIO, MAX_TIMES, MAX_LATER_STEPS = 3.0, 100.0, 200_000
LOW_RATE_FACTOR = 0.1  # of the highest rate; at lower rates, a network hardly learns
VANISHED_RATE_FACTOR = 0.01  # of the highest rate
MAX_EARLY_END = 1 / 3  # fraction of the steps; a rate that ends earlier leaves most of the training without effect
RATE_FACTORS = (0.1, 10.0, 0.01)  # of the learning rates that are tried
MAX_RATE_RATIO = 30.0  # of the learning rate and the usual one, or its inverse; above it, the usual one is tried first
HIGH_RATE_RATIO = 9.0  # of the learning rate and the usual one, from which lower ones are tried at full length
MIN_RATE = 1e-12  # lower learning rates, or negative ones, teach nothing
MAX_LOW_RATE_FRACTION = 0.6  # fraction of the steps whose rate is below LOW_RATE_FACTOR times the highest


def regularizer_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect for each regularizer."""
    penalties = case.model.regularizers
    for index, penalty in enumerate(penalties):
        yield suspect(
            "regularization-too-strong", "the regularizer keeps the weights too small to fit the data",
            "reduce it by powers of ten", f"no {type(penalty).__name__}",
            partial(rebuilt, regularizer=(*penalties[:index], *penalties[index + 1 :])),
            unusual=case.trained and case.weight_growth < MIN_WEIGHT_GROWTH, key=f"without-{type(penalty).__name__}",
            settings={"regularizer.name": "none"}, regularizer=str(penalty),
        )  # fmt: skip


def dropout_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if a network has dropout."""
    nets = case.model.objective.nets
    all_layers = (layer for net in nets.values() for _, layer in leaves(net))
    dropout_layers = [layer for layer in all_layers if isinstance(layer, Dropout | Attention)]
    if rate := max((layer.rate for layer in dropout_layers), default=0.0):
        changed_nets = {
            name: map_layers(
                net, lambda layer: replace(layer, rate=0.0) if isinstance(layer, Dropout | Attention) else layer
            )
            for name, net in nets.items()
        }
        yield suspect(
            "dropout-too-strong", "dropout removes so many values that the rest does not determine the output",
            "use a dropout rate of 0.2 to 0.5, or none", "no dropout",
            partial(rebuilt, keep_weights=True, nets=changed_nets),
            unusual=rate > MAX_DROPOUT, settings={"network.dropout": 0.0}, rate=rate,
        )  # fmt: skip


def augment_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for flipping, and one for the augmentation as a whole, or for that in the code of the data."""
    yield from redrawn_suspects(case)
    augmentation = case.augment
    if augmentation is None:
        return
    if isinstance(augmentation, Augment) and (augmentation.flip or augmentation.vertical_flip):
        yield suspect(
            "augmentation-destroys", "mirrored inputs belong to another class, or none: left and right, or up and "
            "down, matter here", "augment without mirroring", "no mirroring",
            lambda case: replace(rebuilt(case), augment=replace(augmentation, **NO_MIRRORING)),
            unusual=isinstance(case, Case) and case.classifies and _mirrored_images_differ(case, augmentation),
            key="no-mirroring", settings={f"augment.{name}": value for name, value in NO_MIRRORING.items()},
            flip=augmentation.flip, vertical_flip=augmentation.vertical_flip,
        )  # fmt: skip
    yield suspect(
        "augmentation-destroys",
        "the augmentation changes the training inputs so much that they no longer resemble those in evaluation",
        "look at some augmented inputs, reduce the changes, and leave out those that change the class",
        "no augmentation", lambda case: replace(rebuilt(case), augment=None), key="no-augmentation",
        settings={f"augment.{name}": value for name, value in NO_AUGMENTATION.items()},
        augmentation=getattr(augmentation, "__name__", type(augmentation).__name__),
    )  # fmt: skip


def _mirrored_images_differ(case: Case, augmentation: Augment) -> bool:
    """Return whether a simple classifier fitted to unchanged images has a low accuracy on mirrored images."""
    classifier = case.simple_classifier
    if classifier is None or case.train.x.dim() != 4:
        return False
    x, y = case.train.x[classifier.indices], classifier.y
    axes = [axis for axis, is_mirrored in ((3, augmentation.flip), (2, augmentation.vertical_flip)) if is_mirrored]
    return any(classifier.fails_on(x.flip(axis), y) for axis in axes)


def clipping_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if gradients are clipped."""
    if case.model.clip is not None:
        yield suspect(
            "clipping-too-tight", "gradients are clipped to a norm so small that the weights hardly move",
            "raise the norm to 1 or more, or raise the learning rate", "no clipping", partial(rebuilt, clip=None),
            settings={"train.clip": 0.0}, clip=case.model.clip,
        )  # fmt: skip


def optimizer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if hyperparameters of the optimizer, other than the learning rate, are not the defaults.

    If some are far above their defaults, it is those alone.
    """
    optimizer = case.model.optimizer
    defaults = {
        option.name: option.default for option in fields(optimizer)
        if option.name != "lr" and isinstance(option.default, int | float)
        and getattr(optimizer, option.name) != option.default
    }  # fmt: skip
    unusual = {
        name: value for name, value in defaults.items() if _is_unusual_option(name, getattr(optimizer, name), value)
    }
    defaults = unusual or defaults
    if defaults:
        has_high_momentum = any(
            getattr(optimizer, name) > defaults[name] for name in ("momentum", "beta1") if name in defaults
        )
        options = ", ".join(f"{name} = {getattr(optimizer, name):g}" for name in defaults)
        yield suspect(
            "momentum-too-high" if has_high_momentum else "optimizer-settings",
            "with this momentum, steps continue in the direction of old gradients and overshoot every minimum"
            if has_high_momentum else f"hyperparameters of the optimizer do not suit this training ({options})",
            f"use {', '.join(f'{name}={value:g}' for name, value in defaults.items())}",
            "the optimizer's default hyperparameters",
            lambda case: rebuilt(case, optimizer=replace(optimizer, **defaults)), unusual=bool(unusual),
            key="default-hyperparameters", settings={f"optimizer.{name}": value for name, value in defaults.items()},
            **{name: getattr(optimizer, name) for name in defaults},
        )  # fmt: skip
        if has_high_momentum and unusual:
            new_rate = float(f"{RATE_FACTORS[0] * optimizer.lr:.2g}")
            new_options = {**defaults, "lr": new_rate}
            yield suspect(
                "momentum-too-high", "this momentum and this learning rate together make each step too large",
                f"use {', '.join(f'{name}={value:g}' for name, value in new_options.items())}",
                f"the optimizer's default hyperparameters and a learning rate of {new_rate:.2g}",
                lambda case: rebuilt(case, optimizer=replace(optimizer, **new_options)), unusual=True,
                key="default-hyperparameters-and-lower-rate",
                settings={f"optimizer.{name}": value for name, value in new_options.items()},
                learning_rate=optimizer.lr, **{name: getattr(optimizer, name) for name in defaults},
            )  # fmt: skip


def _is_unusual_option(name: str, value: float, default: float) -> bool:
    """Return whether an option of the optimizer is far above its default; decays of averages are compared with 1."""
    if name.startswith(("beta", "momentum")):
        return 1 - value < (1 - default) / MAX_OPTION_RATIO
    return default > 0 and value > MAX_OPTION_RATIO * default


def schedule_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for a schedule that is not constant.

    One whose rate still rises at the end, or vanishes early, is a mistake whatever its effect; others may be better.
    """
    schedule = case.model.schedule
    if isinstance(schedule, Constant):
        return
    factors = rate_factors(case)
    steps = len(factors)
    later, times = _rest_of(schedule, steps, case.steps_per_epoch)
    if later > MIN_LATER_RATIO * float(factors.max()):
        yield suspect(
            "warmup-too-long", "the training ends while its schedule still raises the learning rate, as if the "
            "schedule were given more steps than the training has",
            f"give the schedule the number of steps that are made, {steps} (epochs times the batches of an epoch, not "
            "times the examples)", f"the same schedule, {times:.3g} times as fast",
            partial(rebuilt, schedule=Hastened(schedule, times)), unusual=True, key="faster-schedule", is_fault=True,
            highest_rate_later=later, highest_rate_in_training=float(factors.max()),
        )  # fmt: skip
        return
    low_fraction = float((factors < LOW_RATE_FACTOR * float(factors.max())).double().mean())
    rising_fraction = int(factors.argmax()) / steps
    is_early_decay = rising_fraction < 1 - rising_fraction
    yield suspect(
        "rate-decays-too-early" if is_early_decay else "warmup-too-long",
        "the schedule lowers the learning rate before the network has learned" if is_early_decay else
        "the warmup is so long that little of the training is left at a high learning rate",
        "let the rate fall later and less" if is_early_decay else "warm up over a few percent of the steps",
        "a constant learning rate", partial(rebuilt, schedule=Constant()), unusual=low_fraction > MAX_LOW_RATE_FRACTION,
        key="constant-rate", settings={"schedule.name": "constant"}, schedule=str(schedule),
        is_fault=end_of_rate(case) < MAX_EARLY_END,
        share_of_steps_below_a_tenth_of_the_highest_rate=low_fraction,
        share_of_steps_before_the_highest_rate=rising_fraction,
    )  # fmt: skip


def rate_factors(case: TrainingCase) -> Tensor:
    """Return the factors of the learning rate by the schedule of a case, for all steps that are planned."""
    schedule = case.model.schedule
    steps = max(case.steps_planned, MIN_SCHEDULE_STEPS)
    state = schedule.begin()
    progress = [Progress(step, steps, case.steps_per_epoch) for step in range(steps)]
    return torch.tensor([min(schedule.factor(one, state), MAX_FACTOR) for one in progress], dtype=torch.float64)


def end_of_rate(case: TrainingCase) -> float:
    """Return the fraction of the steps after which the rate stays below a hundredth of its highest value."""
    factors = rate_factors(case)
    is_high = factors >= VANISHED_RATE_FACTOR * factors.max()
    n_low_steps = int(is_high.flip(0).long().argmax())  # 0 without any high rate, as for NaN
    return 1 - n_low_steps / len(factors)


@dataclass(frozen=True)
class Hastened(Plan):
    """A schedule that passes `times` as fast."""

    schedule: Schedule
    times: float

    def at(self, now: Progress) -> float:
        """Return the factor that the schedule would have later."""
        return self.schedule.factor(replace(now, step=int(now.step * self.times)), self.schedule.begin())


def _rest_of(schedule: Schedule, steps: int, steps_per_epoch: int) -> tuple[float, float]:
    """Return the highest factor of a schedule after the last step, and how many times as long it was followed."""
    highest, times = 0.0, 2.0
    while times <= MAX_TIMES and times * steps <= MAX_LATER_STEPS:
        try:
            factor = schedule.factor(Progress(int(times * steps), steps, steps_per_epoch), schedule.begin())
        except (PellucidError, ArithmeticError, LookupError, ValueError):  # some refuse steps after their last one
            break
        highest, times = max(highest, float(min(factor, MAX_FACTOR))), 1.5 * times
    return highest, times / 1.5


def tiny_batch_suspects(case: TrainingCase, usual_size: int = DEFAULT_BATCH_SIZE) -> Iterator[Suspect]:
    """Yield a suspect for batch normalization over a few examples, with batches of `usual_size` as the remedy."""
    layers = (layer for net in case.model.objective.nets.values() for _, layer in walk(net))
    has_norm = any(isinstance(layer, BatchNorm) for layer in layers)
    if case.batch_size < MIN_NORM_BATCH_SIZE and len(case.train) > DEFAULT_BATCH_SIZE and has_norm:
        yield suspect(
            "batch-norm-tiny-batches",
            "batch normalization computes mean and variance from so few examples that they are noise, and evaluation "
            "uses other values",
            "use batches of 16 or more, or group or layer normalization", f"batches of {usual_size}",
            lambda case: replace(rebuilt(case), batch_size=usual_size), unusual=True,
            key=f"batch-size-{usual_size}", settings={"train.batch_size": usual_size}, batch_size=case.batch_size,
        )  # fmt: skip


def rate_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield suspects for the learning rate: the usual one of the optimizer if it is far away, lower and higher ones.

    A rate far from the usual one is unusual: with it, almost any other change seems to help, such as other targets.
    """
    optimizer = case.model.optimizer
    rate, usual_rate = optimizer.lr, optimizer.usual_lr
    rates = [factor * rate for factor in RATE_FACTORS] if rate > 0 else []
    if usual_rate == inf:
        rates.append(rate / RATE_FACTORS[-1])
    elif not 1 / MAX_RATE_RATIO < usual_rate / max(rate, MIN_RATE) < MAX_RATE_RATIO:
        rates.insert(0, usual_rate)
    has_unusual_options = any(one.unusual for one in optimizer_suspects(case))
    for new_rate in {f"{new_rate:.2g}": new_rate for new_rate in rates}.values():
        is_lower = new_rate < rate
        is_far = new_rate == usual_rate and not 1 / MAX_RATE_RATIO < new_rate / max(rate, MIN_RATE) < MAX_RATE_RATIO
        is_far &= not (is_lower and has_unusual_options)  # a lower rate only makes up for a momentum near 1
        is_near_usual = is_lower and rate >= HIGH_RATE_RATIO * usual_rate and new_rate >= usual_rate / 2
        other_rate = suspect_of_rate(case, new_rate)
        yield replace(other_rate, unusual=is_far, general=not (is_far or is_near_usual))


def suspect_of_rate(case: TrainingCase, rate: float) -> Suspect:
    """Return the suspect for the learning rate whose remedy is another one."""
    optimizer, text = case.model.optimizer, f"{rate:.2g}"
    is_lower = rate < optimizer.lr
    return suspect(
        "learning-rate-too-high" if is_lower else "learning-rate-too-low",
        "each step is too large: it overshoots the minimum" if is_lower else
        "the steps are so small that all of them together do not reach a low loss",
        f"{'lower' if is_lower else 'raise'} the learning rate to about {text}", f"a learning rate of {text}",
        partial(rebuilt, optimizer=replace(optimizer, lr=rate)), key=f"rate-{text}",
        settings={"optimizer.lr": float(text)}, learning_rate=optimizer.lr,
    )  # fmt: skip
