"""Optimizers of PyTorch as optimizers of this library: the same class makes the same step on the opened weights."""

import copy
import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.opening.torch_training.scheduler import GroupRates, Settings
from pellucid.optim import SGD, Momentum, Optimizer, clip_by_norm, clip_by_value
from pellucid.optim.base import State, tensors_of

TAKEN = "[taken]"  # the entry of the state that is 1 for each parameter with a state of PyTorch, which begins as {}
SUMS = "[sums]"  # the entry with the gradients of the batches since the last step
BATCHES = "[batches]"  # the entry with the number of batches of the epoch so far
OUR_ENTRIES = (TAKEN, SUMS, BATCHES)
# Why an optimizer is refused, by the name of its class.
REFUSED = {
    "LBFGS": "it computes the loss several times in a step",
    "SparseAdam": "it takes sparse gradients, and gradients are dense here",
}
USUAL_MOMENTUM = 0.9
USUAL_EPS = 1e-8  # of Adam and its like
TorchState = dict[str, Tensor]  # of one parameter: the optimizer's tensors by name
ABSENT = torch.zeros(0)  # in the place of a tensor that PyTorch's state of a parameter lacks, but that of others has


class TorchSource:
    """An optimizer of PyTorch without its parameters: its class, the settings of its groups, and copies of its state.

    group_by_path: the number of the group of each parameter; None for parameters that it does not update.
    states: of the parameters, by path; parameters before their first step are absent.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        group_by_path: Mapping[str, int | None],
        parameters: Mapping[str, Tensor],
    ) -> None:
        self.empty_optimizer = without_parameters(optimizer)
        self.groups = [dict(group) for group in self.empty_optimizer.param_groups]
        self.weight_decay = max(float(group.get("weight_decay", 0.0)) for group in self.groups)
        self.momentum = max(map(_momentum_of, self.groups)) or USUAL_MOMENTUM
        self.eps = max(float(group["eps"]) for group in self.groups) if _has_usual_eps(optimizer) else USUAL_EPS
        self.group_by_path = dict(group_by_path)
        self.states: dict[str, TorchState] = {}
        for path, parameter in parameters.items():
            state = optimizer.state.get(parameter, {})
            if state:
                self.states[path] = {name: _state_tensor(optimizer, name, value) for name, value in state.items()}

    def __repr__(self) -> str:
        """Return the class and the settings of the groups, which a resumed training must share."""
        return f"{type(self.empty_optimizer).__name__}({self.groups})"

    def before_first_step(self, frozen: Set[str]) -> "TorchSource":
        """Return the optimizer without states; the parameters at the paths `frozen` are in its first group.

        They are not updated as long as the model keeps them frozen.
        """
        new = copy.copy(self)
        new.states = {}
        new.group_by_path = self.group_by_path | {path: 0 for path in frozen if self.group_by_path.get(path, 0) is None}
        return new

    # Not the user's optimizer, which the short trainings of the doctor and of `verify` must not change; and its class
    # instead of a translation, so that a step is PyTorch's for every class, option and group.
    def twin(self, groups: Sequence[Settings], params: Sequence[list[Tensor]]) -> torch.optim.Optimizer:
        """Return an optimizer of the same class without a state; params: the parameters of each group."""
        optimizer = copy.copy(self.empty_optimizer)
        optimizer.param_groups = [
            {**settings, "params": members} for settings, members in zip(groups, params, strict=True)
        ]
        optimizer.state = defaultdict(dict)
        return optimizer


@dataclass(frozen=True)
class Accumulation:
    """Gradient accumulation: a step for every `batches` batches of an epoch, and one for those that remain.

    Each gradient is divided by `batches`, as usual loops divide the loss. epoch_batches: the number of batches in an
    epoch. clip_norm: the limit of `clip_grad_norm_`, which applies to the sums.
    """

    batches: int
    epoch_batches: int | None
    clip_norm: float | None

    def start(self, params: list[Tensor]) -> State:
        """Return the entries of the state before the first batch."""
        return {SUMS: [torch.zeros_like(param) for param in params], BATCHES: 0}

    def add(self, grads: list[Tensor], state: State) -> list[Tensor] | None:
        """Add the gradients of a batch, and return the sums if a step is due."""
        sums = tensors_of(state, SUMS)
        for index, grad in enumerate(grads):
            sums[index] += grad / self.batches
        n_batches = int(cast(int, state[BATCHES])) + 1
        is_last = n_batches == self.epoch_batches
        state[BATCHES] = 0 if is_last else n_batches
        if n_batches % self.batches and not is_last:
            return None
        state[SUMS] = [torch.zeros_like(total) for total in sums]
        if self.clip_norm is not None:
            clip_by_norm(sums, self.clip_norm)
        return sums


@dataclass(frozen=True)
class TorchOptimizer(Optimizer):
    """An optimizer of PyTorch: `update` makes one step of the same class, with the same groups, on other tensors.

    lr: the learning rate of the first group; that of the others is in proportion, or as the scheduler set it.
    source: the optimizer. clip_value: the limit of `clip_grad_value_`. weight_decay: the largest of the groups, which
    the doctor changes: another value replaces that of all groups. momentum: likewise, of Adam and its like the first
    of the betas; the usual one if the optimizer has none. eps: likewise, of classes whose default is the usual one.
    paths: of the parameters, see `for_paths`. accumulation: which calls of `update` make a step; None for each.
    """

    source: TorchSource
    clip_value: float | None = None
    weight_decay: float = 0.0
    momentum: float = USUAL_MOMENTUM
    eps: float = USUAL_EPS
    paths: tuple[str, ...] = ()
    accumulation: Accumulation | None = None

    @property
    def usual_lr(self) -> float:
        """The default learning rate of PyTorch's class; for SGD that of this library's, since PyTorch's is nominal."""
        optimizer_class = type(self.source.empty_optimizer)
        if optimizer_class is torch.optim.SGD:
            return Momentum(0.9).usual_lr if self.source.groups[0]["momentum"] else SGD().usual_lr
        return float(inspect.signature(optimizer_class).parameters["lr"].default)

    def for_paths(self, paths: Sequence[str]) -> "TorchOptimizer":
        """Return the optimizer of the parameters at these paths; unknown ones are in the first group."""
        return replace(self, paths=tuple(paths))

    def before_first_step(self, frozen: Set[str]) -> "TorchOptimizer":
        """Return the optimizer without states, for trainings that may unfreeze these paths, see TorchSource."""
        return replace(self, source=self.source.before_first_step(frozen))

    def init(self, params: list[Tensor]) -> State:
        """Return the state: tensors of PyTorch's names, zeros where it has none yet, and which parameters have one."""
        zeros = [torch.zeros_like(param) for param in params]
        scratch = self._twin(zeros, [torch.zeros_like(param) for param in params], self.source.groups)
        scratch.step()
        # in PyTorch's order, so that what is given back is equal to a state of PyTorch in every respect
        names = [*dict.fromkeys(name for param in zeros for name in scratch.state[param])]
        state: State = {name: [] for name in names}
        taken: list[Tensor] = []
        for index, param in enumerate(zeros):
            param_state = self.source.states.get(self.paths[index], {}) if self.paths else {}
            for name in names:
                template = scratch.state[param].get(name, ABSENT)
                tensors_of(state, name).append(param_state.get(name, torch.zeros_like(template)).clone())
            taken.append(torch.tensor(float(bool(param_state))))
        accumulation_entries: State = {} if self.accumulation is None else self.accumulation.start(params)
        return {**state, TAKEN: taken, **accumulation_entries}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        """Take one step of PyTorch's optimizer, once all batches of the step have given their gradients."""
        if self.accumulation is not None:
            sums = self.accumulation.add(grads, state)
            if sums is None:
                return
            grads = sums
        if self.clip_value is not None:
            clip_by_value(grads, self.clip_value)
        optimizer = self._twin(params, grads, self._settings(lr))
        taken = tensors_of(state, TAKEN)
        for index, param in enumerate(params):
            if taken[index]:
                optimizer.state[param] = _state_at(state, index)
        optimizer.step()
        for index, param in enumerate(params):
            param_state = optimizer.state.get(param, {})
            param.grad = None
            if param_state:
                taken[index] = torch.ones_like(taken[index])
            for name, value in param_state.items():
                tensors_of(state, name)[index] = value

    def states(self, state: State) -> dict[str, TorchState]:
        """Return PyTorch's state of each parameter by path, for parameters that have one."""
        taken = tensors_of(state, TAKEN)
        return {path: _state_at(state, index) for index, path in enumerate(self.paths) if taken[index]}

    def _settings(self, lr: float) -> list[Settings]:
        """Return the settings of the groups for a step with this learning rate of the first group."""
        if isinstance(lr, GroupRates):
            groups = lr.groups
            factor = lr.scale / lr.reference
        else:
            groups = self.source.groups
            factor = lr / groups[0]["lr"] if groups[0]["lr"] else 1.0
        settings = [{**group, "lr": group["lr"] * factor} for group in groups]
        if self.weight_decay != self.source.weight_decay:
            settings = [{**group, "weight_decay": self.weight_decay} for group in settings]
        if self.momentum != self.source.momentum:
            settings = [_with_momentum(group, self.momentum) for group in settings]
        if self.eps != self.source.eps:
            settings = [{**group, "eps": self.eps} for group in settings]
        return settings

    def _twin(self, params: list[Tensor], grads: list[Tensor], groups: Sequence[Settings]) -> torch.optim.Optimizer:
        """Return an optimizer of PyTorch over these tensors, with their gradients."""
        if self.paths and len(params) != len(self.paths):
            raise PellucidError(
                "scale_rate: a training of PyTorch has its rates in the groups of its optimizer; set them there, and "
                "call from_torch again"
            )
        params_by_group: list[list[Tensor]] = [[] for _ in groups]
        for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
            group_index = self.source.group_by_path.get(self.paths[index], 0) if self.paths else 0
            if group_index is not None:
                param.grad = grad
                params_by_group[group_index].append(param)
        return self.source.twin(groups, params_by_group)


