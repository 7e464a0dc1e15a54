"""The device of a training: which one, and moving tensors to it."""

from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Params
from pellucid.tree import leaves

CPU = torch.device("cpu")
DEVICES = ("auto", "cpu", "cuda", "mps")


def usable_device(asked: str | torch.device) -> torch.device:
    """Return the device that "auto", "cpu", "cuda", "cuda:1" or "mps" names; auto: the fastest that is there.

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
        return {name: on_device(part, device) for name, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(on_device(part, device) for part in value))
    return type(value)(on_device(part, device) for part in value) if isinstance(value, list | tuple) else value


def device_of(params: Params) -> torch.device:
    """Return where parameters are; the CPU for none."""
    return next((tensor.device for tensor in leaves(params)), CPU)


def device_name(device: torch.device) -> str:
    """Return what manifests call a device: "cpu", "cuda (NVIDIA H100)"."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
