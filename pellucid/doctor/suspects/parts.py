"""Suspects in the data, loss, layers and initial weights of a training, each with a remedy that replaces this part."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import join
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined, leaves, rms, trainable_layers
from pellucid.doctor.remedies import (
    DRAWN_AS_HE,
    HE_SETTINGS,
    rebuilt,
    with_rate,
    with_standardised_targets,
)
from pellucid.layers import BatchNorm
from pellucid.layers.base import Mode
from pellucid.losses import Loss
from pellucid.nested import flatten
from pellucid.sweep import forward

MAX_OFFSET = 2.0  # |mean| of the targets, in standard deviations
MAX_STD, MIN_STD = 5.0, 0.05  # standard deviation of the targets
BATCH_SIZE = 8  # examples
MAX_COUPLING = 1e-3  # relative change of the gradients of all other examples if one example's target changes
MIN_ROW_DEVIATIONS = 8.0  # standard errors of a variance over rows; the largest of 1,700 new weights is 6.4
MAX_HE_RATIO = 3.0  # RMS of a weight divided by its RMS after He initialization; the minimum is 1 / MAX_HE_RATIO
MAX_BIAS = 1.0  # root mean square of a layer's initial biases


def target_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if regression targets are far from mean 0 and standard deviation 1."""
    y = case.train.y
    if case.classifies or not y.is_floating_point():
        return
    mean, std = y.double().mean(0, keepdim=True), y.double().std(0, correction=0, keepdim=True)
    offset = float((mean.abs() / std.clamp_min(1e-12)).max())
    if float(std.min()) > 0 and (offset > MAX_OFFSET or float(std.max()) > MAX_STD or float(std.min()) < MIN_STD):
        yield suspect(
            "unnormalised-targets", "the targets are far from the network's first outputs, so that most of the "
            "training is spent on learning their mean and scale",
            "subtract the targets' mean, divide by their standard deviation, and undo this in the predictions",
            "standardised targets",
            lambda case: rebuilt(with_standardised_targets(case)),
            path="train", unusual=True, mean_target=float(mean.mean()),
            standard_deviation_of_the_targets=float(std.mean()),
        )  # fmt: skip


def pretrained_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect for the learning rate if initial weights are pretrained and not frozen."""
    weights = flatten(case.initial.params)
    means = [
        join(path, layer.buffers[0]) for path, layer in leaves(case.model.net)
        if isinstance(layer, BatchNorm) and join(path, "weight") not in case.model.frozen
    ]  # fmt: skip
    if any(bool(weights[path].any()) for path in means) or any(
        _is_pretrained(weights[path]) for _, path in trainable_layers(case.initial)
    ):
        yield suspect(
            "learning-rate-too-high",
            "each step is too large: it overshoots, or pretrained weights lose what they learned",
            "lower the learning rate, above all of pretrained layers", "a tenth of the learning rate of training",
            partial(with_rate, factor=0.1), unusual=True, key="pretrained-rate",
            settings={"optimizer.lr": 0.1 * case.model.optimizer.lr}, learning_rate=case.model.optimizer.lr,
        )  # fmt: skip


def _is_pretrained(weight: Tensor) -> bool:
    """Return whether the sizes of rows or columns differ more than those of independent values of one distribution.

    Training makes some units and inputs larger than others. Weights that are newly drawn, here or in PyTorch, have
    independent values, so that the variance of a row's mean square follows from their second and fourth moments.
    """
    weight = weight.double()
    for rows in (weight.flatten(1), weight.transpose(0, 1).flatten(1)):
        count, length = rows.shape
        chance_variance = float(weight.pow(4).mean() - weight.square().mean().square()) / length
        excess = float(rows.square().mean(1).var(correction=0)) - chance_variance
        if excess > MIN_ROW_DEVIATIONS * (2 / count) ** 0.5 * chance_variance > 0:
            return True
    return False


@dataclass(frozen=True)
class PerExample(Loss):
    """A loss that is computed for each example separately, and averaged."""

    loss: Loss

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the mean of the examples' losses and its gradient with respect to y."""
        parts = [self.loss(y[k : k + 1], target[k : k + 1]) for k in range(len(target))]
        return torch.stack([value for value, _ in parts]).mean(), torch.cat([dy for _, dy in parts]) / len(target)

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Raise PellucidError unless the outputs and targets fit the wrapped loss."""
        self.loss.check(outputs, targets)

    def predict(self, y: Any) -> Tensor:
        """Return the predictions of the wrapped loss."""
        return self.loss.predict(y)

    def main_output(self, y: Any) -> Any:
        """Return the main output of the wrapped loss."""
        return self.loss.main_output(y)


def coupled_loss_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if an example's target changes the loss gradients of other examples by more than a factor."""
    loss = case.model.loss
    if not is_user_defined(loss) or not isinstance(loss, Loss):
        return
    coupling = _coupling(case, loss)
    if coupling > MAX_COUPLING:
        batch = case.model.predict(case.probe.x[:BATCH_SIZE]), case.probe.y[:BATCH_SIZE]
        shapes = [str(tuple(part.shape)) for part in batch]
        yield suspect(
            "loss-mixes-examples", "the loss compares each output with the targets of other examples, for example if "
            "outputs (N, 1) and targets (N,) are broadcast to (N, N)",
            "give outputs and targets the same shape before they are compared, and take the mean over the examples",
            "the loss of each example separately", lambda case: rebuilt(case, loss=PerExample(loss)),
            path="loss", unusual=True, loss=type(loss).__name__, outputs=shapes[0], targets=shapes[1],
            gradient_changed_by_another_target=coupling,
        )  # fmt: skip


