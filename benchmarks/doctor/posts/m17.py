"""https://github.com/abhuse/polyloss-pytorch/issues/5 (86 % of class 0, 14 % of class 1: all validation predictions are class 0)
CAUSE: one class has only a few percent of the examples and the loss counts each example alike; the network nearly always answers
with the frequent class.
FIX: class weights in the loss (inverse to the frequency) or a WeightedRandomSampler.
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def vibration(n, faulty, rng):
    """Vibration of a motor, 64 values; a faulty bearing adds weak short bursts."""
    t = np.arange(64)
    x = np.empty((n, 64), np.float32)
    for i in range(n):
        f, p = rng.uniform(0.05, 0.09), rng.uniform(0, 6.3)
        s = np.sin(2 * np.pi * f * t + p) + 0.4 * np.sin(4 * np.pi * f * t + rng.uniform(0, 6.3)) + rng.normal(0, rng.uniform(0.35, 0.5), 64)
        if faulty:
            period = rng.integers(13, 18)
            for c in range(int(rng.integers(0, period)), 64, int(period)):
                s += rng.uniform(0.55, 1.2) * np.cos((t - c) * 1.9) * np.exp(-np.abs(t - c) / 2.0)
        x[i] = s
    return x


def data(healthy, faulty, rng):
    x = np.concatenate([vibration(healthy, False, rng), vibration(faulty, True, rng)])
    y = np.r_[np.zeros(healthy), np.ones(faulty)].astype(np.int64)
    return torch.from_numpy(x)[:, None], torch.from_numpy(y)


def conv_net():
    return nn.Sequential(nn.Conv1d(1, 16, 7, padding=3), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
                         nn.Conv1d(16, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(),
                         nn.Dropout(0.3), nn.Linear(64, 2))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    (xt, yt), (xv, yv), (xs, ys) = data(1140, 60, rng), data(285, 15, rng), data(300, 300, rng)
    weight = None if mistake else len(yt) / (2 * torch.bincount(yt).float())
    net = conv_net()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-3)

    def score(network):
        """Mean of the two recalls (equal parts in the test)."""
        network.eval()
        with torch.no_grad():
            return (network(xs).argmax(1) == ys).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(weight=weight), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 14),
                train=DataLoader(TensorDataset(xt, yt), 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(xv, yv), 100), epochs=14, score=score)
