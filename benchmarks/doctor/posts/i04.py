"""https://github.com/qubvel-org/segmentation_models.pytorch/pull/461

CAUSE: The maps (N, C, H, W) are flattened to (pixels, C) by a plain view/reshape without moving the channel axis to the end first,
so the scores that are compared with a pixel's label come from other pixels and other channels.
FIX: permute(0, 2, 3, 1) (movedim) before the view, or give the maps to cross entropy as they are.
"""
import random
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader

N = 80
CLASSES = 4                     # ground, field, water, roof


def tile(rng):
    yy, xx = np.mgrid[:N, :N]
    colour = np.array([[0.55, 0.5, 0.4], [0.35, 0.52, 0.25], [0.2, 0.33, 0.5], [0.6, 0.35, 0.3]])
    y = np.zeros((N, N), np.int64)
    for _ in range(rng.integers(1, 4)):
        a = rng.uniform(0, np.pi); d = (xx - rng.uniform(0, N)) * np.cos(a) + (yy - rng.uniform(0, N)) * np.sin(a)
        y[np.abs(d) < rng.uniform(6, 15)] = 1
    if rng.random() < 0.8:
        p, q = rng.uniform(0, N, 2); y[((xx - p) / rng.uniform(8, 22)) ** 2 + ((yy - q) / rng.uniform(8, 22)) ** 2 < 1] = 2
    for _ in range(rng.integers(1, 6)):
        p, q = rng.integers(0, N - 12, 2); w, h = rng.integers(7, 18, 2); y[q:q + h, p:p + w] = 3
    x = colour[y] + rng.normal(0, 0.05, (CLASSES, 3))[y]
    x = x + (y == 1)[..., None] * 0.06 * np.sin(xx * rng.uniform(0.8, 1.5))[..., None]
    x = x * rng.uniform(0.75, 1.2) + rng.normal(0, 0.07, x.shape)
    return (x.clip(0, 1) * 255).astype(np.uint8), y.astype(np.uint8)


class Tiles(Dataset):
    def __init__(self, tiles, flip):
        self.tiles, self.flip = tiles, flip

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, i):
        x, y = self.tiles[i]
        if self.flip and random.random() < 0.5:
            x, y = x[:, ::-1], y[:, ::-1]
        x = torch.from_numpy(x.transpose(2, 0, 1).astype(np.float32)) / 255
        return (x - 0.45) / 0.18, torch.from_numpy(y.astype(np.int64))


class FlatCrossEntropy(nn.Module):
    def __init__(self, classes, last=True):
        super().__init__()
        self.classes, self.last = classes, last

    def forward(self, out, target):
        if self.last:
            out = out.permute(0, 2, 3, 1).contiguous()
        return F.cross_entropy(out.reshape(-1, self.classes), target.reshape(-1))


class Res(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.b = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, padding=d, dilation=d, bias=False))

    def forward(self, x):
        return x + self.b(x)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(100 + seed)
    tiles = [tile(rng) for _ in range(390)]
    net = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), Res(16, 1), Res(16, 2), Res(16, 4), nn.BatchNorm2d(16), nn.ReLU(),
                        nn.ConvTranspose2d(16, 12, 2, 2), nn.ReLU(), nn.Conv2d(12, CLASSES, 1))
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
    test = Tiles(tiles[310:], False)

    def score(net):
        hit = np.zeros(CLASSES); either = np.zeros(CLASSES)
        for x, y in DataLoader(test, 40):
            p = net(x).argmax(1)
            for c in range(CLASSES):
                hit[c] += ((p == c) & (y == c)).sum().item(); either[c] += ((p == c) | (y == c)).sum().item()
        return float((hit / np.maximum(either, 1)).mean())

    return dict(network=net, loss=FlatCrossEntropy(CLASSES, last=not mistake), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [3, 4], 0.2),
                train=DataLoader(Tiles(tiles[:260], True), 10, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(Tiles(tiles[260:310], False), 30), epochs=5, score=score)
