"""The update of one network's parameters by its optimizer, whose state several processes can keep together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from pellucid.combine.base import prefix_of
from pellucid.optim import Optimizer, Regularizer, pack, unpack
from pellucid.optim.base import State
from pellucid.training.distributed import Processes
from pellucid.training.parameter_groups import ParameterGroup, parameter_groups, update
from pellucid.training.partition import Partition, check_elementwise


class Updater:
    """The parameters of one network, and the optimizer that updates them with `proportion` times the learning rate.

    keepers: the processes that share the optimizer's state; each updates the values of which it keeps the state, and
    sends them to the others. Raises PellucidError for an optimizer that does not update each value by itself.
    """

    def __init__(
        self,
        name: str,
        learned: Mapping[str, Tensor],
        optimizer: Optimizer,
        proportion: float,
        decayed: Collection[str],
        factors: Mapping[str, float],
        keepers: Processes,
    ) -> None:
        self.prefix, self.optimizer, self.proportion = f"{name}:" if name else "", optimizer, proportion
        self.all_paths = [path for path in learned if path.startswith(prefix_of(name))]
        self._learned, self._decayed, self._factors = learned, decayed, factors
        weights = [learned[path] for path in self.all_paths]
        self._partition = None if keepers.count == 1 else Partition(weights, keepers)
        if self._partition is None:
            self.state = optimizer.init(weights)
        else:
            self.state = optimizer.init(self._partition.own(weights))
            check_elementwise(optimizer, self.state, self._partition.own(weights))
        self.keep(self.all_paths)

    def keep(self, paths: Collection[str]) -> None:
        """Update only these parameters from now on; the others are updated during the backward pass."""
        self.paths = [path for path in self.all_paths if path in paths]
        weights = [self._learned[path] for path in self.paths]
        self.groups: list[ParameterGroup] = parameter_groups(self.paths, weights, self._decayed, self._factors)

    def update(self, regularizers: Sequence[Regularizer], grads: list[Tensor], lr: float) -> None:
        """Shrink the weights by the decoupled regularizers, and take one step of the optimizer."""
        rate, groups = lr * self.proportion, self.groups
        if self._partition is None:
            update(groups, self.optimizer, regularizers, grads, self.state, rate)
            return
        own_weights = self._partition.own(self._partition.weights)
        groups = [replace(group, weights=[own_weights[k] for k in group.indices]) for group in groups]
        update(groups, self.optimizer, regularizers, self._partition.own(grads), self.state, rate)
        self._partition.share()

    def packed(self) -> dict[str, Tensor]:
        """Return the whole state as named tensors, as `velocity.conv1.weight` or `NETWORK:velocity...`."""
        state = self.state if self._partition is None else self._partition.whole(self.state)
        return {self.prefix + name: tensor for name, tensor in pack(state, self.all_paths).items()}

    def unpack(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state from the tensors that the `packed` of all updaters returned."""
        prefix = self.prefix
        part = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        if self._partition is None:
            unpack(self.state, self.all_paths, part)
            return
        full_state: State = {
            name: value if isinstance(value, int) else self._partition.like(value) for name, value in self.state.items()
        }
        unpack(full_state, self.all_paths, part)
        for name, value in full_state.items():
            self.state[name] = value if isinstance(value, int) else self._partition.kept(value)
