"""https://www.engineermaxxing.com/micro/lessons/pytorch-internals.html
CAUSE: the residual blocks are kept in an ordinary Python list, so their parameters are not registered and the optimizer never trains them.
FIX: keep the blocks in nn.ModuleList (or nn.Sequential)."""
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def beat(kind, rng, n=128):
    """One heart beat as a sum of bumps; the kinds differ in shape and order of the bumps, not in their size."""
    t = np.arange(n)
    r = 45 + rng.uniform(-9, 9)
    sc = rng.uniform(0.85, 1.2)
    g = lambda c, w: np.exp(-((t - c) / (w * sc)) ** 2 / 2)
    y = rng.uniform(0.7, 1.2) * g(r, 2.2 if kind != 2 else 4.6)
    if kind != 1:
        y += rng.uniform(0.12, 0.25) * g(r - 17 * sc, 3.5)
    else:
        y += rng.uniform(0.03, 0.07) * np.sin(t * rng.uniform(0.75, 1.0) + rng.uniform(0, 6))
    y -= rng.uniform(0.1, 0.3) * g(r - 5.5 * sc, 1.8) + rng.uniform(0.15, 0.35) * g(r + 6 * sc, 2.0)
    st = rng.uniform(0.12, 0.22) if kind == 3 else 0
    y += st / (1 + np.exp(-(t - r - 9) / 2)) / (1 + np.exp((t - r - 34) / 3))
    y += (-1 if kind == 4 else 1) * rng.uniform(0.15, 0.35) * g(r + 32 * sc, 6)
    y += 0.15 * np.sin(t / n * rng.uniform(1, 5) + rng.uniform(0, 6)) + rng.normal(0, 0.06, n)
    return y * rng.uniform(0.8, 1.2)


class Beats(Dataset):
    def __init__(self, n, rng):
        self.y = rng.integers(0, 5, n)
        x = np.stack([beat(k, rng) for k in self.y]).astype(np.float32)
        self.x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i])[None], int(self.y[i])


class ResBlock1d(nn.Module):
    def __init__(self, inp, out, stride):
        super().__init__()
        self.conv1 = nn.Conv1d(inp, out, 7, stride, 3)
        self.conv2 = nn.Conv1d(out, out, 7, 1, 3)
        self.skip = nn.Conv1d(inp, out, 1, stride)

    def forward(self, x):
        return torch.relu(self.conv2(torch.relu(self.conv1(x))) + self.skip(x))


class EcgNet(nn.Module):
    def __init__(self, widths, classes, listed):
        super().__init__()
        blocks, inp = [], 1
        for w in widths:
            blocks.append(ResBlock1d(inp, w, 2))
            inp = w
        self.blocks = blocks if listed else nn.ModuleList(blocks)
        self.fc = nn.Linear(inp, classes)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean(2))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, val, test = Beats(1500, rng), Beats(300, rng), Beats(1000, rng)
    net = EcgNet([16, 24, 32, 32], 5, listed=mistake)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return (net(torch.from_numpy(test.x)[:, None]).argmax(1) == torch.from_numpy(test.y)).float().mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10),
                train=DataLoader(train, 50, shuffle=True, generator=g), validation=DataLoader(val, 100), epochs=10, score=score)
