"""Trained networks in PyTorch: a public ResNet-20, a small transformer, and exported models of Pellucid."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.data import data_root, load
from pellucid.data.dataset import float_images
from pellucid.export.torch_file import source as torch_source
from pellucid.model import Model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # for the standardization of the ResNet-20's authors
TINY_EPSILON = 1e-12  # epsilon of batch normalization after `with_epsilon_in_variances`
N_STEPS, BATCH_SIZE, LEARNING_RATE = 900, 128, 1e-3  # training of the transformer
VIT_HEADS = 4  # attention heads of `vit-tiny`


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained module in float64, 500 standardized test images, their labels, and the bounds of each channel."""

    source: str
    module: nn.Module
    x: Tensor
    labels: Tensor
    low: tuple[float, ...]
    high: tuple[float, ...]


Add = Callable[[Tensor, Tensor], Tensor]  # the sum of a branch and its shortcut


def add_in_place(out: Tensor, shortcut: Tensor) -> Tensor:
    """Add in place, as the authors write it."""
    out += shortcut
    return out


def make_add_in_place() -> Add:
    return add_in_place


class Block(nn.Module):
    """Two convolutions and a shortcut, which skips every second pixel and adds zero channels if the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int, add: Add) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm2d(n_out)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.add, self.stride, self.extra_channels = add, stride, (n_out - n_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        if self.extra_channels:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra_channels, self.extra_channels))
        return self.relu2(self.add(out, x))


class ResNet20(nn.Module):
    """ResNet-20 (He et al. 2016, section 4.2) with the checkpoint's keys. make_add: returns the sum of a block."""

    def __init__(self, make_add: Callable[[], Add] = make_add_in_place) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        for stage, (n_in, n_out) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            blocks = [Block(n_in, n_out, 1 if stage == 1 else 2, make_add())]
            blocks += [Block(n_out, n_out, 1, make_add()) for _ in range(2)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.pool, self.flatten, self.linear = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in ("layer1", "layer2", "layer3"):
            x = self.get_submodule(stage)(x)
        return self.linear(self.flatten(self.pool(x)))


def resnet20(make_add: Callable[[], Add] = make_add_in_place) -> Subject:
    """Return the ResNet-20 of shared/data/models/cifar-resnet20.th, and CIFAR-10's test images."""
    module = ResNet20(make_add)
    stored = torch.load(data_root() / "models" / "cifar-resnet20.th", map_location="cpu", weights_only=True)
    weights = {key.removeprefix("module."): value for key, value in stored["state_dict"].items()}
    module.load_state_dict(weights)
    test = load("cifar10").test
    mean, std = (torch.tensor(one, dtype=torch.float64).view(3, 1, 1) for one in (MEAN, STD))
    x = (float_images(test.x[::20]).double() - mean) / std
    low, high = (tuple((bound - m) / s for m, s in zip(MEAN, STD, strict=True)) for bound in (0.0, 1.0))
    source = "`models/cifar-resnet20.th`, trained by other people on lossless images; CIFAR-10 here is JPEG"
    return Subject(source, module.double().eval(), x, test.y[::20], low, high)


def with_epsilon_in_variances(module: nn.Module) -> nn.Module:
    """Move almost all of batch normalization's epsilon into the variances, in place; outputs are unchanged."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_var is not None
            part.running_var += part.eps - TINY_EPSILON
            part.eps = TINY_EPSILON
    return module


def shipped_subject(
    name: str, data: str, step: int, rewrite: Callable[[nn.Module], nn.Module] = lambda exported: exported
) -> Subject:
    """Return a shipped model as the exported PyTorch module, with every `step`-th test image.

    rewrite: returns a module with the same outputs as the exported one, in other modules.
    """
    model = Model.load(name)
    text, weights = torch_source("exported", model.net, model.params, model.input_shape, None, None)
    exported = ModuleType("exported")
    exported.__file__ = "exported.py"
    exec(compile(text, "exported.py", "exec"), exported.__dict__)
    module: nn.Module = exported.network()
    module.load_state_dict(weights)
    test = load(data).test
    images = float_images(test.x[::step])
    low, high = (model.scaled(torch.full_like(images[:1], bound))[0, :, 0, 0].tolist() for bound in (0.0, 1.0))
    source = f"shipped `{name}`, as the PyTorch code that it exports"
    module = rewrite(module).double().eval()
    return Subject(source, module, model.scaled(images).double(), test.y[::step], tuple(low), tuple(high))


def attention(module: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


class SelfAttention(nn.Module):
    """Multi-head attention; LXT wraps `attend`, whose arguments are those of attention functions in transformers:
    module, queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.attend = heads, attention
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.project(self.attend(self, q, k, v).transpose(1, 2).reshape(n, t, c))


class Layer(nn.Module):
    """One block of a transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), SelfAttention(width, heads)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu: Callable[[Tensor], Tensor] = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(self.gelu(self.up(self.norm2(x))))


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) for digits of 28 x 28: 16 tokens and a class token."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, 7)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.positions
        return self.head(self.norm(self.layers(tokens))[:, 0])


class MeanViT(nn.Module):
    """The exported `vit-tiny` in modules that LXT can patch, with a convolutional stem and the mean of the tokens."""

    def __init__(self, exported: Any) -> None:
        super().__init__()
        features, head = exported.features, exported.head
        *_, (width, _) = (part.weight.shape for part in features.modules() if isinstance(part, nn.Linear))
        self.patches, self.positions = features.patches, features.embed.positions
        blocks = [part for name, part in features.named_children() if name.startswith("block")]
        self.layers = nn.Sequential(*(layer_of(block, width) for block in blocks))
        self.norm, self.scores = features.norm, head.scores

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.norm(self.layers(self.patches(x) + self.positions)).mean(1))


def layer_of(block: Any, width: int) -> Layer:
    """Return an exported block as a Layer with the same weights."""
    layer, attention, units = Layer(width, VIT_HEADS), block.attention.body, block.units.body
    layer.norm1, layer.norm2 = attention.norm, units.norm
    layer.attention.qkv, layer.attention.project = attention.attend.qkv, attention.attend.project
    layer.up, layer.down = units.expand, units.project
    return layer


def with_functional_gelu(module: nn.Module) -> nn.Module:
    """Return a copy of a transformer whose GELU is a function instead of a module."""
    module = deepcopy(module)
    for part in module.modules():
        if isinstance(part, Layer):
            del part.gelu
            part.gelu = F.gelu
    return module


def trained_vit() -> Subject:
    """Train a ViT on MNIST in PyTorch, and return it with test images."""
    torch.manual_seed(0)
    splits, module = load("mnist"), ViT()
    x, labels = float_images(splits.train.x), splits.train.y.long()
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE)
    schedule: Any = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=N_STEPS)
    for _ in range(N_STEPS):
        indices = torch.randint(len(x), (BATCH_SIZE,))
        optimizer.zero_grad()
        F.cross_entropy(module(x[indices]), labels[indices]).backward()
        optimizer.step()
        schedule.step()
    test = splits.test
    source = f"trained by the benchmark in PyTorch, MNIST, {N_STEPS} steps"
    return Subject(source, module.double().eval(), float_images(test.x[::20]).double(), test.y[::20], (0.0,), (1.0,))
