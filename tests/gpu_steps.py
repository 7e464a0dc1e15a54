"""Run training steps on an imaginary GPU; tests run this module in a new process, since the GPU cannot be removed.

PyTorch's fake tensors have a device and a shape but no values. Operations on tensors of two devices raise an error, and
so do operations that need a value on the host, such as `item`, `nonzero` and indexing by a mask.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.detectors import Detector
from pellucid.generators import GAN
from pellucid.generators.zhang import colour_table
from pellucid.layers import GELU, BatchNorm, Dense, Dropout, Flatten
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.models import resnet20, vit
from pellucid.objective import Gradients, Objective, Supervised
from pellucid.optim import Adam
from pellucid.training.step import TrainingStep
from tests.generators.small import gan
from tests.objectives import OBJECTIVES, initial_params, random_batch

DEVICE_NAME = "imaginary"
N_STEPS = 2  # in the first step, constants may be copied to the device
FAKE_MODE = FakeTensorMode()  # shared by all tests, since objectives share constants


class HostCopyError(Exception):
    """Raised for a copy from the host to the device, or a tensor made on the host."""


class HostCopyDetector(TorchDispatchMode):
    """Convert all tensors to fake tensors; if `strict`, raise HostCopyError for copies from and tensors on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.strict = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(torch.Tensor, self.to_fake, (args, kwargs or {}))
        result = func(*args, **kwargs)
        outputs: list[torch.Tensor] = []
        tree_map_only(torch.Tensor, outputs.append, result)
        # A scalar tensor on the host needs no copy: its value is passed to the device with the operation.
        if self.strict and any(tensor.device.type == "cpu" and tensor.dim() for tensor in outputs):
            raise HostCopyError(f"{func} returns a tensor on the host")
        inputs: list[torch.Tensor] = []
        tree_map_only(torch.Tensor, inputs.append, (args, kwargs))
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        if self.strict and copies and any(tensor.device.type == "cpu" for tensor in inputs):
            raise HostCopyError(f"{func} copies from the host")
        return result

    def to_fake(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if isinstance(tensor, FakeTensor) else FAKE_MODE.from_tensor(tensor)


def on_gpu(value: Any) -> Any:
    """Return the same tree with empty tensors on the device."""
    return tree_map_only(torch.Tensor, lambda one: torch.empty_like(one, device=f"{DEVICE_NAME}:0"), value)


def host_wait_reason(objective: Objective) -> str:
    """Return why training steps of an objective wait for the host, as text; "" if they do not."""

    class Generator(torch.Generator):
        device = torch.device(f"{DEVICE_NAME}:0")

    batch = random_batch(objective, 0)
    params = initial_params(objective, batch, 0)
    with FAKE_MODE, HostCopyDetector() as detector:
        batch, params = on_gpu(batch), on_gpu(params)
        step = TrainingStep(objective, params, Adam(0.01), examples=10, clip=1.0)
        try:
            for _ in range(N_STEPS):
                losses = step(batch, 0.1, Generator())
                detector.strict = True
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "" if all(loss.device.type == DEVICE_NAME for loss in losses.values()) else "a loss is on the host"


@dataclass(frozen=True)
class ReadsLoss(GAN):
    """A GAN that reads a loss on the host."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        for losses, dparams in super().gradients(params, batch, mode):
            float(next(iter(losses.values())))
            yield losses, dparams


@dataclass(frozen=True)
class DrawsOnHost(GAN):
    """A GAN that draws noise on the host."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        noise = torch.randn(batch.images.shape)
        yield from super().gradients(params, batch._replace(images=batch.images + noise), mode)


@dataclass(frozen=True)
class CopiesNoise(GAN):
    """A GAN that copies a constant to the device in each step."""

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Iterator[Gradients]:
        images = batch.images + NOISE.to(batch.images.device)
        yield from super().gradients(params, batch._replace(images=images), mode)


NOISE = torch.ones(1, 1, 8, 8)


def supervised(net: Layer, **options: Any) -> Supervised:
    """Return the objective of a classifier; options: those of its loss, SoftmaxCrossEntropy."""
    return Supervised(net, SoftmaxCrossEntropy(**options))


def dense() -> Layer:
    layers = {"norm": BatchNorm(), "act": GELU(), "drop": Dropout(0.5), "scores": Dense(10)}
    return Sequential(flat=Flatten(), hidden=Dense(8), **layers)


CLASSIFIERS: dict[str, Callable[[], Objective]] = {
    "dropout": lambda: supervised(dense()),
    "weights of classes": lambda: supervised(dense(), class_weights=(1.0, 2.0) * 5, label_smoothing=0.1, ignore=3),
    "resnet20": lambda: supervised(resnet20()),
    "vit": lambda: supervised(vit(10, 8, 4, width=12, depth=1, heads=2)),
}


def host_wait_reasons() -> dict[str, str]:
    """Return the result of `host_wait_reason` for classifiers and all objectives except detectors, by name."""
    _setup_privateuseone_for_python_backend(DEVICE_NAME)
    colour_table()  # cached now, since its computation needs values
    objectives = {name: make() for name, make in {**CLASSIFIERS, **OBJECTIVES}.items()}
    return {
        name: host_wait_reason(objective)
        for name, objective in objectives.items()
        if not isinstance(objective, Detector)
    }


def host_wait_reasons_of_mistakes() -> list[str]:
    """Return the results of `host_wait_reason` for three objectives that wait for the host."""
    _setup_privateuseone_for_python_backend(DEVICE_NAME)
    small = gan()
    nets = small.generator, small.latent, small.discriminator
    return [host_wait_reason(kind(*nets)) for kind in (ReadsLoss, DrawsOnHost, CopiesNoise)]
