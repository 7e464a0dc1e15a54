"""Suspects in the loss and the objective, and in losses and optimizers of one's own."""

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import is_number
from pellucid.combine.base import replace_layer
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Suspect, suspect
from pellucid.doctor.passes import evaluated, is_user_defined, library_version, rms
from pellucid.doctor.remedies import rebuilt
from pellucid.doctor.training_case import TrainingCase
from pellucid.layers import Identity, Layer, LogSoftmax, Sigmoid, Softmax
from pellucid.losses import Loss, Quadratic, SoftmaxCrossEntropy
from pellucid.nested import flatten
from pellucid.network.ending import last_layers
from pellucid.objective import Supervised

# Options of losses and objectives that other suspects check, or that the network and the data fix.
OUTPUT_ACTIVATIONS = (Softmax, LogSoftmax, Sigmoid)  # which softmax cross-entropy replaces
SKIPPED_OPTIONS = ("ignore", "label_smoothing", "stride", "multiple", "to", "hints", "pos_weight", "reduction")
MIN_NUMBER_RATIO = 3.0  # of a number to its default, or its inverse; others are usual
MIN_CLASS_SCORE = 0.2  # of a class that was ignored by mistake, in a training that does not ignore it
BATCH_SIZE = 8  # examples
MAX_COUPLING = 1e-3  # relative change of the gradients of all other examples if one example's target changes


@dataclass(frozen=True)
class ChangedLoss(Loss):
    """A loss that computes another one, `loss`, in another way."""

    loss: Loss

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
class PerExample(ChangedLoss):
    """A loss that is computed for each example separately, and averaged."""

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the mean of the examples' losses and its gradient with respect to y."""
        results = [self.loss(y[k : k + 1], target[k : k + 1]) for k in range(len(target))]
        return torch.stack([value for value, _ in results]).mean(), torch.cat([dy for _, dy in results]) / len(target)


def coupled_loss_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if an example's target changes the loss gradients of other examples by more than a factor."""
    loss = case.model.loss
    if not is_user_defined(loss) or not isinstance(loss, Loss):
        return
    coupling = _coupling(case, loss)
    if coupling > MAX_COUPLING:
        batch = case.model.predict(case.probe.x[:BATCH_SIZE]), case.probe.y[:BATCH_SIZE]
        shapes = [str(tuple(values.shape)) for values in batch]
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
    probe = case.probe
    y = probe.y[:BATCH_SIZE]
    is_other = (probe.y != y[:1]).flatten(1).any(1) if probe.y.dim() > 1 else probe.y != y[0]
    if not bool(is_other.any()):
        return 0.0
    target = torch.cat([probe.y[is_other][:1], y[1:]])
    try:
        outputs = evaluated(case.initial, case.inputs(probe)[:BATCH_SIZE])
        with torch.inference_mode():
            before, after = (loss(outputs, changed_y)[1][1:].double().flatten() for changed_y in (y, target))
    except (PellucidError, RuntimeError, AttributeError, TypeError):  # more than one output, or an unusual loss
        return 0.0
    size = float(before.square().sum())
    if not 0 < size < float("inf"):
        return 0.0
    return rms(after - float(before @ after) / size * before) / rms(before)


def own_loss_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for a user-defined loss: that of the library which it is derived from, or one for the targets.

    For a criterion that PyTorch computes, only in place of values for as many outputs.
    """
    objective = case.model.objective
    if not isinstance(objective, Supervised) or not isinstance(case, Case):
        return
    loss, y = objective.loss, case.train.y
    criterion = getattr(loss, "criterion", None)
    are_values = y.is_floating_point() and y.dim() == 2 and not bool(((y == 0) | (y == 1)).all())
    compares = are_values and y.shape[1:] == case.model.output_shape
    if not is_user_defined(loss) and (criterion is None or not compares):
        return
    plain = None if criterion is not None else library_version(loss)
    if plain is None and case.classifies:
        return  # see `losses.loss_suspects`
    if plain is None and not y.is_floating_point():
        plain = SoftmaxCrossEntropy(ignore=getattr(loss, "ignore", None))
    elif plain is None and y.dim() <= 2:
        plain = Quadratic()
    if plain is not None:
        name = type(loss if criterion is None else criterion).__name__
        question = ", and whether boxes are corners or centre and size" if y.shape[1:] == (4,) else ""
        yield suspect(
            "wrong-loss", f"minimizing {getattr(criterion, '__name__', name)} does not lead to good predictions",
            f"compare its values and gradients with those of {type(plain).__name__}, or use that: see which form of "
            f"the outputs and targets it takes{question}", f"the loss {type(plain).__name__}",
            partial(rebuilt, loss=plain), path="loss", unusual=criterion is None, key=f"loss-{type(plain).__name__}",
            loss=name,
        )  # fmt: skip


def ignored_class_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect if the loss ignores a label of the training data for which the network has an output.

    Unlabelled pixels may have such a label too, but then a training without it gains nothing.
    """
    loss: Any = getattr(case.model.objective, "loss", None)
    ignored = getattr(loss, "ignore", None)
    if not isinstance(ignored, int) or not isinstance(case.train, Arrays):
        return
    share = float((case.train.y == ignored).double().mean())
    if share > 0 and 0 <= ignored < n_outputs(case):
        yield suspect(
            "ignored-class", f"the loss ignores label {ignored}, which is a class, so the network never learns it",
            "let the loss ignore the label of unlabelled pixels only (ignore_index), or none", "no ignored label",
            lambda case: rebuilt(case, loss=replace(loss, ignore=None)), path="loss", unusual=True,
            is_fault=True, min_gain=MIN_CLASS_SCORE / n_outputs(case), ignored_label=ignored,
            share_of_the_targets=share,
        )  # fmt: skip


