"""Mixed precision: compute and caches in bfloat16; parameters, statistics, reductions and updates in float32."""

from collections.abc import Collection

import torch
from torch import Tensor

from pellucid.combine.base import walk
from pellucid.errors import PellucidError, nearest
from pellucid.layers import Conv2d, ConvTranspose2d, Dense
from pellucid.layers.base import Layer, Params
from pellucid.optim import foreach
from pellucid.tree import flatten, nest

PRECISIONS = ("float32", "bf16")
HALVED = (Dense, Conv2d, ConvTranspose2d)  # layers whose arithmetic is worth the lower precision


def usable_precision(asked: str) -> tuple[str, str]:
    """Return the precision to compute in, and why it is not the one that was asked for ("" where it is).

    Raises PellucidError for a precision that does not exist.
    """
    if asked not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise PellucidError(f"train.precision must be {known}, not {asked!r}{nearest(str(asked), PRECISIONS)}")
    can = torch.cpu.get_capabilities()
    if asked == "bf16" and not (can.get("avx512_bf16") or can.get("amx_bf16") or can.get("bf16")):
        return "float32", "this processor has no bfloat16 instructions, so training stays in float32"
    return asked, ""


class HalfCopy:
    """A copy of a network's parameters to compute with: Dense and convolutions in bfloat16, the rest shared.

    frozen: paths of what stays as it is, and is copied only once.
    """

    def __init__(self, net: Layer, params: Params, frozen: Collection[str] = ()) -> None:
        halved = {path for path, layer in walk(net) if isinstance(layer, HALVED)}
        flat = flatten(params)
        paths = [path for path in flat if path.rpartition(".")[0] in halved]
        halves = {path: flat[path].bfloat16() for path in paths}
        self.params = nest(params, flat | halves)
        learned = [path for path in paths if path not in frozen]
        self._masters, self._halves = [flat[path] for path in learned], [halves[path] for path in learned]

    def refresh(self) -> None:
        """Bring the copy up to date with the parameters."""
        foreach.copy_(self._halves, self._masters)


def to_float32(grads: list[Tensor]) -> list[Tensor]:
    """Return gradients in float32."""
    return [grad.float() for grad in grads]
