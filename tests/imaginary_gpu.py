"""Compute on an imaginary GPU, whose tensors have values: run by tests in a process of its own.

Operations on tensors of two devices raise, and so does what the kernels of CUDA refuse and those of CPUs accept. Each
tensor of the device wraps one of the host, on which its operations are computed.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import pellucid.training.device
from pellucid.cli.main import main
from tests.training.sharded import CASES

aten = torch.ops.aten
DEVICE_NAME = "imaginary"
DEVICE = f"{DEVICE_NAME}:0"
COPIES = (aten._to_copy, aten.to, aten.copy_)
INDEXING = (aten.index, aten.index_put, aten.index_put_)  # of tensors of a GPU, by indices of either device
make_generator = torch.Generator


class DeviceTensor(torch.Tensor):
    """A tensor of the device; `host`: the tensor with its values."""

    host: torch.Tensor
    count: int = 0  # of all that were made

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> "DeviceTensor":
        options = {"strides": host.stride(), "storage_offset": host.storage_offset(), "dtype": host.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, host.shape, device=DEVICE, **options)
        tensor.host = host
        DeviceTensor.count += 1
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.host.tolist()

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:
        return DeviceTensor(self.host.new_tensor(data, **options))


class HostGenerator(make_generator):
    """A generator of the host that says that it is one of the device."""

    def __new__(cls, device: Any = "cpu") -> "HostGenerator":
        generator = make_generator.__new__(cls, "cpu")
        generator.named_device = torch.device(device)
        return generator

    def __init__(self, device: Any = "cpu") -> None:
        """Do nothing, since `__new__` has the device."""

    @property
    def device(self) -> torch.device:
        return self.named_device


class ImaginaryGpu(TorchDispatchMode):
    """Computes what names the device, too, and not only what takes its tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Return the result of an operation, on the device if its inputs are there or the operation names it."""
    inputs: list[torch.Tensor] = []
    devices: list[torch.device] = []
    tree_map_only(torch.Tensor, inputs.append, (args, kwargs))
    tree_map_only(torch.device, devices.append, (args, kwargs))
    on_device = [tensor for tensor in inputs if isinstance(tensor, DeviceTensor)]
    packet = func.overloadpacket
    device = args[1].device if func is aten.to.other else devices[0] if devices else None
    is_result_on_device = bool(on_device) if device is None else device.type == DEVICE_NAME
    if on_device:
        check_devices(packet, inputs)
        check_kernels(packet, args)
    host_args, host_kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.host, (args, kwargs))
    host_args, host_kwargs = tree_map_only(torch.device, host_device, (host_args, host_kwargs))
    result = func(*host_args, **host_kwargs)
    if packet is aten.copy_:
        return args[0]
    if not is_result_on_device:
        return result
    # An operation in place returns the tensor that it was given.
    originals = (
        {id(tensor.host): tensor for tensor in on_device} if func._schema.is_mutable or packet is aten.to else {}
    )
    return tree_map_only(
        torch.Tensor, lambda host: originals[id(host)] if id(host) in originals else DeviceTensor(host), result
    )


def check_devices(packet: Any, inputs: list[torch.Tensor]) -> None:
    """Raise RuntimeError for an operation that combines the tensors of a GPU with those of the host."""
    if packet in INDEXING and isinstance(inputs[0], DeviceTensor):
        return
    # A number of the host is passed to the device with the operation.
    if packet not in COPIES and any(not isinstance(tensor, DeviceTensor) and tensor.dim() for tensor in inputs):
        raise RuntimeError(f"{packet}: tensors on two devices")


def check_kernels(packet: Any, args: Any) -> None:
    """Raise RuntimeError, as CUDA's kernels do, for what those of CPUs accept."""
    if packet is aten.native_group_norm and not args[0].is_contiguous():
        raise RuntimeError("native_group_norm: the input is not contiguous")
    if packet is aten.native_batch_norm_backward and (args[5] is None or args[6] is None):
        raise RuntimeError("native_batch_norm_backward: save_mean and save_invstd are None")


def host_device(device: torch.device) -> torch.device:
    """Return the host for the imaginary device, and others unchanged."""
    return torch.device("cpu") if device.type == DEVICE_NAME else device


def make_on_host_first(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function that makes tensors on the host and then copies them to the device that it is given."""

    def made(*args: Any, device: Any = None, **options: Any) -> torch.Tensor:
        if device is None or torch.device(device).type != DEVICE_NAME:
            return make(*args, device=device, **options)
        return make(*args, **options).to(device)

    return made


def no_grad(mode: Any = True) -> Any:
    """Return `torch.no_grad()` in place of `torch.inference_mode(mode)`, in which tensors cannot be wrapped."""
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else contextlib.nullcontext()


def install() -> None:
    """Give this process the device, until its end; "cuda" names it, too."""
    _setup_privateuseone_for_python_backend(DEVICE_NAME)
    torch.tensor, torch.as_tensor = make_on_host_first(torch.tensor), make_on_host_first(torch.as_tensor)
    torch.Generator, torch.inference_mode = HostGenerator, no_grad
    usable_device = pellucid.training.device.usable_device

    def usable_imaginary_device(name: str | torch.device) -> torch.device:
        return torch.device(DEVICE) if str(name) in ("cuda", DEVICE) else usable_device(name)

    for module in [*sys.modules.values()]:
        if getattr(module, "usable_device", None) is usable_device:
            module.usable_device = usable_imaginary_device


def failure(compute: Callable[[], object]) -> str:
    """Return the error that a function raises on the device; "" if it raises none."""
    try:
        with ImaginaryGpu():
            compute()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def trainings(names: list[str]) -> dict[str, str]:
    """Return how trainings of these cases fail, or their losses differ from the host's; "" for those that do not."""
    from pellucid.doctor.rehearsal import model_on

    install()

    def train(name: str) -> None:
        losses: list[float] = []
        for device in ("cpu", DEVICE):
            model, x, y = CASES[name]()
            model = model_on(model, torch.device(device))
            assert {str(tensor.device) for tensor in model.weights.values()} == {device}
            history = model.fit(x, y, validation=x if y is None else (x, y), epochs=1, batch_size=12, verbose=False)
            losses.append(next(value for column, value in history.rows[0].items() if column.startswith("train_")))
        torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-4, atol=1e-6)

    return {name: failure(lambda name=name: train(name)) for name in names}


def commands(lines: list[list[str]]) -> dict[str, str]:
    """Return each command's stderr if it fails, "nothing on the device" if it computes only on the host, else ""."""
    install()
    results: dict[str, str] = {}
    for words in lines:
        errors, count = io.StringIO(), DeviceTensor.count
        with ImaginaryGpu(), contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            code = main(words)
        is_computed = DeviceTensor.count > count
        results[" ".join(words)] = errors.getvalue() if code else "" if is_computed else "nothing on the device"
    return results


def mistakes() -> list[str]:
    """Return the errors of three mistakes: a tensor of the host, NumPy without a copy, and a kernel's layout."""
    install()
    images = torch.rand(2, 4, 3, 3)

    def on_device() -> torch.Tensor:
        return images.to(DEVICE)

    def normalize() -> None:
        x = on_device().to(memory_format=torch.channels_last)
        torch.native_group_norm(x, None, None, 2, 4, 9, 2, 1e-5)

    return [failure(lambda: on_device() + images), failure(lambda: on_device().numpy()), failure(normalize)]
