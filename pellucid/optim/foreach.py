"""PyTorch's operations over lists of tensors: one call for all parameters of a network.

They are private by name, but torch.optim depends on them; this file is the only one that uses them.
"""
# pyright: reportPrivateImportUsage=false, reportPrivateUsage=false

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

RUN = 1 << 18  # values: 1 MiB of float32

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


def runs(*lists: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """Yield parts of lists of tensors, of at most RUN values, for operations on each value alone.

    The lists have tensors of the same shapes. Larger tensors are cut along their first axis. Several operations on a
    part find it in the processor's cache, and their intermediate results take little memory.
    """
    pieces = [[piece for tensor in tensors for piece in _cut(tensor)] for tensors in lists]
    begin, values = 0, 0
    for place, piece in enumerate(pieces[0]):
        values += piece.numel()
        if values > RUN and place > begin:
            yield tuple(one[begin:place] for one in pieces)
            begin, values = place, piece.numel()
    if begin < len(pieces[0]):
        yield tuple(one[begin:] for one in pieces)


def _cut(tensor: Tensor) -> Sequence[Tensor]:
    """Return the tensor, or where it is larger than RUN its rows in parts that are not."""
    if tensor.numel() <= RUN or not tensor.dim():
        return (tensor,)
    return torch.split(tensor, max(1, RUN * len(tensor) // tensor.numel()))
