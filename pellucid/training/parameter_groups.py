"""Parameter groups by learning rate, and which parameters learn."""
# What users' own parts return is checked, whatever its type should be.
# pyright: reportUnnecessaryIsInstance=false

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Params
from pellucid.models import match
from pellucid.objective import Objective, all_buffers
from pellucid.optim import Optimizer, Regularizer
from pellucid.optim.base import State, tensors_of
from pellucid.optim.regularizers import add_penalties, shrink_weights
from pellucid.text import shown


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at `factor` times the learning rate, and their indices among all that are learned.

    `decayed` and `decayed_indices` are those of them that regularizers act on.
    """

    factor: float
    weights: list[Tensor]
    indices: list[int]
    decayed: list[Tensor]
    decayed_indices: list[int]


class Trainable:
    """The methods of Model that choose which parameters learn, and at what rate.

    frozen: paths of parameters that are not updated. rates: factors of the learning rate, by path.
    """

    objective: Objective
    params: Params
    frozen: set[str]
    rates: dict[str, float]

    def freeze(self, *patterns: str) -> None:
        """Do not update the parameters whose paths match these patterns: `features.*`, `*.norm?.*`.

        Layers all of whose parameters are frozen run as in evaluation: batch normalization uses its running
        statistics and does not update them. Raises PellucidError for a pattern that matches nothing.
        """
        self.frozen |= {path for pattern in patterns for path in self._named(pattern)}

    def unfreeze(self, *patterns: str) -> None:
        """Update the parameters whose paths match these patterns again; without patterns, all."""
        self.frozen -= {path for pattern in patterns or ("*",) for path in self._named(pattern)}

    def scale_rate(self, pattern: str, factor: float) -> None:
        """Multiply the learning rate of the parameters whose paths match a pattern by `factor`."""
        if not isinstance(factor, int | float) or not 0 < factor < float("inf"):
            raise PellucidError(f"scale_rate: factor must be a number above 0, not {shown(factor)}; to stop, freeze")
        self.rates |= dict.fromkeys(self._named(pattern), float(factor))

    def check_learns(self) -> None:
        """Raise PellucidError where everything is frozen."""
        if self.frozen >= self._named("*"):
            raise PellucidError("every parameter is frozen, so that nothing can learn; unfreeze some")

    def _named(self, pattern: str) -> set[str]:
        """Return the paths of the parameters that a pattern matches."""
        if not self.params:
            raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
        return match(self.params, pattern) - all_buffers(self.objective.nets)


def parameter_groups(
    paths: Sequence[str], weights: Sequence[Tensor], decayed_paths: Collection[str], factors: Mapping[str, float]
) -> list[ParameterGroup]:
    """Return the parameters in groups of one factor of the learning rate each; paths not in `factors` have 1."""
    by_factor: dict[float, list[int]] = {}
    for index, path in enumerate(paths):
        by_factor.setdefault(factors.get(path, 1.0), []).append(index)
    return [_group(factor, indices, paths, weights, decayed_paths) for factor, indices in by_factor.items()]


def penalize(
    groups: Sequence[ParameterGroup], regularizers: Sequence[Regularizer], grads: list[Tensor], examples: int
) -> None:
    """Add the gradients of the regularizers' cost terms, in place; `examples` is their n."""
    for group in groups:
        if group.decayed:
            add_penalties(regularizers, group.decayed, [grads[index] for index in group.decayed_indices], examples)


def update(
    groups: Sequence[ParameterGroup],
    optimizer: Optimizer,
    regularizers: Sequence[Regularizer],
    grads: list[Tensor],
    state: State,
    lr: float,
) -> None:
    """Shrink by the decoupled regularizers, then take one step of the optimizer, in every group.

    `state` is in the order of all that is learned.
    """
    for group in groups:
        if group.decayed:
            shrink_weights(regularizers, group.decayed, lr * group.factor)
    if len(groups) == 1:
        only = groups[0]
        optimizer.decay(only.decayed, lr * only.factor)
        optimizer.update(only.weights, grads, state, lr * only.factor)
        return
    after: dict[str, int] = {}
    for group in groups:
        part = {name: one if isinstance(one, int) else [one[k] for k in group.indices] for name, one in state.items()}
        optimizer.decay(group.decayed, lr * group.factor)
        optimizer.update(group.weights, [grads[index] for index in group.indices], part, lr * group.factor)
        for name, one in part.items():
            if isinstance(one, int):
                after[name] = one
                continue
            for index, tensor in zip(group.indices, one, strict=True):  # `update` may put other tensors there
                tensors_of(state, name)[index] = tensor
    state.update(after)  # each group counted the same step


def _group(
    factor: float, indices: list[int], paths: Sequence[str], weights: Sequence[Tensor], decayed_paths: Collection[str]
) -> ParameterGroup:
    decayed = [index for index in indices if paths[index] in decayed_paths]
    return ParameterGroup(factor, [weights[k] for k in indices], indices, [weights[k] for k in decayed], decayed)
