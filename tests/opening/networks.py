"""Small networks in common coding styles, with the operators of the families they are named after."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """He et al. 2016, with one in-place ReLU that is used twice, and an in-place sum."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Residual(6, 6, 1), Residual(6, 8, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.maxpool(self.stem(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class ViT(nn.Module):
    """Dosovitskiy et al. 2021, as in torchvision: nn.MultiheadAttention, a class token and a position embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, 12, 4, 4)
        self.class_token = nn.Parameter(torch.randn(1, 1, 12))
        self.pos_embedding = nn.Parameter(torch.randn(1, 17, 12))
        self.blocks = nn.Sequential(*(ViTBlock(12, 3) for _ in range(2)))
        self.ln = nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        x = self.conv_proj(x).reshape(n, 12, -1).permute(0, 2, 1)
        x = torch.cat([self.class_token.expand(n, -1, -1), x], dim=1) + self.pos_embedding
        return self.head(self.ln(self.blocks(x))[:, 0])


class ViTBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.ln_2(x))


class FusedAttention(nn.Module):
    """Attention as in timm: one projection, unbind, and a product of matrices with a softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        qkv = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        weights = self.attn_drop((q * self.scale @ k.transpose(-2, -1)).softmax(dim=-1))
        return self.proj((weights @ v).transpose(1, 2).reshape(n, t, c))


class DeiT(nn.Module):
    """Touvron et al. 2021: a mean of the tokens, layer scale, and chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 4, 4)
        self.pos_embed = nn.Parameter(torch.randn(1, 16, 8))
        self.attn = FusedAttention(8, 2)
        self.gamma = nn.Parameter(torch.rand(8))
        self.norm = nn.LayerNorm(8)
        self.gate = nn.Linear(8, 16)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = x + self.gamma * self.attn(self.norm(x))
        value, gate = self.gate(x).chunk(2, dim=-1)
        return self.head((value * torch.sigmoid(gate)).mean(dim=1))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        x = input.permute(0, 2, 3, 1)
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Liu et al. 2022, with the layer norm over channels of torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 4, 4), LayerNorm2d(6))
        self.stages = nn.Sequential(ConvNeXtBlock(6), ConvNeXtBlock(6))
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(self.stem(x)).mean([-2, -1])))


class InvertedResidual(nn.Module):
    """Howard et al. 2019: hard swish, squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.Hardswish(inplace=True),
            nn.Conv2d(2 * width, 2 * width, 5, padding=2, groups=2 * width, bias=False), nn.BatchNorm2d(2 * width),
        )  # fmt: skip
        self.fc1, self.fc2 = nn.Conv2d(2 * width, 4, 1), nn.Conv2d(4, 2 * width, 1)
        self.project = nn.Sequential(nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = y * F.hardsigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(y, 1)))), inplace=True)
        return x + self.project(F.hardswish(y))


class MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Hardswish(), InvertedResidual(6))
        self.classifier = nn.Sequential(nn.Linear(6, 8), nn.Hardswish(inplace=True), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class EfficientNet(nn.Module):
    """Tan and Le 2019: SiLU and a gate; in addition, group norm, ReLU6 and leaky ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.bn1, self.act = nn.BatchNorm2d(8), nn.SiLU(inplace=True)
        self.conv_reduce, self.conv_expand = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv_stem(x)))
        x = x * self.conv_expand(self.act(self.conv_reduce(x.mean((2, 3), keepdim=True)))).sigmoid()
        x = F.leaky_relu(F.relu6(self.norm(x)) - 0.5, 0.1)
        return self.classifier(F.avg_pool2d(x, 2).amax((2, 3)))


class WindowAttention(nn.Module):
    """Liu et al. 2021: windows, a table of relative positions, and a mask after the shift."""

    def __init__(self, width: int, heads: int, side: int, grid: int, shift: int) -> None:
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads))
        steps = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        relative = (steps[:, :, None] - steps[:, None, :]).permute(1, 2, 0) + side - 1
        self.register_buffer("relative_position_index", relative[..., 0] * (2 * side - 1) + relative[..., 1])
        regions = torch.arange(grid * grid, dtype=torch.float64).view(1, grid, grid, 1).div(grid * side).floor()
        parts = self.windows(regions).squeeze(-1)
        away = parts[:, None, :] != parts[:, :, None]
        self.register_buffer("attn_mask", torch.where(away, -100.0, 0.0).double(), persistent=False)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def windows(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        x = x.view(n, h // self.side, self.side, w // self.side, self.side, c)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, self.side * self.side, c)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        parts = self.windows(torch.roll(x, (-self.shift, -self.shift), (1, 2)))
        b, t, _ = parts.shape
        q, k, v = self.qkv(parts).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(t, t, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        count = self.attn_mask.shape[0]
        scores = q @ k.transpose(-2, -1) / (c // self.heads) ** 0.5 + bias
        scores = scores.view(b // count, count, self.heads, t, t) + self.attn_mask.unsqueeze(1).unsqueeze(0)
        weights = F.softmax(scores.view(-1, self.heads, t, t), dim=-1)
        y = self.proj((weights @ v).transpose(1, 2).reshape(b, t, c))
        y = y.view(n, h // self.side, w // self.side, self.side, self.side, c).permute(0, 1, 3, 2, 4, 5)
        return torch.roll(y.reshape(n, h, w, c), (self.shift, self.shift), (1, 2))


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.norm1, self.attn = nn.LayerNorm(8), WindowAttention(8, 2, 2, 4, 1)
        self.reduction = nn.Linear(32, 8, bias=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        x = x + self.attn(self.norm1(x))
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.head(self.reduction(torch.cat(parts, -1)).flatten(1, 2).mean(1))


class Siamese(nn.Module):
    """A module used twice, a weight used in two ways, and a scaled cosine as in CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.arm = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.embed = nn.Linear(6, 5)
        self.logit_scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.arm(x).mean((2, 3)), self.arm(x * -1.5).mean((2, 3))
        hidden = self.embed(left - right)
        hidden = F.normalize(hidden, dim=-1) * torch.clamp(self.logit_scale, max=4.6).exp()
        return F.linear(torch.tanh(hidden), self.embed.weight.t()) @ self.embed.weight.t()


class UNet(nn.Module):
    """Ronneberger et al. 2015, with transposed convolutions, interpolation and padding: one score for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.down2 = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ELU(inplace=True))
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        up = self.up(second)
        smooth = F.interpolate(F.pad(second[:, :4], (1, 1, 1, 1)), size=first.shape[2:], mode="bilinear")
        return self.out(torch.cat([first, up, smooth], dim=1))


class ShuffleNet(nn.Module):
    """Ma et al. 2018: chunks and a channel shuffle, by a stack of both halves."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU6(inplace=True))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = self.conv(x).chunk(2, dim=1)
        x = torch.stack([kept, self.branch(changed)], dim=2).flatten(1, 2)
        return self.fc(-(x**2).sum((2, 3)).sqrt())


NETWORKS = (
    ResNet, ViT, DeiT, ConvNeXt, MobileNetV3, EfficientNet, Swin, Siamese, UNet, ShuffleNet,
)  # fmt: skip