def without_parameters(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return an optimizer of the same class and settings, without parameters and state."""
    empty_optimizer = copy.copy(optimizer)
    empty_optimizer.param_groups = [_settings_of(group) for group in optimizer.param_groups]
    empty_optimizer.state = defaultdict(dict)
    return empty_optimizer


def check_optimizer(optimizer: Any) -> None:
    """Raise PellucidError unless the settings and the state of an optimizer determine its steps."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise PellucidError(f"from_torch: optimizer must be a torch.optim.Optimizer, not {type(optimizer).__name__}")
    name = type(optimizer).__name__
    if name in REFUSED:
        raise PellucidError(
            f"from_torch: {name} is not taken, since {REFUSED[name]}; take another optimizer, such as AdamW"
        )
    # `twin` copies the groups and the state, and what a class keeps besides them would be lost
    if not type(optimizer).__module__.startswith("torch.optim"):
        raise PellucidError(
            f"from_torch: {name} is not an optimizer of torch.optim, so it may keep values that its "
            "state_dict lacks; write it as a pellucid.Optimizer (docs: your own parts), and train with "
            "pellucid.open(network, example, optimizer=...)"
        )


def _momentum_of(group: Mapping[str, Any]) -> float:
    """Return the decay of the average of gradients in a group; 0 if it has none."""
    return float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))


