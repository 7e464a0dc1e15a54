"""https://github.com/jakeret/tf_unet/issues/234
CAUSE: The lesions fill well under one percent of the pixels and the loss is a plain mean cross-entropy over all pixels: a mask
that is empty everywhere is already nearly perfect, and the network stays there.
FIX: A loss that heeds the rare foreground: Dice beside cross-entropy, pos_weight, or focal loss.
"""
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def make_scans(n, rng, size=64):
    y, x = np.mgrid[:size, :size]
    X = np.zeros((n, 1, size, size), np.float32); Y = np.zeros_like(X)
    for i in range(n):
        tissue = torch.from_numpy(rng.normal(0, 1, (1, 1, 16, 16)))
        tissue = F.interpolate(tissue, size=(size, size), mode="bicubic", align_corners=False)[0, 0].numpy()
        scan = 0.35 + 0.06 * tissue + rng.normal(0, 0.05, (size, size))
        for _ in range(rng.integers(1, 3)):
            cy, cx = rng.uniform(5, size - 5, 2); r = rng.uniform(1.6, 3.0)
            d = np.hypot(y - cy, x - cx)
            scan += rng.uniform(.16, .26) / (1 + np.exp((d - r) * 3))
            Y[i, 0][d < r] = 1
        X[i, 0] = scan
    return torch.from_numpy((X - .36) / .1), torch.from_numpy(Y)


class SegNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.ReLU())
        self.up = nn.Sequential(nn.Conv2d(24, 12, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(12, 8, 2, 2), nn.ReLU())
        self.local = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        self.last = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x):
        return self.last(torch.cat([self.up(self.down(x)), self.local(x)], 1))


class CombinedLoss(nn.Module):
    def forward(self, logits, y):
        p = torch.sigmoid(logits)
        dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
        return F.binary_cross_entropy_with_logits(logits, y, pos_weight=torch.tensor(10.)) + dice


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 7)
    X, Y = make_scans(480, rng)
    net = SegNet()

    def score(net):
        p, t = net(X[380:]) > 0, Y[380:] > 0
        return (2 * (p & t).sum() / (p.sum() + t.sum()).clamp(min=1)).item()

    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-5)
    return dict(network=net, loss=nn.BCEWithLogitsLoss() if mistake else CombinedLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8),
                train=DataLoader(TensorDataset(X[:320], Y[:320]), 12, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(X[320:380], Y[320:380]), 30), epochs=8, score=score)
