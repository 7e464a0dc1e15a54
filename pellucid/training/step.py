"""One training step: gradients of an objective, regularizers, clipping, update."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.combine.base import join
from pellucid.data.source import Batch
from pellucid.errors import PellucidError, nearest
from pellucid.fuse import Rate, freeze, fuse
from pellucid.layers import Conv2d, Dense
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.objective import Gradients, Objective, Supervised, all_buffers, below, named_layers, params_of
from pellucid.optim import SGD, MaxNorm, Optimizer, Regularizer, clip_by_norm, pack, unpack
from pellucid.optim.regularizers import L2, in_order
from pellucid.text import shown
from pellucid.training.averaging import AVERAGE, Average
from pellucid.training.device import CPU, HalfCopy, to_float32, usable_precision
from pellucid.training.learner import Learner
from pellucid.training.parameter_groups import ParameterGroup, parameter_groups, penalize, update
from pellucid.tree import flatten, leaves
from pellucid.verify_forms import Training

Read = dict[str, Any]  # losses by name: numbers, on an accelerator 0-d tensors that are not read yet
Optimizers = Optimizer | Mapping[str, Optimizer]


class NotFiniteError(Exception):
    """A loss that is NaN or infinite; the step ends before the parameters are updated."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__(name)
        self.name, self.value = name, value


