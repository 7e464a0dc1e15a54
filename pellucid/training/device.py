"""The device and the precision of a training."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.errors import PellucidError, nearest
from pellucid.layers import Conv2d, ConvTranspose2d, Dense
from pellucid.layers.base import Layer, Params
from pellucid.objective import named_layers
from pellucid.optim import foreach
from pellucid.tree import flatten, leaves, nest

CPU = torch.device("cpu")
DEVICES = ("auto", "cpu", "cuda", "mps")


def usable_device(asked: str | torch.device) -> torch.device:
    """Return the device that "auto", "cpu", "cuda", "cuda:1" or "mps" names; auto: the fastest available.

    Raises PellucidError for other names and for a device that this machine lacks.
    """
    name, kind = str(asked), str(asked).partition(":")[0]
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    if kind not in (*DEVICES, "meta"):
        raise PellucidError(f"device must be one of {', '.join(DEVICES)}, not {name!r}{nearest(kind, DEVICES)}")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PellucidError(f"device: {name!r} is none; write {kind} or {kind}:0") from error
    count = {"cuda": torch.cuda.device_count(), "mps": int(_has_mps())}.get(kind, 1)
    if (device.index or 0) >= count:
        raise PellucidError(
            f"device: this machine has {count or 'no'} {kind} devices PyTorch can use; give device='auto'"
        )
    return device


def on_device(value: Any, device: torch.device) -> Any:
    """Return tensors, also those in lists, tuples and dicts, on a device; to a GPU the copy runs beside the host."""
    if isinstance(value, Tensor):
        if value.device == device or device.type == "cpu":
            return value.to(device)
        return (value.pin_memory() if device.type == "cuda" else value).to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: on_device(part, device) for name, part in cast(dict[str, Any], value).items()}
    if not isinstance(value, list | tuple):
        return value
    parts = [on_device(part, device) for part in cast(Sequence[Any], value)]
    make = cast(Callable[..., Any], type(cast(object, value)))
    return make(*parts) if hasattr(cast(object, value), "_fields") else make(parts)


def device_of(params: Params) -> torch.device:
    """Return where parameters are; the CPU for none."""
    return next((tensor.device for tensor in leaves(params)), CPU)


def device_name(device: torch.device) -> str:
    """Return what manifests call a device: "cpu", "cuda (NVIDIA H100)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


PRECISIONS = ("float32", "bf16", "float64")
HALVED = (Dense, Conv2d, ConvTranspose2d)  # layers whose arithmetic is worth the lower precision


def usable_precision(asked: str, device: torch.device | None = None) -> tuple[str, str]:
    """Return the precision to compute in, and the reason where it is not the requested one, else "".

    device: by default the CPU. CUDA devices before the compute capability 8.0 only emulate bfloat16.

    Raises PellucidError for a precision that does not exist.
    """
    if asked not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise PellucidError(f"precision must be {known}, not {asked!r}{nearest(str(asked), PRECISIONS)}")
    if asked == "float64" and device is not None and device.type == "mps":
        raise PellucidError("precision: mps has no float64; give device='cpu', or precision='float32'")
    if asked == "bf16" and not _has_bfloat16(device or torch.device("cpu")):
        return "float32", "this processor has no bfloat16 instructions, so training stays in float32"
    return asked, ""


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 by its own instructions."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    can: Mapping[str, Any] = torch.cpu.get_capabilities() if device.type == "cpu" else {}
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
