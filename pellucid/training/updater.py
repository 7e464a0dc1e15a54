"""The update of one network's parameters by its optimizer, whose state can be divided among processes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine.base import prefix_of
from pellucid.layers.base import Layer
from pellucid.optim import Optimizer, Regularizer, pack, unpack
from pellucid.optim.base import State
from pellucid.training.distributed import Processes
from pellucid.training.parameter_groups import ParameterGroup, parameter_groups, update_groups
from pellucid.training.partition import Partition, check_elementwise

Optimizers = Optimizer | Mapping[str, Optimizer]  # one for all networks, or one for each by name


class Updater:
    """The parameters of one network, and the optimizer that updates them with `lr_ratio` times the learning rate.

    state_processes: the processes that share the optimizer's state; each updates the values whose state it
    keeps, and sends them to the others. Raises PellucidError for an optimizer that does not update each value
    independently.
    """

    def __init__(
        self,
        name: str,
        learned_weights: Mapping[str, Tensor],
        optimizer: Optimizer,
        lr_ratio: float,
        decayed_paths: Collection[str],
        lr_factors: Mapping[str, float],
        state_processes: Processes,
    ) -> None:
        self.prefix = f"{name}:" if name else ""
        self.lr_ratio = lr_ratio
        self.all_paths = [path for path in learned_weights if path.startswith(prefix_of(name))]
        self.optimizer = optimizer = optimizer.for_paths(self.all_paths)
        self._learned_weights = learned_weights
        self._decayed_paths = decayed_paths
        self._lr_factors = lr_factors
        weights = [learned_weights[path] for path in self.all_paths]
        self._partition = None if state_processes.count == 1 else Partition(weights, state_processes)
        if self._partition is None:
            self.state = optimizer.init(weights)
        else:
            self.state = optimizer.init(self._partition.own_parts(weights))
            check_elementwise(optimizer, self.state, self._partition.own_parts(weights))
        self.restrict_to(self.all_paths)

    def restrict_to(self, paths: Collection[str]) -> None:
        """Update only these parameters from now on; the others are updated during the backward pass."""
        self.paths = [path for path in self.all_paths if path in paths]
        weights = [self._learned_weights[path] for path in self.paths]
        self.groups: list[ParameterGroup] = parameter_groups(self.paths, weights, self._decayed_paths, self._lr_factors)

    def update(self, regularizers: Sequence[Regularizer], grads: list[Tensor], lr: float) -> None:
        """Shrink the weights by the decoupled regularizers, and take one step of the optimizer."""
        own_lr = lr * self.lr_ratio
        groups = self.groups
        if self._partition is None:
            update_groups(groups, self.optimizer, regularizers, grads, self.state, own_lr)
            return
        own_weights = self._partition.own_parts(self._partition.weights)
        groups = [replace(group, weights=[own_weights[k] for k in group.indices]) for group in groups]
        update_groups(groups, self.optimizer, regularizers, self._partition.own_parts(grads), self.state, own_lr)
        self._partition.share()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the complete state as named tensors, such as `velocity.conv1.weight` or `NETWORK:velocity...`."""
        state = self.state if self._partition is None else self._partition.full_state(self.state)
        return {self.prefix + name: tensor for name, tensor in pack(state, self.all_paths).items()}

    def unpack(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state from the tensors that the `state_dict` of all updaters returned."""
        own_state = {
            name.removeprefix(self.prefix): tensor for name, tensor in state.items() if name.startswith(self.prefix)
        }
        if self._partition is None:
            unpack(self.state, self.all_paths, own_state)
            return
        full_state: State = {
            name: value if isinstance(value, int) else self._partition.empty_tensors(value)
            for name, value in self.state.items()
        }
        unpack(full_state, self.all_paths, own_state)
        for name, value in full_state.items():
            self.state[name] = value if isinstance(value, int) else self._partition.own_copies(value)


def optimizers_of(optimizer: Optimizers, nets: Mapping[str, Layer]) -> dict[str, Optimizer]:
    """Return the optimizer of each network by name; raises PellucidError for unknown and missing names."""
    if isinstance(optimizer, Optimizer):
        return dict.fromkeys(nets, optimizer)
    unknown = next((name for name in optimizer if name not in nets), None)
    if unknown is not None:
        known_nets = (
            f"networks: {', '.join(nets)}" if "" not in nets else "the model has one network; give one optimizer"
        )
        raise PellucidError(f"optimizer: no network {unknown!r}{nearest(unknown, nets) or f'; {known_nets}'}")
    nets_without_optimizer = [name for name in nets if name not in optimizer]
    if nets_without_optimizer:
        raise PellucidError(
            f"optimizer: the network {nets_without_optimizer[0]!r} has none; give each of {', '.join(nets)} one"
        )
    return dict(optimizer)


def lr_ratio(optimizer: Optimizer, optimizers: Mapping[str, Optimizer]) -> float:
    """Return an optimizer's learning rate divided by that of the first optimizer."""
    first = next(iter(optimizers.values())).lr
    if optimizer.lr != first and not first:
        raise PellucidError("optimizer: the first one's learning rate is 0, but another's is not; freeze that network")
    return 1.0 if optimizer.lr == first else optimizer.lr / first
