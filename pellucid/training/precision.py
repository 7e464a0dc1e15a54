"""Mixed precision: compute and caches in bfloat16; parameters, statistics, reductions and updates in float32."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from pellucid.errors import PellucidError, nearest
from pellucid.layers import Conv2d, ConvTranspose2d, Dense
from pellucid.layers.base import Layer, Params
from pellucid.objective import named_layers
from pellucid.optim import foreach
from pellucid.tree import flatten, nest

PRECISIONS = ("float32", "bf16")
HALVED = (Dense, Conv2d, ConvTranspose2d)  # layers whose arithmetic is worth the lower precision


def usable_precision(asked: str, device: torch.device | None = None) -> tuple[str, str]:
    """Return the precision to compute in, and why it is not the requested one ("" where it is).

    device: by default the CPU. CUDA devices before the compute capability 8.0 only emulate bfloat16.

    Raises PellucidError for a precision that does not exist.
    """
    if asked not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise PellucidError(f"train.precision must be {known}, not {asked!r}{nearest(str(asked), PRECISIONS)}")
    if asked == "bf16" and not _has_bfloat16(device or torch.device("cpu")):
        return "float32", "this processor has no bfloat16 instructions, so training stays in float32"
    return asked, ""


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 by its own instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    can = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(can.get("avx512_bf16") or can.get("amx_bf16") or can.get("bf16"))


class HalfCopy:
    """A copy of networks' parameters to compute with: Dense and convolutions in bfloat16, the rest shared.

    frozen: paths of what stays as it is, and is copied only once.
    """

    def __init__(self, nets: Mapping[str, Layer], params: Params, frozen: Collection[str] = ()) -> None:
        halved = {path for path, layer in named_layers(nets) if isinstance(layer, HALVED)}
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
