"""Suspects of trainings that begin with pretrained weights: other inputs, frozen parameters, the learning rate."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import MAX_NORM_DISTANCE, is_pretrained, norm_distance
from pellucid.doctor.remedies import rebuilt, with_parts, without_frozen
from pellucid.doctor.training_case import TrainingCase
from pellucid.task.traits import is_image

MIN_FROZEN_GAIN = 0.12  # of the score, without frozen parameters, which often helps a little
MAX_REMAINING = 0.5  # of the distance of the inputs of a pretrained norm, after a change of the scale
# Mean and standard deviation of the pictures of ImageNet from 0 to 1, which most pretrained networks subtract.
IMAGENET = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))


def pretrained_suspects(case: Case) -> Iterator[Suspect]:
    """Yield suspects for the inputs of pretrained weights, and for the learning rate of those that are not frozen."""
    yield from _input_suspects(case)
    optimizer = case.model.optimizer
    if is_pretrained(case.initial, is_frozen=False):
        yield suspect(
            "learning-rate-too-high",
            "each step is too large: it overshoots, or pretrained weights lose what they learned",
            "lower the learning rate, above all of pretrained layers", "a tenth of the learning rate of training",
            partial(rebuilt, optimizer=replace(optimizer, lr=0.1 * optimizer.lr)), unusual=True, key="pretrained-rate",
            settings={"optimizer.lr": 0.1 * optimizer.lr}, learning_rate=optimizer.lr,
        )  # fmt: skip


def frozen_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if tensors are frozen."""
    if case.model.frozen:
        yield suspect(
            "frozen-too-much", "the frozen parameters do not suit these data",
            "unfreeze the frozen parameters, or give them to the optimizer; the last layers first, or check how they "
            "were loaded (order of layers and axes, activations, preprocessing)", "no frozen parameters",
            without_frozen, unusual=True,
            min_gain=MIN_FROZEN_GAIN, settings={"train.frozen": []}, frozen_tensors=len(case.model.frozen),
        )  # fmt: skip


def _input_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if images have another scale than those with which the network was pretrained.

    The running statistics of its first batch normalization are those of the earlier images.
    """
    x = case.probe.x
    if not is_image(x) or not x.is_floating_point() or case.model.stats is not None:
        return
    distance = norm_distance(case.initial, x)
    if distance is None or distance < MAX_NORM_DISTANCE:
        return
    changes = _scalings(x.shape[1])
    distances = {name: norm_distance(case.initial, change(x)) or 0.0 for name, change in changes.items()}
    nearest = min(distances, key=lambda name: distances[name])
    if distances[nearest] > MAX_REMAINING * distance:
        return
    change = changes[nearest]
    yield suspect(
        "pretrained-inputs",
        "the pretrained layers are given inputs of another scale than those that they were trained with, as the "
        "running statistics of their first batch normalization show",
        f"prepare the inputs as they were for the pretrained network (now they would need to be {nearest})",
        f"inputs {nearest}", lambda case: with_parts(case, lambda data: replace(data, x=change(data.x))),
        unusual=True, distance_from_the_running_statistics=distance, distance_after_the_change=distances[nearest],
    )  # fmt: skip


def _scalings(n_channels: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return changes of images (N, C, H, W) between the usual scales, by what is done to their values."""
    mean, std = (value.view(1, -1, 1, 1) if n_channels == 3 else value.mean() for value in IMAGENET)
    return {
        "multiplied by 255": lambda x: 255 * x,
        "multiplied by 255, less the mean of ImageNet": lambda x: 255 * (x - mean),
        "divided by 255": lambda x: x / 255,
        "divided by 255 and standardised as in ImageNet": lambda x: (x / 255 - mean) / std,
        "standardised as in ImageNet": lambda x: (x - mean) / std,
        "given from 0 to 1, without the mean and deviation of ImageNet": lambda x: x * std + mean,
        "given as bytes, without the mean and deviation of ImageNet": lambda x: 255 * (x * std + mean),
        "given from 0 to 1 instead of -1 to 1": lambda x: (x + 1) / 2,
        "given from -1 to 1 instead of 0 to 1": lambda x: 2 * x - 1,
    }