def _coupling(case: Case, loss: Loss) -> float:
    """Return the relative change of the other examples' gradients when the first example's target changes.

    A change that only multiplies all of these gradients by one factor is not counted. 0 if it cannot be measured.
    """
    part = case.probe
    y = part.y[:BATCH_SIZE]
    is_other = (part.y != y[:1]).flatten(1).any(1) if part.y.dim() > 1 else part.y != y[0]
    if not bool(is_other.any()):
        return 0.0
    target = torch.cat([part.y[is_other][:1], y[1:]])
    model = case.initial
    try:
        with torch.inference_mode():
            outputs, _ = forward(model.net, model.params, case.inputs(part)[:BATCH_SIZE], Mode(keep=False))
            before, after = (loss(outputs, changed_y)[1][1:].double().flatten() for changed_y in (y, target))
    except (PellucidError, RuntimeError, AttributeError, TypeError):  # more than one output, or an unusual loss
        return 0.0
    size = float(before.square().sum())
    if not 0 < size < float("inf"):
        return 0.0
    return rms(after - float(before @ after) / size * before) / rms(before)


def initialization_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if initial weights or biases have an unusual size."""
    own = {path for path, layer in leaves(case.model.net) if is_user_defined(layer)}
    flat, layers = flatten(case.initial.params), trainable_layers(case.initial)
    weights = [flat[weight] for path, weight in layers if path not in own]
    ratios = [float(value.square().mean().sqrt()) / (2 / value[0].numel()) ** 0.5 for value in weights]
    biases = [flat[join(path, "bias")] for path, _ in layers if join(path, "bias") in flat]
    bias = max((float(value.square().mean().sqrt()) for value in biases), default=0.0)
    is_unusual = any(not 1 / MAX_HE_RATIO <= ratio <= MAX_HE_RATIO for ratio in ratios[:-1])
    is_large = any(ratio > MAX_HE_RATIO for ratio in ratios[-1:]) or bias > MAX_BIAS
    if ratios and (is_unusual or is_large):
        yield suspect(
            "bad-initialization", "the initial weights or biases are so large or so small that the network does not "
            "learn", "use He initialization (He et al. 2015) and biases of 0", DRAWN_AS_HE.description,
            DRAWN_AS_HE.apply, unusual=True, key=DRAWN_AS_HE.key, settings=HE_SETTINGS,
            smallest_weights_over_he=min(ratios),
            largest_weights_over_he=max(ratios), largest_first_biases=bias,
        )  # fmt: skip
