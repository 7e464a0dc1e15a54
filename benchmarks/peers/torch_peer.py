"""PyTorch with autograd, in plain modules."""

from collections.abc import Callable, Iterator
from itertools import count, islice, repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.jobs import DETECTORS, GENERATORS, Job, resnet_size, targets
from benchmarks.networks import VGG16
from benchmarks.peers import torch_dcgan, torch_pix2pix
from benchmarks.peers.torch_densenet import densenet121
from benchmarks.peers.torch_fcn import fcn8
from benchmarks.peers.torch_mobilenet import mobilenet_v2
from benchmarks.peers.torch_resnet import resnet50

ZOO = {"resnet50": resnet50, "densenet121": densenet121, "mobilenet_v2": mobilenet_v2, "fcn8": fcn8}


class Block(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int, inplace: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.inplace = inplace
        self.skip = (
            nn.Identity()
            if inputs == channels
            else nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), self.inplace)
        y = self.norm2(self.conv2(y))
        if self.inplace:
            y += self.skip(x)
        else:
            y = y + self.skip(x)
        return F.relu(y, self.inplace)


def network(job: Job, inplace: bool) -> nn.Module:
    name = job.network
    if name in ZOO:
        return ZOO[name](job.classes, inplace)
    if name.startswith("opened-"):
        from benchmarks.peers.opened import definition

        return definition(name)
    relu = nn.ReLU(inplace)
    if name == "mlp":
        return nn.Sequential(nn.Linear(784, 30), nn.Sigmoid(), nn.Linear(30, 10), nn.Sigmoid())
    if name == "lenet":
        convolutions = [nn.Conv2d(1, 6, 5, padding=2), relu, nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), relu]
        head = [nn.Linear(400, 120), relu, nn.Linear(120, 84), relu, nn.Linear(84, 10)]
        return nn.Sequential(*convolutions, nn.MaxPool2d(2), nn.Flatten(), *head)
    if name == "vgg16":
        layers: list[nn.Module] = []
        inputs = 3
        for widths in VGG16:
            for width in widths:
                layers += [nn.Conv2d(inputs, width, 3, padding=1), relu]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        head = [nn.Linear(512 * 9, 4096), relu, nn.Linear(4096, 4096), relu, nn.Linear(4096, 1000)]
        return nn.Sequential(*layers, nn.Flatten(), *head)
    blocks_per_stage, width = resnet_size(name)
    layers = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), relu]
    inputs = width
    for stage in range(3):
        for index in range(blocks_per_stage):
            channels = width * 2**stage
            layers.append(Block(inputs, channels, 2 if stage and index == 0 else 1, inplace))
            inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, job.classes))


class Whole(nn.Module):
    """A network as one module: `compile` of an nn.Sequential compiles each child by itself, and at most eight sizes."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def compiled_as_whole(net: nn.Module) -> nn.Module:
    whole = Whole(net)
    whole.compile()
    return whole


def make(job: Job, channels_last: bool, inplace: bool, compiled: bool) -> Callable[[int], None]:
    torch.manual_seed(0)
    if job.network in GENERATORS:
        return make_generator(job, channels_last, inplace, compiled)
    if job.network in DETECTORS:
        from benchmarks.peers import torch_detect

        return torch_detect.make(job)
    net = network(job, inplace)
    x = torch.rand(job.examples or job.batch, *job.shape)
    target = targets(job)
    if job.network == "mlp":
        target = F.one_hot(target, job.classes).float()
    if channels_last and x.dim() == 4:
        net = net.to(memory_format=torch.channels_last)
        x = torch.empty_like(x, memory_format=torch.channels_last).copy_(x)
    if compiled:
        net = compiled_as_whole(net)
    if job.inference:
        return make_predictions(net.eval(), x)
    if job.frozen:
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval().requires_grad_(False)
            elif isinstance(layer, nn.Conv2d):
                # With PyTorch's initial weights and frozen norms, maps shrink to denormal numbers, which are slow.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    optimizer = torch.optim.SGD([one for one in net.parameters() if one.requires_grad], lr=0.01, fused=True)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        if job.network == "mlp":
            return ((net(x) - target) ** 2).sum() / (2 * job.batch)
        return F.cross_entropy(net(x), target)

    def step(x: Tensor, target: Tensor) -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            value = loss(x, target)
        value.backward()
        optimizer.step()
        return value.item()

    batches: Iterator[tuple[Tensor, Tensor]] = repeat((x, target))
    if job.examples:
        orders = (torch.randperm(job.examples) for _ in count())
        batches = ((x[index], target[index]) for order in orders for index in order.split(job.batch))

    def run(steps: int) -> None:
        for batch in islice(batches, steps):
            step(*batch)

    return run


def make_generator(job: Job, channels_last: bool, inplace: bool, compiled: bool) -> Callable[[int], None]:
    training: torch_pix2pix.Training | torch_dcgan.Training
    channels = job.shape[0]
    if job.network == "pix2pix":
        x, real = torch.rand(job.batch, *job.shape), 2 * targets(job) - 1
        training = torch_pix2pix.Training(
            torch_pix2pix.Generator(channels, 3, 32, 5, inplace=inplace),
            torch_pix2pix.discriminator(channels + 3, 32, 3, inplace),
            (2e-4, 2e-4),
            100.0,
        )
    else:
        x, real = torch.randn(job.batch, 100, 1, 1), 2 * torch.rand(job.batch, *job.shape) - 1
        training = torch_dcgan.Training(torch_dcgan.generator(inplace), torch_dcgan.discriminator(inplace), 2e-4)
    nets = training.generator, training.discriminator
    if channels_last:
        for net in nets:
            net.to(memory_format=torch.channels_last)
        x, real = (one.contiguous(memory_format=torch.channels_last) for one in (x, real))
    if compiled:
        training.generator, training.discriminator = map(compiled_as_whole, nets)

    def run(steps: int) -> None:
        for _ in range(steps):
            training.step(x, real)

    return run


def make_predictions(net: nn.Module, x: Tensor) -> Callable[[int], None]:
    @torch.inference_mode()
    def run(steps: int) -> None:
        for _ in range(steps):
            net(x)

    return run
