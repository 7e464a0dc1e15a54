"""Devices and precisions of training."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine.nets import all_buffers, named_layers
from pellucid.layers.base import Layer, Params, Trait
from pellucid.nested import flatten, leaves, nest
from pellucid.operators import Fixed
from pellucid.optim import foreach

CPU = torch.device("cpu")
DEVICES = ("auto", "cpu", "cuda", "mps")


def check_device(name: str) -> None:
    """Raise PellucidError unless the name is that of a device, even one that this machine lacks.

    Names are "auto", and those of PyTorch for its kinds of devices in DEVICES, such as "cpu", "cuda" and "cuda:1".
    """
    if name == "auto":
        return
    device_type = name.partition(":")[0]
    if device_type not in DEVICES or device_type == "auto":
        raise PellucidError(f"device must be one of {', '.join(DEVICES)}, not {name!r}{nearest(device_type, DEVICES)}")
    try:
        torch.device(name)
    except RuntimeError as error:
        raise PellucidError(f"device: {name!r} is not a device; write {device_type} or {device_type}:0") from error


def usable_device(requested: str | torch.device) -> torch.device:
    """Return the device of a name such as "cpu", "cuda", "cuda:1" or "mps"; "auto" is the fastest available.

    "cuda" is the first GPU; in the processes that torchrun starts on a machine, its GPUs in turn.
    Raises PellucidError for an unknown name, and for a device that this machine lacks.
    """
    name = str(requested)
    if name == "auto":
        fallback = "mps" if _has_mps() else "cpu"
        name = "cuda" if torch.cuda.is_available() else fallback
    if name != "meta":
        check_device(name)
    device = torch.device(name)
    count = {"cuda": torch.cuda.device_count(), "mps": int(_has_mps())}.get(device.type, 1)
    if (device.index or 0) >= count:
        raise PellucidError(
            f"device: this machine has {count or 'no'} {device.type} devices that PyTorch can use; choose cpu or auto"
        )
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for repeatable results; read at the first product
    if name == "cuda":
        rank = os.environ.get("LOCAL_RANK", "")
        return torch.device("cuda", int(rank) % count if rank.isdecimal() else 0)
    return device


def on_device(value: Any, device: torch.device) -> Any:
    """Return a tensor, or the tensors in lists, tuples and dicts, on a device; copies to a GPU are asynchronous."""
    if isinstance(value, Tensor):
        if value.device == device or device.type == "cpu":
            return value.to(device)
        return (value.pin_memory() if device.type == "cuda" else value).to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: on_device(item, device) for name, item in cast(dict[str, Any], value).items()}
    if not isinstance(value, list | tuple):
        return value
    items = [on_device(item, device) for item in cast(Sequence[Any], value)]
    constructor = cast(Callable[..., Any], type(cast(object, value)))
    return constructor(*items) if hasattr(cast(object, value), "_fields") else constructor(items)


def device_of(params: Params) -> torch.device:
    """Return the device of the parameters; the CPU if there are none."""
    return next((tensor.device for tensor in leaves(params)), CPU)


def device_name(device: torch.device) -> str:
    """Return the name of a device for manifests: "cpu", "cuda (NVIDIA H100)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


# Images do not need float64, but only in it do linear models agree with closed forms to 1e-8.
PRECISIONS = ("float32", "bf16", "float64")


def usable_precision(requested: str, device: torch.device | None = None) -> tuple[str, str]:
    """Return the precision to compute in, and the reason if it is not the requested one, otherwise "".

    device: by default the CPU. "bf16" becomes "float32" on devices without bfloat16 instructions; CUDA devices of
    compute capability below 8.0 only emulate them.
    Raises PellucidError for an unknown precision, and for float64 on mps, which lacks it.
    """
    if requested not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise PellucidError(f"precision must be {known}, not {requested!r}{nearest(str(requested), PRECISIONS)}")
    if requested == "float64" and device is not None and device.type == "mps":
        raise PellucidError("precision: mps has no float64; give device='cpu', or precision='float32'")
    if requested == "bf16" and not _has_bfloat16(device or torch.device("cpu")):
        return "float32", "this processor has no bfloat16 instructions, so training uses float32"
    return requested, ""


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    features: Mapping[str, Any] = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))


class HalfCopy:
    """A copy of networks' parameters for bfloat16 training; norms and running statistics share the float32 ones.

    params: the copy, in the nesting of the original. frozen: paths of parameters that do not change, which are
    converted only once.
    """

    def __init__(self, nets: Mapping[str, Layer], params: Params, frozen: Collection[str] = ()) -> None:
        layers = dict(named_layers(nets))
        buffers = all_buffers(nets)
        tensors_by_path = flatten(params)
        paths: list[str] = []
        for path, tensor in tensors_by_path.items():
            layer = layers.get(path) or layers.get(path.rpartition(".")[0])  # the parameter of Learned is named ""
            is_norm = layer is not None and Trait.NORM in layer.traits
            # the constants of Fixed are buffers that no batch changes, and are combined with bfloat16 values
            is_statistic = path in buffers and not isinstance(layer, Fixed)
            if tensor.is_floating_point() and not is_norm and not is_statistic:  # Fixed also holds indices and masks
                paths.append(path)
        half_by_path = {path: tensors_by_path[path].bfloat16() for path in paths}
        self.params = nest(params, tensors_by_path | half_by_path)
        learned_paths = [path for path in paths if path not in frozen]
        self._originals = [tensors_by_path[path] for path in learned_paths]
        self._halves = [half_by_path[path] for path in learned_paths]

    def refresh(self) -> None:
        """Convert the current parameters again."""
        if self._halves:
            foreach.copy_(self._halves, self._originals)


def to_float32(grads: list[Tensor]) -> list[Tensor]:
    """Return gradients in float32."""
    return [grad.float() for grad in grads]