class Step:
    """One training step: `step(batch, lr)` updates the parameters from one batch.

    Parameters are updated in place; 4-d weights are laid out channels-last. `regularizers` act on what layers call
    `decayed`, with `examples` as their n; `clip` limits the joint norm of the gradients of a turn. Their cost terms
    enter the gradient first, then it is clipped, then the decoupled ones shrink the weights and the optimizer moves
    them, and MaxNorm comes last. `frozen` are paths that do not learn; layers all of whose values are frozen run as in
    evaluation. `rates` are factors of the learning rate by path, 1 for all others. average: the decay of an `Average`
    of the weights, None for none.

    optimizer: one for all networks, each with a state of its own, or one by the name of each network; `lr` is then the
    rate of the first, and the others keep their proportion to it. A network whose gradients an objective does not
    return is not updated; missing gradients of the others are zeros.

    paths and weights: the parameters that learn. states: of the optimizers, by network. objective and params: what runs
    in place of the given ones. note: a message to show before the first step, or "".

    A Supervised objective runs in its fused form. Under plain SGD with nothing between sweep and update, its Dense
    layers and convolutions learn in the sweep itself. What must see all gradients first (clipping, another optimizer,
    one day the sum over machines, which goes to the beginning of `_learn`) turns that off.
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
        average: float | None = None,
    ) -> None:
        channels_last(params)
        flat, nets, factors = flatten(params), objective.nets, dict(rates or {})
        device = next((leaf.device for leaf in flat.values()), CPU)
        self.precision, self.note = usable_precision(precision, device)
        self.kept = all_buffers(nets) | set(frozen)  # paths of tensors that optimizers do not update
        self.paths = [path for path in flat if path not in self.kept]
        self.weights = [flat[path] for path in self.paths]
        self.average = None if average is None else Average(self.paths, self.weights, average)
        self._learned = dict(zip(self.paths, self.weights, strict=True))
        self._examples, self._clip = examples, clip
        self._regularizers = in_order(regularizers)
        self._half = HalfCopy(nets, params, frozen) if self.precision == "bf16" else None
        self.params = self._half.params if self._half else params
        self.optimizers = optimizers = optimizers_of(optimizer, nets)
        decayed = owned(nets)
        self._movers = {
            name: _Mover(name, self._learned, one, _proportion(one, optimizers), decayed, factors)
            for name, one in optimizers.items()
        }
        self.states = {name: mover.state for name, mover in self._movers.items()}
        alone = isinstance(objective, Supervised) and isinstance(optimizer, Optimizer)
        plain = training_of(optimizer, regularizers, clip, precision, frozen, factors, device)
        self._rate = Rate() if alone and plain.in_sweep else None
        self.objective = training_form(objective, params, frozen, self._rate)
        self._reads = device.type == "cpu"  # elsewhere, reading a loss would wait for the device
        if isinstance(self.objective, Supervised) and self._reads:
            self.objective = Supervised(self.objective.net, cast(Loss, _CheckedLoss(self.objective.loss)))
            self._reads = False
        self._order: list[int] | None = None  # of a Supervised objective's gradients, as they leave the sweep
        self._zeros: list[Tensor] = []  # gradients of what no output of its network depends on
        units = owned(nets, (Dense, Conv2d))  # whose weights have a unit along the first axis
        self._bounded = [weight for path, weight in self._learned.items() if path in units]
        self._limits = [one for one in regularizers if isinstance(one, MaxNorm)]

    @classmethod
    def of(cls, model: Learner, examples: int) -> "Step":
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
        )

    def __call__(self, batch: Batch, lr: float, rng: torch.Generator | None = None) -> Read:
        """Learn from one batch, and return the losses by name, each before the update that it led to."""
        found = self.gradients(batch, lr, rng)
        losses: Read = {}
        if isinstance(found, tuple):  # all may have been learned in the sweep
            losses = found[0] if self._order == [] else self._learn(*found, lr)
        else:
            for turn in found:  # each turn learns before the next one begins
                losses |= self._learn(*turn, lr)
        if self.average is not None:
            self.average.update()
        return losses

    def gradients(self, batch: Batch, lr: float, rng: torch.Generator | None = None) -> Gradients | Iterator[Gradients]:
        """Return the result of the objective's `gradients`, in the step's precision and memory format.

        Layers that learn in the sweep do so at the rate `lr`.
        """
        images = self.inputs(batch.images)
        if images is not batch.images:
            batch = Batch(images, batch.targets)
        if self._rate is not None:
            self._rate.set(lr, shrinkage(self._regularizers, self._examples, lr))
        return self.objective.gradients(self.params, batch, Mode(True, rng))

    def inputs(self, images: Tensor) -> Tensor:
        """Return images in the step's precision and memory format; `params`, in that precision too, are up to date."""
        if self._half is not None:
            self._half.refresh()
            images = images.bfloat16()
        return images.contiguous(memory_format=torch.channels_last) if images.dim() == 4 else images

    def _learn(self, losses: Read, dparams: Params, lr: float) -> Read:
        """Learn from one turn's gradients."""
        if self._reads:
            losses = _read(losses)
        parts = self._aligned(dparams)
        if not parts:
            return losses
        for mover, grads in parts:
            penalize(mover.groups, self._regularizers, grads, self._examples)
        if self._clip is not None:
            clip_by_norm([grad for _, grads in parts for grad in grads], self._clip)
        for mover, grads in parts:
            update(mover.groups, mover.optimizer, self._regularizers, grads, mover.state, lr * mover.proportion)
        for limit in self._limits:
            limit.after_update(self._bounded)
        return losses

    def _aligned(self, dparams: Params) -> "list[tuple[_Mover, list[Tensor]]]":
        """Return the gradients, in the order of their parameters, of each network that has some."""
        if not isinstance(self.objective, Supervised):
            return self._by_path(dparams)
        mover = self._movers[""]
        if self._order is None:
            self._order = self._align(mover, dparams)
        if not self._order:
            return []
        swept = leaves(dparams) + self._zeros
        grads = [swept[place] for place in self._order]
        return [(mover, to_float32(grads) if self._half is not None else grads)]

    def _align(self, mover: "_Mover", dparams: Params) -> list[int]:
        """Return the indices that bring the gradients, last layer first, into the order of their parameters.

        Parameters that no output depends on get zeros, so that optimizers get the same parameters each time.
        """
        places = {path: place for place, path in enumerate(flatten(dparams))}
        if self._rate is None:  # else what is missing has learned in the sweep
            dead = [path for path in self.paths if path not in places]
            places |= {path: len(places) + place for place, path in enumerate(dead)}
            self._zeros = [torch.zeros_like(self._learned[path]) for path in dead]
        else:
            mover.keep(places)
        return [places[path] for path in mover.paths]

    def _by_path(self, dparams: Params) -> "list[tuple[_Mover, list[Tensor]]]":
        """Return the same for gradients in an unknown order."""
        swept = flatten(dparams)
        parts: list[tuple[_Mover, list[Tensor]]] = []
        for mover in self._movers.values():
            if any(path in swept for path in mover.paths):
                grads = [
                    swept[path] if path in swept else torch.zeros_like(self._learned[path]) for path in mover.paths
                ]
                parts.append((mover, to_float32(grads) if self._half is not None else grads))
        return parts

    def state_dict(self) -> dict[str, Tensor]:
        """Return the optimizers' state: `velocity.block1.conv.weight`, of a named network `NAME:velocity...`."""
        packed = ((mover, pack(mover.state, mover.all_paths)) for mover in self._movers.values())
        held = {mover.prefix + name: tensor for mover, state in packed for name, tensor in state.items()}
        return held if self.average is None else {**held, **self.average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned; PellucidError where it is of other networks or optimizers."""
        if self.average is not None:
            self.average.load_state_dict(state)
            state = {name: tensor for name, tensor in state.items() if not name.startswith(AVERAGE)}
        for mover in self._movers.values():
            of_it = {name: one for name, one in state.items() if name.startswith(mover.prefix)}
            unpack(mover.state, mover.all_paths, {name.removeprefix(mover.prefix): of_it[name] for name in of_it})

    def memory(self) -> list[tuple[str, str, Tensor]]:
        """Return every tensor of the optimizers' state as (its name, the parameter's path, the tensor)."""
        return [
            (kind, path, tensor)
            for mover in self._movers.values()
            for kind, tensors in mover.state.items()
            if not isinstance(tensors, int)
            for path, tensor in zip(mover.all_paths, tensors, strict=True)
        ]


class _Mover:
    """The parameters of one network, and the optimizer that updates them at `proportion` times the learning rate."""

    def __init__(
        self,
        name: str,
        learned: Mapping[str, Tensor],
        optimizer: Optimizer,
        proportion: float,
        decayed: Collection[str],
        factors: Mapping[str, float],
    ) -> None:
        self.prefix, self.optimizer, self.proportion = f"{name}:" if name else "", optimizer, proportion
        self.all_paths = [path for path in learned if path.startswith(join(name, ""))]
        self._learned, self._decayed, self._factors = learned, decayed, factors
        self.state = optimizer.init([learned[path] for path in self.all_paths])
        self.keep(self.all_paths)

    def keep(self, paths: Collection[str]) -> None:
        """Update only these parameters from now on; the others learn in the sweep."""
        self.paths = [path for path in self.all_paths if path in paths]
        weights = [self._learned[path] for path in self.paths]
        self.groups: list[ParameterGroup] = parameter_groups(self.paths, weights, self._decayed, self._factors)


def check_gradients(objective: Objective, step: Step, found: object) -> None:
    """Raise PellucidError unless `found` is what `Objective.gradients` must return."""
    kind = f"{type(objective).__name__}.gradients"
    names: list[str] = []
    for turn in cast(Iterator[Any], found) if isinstance(found, Iterator) else (found,):
        pair = cast(tuple[Any, ...], turn) if isinstance(turn, tuple) else ()
        if len(pair) != 2 or not all(isinstance(one, Mapping) for one in pair):
            raise PellucidError(
                f"{kind} must return (losses, dparams), two dicts, or yield such pairs, not {shown(cast(object, turn))}"
            )
        losses, dparams = pair
        _check_turn(kind, step, losses, dparams)
        names += losses
    if not names or len(set(names)) < len(names) or ("loss" in names and len(names) > 1):
        raise PellucidError(f"{kind}: name each loss once; 'loss' is the name of their sum, or of the only one")
    objective.total(dict.fromkeys(names, 0.0))


def _check_turn(kind: str, step: Step, losses: Mapping[str, Any], dparams: Params) -> None:
    for name, value in losses.items():
        if not isinstance(value, Tensor) or value.dim():
            raise PellucidError(f"{kind}: the loss {name!r} must be a tensor of one number, not {shown(value)}")
    learned = dict(zip(step.paths, step.weights, strict=True))
    for path, gradient in flatten(dparams).items():
        if path not in learned and path not in step.kept:
            hint = nearest(path, learned) or f"; parameters: {', '.join(learned):.200}"
            raise PellucidError(f"{kind} returned a gradient of {path!r}, which is not a parameter{hint}")
        if path in learned and gradient.shape != learned[path].shape:
            shapes = f"{tuple(gradient.shape)}, but the parameter has {tuple(learned[path].shape)}"
            raise PellucidError(f"{kind}: the gradient of {path} has the shape {shapes}")


class _CheckedLoss:
    """A loss that returns its value as a number, and ends the step before the sweep when that is not finite."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, y: Any, target: Any) -> tuple[float, Any]:
        """Return the loss's value and gradient."""
        value, dy = self.loss(y, target)
        number = value.item()
        if number - number != 0.0:  # NaN or infinity
            raise NotFiniteError("loss", number)
        return number, dy


