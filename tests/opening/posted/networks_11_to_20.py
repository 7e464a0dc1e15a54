"""Networks as people post them in questions, reports and tutorials, small; see test_posted_networks.py."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class SegNet(nn.Module):
    """Max pooling that keeps its indices, and unpooling by them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.unpool = nn.MaxPool2d(2, 2, return_indices=True), nn.MaxUnpool2d(2, 2)
        self.enc1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.enc2 = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.dec2 = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), nn.ReLU())
        self.dec1 = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        x, id1 = self.pool(self.enc1(x))
        size1 = x.size()
        x, id2 = self.pool(self.enc2(x))
        x = self.dec2(self.unpool(x, id2, output_size=size1))
        return self.dec1(self.unpool(x, id1))


class C3D(nn.Module):
    """Action recognition from 3-D convolutions, with the fully connected layers of its time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 4, kernel_size=(3, 3, 3), padding=(1, 1, 1))
        self.pool1 = nn.MaxPool3d(kernel_size=(1, 2, 2), stride=(1, 2, 2))
        self.conv2 = nn.Conv3d(4, 6, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm3d(6)
        self.pool2 = nn.MaxPool3d(kernel_size=2, stride=2, padding=(0, 1, 1))
        self.fc6, self.fc7 = nn.Linear(6 * 2 * 3 * 3, 10), nn.Linear(10, 4)
        self.dropout, self.relu = nn.Dropout(p=0.5), nn.ReLU()

    def forward(self, x):
        x = self.pool1(self.relu(self.conv1(x)))
        x = self.pool2(self.relu(self.bn2(self.conv2(x))))
        x = x.view(-1, 6 * 2 * 3 * 3)
        x = self.dropout(self.relu(self.fc6(x)))
        return self.fc7(x)


class CNNLSTM(nn.Module):
    """Frames of a video through a CNN, an LSTM over them with its own initial state, the last hidden state."""

    def __init__(self, hidden=5) -> None:
        super().__init__()
        self.hidden = hidden
        self.cnn = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 2)))
        self.lstm = nn.LSTM(input_size=16, hidden_size=hidden, num_layers=2, batch_first=True, dropout=0.3)
        self.fc1 = nn.Linear(hidden, 3)

    def forward(self, x):
        batch_size, timesteps, c, h, w = x.size()
        features = self.cnn(x.view(batch_size * timesteps, c, h, w))
        r_in = features.view(batch_size, timesteps, -1)
        h0 = torch.zeros(2, x.size(0), self.hidden).to(x.device)
        c0 = torch.zeros(2, x.size(0), self.hidden).to(x.device)
        r_out, (h_n, c_n) = self.lstm(r_in, (h0, c0))
        return self.fc1(h_n[-1])


class ECGNet(nn.Module):
    """A 1-D residual network, with maximum and average pooled to one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 6, kernel_size=15, stride=2, padding=7, bias=False)
        self.bn1 = nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 6, kernel_size=7, padding=3, bias=False)
        self.bn2 = nn.BatchNorm1d(6)
        self.maxpool = nn.MaxPool1d(3, stride=2, padding=1)
        self.ap, self.mp = nn.AdaptiveAvgPool1d(1), nn.AdaptiveMaxPool1d(1)
        self.fc = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ELU(), nn.Linear(8, 5), nn.Sigmoid())

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        identity = x
        out = F.relu(self.bn2(self.conv2(x)))
        out = out + identity
        out = torch.cat((self.ap(out), self.mp(out)), dim=1)
        return self.fc(out.view(out.size(0), -1))


