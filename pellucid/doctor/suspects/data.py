"""What of inputs and targets may be the cause that a network does not learn, each with other numbers in their place."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.measure.small_network import standardised
from pellucid.doctor.mending import rebuilt
from pellucid.doctor.remade import remade
from pellucid.doctor.suspects.suspect import Suspect, suspect
from pellucid.tree import flatten

OFF_CENTRE, TALL, FLAT = 2.0, 5.0, 0.05  # deviations that targets' mean is from 0; the largest and smallest deviation
BYTES = 255.0
SMALL, LARGE = 0.1, 3.0  # root mean square of inputs, between which they are not multiplied by 255 or divided by it


def targets(case: Case) -> Iterator[Suspect]:
    """Yield targets that are numbers far from mean 0 and deviation 1."""
    y = case.train.y
    if case.classifies or not y.is_floating_point():
        return
    mean, std = y.double().mean(0, keepdim=True), y.double().std(0, correction=0, keepdim=True)
    off = float((mean.abs() / std.clamp_min(1e-12)).max())
    if float(std.min()) > 0 and (off > OFF_CENTRE or float(std.max()) > TALL or float(std.min()) < FLAT):
        yield suspect(
            "unnormalised-targets", "targets are far from what the network puts out at first, so that most of the "
            "training goes into their mean and scale",
            "take off the targets' mean and divide by their deviation, and undo that on what the network predicts",
            "standardised targets",
            lambda case: rebuilt(standardised(case)),
            path="train", odd=True, mean_target=float(mean.mean()), standard_deviation_of_the_targets=float(std.mean()),
        )  # fmt: skip


def pretrained_scale(case: Case) -> Iterator[Suspect]:
    """Yield the scale of inputs of a network that begins with weights learned elsewhere."""
    if not _pretrained(case):
        return
    size = float(case.inputs(case.sample).double().square().mean().sqrt())
    x = float_images(case.sample.x)
    axes = (0, 2, 3) if x.dim() == 4 else (0,)
    mean, std = x.mean(axes, keepdim=True), x.std(axes, correction=0, keepdim=True).clamp_min(1e-6)
    ways: dict[str, Callable[[Tensor], Tensor]] = {"standardised": lambda x: (x - mean) / std}
    if size > LARGE:
        ways["divided by 255"] = lambda x: x / BYTES
    if size < SMALL:
        ways["multiplied by 255"] = lambda x: x * BYTES
    for name, way in ways.items():
        yield suspect(
            "preprocessing-mismatch", "the network begins with weights that were learned from inputs of another scale",
            "prepare inputs as for the training that the weights come from", f"inputs {name}",
            lambda case, way=way: _each(case, lambda part: _with_inputs(part, way)),
            path="train", root_mean_square_of_inputs=size,
        )  # fmt: skip


def _with_inputs(part: Arrays, way: Callable[[Tensor], Tensor]) -> Arrays:
    return replace(part, x=way(float_images(part.x)))


def _each(case: Case, change: Callable[[Arrays], Arrays]) -> Case:
    """Return the case with both parts changed."""
    held = None if case.validation is None else change(case.validation)
    return rebuilt(replace(case, train=change(case.train), validation=held))


def _pretrained(case: Case) -> bool:
    """Whether some weights are frozen, or others than the network draws by its seed."""
    if case.model.frozen:
        return True
    drawn = flatten(remade(case.first).params)
    begun = flatten(case.first.params)
    return any(value.dim() > 1 and not torch.equal(value, drawn[path]) for path, value in begun.items())
