"""Parameter groups by learning rate, and the choice of the parameters that are updated."""
# The types of users' arguments are checked at run time, regardless of their annotations.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown
from pellucid.combine.nets import all_buffers
from pellucid.models import match
from pellucid.optim.base import tensors_of
from pellucid.optim.regularizers import add_penalties, shrink_weights

if TYPE_CHECKING:
    from pellucid.layers.base import Params
    from pellucid.objective import Objective
    from pellucid.optim import Optimizer, Regularizer
    from pellucid.optim.base import State


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated with `factor` times the learning rate."""

    factor: float
    weights: list[Tensor]
    indices: list[int]  # their indices among all parameters that are updated
    decayed: list[Tensor]  # the parameters of the group to which regularizers and weight decay apply
    decayed_indices: list[int]  # their indices among all parameters that are updated


class Trainable:
    """The methods of Model that choose which parameters are updated, and with which learning rates."""

    objective: Objective
    params: Params
    frozen: set[str]  # paths of parameters that are not updated
    rates: dict[str, float]  # factors of the learning rate, by path

    def freeze(self, *patterns: str) -> None:
        """Freeze the parameters whose paths match these patterns, such as `features.*` or `*.norm?.*`.

        Frozen parameters are not updated. A layer whose parameters are all frozen runs in evaluation mode: batch
        normalization uses its running statistics and does not update them. Raises PellucidError for a pattern that
        matches nothing.
        """
        self.frozen |= {path for pattern in patterns for path in self._matching_paths(pattern)}

    def unfreeze(self, *patterns: str) -> None:
        """Unfreeze the parameters whose paths match these patterns; without patterns, all parameters."""
        self.frozen -= {path for pattern in patterns or ("*",) for path in self._matching_paths(pattern)}

    def scale_rate(self, pattern: str, factor: float) -> None:
        """Multiply the learning rate of the parameters whose paths match a pattern by `factor`."""
        if not isinstance(factor, int | float) or not 0 < factor < float("inf"):
            raise PellucidError(
                f"scale_rate: factor must be a number above 0, not {shown(factor)}; freeze parameters to stop updates"
            )
        self.rates |= dict.fromkeys(self._matching_paths(pattern), float(factor))

    def check_learns(self) -> None:
        """Raise PellucidError if all parameters are frozen."""
        if self.frozen >= self._matching_paths("*"):
            raise PellucidError("every parameter is frozen, so training would change nothing; unfreeze some")

    def _matching_paths(self, pattern: str) -> set[str]:
        """Return the paths of the parameters, without running statistics, that match a pattern."""
        if not self.params:
            raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
        return match(self.params, pattern) - all_buffers(self.objective.nets)


def parameter_groups(
    paths: Sequence[str], weights: Sequence[Tensor], decayed_paths: Collection[str], factors: Mapping[str, float]
) -> list[ParameterGroup]:
    """Return the parameters in groups with the same factor of the learning rate; the default factor is 1.

    paths, weights: all parameters that are updated. decayed_paths: paths of the parameters to which regularizers
    apply. factors: factors of the learning rate, by path.
    """
    indices_by_factor: dict[float, list[int]] = {}
    for index, path in enumerate(paths):
        indices_by_factor.setdefault(factors.get(path, 1.0), []).append(index)
    return [
        _make_group(factor, indices, paths, weights, decayed_paths) for factor, indices in indices_by_factor.items()
    ]


def penalize(
    groups: Sequence[ParameterGroup], regularizers: Sequence[Regularizer], grads: list[Tensor], examples: int
) -> None:
    """Add the gradients of the regularizers' cost terms to `grads`, in place; `examples` is the regularizers' n."""
    for group in groups:
        if group.decayed:
            add_penalties(regularizers, group.decayed, [grads[index] for index in group.decayed_indices], examples)


def update_groups(
    groups: Sequence[ParameterGroup],
    optimizer: Optimizer,
    regularizers: Sequence[Regularizer],
    grads: list[Tensor],
    state: State,
    lr: float,
) -> None:
    """Apply the decoupled regularizers, the optimizer's weight decay and one step of the optimizer to every group.

    `grads` and the tensors of `state` are in the order of all parameters that are updated.
    """
    for group in groups:
        if group.decayed:
            shrink_weights(regularizers, group.decayed, lr * group.factor)
    if len(groups) == 1:
        single_group = groups[0]
        optimizer.decay(single_group.decayed, lr * single_group.factor)
        optimizer.update(single_group.weights, grads, state, lr * single_group.factor)
        return
    step_counts: dict[str, int] = {}
    for group in groups:
        group_state = {
            name: entry if isinstance(entry, int) else [entry[k] for k in group.indices]
            for name, entry in state.items()
        }
        optimizer.decay(group.decayed, lr * group.factor)
        optimizer.update(group.weights, [grads[index] for index in group.indices], group_state, lr * group.factor)
        for name, entry in group_state.items():
            if isinstance(entry, int):
                step_counts[name] = entry
                continue
            for index, tensor in zip(group.indices, entry, strict=True):  # `update` may have replaced the tensors
                tensors_of(state, name)[index] = tensor
    state.update(step_counts)  # after all groups, since each must begin with the same counts


def _make_group(
    factor: float, indices: list[int], paths: Sequence[str], weights: Sequence[Tensor], decayed_paths: Collection[str]
) -> ParameterGroup:
    decayed_indices = [index for index in indices if paths[index] in decayed_paths]
    return ParameterGroup(
        factor, [weights[k] for k in indices], indices, [weights[k] for k in decayed_indices], decayed_indices
    )