def _has_usual_eps(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether the default of an optimizer's class is USUAL_EPS; that of others means something else."""
    parameter = inspect.signature(type(optimizer)).parameters.get("eps")
    return parameter is not None and parameter.default == USUAL_EPS


def _with_momentum(group: Settings, momentum: float) -> Settings:
    """Return the settings of a group with another decay of the average of gradients."""
    if "betas" in group:
        return {**group, "betas": (momentum, *group["betas"][1:])}
    return {**group, "momentum": momentum}


def _state_at(state: State, index: int) -> TorchState:
    """Return PyTorch's state of one parameter."""
    values = {name: tensors_of(state, name)[index] for name in state if name not in OUR_ENTRIES}
    return {name: value for name, value in values.items() if value.shape != ABSENT.shape}


def _settings_of(group: Mapping[str, Any]) -> Settings:
    """Return the settings of a group with its learning rate as a number, without parameters."""
    settings = {name: value for name, value in group.items() if name not in ("params", "param_names")}
    return {**settings, "lr": float(group["lr"]), "params": []}


def _state_tensor(optimizer: torch.optim.Optimizer, name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise PellucidError(
            f"from_torch: the state {name!r} of {type(optimizer).__name__} is {type(value).__name__}, not a tensor; "
            "give an optimizer of this version of PyTorch"
        )
    return value.detach().clone()