def n_outputs(case: TrainingCase) -> int:
    """Return the number of outputs on their first axis, 1 if an example has one number without an axis."""
    first = next(iter(case.model.output_shape), 1)
    return first if isinstance(first, int) else 1


def default_option_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each option of the loss or the objective that is far from its default."""
    objective: Any = case.model.objective
    path = "loss" if isinstance(objective, Supervised) else "objective"
    component = objective.loss if path == "loss" else objective
    for option in _options(component):
        value, default, name = getattr(component, option.name), option.default, option.name
        if name in SKIPPED_OPTIONS or not isinstance(default, int | float | str) or value == default:
            continue
        if is_number(value) and default and 1 / MIN_NUMBER_RATIO < value / default < MIN_NUMBER_RATIO:
            continue
        yield suspect(
            f"{path}-settings", f"{name} = {value!r} of {type(component).__name__} does not suit this training",
            f"set {name} to its default, {default!r}", f"{name} = {default!r} in the {path}",
            partial(rebuilt, **{path: replace(component, **{name: default})}),
            path=path, key=f"{path}-{name}", settings={f"{path}.{name}": default},
            value=str(value), default=str(default),
        )  # fmt: skip


def _options(component: Any) -> tuple[Field[Any], ...]:
    return fields(component) if is_dataclass(component) else ()


def loss_suspects(case: Case) -> Iterator[Suspect]:
    """Yield a suspect if the loss of a classifier is not softmax cross-entropy."""
    loss, outputs = case.model.loss, case.model.output_shape
    if not case.classifies or type(loss) is SoftmaxCrossEntropy or len(outputs) != 1 or outputs[0] < 2:
        return
    settings = {"loss.name": "softmax_cross_entropy"}
    if any(isinstance(layer, OUTPUT_ACTIVATIONS) for layer in last_layers(case.model.net).values()):
        settings["network.output"] = "none"
    yield suspect(
        "wrong-loss", "minimizing this loss does not lead to the right classes here",
        "use softmax_cross_entropy on logits", "softmax cross-entropy", _with_cross_entropy,
        unusual=is_user_defined(loss), key="softmax-cross-entropy", settings=settings,
        loss=type(loss).__name__,
    )  # fmt: skip


def _with_cross_entropy(case: Case) -> Case:
    """Return the case with softmax cross-entropy and without activations, also user-defined ones, before it."""
    net: Layer = case.model.net
    layers_with_params = {path.rpartition(".")[0] for path in flatten(case.model.params)}
    for path, last_layer in last_layers(net).items():
        is_own_activation = is_user_defined(last_layer) and path not in layers_with_params
        if path and (is_own_activation or isinstance(last_layer, OUTPUT_ACTIVATIONS)):
            net = replace_layer(net, path, lambda layer: Identity())
    return rebuilt(case, keep_weights=True, net=net, loss=SoftmaxCrossEntropy())


def own_optimizer_suspects(case: TrainingCase) -> Iterator[Suspect]:
    """Yield a suspect for each user-defined optimizer that is derived from one of the library."""
    optimizers = case.model.optimizers
    for network, optimizer in optimizers.items() if optimizers else [("", case.model.optimizer)]:
        plain = library_version(optimizer) if is_user_defined(optimizer) else None
        if plain is None:
            continue
        own_name, name = type(optimizer).__name__, type(plain).__name__
        changes = {"optimizers": {**optimizers, network: plain}} if optimizers else {"optimizer": plain}
        yield suspect(
            "own-optimizer", f"the steps of {own_name} differ from those of {name}, and the network learns less with "
            "them", f"compare the steps of {own_name} with those of {name}: what it keeps from step to step, and the "
            "sign and the size of the step", f"the optimizer {name}", partial(rebuilt, **changes),
            path=network or "training", unusual=True, key=f"optimizer-{name}", optimizer=own_name,
        )  # fmt: skip