class BilinearCNN(nn.Module):
    """Fine-grained classes from outer products of features, with signed roots and unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        n = x.size()[0]
        x = self.features(x)
        hw = x.size(2) * x.size(3)
        x = x.view(n, 4, hw)
        x = torch.bmm(x, torch.transpose(x, 1, 2)) / hw
        x = x.view(n, 16)
        x = torch.sign(x) * torch.sqrt(torch.abs(x) + 1e-10)
        return self.fc(F.normalize(x))


class DuelingDQN(nn.Module):
    """Reinforcement learning from four frames: values, and advantages without their mean."""

    def __init__(self, n_actions=3) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 4, stride=2), nn.Conv2d(4, 6, 3)
        self.fc_adv, self.fc_val = nn.Linear(6 * 5 * 5, 8), nn.Linear(6 * 5 * 5, 8)
        self.advantage, self.value = nn.Linear(8, n_actions), nn.Linear(8, 1)

    def forward(self, state):
        x = state.float().div(255.0) if state.dtype is torch.uint8 else state / 255.0
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = x.reshape(x.shape[0], -1)
        adv = self.advantage(F.relu(self.fc_adv(x)))
        val = self.value(F.relu(self.fc_val(x))).expand(x.size(0), adv.size(1))
        return val + adv - adv.mean(1).unsqueeze(1).expand(x.size(0), adv.size(1))


class ViTFromScratch(nn.Module):
    """Patches by unfold, a class token by repeat, sinusoidal positions, PyTorch's own encoder layers."""

    def __init__(self, patch=4, dim=8, n_patches=12) -> None:
        super().__init__()
        self.patch = patch
        self.linear = nn.Linear(3 * patch * patch, dim)
        self.cls = nn.Parameter(torch.randn(1, 1, dim))
        pe = torch.zeros(n_patches + 1, dim)
        pos = torch.arange(0, n_patches + 1).unsqueeze(1).float()
        div = torch.exp(torch.arange(0, dim, 2).float() * -(math.log(10000.0) / dim))
        pe[:, 0::2], pe[:, 1::2] = torch.sin(pos * div), torch.cos(pos * div)
        self.register_buffer("pe", pe.unsqueeze(0))
        layer = nn.TransformerEncoderLayer(dim, nhead=2, dim_feedforward=16, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 5))

    def forward(self, img):
        p = self.patch
        x = img.unfold(2, p, p).unfold(3, p, p)
        b, c, nh, nw, _, _ = x.shape
        x = x.permute(0, 2, 3, 1, 4, 5).reshape(b, nh * nw, c * p * p)
        x = torch.cat((self.cls.repeat(b, 1, 1), self.linear(x)), dim=1)
        x = self.encoder(x + self.pe[:, : x.size(1)])
        return self.mlp_head(x[:, 0, :])


class SoftArgmaxLandmarks(nn.Module):
    """Landmarks as means of heat maps, averaged with those of the mirrored image in mirrored order."""

    def __init__(self, points=4) -> None:
        super().__init__()
        self.points = points
        self.net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, points, 3, padding=1))
        self.temperature = nn.Parameter(torch.ones(1) * 2)
        self.register_buffer("mirrored", torch.tensor([1, 0, 3, 2]))

    def heatmaps(self, x):
        return self.net(x)

    def forward(self, x):
        maps = self.heatmaps(x)
        flipped = torch.flip(self.heatmaps(torch.flip(x, dims=[3])), dims=[3])
        maps = 0.5 * (maps + torch.index_select(flipped, 1, self.mirrored))
        n, k, h, w = maps.shape
        p = F.softmax(maps.view(n, k, -1) * self.temperature, dim=2).view(n, k, h, w)
        xs, ys = torch.linspace(-1, 1, w), torch.linspace(-1, 1, h)
        x_mean = (p.sum(dim=2) * xs).sum(dim=-1)
        y_mean = (p.sum(dim=3) * ys).sum(dim=-1)
        return torch.stack([x_mean, y_mean], dim=-1).clamp(-1, 1)


class MaskedFrames(nn.Module):
    """Attention over frames of which some are missing, by a second input with ones and zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 4, bidirectional=True, batch_first=True)
        self.score = nn.Linear(8, 1)
        self.out = nn.Linear(16, 3)

    def forward(self, frames, mask):
        h, _ = self.gru(frames)
        scores = self.score(torch.tanh(h)).squeeze(-1)
        scores = scores.masked_fill(mask == 0, -1e9)
        weights = torch.softmax(scores, dim=1)
        context = torch.bmm(weights.unsqueeze(1), h).squeeze(1)
        kept = torch.where(mask.unsqueeze(-1) > 0, h, torch.zeros_like(h))
        mean = kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.out(torch.cat([context, mean], dim=-1)), weights


class SPPNet(nn.Module):
    """Spatial pyramid pooling: maxima of grids of several sizes, for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 6, 3)
        self.lrn = nn.LocalResponseNorm(3)
        self.fc = nn.Linear(6 * (16 + 4 + 1), 5)

    def spatial_pyramid_pool(self, x, sizes=(4, 2, 1)):
        pooled = []
        for size in sizes:
            pooled.append(F.adaptive_max_pool2d(x, output_size=size).view(x.size(0), -1))
        return torch.cat(pooled, 1)

    def forward(self, x):
        x = self.lrn(F.relu(self.conv1(x)))
        x = F.relu(self.conv2(x))
        return self.fc(self.spatial_pyramid_pool(x))


NETWORKS = [
    (SegNet, (3, 12, 16)), (C3D, (3, 4, 8, 8)), (CNNLSTM, (4, 3, 9, 9)), (ECGNet, (2, 60)), (BilinearCNN, (3, 12, 12)),
    (DuelingDQN, (4, 16, 16)), (ViTFromScratch, (3, 12, 16)), (SoftArgmaxLandmarks, (3, 9, 11)),
    (MaskedFrames, (5, 6), (5,)), (SPPNet, (3, 19, 23)),
]  # fmt: skip
