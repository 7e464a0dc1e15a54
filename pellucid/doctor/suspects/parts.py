"""Suspects in the data, loss, layers and initial weights of a training, each with a remedy that replaces this part."""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths, join, walk
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import is_user_defined, leaves, rms, trainable_layers
from pellucid.doctor.rehearsal import reinitialized
from pellucid.doctor.remedies import (
    DRAWN_AS_HE,
    HE_SETTINGS,
    he_initialized,
    rebuilt,
    with_initial_model,
    with_layers,
    with_rate,
    with_standardised_targets,
)
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.nested import flatten, params_at
from pellucid.sweep import forward
from pellucid.training.model import BaseModel

MAX_OFFSET = 2.0  # |mean| of the targets, in standard deviations
MAX_STD, MIN_STD = 5.0, 0.05  # standard deviation of the targets
BATCH_SIZE = 8  # examples
MAX_COUPLING = 1e-3  # relative change of the gradients of all other examples if one example's target changes
N_DRAWS = 16  # number of forward passes in training mode that are averaged
MAX_MODE_GAP = 0.15  # relative difference of a layer's mean output between training and evaluation mode
MAX_HE_RATIO = 3.0  # RMS of a weight divided by its RMS after He initialization; the minimum is 1 / MAX_HE_RATIO
MAX_WEIGHT_OFFSET = 0.5  # |mean| of a weight, in standard deviations; 0.14 is typical for 50 drawn values
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
    if _pretrained_paths(case) - case.model.frozen:
        yield suspect(
            "learning-rate-too-high",
            "each step is too large: it overshoots, or pretrained weights lose what they learned",
            "lower the learning rate, above all of pretrained layers", "a tenth of the learning rate of training",
            partial(with_rate, factor=0.1), unusual=True, key="pretrained-rate",
            settings={"optimizer.lr": 0.1 * case.model.optimizer.lr}, learning_rate=case.model.optimizer.lr,
        )  # fmt: skip


def _pretrained_paths(case: Case) -> set[str]:
    """Return the paths of initial weights that are not drawn with the model's seed."""
    unfrozen = copy(case.initial)
    unfrozen.frozen = set()
    redrawn, initial = flatten(reinitialized(unfrozen).params), flatten(case.initial.params)
    return {path for path, value in initial.items() if value.dim() > 1 and not torch.equal(value, redrawn[path])}


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


@dataclass(frozen=True)
class EvaluationMode(Layer):
    """A wrapper that always runs a layer in evaluation mode, also in training."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the wrapped layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the wrapped layer in evaluation mode."""
        return self.layer.forward(params, x, replace(mode, train=False))

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return dx and the parameter gradients of the wrapped layer."""
        return self.layer.backward(params, cache, dy)


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


def mode_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if user-defined layers have different mean outputs in training and evaluation mode."""
    large_gaps = {path: gap for path, gap in _mode_gaps(case).items() if gap > MAX_MODE_GAP}
    if large_gaps:
        layers, path = dict(walk(case.model.net)), next(iter(large_gaps))
        types = {type(layers[path]) for path in large_gaps}
        yield suspect(
            "mode-mismatch", "the layer's outputs have another scale in training than in evaluation, so the layers "
            "after it were trained for other inputs, as with dropout that does not divide by 1 - rate",
            "give the layer's outputs the same mean in both modes: in training, divide by the fraction that is kept",
            "the layer in evaluation mode",
            lambda case: with_layers(
                case, lambda layer: EvaluationMode(layer) if type(layer) in types else layer, keep_weights=True
            ),
            path=path, unusual=True, layer=type(layers[path]).__name__, outputs_differ_by=large_gaps[path],
        )  # fmt: skip


