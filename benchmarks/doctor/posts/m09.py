"""https://github.com/HHTseng/video-classification/issues/42 (ResNetCRNN: the LSTM wants (time, batch, features); view instead of transpose)
CAUSE: the picture features (batch, time, features) are brought into the order of the LSTM with view(time, batch, features), which
keeps the memory order and so mixes frames of different clips.
FIX: transpose(0, 1) (or permute) instead of view, or an LSTM with batch_first=True.
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

T, S = 6, 16


def clips(n, rng):
    """A bright blob on a noisy ground that moves left, right, up, down or stays."""
    moves = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])
    yy, xx = np.mgrid[:S, :S]
    video = np.empty((n, T, 1, S, S), np.float32); label = rng.integers(0, 5, n)
    for i, k in enumerate(label):
        speed, r = rng.uniform(0.9, 1.6), rng.uniform(1.2, 2.2)
        pos = rng.uniform(4.5, S - 5.5, 2) - moves[k] * speed * T / 2.6
        tone, ground = rng.uniform(0.6, 1.2), rng.uniform(-0.2, 0.2)
        for t in range(T):
            p = pos + moves[k] * speed * t + rng.normal(0, 0.25, 2)
            video[i, t, 0] = ground + tone * np.exp(-((xx - p[0]) ** 2 + (yy - p[1]) ** 2) / (2 * r * r)) + rng.normal(0, 0.12, (S, S))
    return torch.from_numpy((video - 0.1) / 0.3), torch.from_numpy(label)


class EncoderCNN(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(256, out)

    def forward(self, clip):
        b, t = clip.shape[:2]
        return self.fc(self.conv(clip.flatten(0, 1)).flatten(1)).view(b, t, -1)


class DecoderRNN(nn.Module):
    def __init__(self, size, hidden, classes, rearrange):
        super().__init__()
        self.lstm = nn.LSTM(size, hidden)
        self.fc = nn.Linear(hidden, classes)
        self.rearrange = rearrange

    def forward(self, x):
        out, _ = self.lstm(self.rearrange(x))
        return self.fc(out[-1])


def as_view(x):
    return x.contiguous().view(x.size(1), x.size(0), x.size(2))


def as_transpose(x):
    return x.transpose(0, 1)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    (xt, yt), (xv, yv), (xs, ys) = clips(700, rng), clips(140, rng), clips(300, rng)
    net = nn.Sequential(EncoderCNN(24), DecoderRNN(24, 32, 5, as_view if mistake else as_transpose))
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (torch.cat([network(b) for b in xs.split(50)]).argmax(1) == ys).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8),
                train=DataLoader(TensorDataset(xt, yt), 28, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(xv, yv), 70), epochs=8, score=score)
