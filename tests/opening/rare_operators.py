"""Networks with rare operators that need rules of relevance."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StandardizedWeights(nn.Module):
    """Qiao et al. 2019: standardized weights; norms without a scale, PReLU, softplus, and GELU written with erf."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gain_weight = nn.Conv2d(3, 6, 3, 2, 1), nn.Parameter(torch.rand(6) + 0.5)
        self.prelu, self.sequence, self.up = nn.PReLU(6), nn.Conv1d(6, 8, 3), nn.ConvTranspose1d(8, 8, 2, 2)
        self.shared, self.head = nn.Linear(8, 8), nn.Linear(8, 5)

    def standardized(self) -> Tensor:
        weight = self.conv.weight
        rows = F.batch_norm(weight.reshape(1, len(weight), -1), None, None, self.gain_weight, training=True)
        return rows.reshape_as(weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.standardized(), self.conv.bias, 2, 1)
        x = F.group_norm(F.softplus(self.prelu(F.instance_norm(x))), 3).flatten(2)
        x = self.up(self.sequence(F.batch_norm(x, None, None, training=True))).transpose(1, 2)
        x = F.layer_norm(self.shared(x), (8,))
        x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
        return self.head(self.shared(x).mean(1))


class EinsumAttention(nn.Module):
    """Masked attention by Einstein sums over overlapping windows; variance, |x|, log, sine and cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.pos_embed = nn.Linear(48, 8), nn.Parameter(torch.randn(1, 9, 8))
        self.mask_token = nn.Parameter(torch.randn(8))
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(16, 5)
        self.register_buffer("near", torch.ones(9, 9, dtype=torch.bool).tril(3))
        self.register_buffer("hidden", (torch.arange(9) % 4 == 1)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(F.unfold(x, 4, stride=6, padding=1).transpose(1, 2))
        x = torch.where(self.hidden, self.mask_token, x) + self.pos_embed
        q, k, v = self.qkv(x).reshape(-1, 9, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        scores = torch.einsum("nhid,nhjd->nhij", q, k) * 0.5
        weights = scores.masked_fill(~self.near, -math.inf).softmax(-1)
        x = torch.einsum("nhij,nhjd->nihd", weights, v).flatten(2)
        y = torch.log(x.abs() + 2.0) + torch.sin(x) * torch.cos(2 * x)
        largest, _ = y.masked_fill(self.hidden, 0.5).max(1)
        return self.head(torch.cat([largest, y.var(1)], 1))
