"""The partition of parameters among processes, each of which keeps the optimizer's state for its part.

Source: Rajbhandari et al. 2020, ZeRO: Memory optimizations toward training trillion parameter models, section 5.1.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.optim import Optimizer
from pellucid.optim.base import State
from pellucid.training.distributed import Processes, assigned_range


class Partition:
    """A partition of all values of the parameters `weights` into one consecutive part for each process.

    The sizes of the parts differ by at most one value.
    """

    def __init__(self, weights: Sequence[Tensor], processes: Processes) -> None:
        self.weights = [*weights]
        self.processes = processes
        tensor_ends = [*accumulate(tensor.numel() for tensor in weights)]
        self.spans: list[list[slice]] = []  # by process: the part of each tensor's values
        for rank in range(processes.count):
            process_range = assigned_range(rank, processes.count, tensor_ends[-1] if tensor_ends else 0)
            spans: list[slice] = []
            for start_of_tensor, end_of_tensor in pairwise([0, *tensor_ends]):
                start = min(max(process_range.start, start_of_tensor), end_of_tensor)
                stop = min(max(process_range.stop, start_of_tensor), end_of_tensor)
                spans.append(slice(start - start_of_tensor, stop - start_of_tensor))
            self.spans.append(spans)

    def own_parts(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return this process's part of each tensor, 1-d: a view if it has its parameter's strides, else a copy."""
        triples = zip(tensors, self.weights, self.spans[self.processes.rank], strict=True)
        return [_flat_view(_in_format_of(tensor, weight))[span] for tensor, weight, span in triples]

    def share(self) -> None:
        """Send this process's part of the parameters to all others, in place."""
        self._collect(self.own_parts(self.weights), self.weights)

    def full_state(self, state: State) -> State:
        """Return the complete state, gathered from the parts of all processes."""
        full_state: State = {}
        for name, value in state.items():
            full_state[name] = value if isinstance(value, int) else self._collect(value, self.empty_tensors(value))
        return full_state

    def empty_tensors(self, shares: Sequence[Tensor]) -> list[Tensor]:
        """Return uninitialized tensors with the shapes of the parameters and the dtypes of `parts`."""
        return [torch.empty_like(weight, dtype=share.dtype) for weight, share in zip(self.weights, shares, strict=True)]

    def own_copies(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return copies of this process's part of each tensor."""
        return [share.clone() for share in self.own_parts(tensors)]

    def _collect(self, parts: Sequence[Tensor], targets: list[Tensor]) -> list[Tensor]:
        """Write the parts of all processes into the complete tensors `targets`, and return these."""
        sizes = [sum(span.stop - span.start for span in spans) for spans in self.spans]
        own_values = torch.cat([*parts])
        own_row = own_values.new_zeros(max(sizes))
        own_row[: len(own_values)] = own_values
        rows = self.processes.gather(own_row)
        for rank, spans in enumerate(self.spans):
            row_start = 0
            for tensor, span in zip(targets, spans, strict=True):
                row_stop = row_start + span.stop - span.start
                _flat_view(tensor)[span] = rows[rank, row_start:row_stop]
                row_start = row_stop
        return targets


def _flat_view(tensor: Tensor) -> Tensor:
    """Return a 1-d view of a tensor without gaps, in memory order."""
    return tensor.as_strided((tensor.numel(),), (1,))


def _in_format_of(tensor: Tensor, weight: Tensor) -> Tensor:
    """Return a tensor in the memory format of `weight`, which has the same shape."""
    return tensor if tensor.stride() == weight.stride() else torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)


def check_elementwise(optimizer: Optimizer, state: State, parts: Sequence[Tensor]) -> None:
    """Raise PellucidError unless an optimizer updates each value independently, with a state shaped like `parts`."""
    optimizer_class = type(optimizer)
    definition = next(vars(base) for base in optimizer_class.__mro__ if vars(base).keys() & {"update", "elementwise"})
    has_matching_shapes = True
    for value in state.values():
        if not isinstance(value, int):  # a count of steps belongs to no parameter
            pairs = zip(value, parts, strict=True)
            has_matching_shapes = has_matching_shapes and all(tensor.shape == part.shape for tensor, part in pairs)
    if not definition.get("elementwise") or not has_matching_shapes:
        raise PellucidError(
            f"fit: shard_optimizer: {optimizer_class.__name__} does not say that it updates each value by its own "
            "gradient and state; leave out shard_optimizer, or set elementwise = True in the class if it does"
        )
