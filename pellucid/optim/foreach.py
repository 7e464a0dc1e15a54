"""PyTorch's operations over lists of tensors: one call for all parameters of a network.

They are private by name, but torch.optim depends on them; this file is the only one that uses them.
"""
# pyright: reportPrivateImportUsage=false, reportPrivateUsage=false

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

RUN = 1 << 20  # values of tensors in one run, unless a single one has more

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


def runs(tensors: Sequence[Tensor]) -> Iterator[slice]:
    """Yield consecutive parts of a list of tensors, each of at most RUN values or of one tensor."""
    begin, values = 0, 0
    for place, tensor in enumerate(tensors):
        values += tensor.numel()
        if values > RUN and place > begin:
            yield slice(begin, place)
            begin, values = place, tensor.numel()
    if begin < len(tensors):
        yield slice(begin, len(tensors))
