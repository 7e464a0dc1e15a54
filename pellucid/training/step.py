"""One training step: gradients of an objective, regularizers, clipping and the update."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.combine.base import join
from pellucid.combine.nets import all_buffers, named_layers, params_of, paths_below
from pellucid.data.source import Batch
from pellucid.fuse import BatchParts, Rate, freeze, fuse
from pellucid.layers import Conv2d, Dense
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.nested import flatten, leaves
from pellucid.objective import Gradients, Objective, Supervised, mean_losses
from pellucid.optim import SGD, MaxNorm, Optimizer, Regularizer, clip_by_norm
from pellucid.optim.regularizers import L2, in_order
from pellucid.training.averaging import AVERAGE_PREFIX, WeightAverage, average_of
from pellucid.training.device import CPU, HalfCopy, to_float32, usable_precision
from pellucid.training.distributed import ALONE, Processes
from pellucid.training.learner import Learner
from pellucid.training.parameter_groups import penalize
from pellucid.training.updater import Optimizers, Updater, lr_ratio, optimizers_of
from pellucid.verify.forms import TrainingForm

StepLosses = dict[str, Any]  # by name: floats, or on an accelerator 0-d tensors that are not copied to the CPU yet


class NotFiniteError(Exception):
    """A loss that is NaN or infinite; the step ends before the parameters are updated.

    shard: the number of the shard, 0 for a batch that is not divided.
    """

    def __init__(self, name: str, value: float, shard: int = 0) -> None:
        super().__init__(name)
        self.name = name
        self.value = value
        self.shard = shard


class TrainingStep:
    """One training step: `step(batch, lr)` updates the parameters in place from one batch.

    The constructor converts 4-d weights to channels-last. `regularizers` apply to the parameters in `decayed` of each
    layer, with `examples` as their n; `clip` limits the joint norm of all gradients of a turn. The order is: add the
    gradients of the cost terms, clip, shrink the weights by decoupled terms, update by the optimizer, apply MaxNorm.
    frozen: paths of parameters that are not updated; layers whose parameters are all frozen run in evaluation mode.
    rates: factors of the learning rate by path, by default 1. average: see `WeightAverage`.

    optimizer: one for all networks, with a separate state for each, or a dict of one for each network; `lr` is then the
    learning rate of the first, and those of the others are scaled in proportion. Networks for which an objective
    returns no gradients are not updated; in other networks, missing gradients are zeros.

    Attributes:
    paths, weights: the parameters that are updated.
    states: of the optimizers, by network.
    objective, params: the arguments in the form that the step uses.
    note: a message to show before the first step, or "".

    A Supervised objective runs in its fused form. With plain SGD, its Dense layers and convolutions are updated during
    the backward pass, unless something needs all gradients before the update, such as clipping, or `in_sweep` is False.
    batch_parts: those of all processes, over which batch norm computes its statistics.
    state_processes: they each keep a share of the optimizers' states; all must call `learn` and `state_dict`.
    """

    def __init__(
        self,
        objective: Objective,
        params: Params,
        optimizer: Optimizers,
        *,
        examples: int,
        regularizers: tuple[Regularizer | MaxNorm, ...] = (),
        clip: float | None = None,
        precision: str = "float32",
        frozen: Collection[str] = (),
        rates: Mapping[str, float] | None = None,
        average: WeightAverage | None = None,
        in_sweep: bool = True,
        batch_parts: BatchParts | None = None,
        state_processes: Processes = ALONE,
    ) -> None:
        channels_last(params)
        tensors_by_path = flatten(params)
        nets = objective.nets
        lr_factors = dict(rates or {})
        device = next((leaf.device for leaf in tensors_by_path.values()), CPU)
        self.precision, self.note = usable_precision(precision, device)
        self.frozen = frozenset(frozen)
        self.excluded_paths = all_buffers(nets) | self.frozen  # paths of tensors that the optimizers do not update
        self.paths = [path for path in tensors_by_path if path not in self.excluded_paths]
        self.weights = [tensors_by_path[path] for path in self.paths]
        self.average = average_of(self.paths, self.weights, average)
        self._learned = dict(zip(self.paths, self.weights, strict=True))
        self._examples = examples
        self._clip = clip
        self._regularizers = in_order(regularizers)
        self._half_copy = HalfCopy(nets, params, frozen) if self.precision == "bf16" else None
        self.params = self._half_copy.params if self._half_copy else params
        self.optimizers = optimizers = optimizers_of(optimizer, nets)
        paths_to_decay = decayed_paths(nets)
        self._updaters = {
            name: Updater(
                name,
                self._learned,
                own_optimizer,
                lr_ratio(own_optimizer, optimizers),
                paths_to_decay,
                lr_factors,
                state_processes,
            )
            for name, own_optimizer in optimizers.items()
        }
        self.states = {name: updater.state for name, updater in self._updaters.items()}
        has_one_optimizer = isinstance(objective, Supervised) and isinstance(optimizer, Optimizer)
        form = describe_training(optimizer, regularizers, clip, precision, frozen, lr_factors, device)
        self._rate = Rate() if in_sweep and has_one_optimizer and form.in_sweep else None
        self.batch_parts = batch_parts
        self.objective = training_form(objective, params, frozen, self._rate, batch_parts)
        self._reads_losses = device.type == "cpu"  # on other devices, reading a loss would wait for the computation
        # With `batch_parts`, an error before the backward pass would leave the other processes waiting in theirs.
        if isinstance(self.objective, Supervised) and self._reads_losses and batch_parts is None:
            self.objective = Supervised(self.objective.net, cast(Loss, _CheckedLoss(self.objective.loss)))
            self._reads_losses = False
        # index of each parameter's gradient in the order of the backward pass, known after the first step
        self._gradient_order: list[int] | None = None
        self._zero_gradients: list[Tensor] = []  # gradients of parameters on which no output depends
        paths_of_units = decayed_paths(nets, (Dense, Conv2d))  # weights whose first axis is the axis of units
        self._limited_weights = [weight for path, weight in self._learned.items() if path in paths_of_units]
        self._max_norms = [regularizer for regularizer in regularizers if isinstance(regularizer, MaxNorm)]

    @classmethod
    def of(
        cls,
        model: Learner,
        examples: int,
        in_sweep: bool = True,
        batch_parts: BatchParts | None = None,
        state_processes: Processes = ALONE,
    ) -> "TrainingStep":
        """Return the step of a model for this number of training examples."""
        return cls(
            model.objective,
            model.params,
            model.optimizers or model.optimizer,
            examples=examples,
            regularizers=model.regularizers,
            clip=model.clip,
            precision=model.precision,
            frozen=model.frozen,
            rates=model.rates,
            average=model.average,
            in_sweep=in_sweep,
            batch_parts=batch_parts,
            state_processes=state_processes,
        )

    def __call__(self, batch: Batch, lr: float, rng: torch.Generator | None = None) -> StepLosses:
        """Update the parameters from one batch, and return the losses by name, computed before their updates."""
        result = self.gradients(batch, lr, rng)
        if isinstance(result, tuple):  # with an empty order, all parameters were updated during the backward pass
            losses = result[0] if self._gradient_order == [] else self.learn(*result, lr)
        else:  # each turn updates parameters before the next one begins
            losses = mean_losses([self.learn(*turn, lr) for turn in result])
        if self.average is not None:
            self.average.update()
        return losses

    def gradients(
        self, batch: Batch, lr: float, rng: torch.Generator | None = None, factors: Mapping[str, float] | None = None
    ) -> Gradients | Iterator[Gradients]:
        """Return the result of the objective's `gradients`, in the step's precision and memory format.

        Layers that are updated during the backward pass are updated by this method, with the learning rate `lr`.
        factors: factors of the weights of losses, by name.
        """
        images = self.inputs(batch.images)
        if images is not batch.images:
            batch = Batch(images, batch.targets)
        if self._rate is not None:
            self._rate.set(lr, shrinkage(self._regularizers, self._examples, lr))
        objective = self.objective.weighted(factors) if factors else self.objective
        return objective.gradients(self.params, batch, Mode(train=True, rng=rng))

    def counts(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """Return the objective's `counts` of a batch."""
        mode = Mode(train=True, rng=rng)
        return self.objective.counts(self.params, Batch(self.inputs(batch.images), batch.targets), mode)

    def inputs(self, images: Tensor) -> Tensor:
        """Return images in the step's precision and memory format; in bfloat16, also refresh the copies in `params`."""
        if self._half_copy is not None:
            self._half_copy.refresh()
            images = images.bfloat16()
        return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images

    def learn(self, losses: StepLosses, dparams: Params, lr: float) -> StepLosses:
        """Update the parameters from the gradients of one turn, and return its losses."""
        if self._reads_losses:
            losses = _read_losses(losses)
        updaters_with_grads = self._updaters_with_grads(dparams)
        if not updaters_with_grads:
            return losses
        for updater, grads in updaters_with_grads:
            penalize(updater.groups, self._regularizers, grads, self._examples)
        if self._clip is not None:  # over all networks, so that a sum of losses is clipped as by one optimizer
            clip_by_norm([grad for _, grads in updaters_with_grads for grad in grads], self._clip)
        for updater, grads in updaters_with_grads:
            updater.update(self._regularizers, grads, lr)
        for limit in self._max_norms:
            limit.after_update(self._limited_weights)
        return losses

    def _updaters_with_grads(self, dparams: Params) -> "list[tuple[Updater, list[Tensor]]]":
        """Return (updater, gradients in the order of its parameters) for each network that has gradients."""
        if not isinstance(self.objective, Supervised):
            return self._updaters_with_grads_by_path(dparams)
        updater = self._updaters[""]
        if self._gradient_order is None:
            self._gradient_order = self._order_of_gradients(updater, dparams)
        if not self._gradient_order:
            return []
        gradients = leaves(dparams) + self._zero_gradients
        grads = [gradients[index] for index in self._gradient_order]
        return [(updater, to_float32(grads) if self._half_copy is not None else grads)]

    def _order_of_gradients(self, updater: "Updater", dparams: Params) -> list[int]:
        """Return the indices that sort the gradients, last layer first, into the order of their parameters.

        The gradients of parameters on which no output depends are zeros, so that each update is of the same parameters.
        """
        indices = {path: index for index, path in enumerate(flatten(dparams))}
        if self._rate is None:  # otherwise, parameters without a gradient were updated during the backward pass
            paths_without_gradient = [path for path in self.paths if path not in indices]
            indices |= {path: len(indices) + index for index, path in enumerate(paths_without_gradient)}
            self._zero_gradients = [torch.zeros_like(self._learned[path]) for path in paths_without_gradient]
        else:
            updater.restrict_to(indices)
        return [indices[path] for path in updater.paths]

    def _updaters_with_grads_by_path(self, dparams: Params) -> "list[tuple[Updater, list[Tensor]]]":
        """Return the result of `_updaters_with_grads` for gradients in any order."""
        gradients = flatten(dparams)
        updaters_with_grads: list[tuple[Updater, list[Tensor]]] = []
        for updater in self._updaters.values():
            if any(path in gradients for path in updater.paths):
                grads = [
                    gradients[path] if path in gradients else torch.zeros_like(self._learned[path])
                    for path in updater.paths
                ]
                updaters_with_grads.append((updater, to_float32(grads) if self._half_copy is not None else grads))
        return updaters_with_grads

    def state_dict(self) -> dict[str, Tensor]:
        """Return the optimizers' states, such as `velocity.conv1.weight` or `NETWORK:velocity...`, and the average."""
        tensors = {name: tensor for updater in self._updaters.values() for name, tensor in updater.state_dict().items()}
        return tensors if self.average is None else {**tensors, **self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state that `state_dict` returned; raises PellucidError for other networks or optimizers."""
        if self.average is not None:
            self.average.load_state_dict(state)
            state = {name: tensor for name, tensor in state.items() if not name.startswith(AVERAGE_PREFIX)}
        for updater in self._updaters.values():
            updater.unpack(state)

    def state_tensors(self) -> list[tuple[str, str, Tensor]]:
        """Return the tensors of the optimizers' states as (name in the state, path of the parameter, tensor)."""
        named_tensors: list[tuple[str, str, Tensor]] = []
        for updater in self._updaters.values():
            for name, tensors in updater.state.items():
                if isinstance(tensors, int):  # a count of steps
                    continue
                paths_and_tensors = zip(updater.all_paths, tensors, strict=True)
                named_tensors += [(name, path, tensor) for path, tensor in paths_and_tensors]
        return named_tensors


class _CheckedLoss:
    """A loss whose value is a float; raises NotFiniteError, before the backward pass, for NaN and infinity."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, y: Any, target: Any) -> tuple[float, Any]:
        """Return (value, dy) of the loss."""
        value, dy = self.loss(y, target)
        loss = value.item()
        if loss - loss != 0.0:  # NaN or infinity
            raise NotFiniteError("loss", loss)
        return loss, dy


def _read_losses(losses: StepLosses) -> StepLosses:
    """Return losses as floats; raises NotFiniteError for NaN and infinity."""
    for name, value in losses.items():
        if type(value) is not float:
            loss = losses[name] = value.item()
            if loss - loss != 0.0:
                raise NotFiniteError(name, loss)
    return losses


def training_form(
    objective: Objective,
    params: Params,
    frozen: Collection[str] = (),
    rate: Rate | None = None,
    batch_parts: BatchParts | None = None,
) -> Objective:
    """Return the objective in its form for training: with frozen layers and fused networks, see `Objective.fused`."""
    if frozen:
        nets = objective.nets.items()
        # before `synced`, which must not find the norms of frozen layers: these compute no statistics of a batch
        objective = objective.with_nets(
            {name: freeze(net, params_of(params, name), paths_below(frozen, name)) for name, net in nets}
        )
    if batch_parts is not None:
        objective = objective.synced(batch_parts)
    if isinstance(objective, Supervised):
        return objective.with_nets({"": fuse(objective.net, rate)})
    return objective.fused()


def describe_training(
    optimizer: Optimizers,
    regularizers: Sequence[Regularizer | MaxNorm],
    clip: float | None,
    precision: str,
    frozen: Collection[str],
    rates: Mapping[str, float],
    device: torch.device = CPU,
) -> TrainingForm:
    """Return the description of a network's training with these settings of a model or a recipe.

    Layers are updated during the backward pass only with plain SGD, without regularizers other than L2, clipping, bf16,
    frozen parameters and factors of the learning rate.
    """
    usable_name, _ = usable_precision(precision, device)
    has_plain_gradients = clip is None and usable_name != "bf16" and not frozen and not rates
    is_plain_sgd = type(optimizer) is SGD and all(type(term) is L2 for term in regularizers)
    return TrainingForm(frozenset(frozen), has_plain_gradients and is_plain_sgd)


def shrinkage(regularizers: Sequence[Regularizer], examples: int, lr: float) -> float:
    """Return s, where a step of SGD with the L2 terms of `regularizers` is w ← (1 - s) w - lr g.

    This is w ← Π (1 - lr λ) w - lr (g + Σ λ/n w), with Π over the decoupled terms and Σ over the others.
    """
    terms = [term for term in regularizers if isinstance(term, L2)]
    factor = math.prod(1 - lr * term.lam for term in terms if term.decoupled)
    return 1 - factor + sum(lr * term.lam / examples for term in terms if not term.decoupled)


def decayed_paths(nets: Mapping[str, Layer], types: tuple[type[Layer], ...] = (Layer,)) -> set[str]:
    """Return the paths of the parameters to which regularizers apply, in layers of these types."""
    return {
        join(path, name) for path, layer in named_layers(nets) if isinstance(layer, types) for name in layer.decayed
    }


def channels_last(params: Params) -> None:
    """Convert the 4-d tensors of `params` in place to channels-last, the fastest format for convolutions on the CPU."""
    for name, value in params.items():
        if isinstance(value, dict):
            channels_last(cast(Params, value))
        elif value.dim() == 4:
            params[name] = torch.empty_like(value, memory_format=torch.channels_last).copy_(value)
