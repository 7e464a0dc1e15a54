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
from pellucid.training.step import TrainingStep

CLASSES, RATE = 1000, 0.01
NETWORKS = {"resnet18": resnet18, "resnet50": resnet50}
CAPTURED = 3  # steps before a step is captured in a graph
Step = Callable[[], object]
Make = Callable[[Settings, str, int, str], Step]


def torch_resnet18(classes: int, inplace: bool) -> nn.Module:
    """Return ResNet-18; `inplace`: ReLU and sums write over what they read."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    before = 64
    for stage in range(4):
        for index in range(2):
            layers.append(Block(before, 64 * 2**stage, 2 if stage and not index else 1, inplace))
            before = 64 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


PEERS = {"resnet18": torch_resnet18, "resnet50": torch_resnet50}


def examples(settings: Settings, batch: int) -> Batch:
    """Return a random batch on the device, channels-last."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, settings.side, settings.side, generator=rng)
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(*on_device((images, torch.arange(batch) % CLASSES), settings.device))


def ours(settings: Settings, name: str, batch: int, precision: str) -> Step:
    """Return a step of Pellucid."""
    net = NETWORKS[name](CLASSES)
    params, _ = net.init((3, settings.side, settings.side), torch.Generator().manual_seed(0))
    objective = Supervised(net, SoftmaxCrossEntropy())
    step = TrainingStep(
        objective, on_device(params, settings.device), Momentum(RATE), examples=batch, precision=precision
    )
    data = examples(settings, batch)

    def run() -> object:
        with torch.inference_mode():
            return step(data, RATE)

    return run


def theirs(settings: Settings, name: str, batch: int, precision: str, compiles: bool = False) -> Step:
    """Return a step of PyTorch with its own automatic differentiation; compiles: the network, as is usual."""
    net = cast(Any, PEERS[name](CLASSES, True)).to(settings.device, memory_format=torch.channels_last).train()
    if compiles:
        net.compile(backend=settings.compiler)
    data = examples(settings, batch)
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9)

    def run() -> object:
        optimizer.zero_grad()
        with torch.autocast(settings.device.type, torch.bfloat16, enabled=precision == "bf16"):
            value = F.cross_entropy(net(data.images), data.targets)
        value.backward()
        optimizer.step()
        return value

    return run


def graphed(make: Make) -> Make:
    """Return steps that are captured in a CUDA graph, and replayed."""

    def captured(settings: Settings, name: str, batch: int, precision: str) -> Step:
        step, stream = make(settings, name, batch, precision), torch.cuda.Stream(settings.device)
        stream.wait_stream(torch.cuda.current_stream(settings.device))
        with torch.cuda.stream(stream):
            for _ in range(CAPTURED):
                step()
        torch.cuda.current_stream(settings.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    return captured


def compiled(settings: Settings, name: str, batch: int, precision: str) -> Step:
    """Return a step of Pellucid that torch.compile compiles."""
    return torch.compile(ours(settings, name, batch, precision), backend=settings.compiler)


FORMS: dict[str, Make] = {
    "pellucid": ours,
    "pytorch": theirs,
    "pellucid, CUDA graph": graphed(ours),
    "pytorch, CUDA graph": graphed(theirs),
    "pytorch, compiled": partial(theirs, compiles=True),
    "pellucid, compiled": compiled,
}
COMPILED = "pytorch, compiled", "pellucid, compiled"
OTHERS = tuple(form for form in FORMS if form not in COMPILED)


def training(settings: Settings, forms: tuple[str, ...] = OTHERS) -> dict[str, Any]:
    """Return seconds of a step, images a second and bytes at most of each network, precision and form."""

    def measure(form: str, name: str, precision: str) -> dict[str, Any]:
        step = FORMS[form](settings, name, settings.batch, precision)
        seconds = settings.time(step)
        return {"seconds": seconds, "images_per_second": settings.batch / seconds, "bytes": settings.peak(step)}

    return {
        f"{name}, {precision}, {form}": settings.tried(lambda given=(form, name, precision): measure(*given))
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
        f"{form}, batch {batch}": settings.tried(lambda given=(form, batch): measure(*given))
        for batch in settings.batches
        for form in ("pellucid", "pytorch")
    }