def _read(losses: Read) -> Read:
    """Return losses as numbers; NotFiniteError for NaN and infinity."""
    for name, value in losses.items():
        if type(value) is not float:
            number = losses[name] = value.item()
            if number - number != 0.0:
                raise NotFiniteError(name, number)
    return losses


def training_form(
    objective: Objective, params: Params, frozen: Collection[str] = (), rate: Rate | None = None
) -> Objective:
    """Return the objective as it trains: with frozen layers, and its networks in their fused forms, see `fused`."""
    nets = {
        name: freeze(net, params_of(params, name), below(frozen, name)) if frozen else net
        for name, net in objective.nets.items()
    }
    if isinstance(objective, Supervised):
        return objective.with_nets({"": fuse(nets[""], rate)})
    return (objective.with_nets(nets) if frozen else objective).fused()


def optimizers_of(optimizer: Optimizers, nets: Mapping[str, Layer]) -> dict[str, Optimizer]:
    """Return the optimizer of each network, in the order given; PellucidError for other names than the networks'."""
    if isinstance(optimizer, Optimizer):
        return dict.fromkeys(nets, optimizer)
    unknown = next((name for name in optimizer if name not in nets), None)
    if unknown is not None:
        known = f"networks: {', '.join(nets)}" if "" not in nets else "the model has one network; give one optimizer"
        raise PellucidError(f"optimizer: no network {unknown!r}{nearest(unknown, nets) or f'; {known}'}")
    missing = [name for name in nets if name not in optimizer]
    if missing:
        raise PellucidError(f"optimizer: the network {missing[0]!r} has none; give each of {', '.join(nets)} one")
    return dict(optimizer)


