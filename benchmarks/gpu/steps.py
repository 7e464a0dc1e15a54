"""Training steps of ResNet-18 and ResNet-50: as they are, in a CUDA graph and compiled, beside PyTorch's; memory."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpu.settings import Settings
from benchmarks.peers.torch_peer import Block
from benchmarks.peers.torch_resnet import resnet50 as torch_resnet50
from pellucid.data import Batch
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.models import resnet18, resnet50
from pellucid.objective import Supervised
from pellucid.optim import Momentum
from pellucid.training.device import on_device
from pellucid.training.process import deterministic_kernels
from pellucid.training.step import TrainingStep

CLASSES, LEARNING_RATE = 1000, 0.01
NETWORKS = {"resnet50": resnet50, "resnet18": resnet18}
STEPS_BEFORE_CAPTURE = 3  # steps before a step is captured in a graph
Step = Callable[[], object]
MakeStep = Callable[[Settings, str, int, str], Step]


def torch_resnet18(classes: int, inplace: bool) -> nn.Module:
    """Return ResNet-18; `inplace`: ReLU and sums write over what they read."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    channels = 64
    for stage in range(4):
        for index in range(2):
            layers.append(Block(channels, 64 * 2**stage, 2 if stage and not index else 1, inplace))
            channels = 64 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


PEERS = {"resnet18": torch_resnet18, "resnet50": torch_resnet50}


def random_batch(settings: Settings, batch: int) -> Batch:
    """Return a random batch on the device, channels-last."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, settings.side, settings.side, generator=rng)
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(*on_device((images, torch.arange(batch) % CLASSES), settings.device))


def pellucid_step(
    settings: Settings, name: str, batch: int, precision: str, mode: Callable[[], Any] = torch.inference_mode
) -> Step:
    """Return a step of Pellucid; mode: which switches automatic differentiation off."""
    net = NETWORKS[name](CLASSES)
    params, _ = net.init((3, settings.side, settings.side), torch.Generator().manual_seed(0))
    objective = Supervised(net, SoftmaxCrossEntropy())
    step = TrainingStep(
        objective, on_device(params, settings.device), Momentum(LEARNING_RATE), examples=batch, precision=precision
    )
    data = random_batch(settings, batch)

    def run() -> object:
        with mode():
            return step(data, LEARNING_RATE)

    return run


def torch_step(settings: Settings, name: str, batch: int, precision: str, compiles: bool = False) -> Step:
    """Return a step of PyTorch with its own automatic differentiation; compiles: the network, as is usual."""
    net = cast(Any, PEERS[name](CLASSES, True)).to(settings.device, memory_format=torch.channels_last).train()
    if compiles:
        net.compile(backend=settings.compiler)
    data = random_batch(settings, batch)
    optimizer = torch.optim.SGD(net.parameters(), LEARNING_RATE, momentum=0.9)

    def run() -> object:
        optimizer.zero_grad()
        with torch.autocast(settings.device.type, torch.bfloat16, enabled=precision == "bf16"):
            value = F.cross_entropy(net(data.images), data.targets)
        value.backward()
        optimizer.step()
        return value

    return run


def in_cuda_graph(make: MakeStep) -> MakeStep:
    """Return steps that are captured in a CUDA graph, and replayed."""

    def make_captured(settings: Settings, name: str, batch: int, precision: str) -> Step:
        step, stream = make(settings, name, batch, precision), torch.cuda.Stream(settings.device)
        stream.wait_stream(torch.cuda.current_stream(settings.device))
        with torch.cuda.stream(stream):
            for _ in range(STEPS_BEFORE_CAPTURE):
                step()
        torch.cuda.current_stream(settings.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    return make_captured


def repeatable_step(settings: Settings, name: str, batch: int, precision: str) -> Step:
    """Return a step of Pellucid with deterministic kernels, as those of trainings in shards."""
    step = pellucid_step(settings, name, batch, precision)

    def run() -> object:
        with deterministic_kernels():
            return step()

    return run


def compiled_step(settings: Settings, name: str, batch: int, precision: str) -> Step:
    """Return a step of Pellucid that torch.compile compiles; that of PyTorch 2.11 fails on GPUs in inference mode."""
    return torch.compile(pellucid_step(settings, name, batch, precision, torch.no_grad), backend=settings.compiler)


FORMS: dict[str, MakeStep] = {
    "pellucid": pellucid_step,
    "pytorch": torch_step,
    "pellucid, CUDA graph": in_cuda_graph(pellucid_step),
    "pytorch, CUDA graph": in_cuda_graph(torch_step),
    "pellucid, repeatable": repeatable_step,
    "pytorch, compiled": partial(torch_step, compiles=True),
    "pellucid, compiled": compiled_step,
}
COMPILED = "pytorch, compiled", "pellucid, compiled"
UNCOMPILED = tuple(form for form in FORMS if form not in COMPILED)


def training(settings: Settings, forms: tuple[str, ...] = UNCOMPILED) -> dict[str, Any]:
    """Return seconds of a step, images a second and bytes at most of each network, precision and form."""

    def measure(form: str, name: str, precision: str) -> dict[str, Any]:
        torch.compiler.reset()  # it compiles each function a few times at most
        step = FORMS[form](settings, name, settings.batch, precision)
        seconds = settings.time(step)
        return {"seconds": seconds, "images_per_second": settings.batch / seconds, "bytes": settings.peak(step)}

    return {
        f"{name}, {precision}, {form}": settings.try_measure(
            lambda arguments=(form, name, precision): measure(*arguments)
        )
        for form in forms
        for name in NETWORKS
        for precision in settings.precisions
    }


def memory(settings: Settings) -> dict[str, Any]:
    """Return the most bytes that steps of ResNet-50 take at several batch sizes, of Pellucid and of PyTorch."""

    def measure(form: str, batch: int) -> dict[str, Any]:
        step = FORMS[form](settings, "resnet50", batch, "float32")
        step()  # the optimizer's state and the libraries' workspaces
        return {"bytes": settings.peak(step)}

    return {
        f"{form}, batch {batch}": settings.try_measure(lambda arguments=(form, batch): measure(*arguments))
        for batch in settings.batches
        for form in ("pellucid", "pytorch")
    }
