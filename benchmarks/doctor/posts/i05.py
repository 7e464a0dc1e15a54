"""https://answerofmath.com/solved-possible-reasons-why-the-cnn-fails-to-learn-image-segmentation/

CAUSE: Defects cover well under one percent of the pixels and the plain, unweighted mean of the binary cross entropy is used, so the
network answers background everywhere.
FIX: Weigh the foreground (pos_weight) or add a Dice term to the loss.
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset, DataLoader

P = 64


def surface(rng):
    yy, xx = np.mgrid[:P, :P].astype(np.float32)
    g = rng.normal(0, 1, (P, P))
    g = (g + np.roll(g, 1, 1) + np.roll(g, 2, 1) + np.roll(g, 3, 1)) / 2          # brushed metal
    img = 0.5 + 0.05 * g + 0.06 * np.sin(xx / rng.uniform(15, 40) + rng.uniform(0, 6))
    mask = np.zeros((P, P), np.float32)
    for _ in range(rng.integers(1, 3)):
        x, y, a, l = rng.uniform(10, P - 10), rng.uniform(10, P - 10), rng.uniform(0, np.pi), rng.uniform(5, 12)
        u = (xx - x) * np.cos(a) + (yy - y) * np.sin(a); v = -(xx - x) * np.sin(a) + (yy - y) * np.cos(a)
        m = (np.abs(u) < l / 2) & (np.abs(v) < 1.1)
        img[m] -= rng.uniform(0.10, 0.17); mask[m] = 1
    return img.clip(0, 1).astype(np.float32), mask


class SegLoss(nn.Module):
    def __init__(self, dice=1.0):
        super().__init__()
        self.bce, self.dice = nn.BCEWithLogitsLoss(), dice

    def forward(self, out, y):
        loss = self.bce(out, y)
        if self.dice:
            p = torch.sigmoid(out)
            loss = loss + self.dice * (1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))
        return loss


class Mini(nn.Module):
    def __init__(self):
        super().__init__()
        def c(i, o, s=1):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))
        self.a = c(1, 8)
        self.b = nn.Sequential(c(8, 16, 2), c(16, 16))
        self.c = nn.Sequential(c(16, 24, 2), c(24, 16))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.d = c(32, 8)
        self.e = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x):
        a = self.a(x); b = self.b(a)
        z = self.d(torch.cat([self.up(self.c(b)), b], 1))
        return self.e(torch.cat([self.up(z), a], 1))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = map(np.stack, zip(*[surface(rng) for _ in range(440)]))
    x, y = torch.from_numpy((x - 0.5) / 0.07)[:, None], torch.from_numpy(y)[:, None]
    net = Mini()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)

    def score(net):
        p, t = torch.cat([net(b) for b in x[360:].split(40)]) > 0, y[360:] > 0
        return (2 * (p & t).sum() / (p.sum() + t.sum()).clamp(min=1)).item()

    return dict(network=net, loss=SegLoss(0.0 if mistake else 1.0), optimizer=opt, scheduler=None,
                train=DataLoader(TensorDataset(x[:300], y[:300]), 10, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[300:360], y[300:360]), 30), epochs=5, score=score)