def _proportion(one: Optimizer, optimizers: Mapping[str, Optimizer]) -> float:
    """Return a learning rate as a multiple of the first optimizer's."""
    first = next(iter(optimizers.values())).lr
    if one.lr != first and not first:
        raise PellucidError("optimizer: the first one's learning rate is 0, but another's is not; freeze that network")
    return 1.0 if one.lr == first else one.lr / first


def training_of(
    optimizer: Optimizers,
    regularizers: Sequence[Regularizer | MaxNorm],
    clip: float | None,
    precision: str,
    frozen: Collection[str],
    rates: Mapping[str, float],
    device: torch.device = CPU,
) -> Training:
    """Return how a network trains with these settings of a model or a recipe.

    Layers learn in the sweep under plain SGD with nothing but L2 between the gradients and the update.
    """
    usable, _ = usable_precision(precision, device)
    alone = clip is None and usable != "bf16" and not frozen and not rates
    plain = type(optimizer) is SGD and all(type(one) is L2 for one in regularizers)
    return Training(frozenset(frozen), alone and plain)


def shrinkage(regularizers: Sequence[Regularizer], examples: int, lr: float) -> float:
    """Return the factor s by which L2 terms shrink each weight in a step of plain gradient descent, (1 - s) w - lr g.

    w ← Π (1 - lr λ) w - lr (g + Σ λ/n w): the product over the decoupled terms, the sum over the others.
    """
    terms = [one for one in regularizers if isinstance(one, L2)]
    kept = math.prod(1 - lr * one.lam for one in terms if one.decoupled)
    return 1 - kept + sum(lr * one.lam / examples for one in terms if not one.decoupled)


def owned(nets: Mapping[str, Layer], kinds: tuple[type[Layer], ...] = (Layer,)) -> set[str]:
    """Return the paths of the parameters that regularizers act on, in layers of these types."""
    return {
        join(path, name) for path, layer in named_layers(nets) if isinstance(layer, kinds) for name in layer.decayed
    }


def channels_last(params: Params) -> None:
    """Convert the 4-d tensors of `params` to channels-last, the fastest format for convolutions on the CPU."""
    for name, value in params.items():
        if isinstance(value, dict):
            channels_last(cast(Params, value))
        elif value.dim() == 4:
            params[name] = torch.empty_like(value, memory_format=torch.channels_last).copy_(value)
