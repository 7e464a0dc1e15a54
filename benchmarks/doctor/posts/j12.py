"""https://community.deeplearning.ai/t/output-normalisation-in-multi-output-regression-nn/243077
CAUSE: the two targets differ in magnitude (about 0.4 and -22), and their squared errors are averaged as they are, so the large one dominates the loss and the small one is not learnt.
FIX: standardize each target (and undo it for the predictions), or weight the losses."""
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def days(n, rng):
    """48 half-hours of weather: radiation, temperature, dryness, soil water; and the day's productivity and evaporation."""
    t = np.arange(48)
    sun = np.clip(np.sin((t - 12) / 24 * np.pi), 0, None)[None] * rng.uniform(200, 900, (n, 1))
    cloud = np.cumsum(rng.normal(0, 0.25, (n, 48)), 1)
    sun = sun / (1 + np.exp(cloud))
    temp = rng.uniform(2, 26, (n, 1)) + 0.008 * sun + 3 * np.sin((t[None] - 20) / 24 * np.pi) + rng.normal(0, 0.7, (n, 48))
    dry = np.clip(0.08 * temp + rng.normal(0, 0.5, (n, 1)), 0.05, None) + rng.normal(0, 0.1, (n, 48))
    water = rng.uniform(0.1, 0.45, (n, 1)) + rng.normal(0, 0.01, (n, 48))
    x = np.stack([sun, temp, dry, water], 2).astype(np.float32)
    light = (sun / (sun + 250)).mean(1)
    gpp = 2.2 * light * np.exp(-((temp.mean(1) - 17) / 10) ** 2) * np.clip(water.mean(1) / 0.3, 0, 1)
    et = -8 - 0.055 * sun.mean(1) * np.clip(dry.mean(1), 0.1, None) ** 0.5 - 20 * water.mean(1)
    y = np.stack([gpp + rng.normal(0, 0.01, n), et + rng.normal(0, 0.6, n)], 1).astype(np.float32)
    return x, y


class Flux(Dataset):
    def __init__(self, x, y):
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class FluxGRU(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.gru = nn.GRU(inputs, 40, batch_first=True)
        self.out = nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, outputs))

    def forward(self, x):
        return self.out(self.gru(x)[0].mean(1))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    (x, y), (vx, vy), (tx, ty) = days(1500, rng), days(250, rng), days(600, rng)
    m, s = x.mean((0, 1)), x.std((0, 1))
    x, vx, tx = ((v - m) / s for v in (x, vx, tx))
    shift, scale = (0, 1) if mistake else (y.mean(0), y.std(0))
    y, vy = (y - shift) / scale, (vy - shift) / scale
    net = FluxGRU(4, 2)
    epochs = 12
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        """Mean R2 of the two quantities in their own units."""
        net.eval()
        p = net(torch.from_numpy(tx)).numpy() * scale + shift
        return np.mean(1 - ((p - ty) ** 2).mean(0) / ty.var(0))

    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs),
                train=DataLoader(Flux(x, y), 50, shuffle=True, generator=g), validation=DataLoader(Flux(vx, vy), 50), epochs=epochs, score=score)