def _mode_gaps(case: Case) -> dict[str, float]:
    """Return by path the relative difference of a user-defined layer's mean outputs in training and evaluation mode."""
    inputs: dict[str, tuple[Layer, Any, Any]] = {}
    # Layers with buffers are skipped: their running statistics lag behind, so their outputs may differ in training.
    user_paths = {path for path, layer in leaves(case.model.net) if is_user_defined(layer) and not layer.buffers}
    if not user_paths:
        return {}

    def record(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path in user_paths and isinstance(x, Tensor) and isinstance(y, Tensor):
            inputs[path] = layer, x, y

    with torch.inference_mode():
        forward(case.model.net, case.model.params, case.inputs(case.probe), Mode(keep=False), record)
        gaps: dict[str, float] = {}
        for path, (layer, x, y) in inputs.items():
            rng = torch.Generator().manual_seed(case.model.seed)
            params = params_at(case.model.params, path)
            copies = {name: value.clone() if isinstance(value, Tensor) else value for name, value in params.items()}
            training_sum = sum(layer.forward(copies, x, Mode(True, rng, keep=False))[0].mean(0) for _ in range(N_DRAWS))
            mean = y.mean(0)
            if isinstance(training_sum, Tensor) and training_sum.shape == mean.shape and rms(mean) > 0:
                gaps[path] = rms(training_sum / N_DRAWS - mean) / rms(mean)
    return gaps


def initialization_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if initial weights or biases have an unusual size, or user-defined weights a mean far from 0."""
    flat = flatten(case.initial.params)
    user_weights, layers = _user_weight_paths(case), trainable_layers(case.initial)
    weights = [flat[weight] for _, weight in layers if weight not in user_weights]
    he_ratios = [float(value.square().mean().sqrt()) / (2 / value[0].numel()) ** 0.5 for value in weights]
    biases = [flat[join(path, "bias")] for path, _ in layers if join(path, "bias") in flat]
    bias = max((float(value.square().mean().sqrt()) for value in biases), default=0.0)
    user_values = [flat[path].double() for path in user_weights]
    shifts = [float(value.mean().abs() / value.std().clamp_min(1e-12)) for value in user_values]
    scales = [float(value.square().mean().sqrt()) / _glorot_std(value) for value in user_values]
    ratios = [*he_ratios, *scales]
    is_unusual = any(not 1 / MAX_HE_RATIO <= ratio <= MAX_HE_RATIO for ratio in [*he_ratios[:-1], *scales])
    is_large = any(ratio > MAX_HE_RATIO for ratio in he_ratios[-1:]) or bias > MAX_BIAS
    if ratios and (is_unusual or is_large or any(shift > MAX_WEIGHT_OFFSET for shift in shifts)):
        yield suspect(
            "bad-initialization", "the initial weights or biases are so large or so small that the network does not "
            "learn", "use He initialization (He et al. 2015) and biases of 0", DRAWN_AS_HE.description,
            _with_redrawn_weights, unusual=True, key=DRAWN_AS_HE.key, settings=HE_SETTINGS,
            smallest_weights_over_he=min(ratios),
            largest_weights_over_he=max(ratios), largest_first_biases=bias,
            largest_mean_of_weights_over_deviation=max(shifts, default=0.0),
        )  # fmt: skip


def _user_weight_paths(case: Case) -> list[str]:
    """Return the paths of the trainable matrices and kernels of user-defined layers."""
    user_layers = {path for path, layer in leaves(case.model.net) if is_user_defined(layer)}
    skipped_paths = buffer_paths(case.model.net) | case.model.frozen
    return [
        path for path, value in flatten(case.initial.params).items()
        if path not in skipped_paths and value.dim() >= 2 and min(value.shape[:2]) > 1
        and path.rpartition(".")[0] in user_layers
    ]  # fmt: skip


def _glorot_std(value: Tensor) -> float:
    """Return the standard deviation of Glorot 2010, which does not depend on which of two axes is the input axis."""
    return (2 / (value[0, 0].numel() * sum(value.shape[:2]))) ** 0.5


def _with_redrawn_weights(case: Case) -> Case:
    weights = _user_weight_paths(case)

    def redraw(model: BaseModel) -> None:
        rng, flat = generator(model.seed), flatten(model.params)
        for path in weights:
            flat[path].copy_(torch.randn(flat[path].shape, generator=rng) * _glorot_std(flat[path]))

    return with_initial_model(with_layers(case, he_initialized), redraw)
