"""PyTorch's operations on lists of tensors, which update all parameters of a network in one call.

Their names are private, but torch.optim uses them too; this is the only file that refers to them.
Tests: tests/optim/test_foreach.py.
"""
# pyright: reportPrivateImportUsage=false, reportPrivateUsage=false

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

MAX_CHUNK_VALUES = 1 << 18  # values in each tensor list of a chunk: 1 MiB of float32

add_ = torch._foreach_add_
addcdiv_ = torch._foreach_addcdiv_
addcmul = torch._foreach_addcmul
addcmul_ = torch._foreach_addcmul_
clamp_max_ = torch._foreach_clamp_max_
clamp_min = torch._foreach_clamp_min
clamp_min_ = torch._foreach_clamp_min_
copy_ = torch._foreach_copy_
div_ = torch._foreach_div_
lerp_ = torch._foreach_lerp_
maximum_ = torch._foreach_maximum_
mul_ = torch._foreach_mul_
norm = torch._foreach_norm
sign = torch._foreach_sign
sqrt = torch._foreach_sqrt
sub_ = torch._foreach_sub_


def chunks(*lists: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Yield chunks of lists of tensors, with at most about MAX_CHUNK_VALUES values, for elementwise operations.

    The lists contain tensors of the same shapes; larger tensors are split along their first axis. When all
    operations run on one chunk before the next, it stays in the processor's cache, and temporary results are small.
    """
    split_lists = [[piece for tensor in tensors for piece in _split(tensor)] for tensors in lists]
    chunk_start = 0
    n_values = 0
    for index, piece in enumerate(split_lists[0]):
        n_values += piece.numel()
        if n_values > MAX_CHUNK_VALUES and index > chunk_start:
            yield tuple(pieces[chunk_start:index] for pieces in split_lists)
            chunk_start = index
            n_values = piece.numel()
    if chunk_start < len(split_lists[0]):
        yield tuple(pieces[chunk_start:] for pieces in split_lists)


def _split(tensor: Tensor) -> Sequence[Tensor]:
    """Return the tensor, or views of consecutive rows if it has more than MAX_CHUNK_VALUES values.

    A view has at most MAX_CHUNK_VALUES values, unless it is a single row.
    """
    if tensor.numel() <= MAX_CHUNK_VALUES or not tensor.dim():
        return (tensor,)
    return torch.split(tensor, max(1, MAX_CHUNK_VALUES * len(tensor) // tensor.numel()))
