"""https://github.com/cszn/DnCNN/issues/27
CAUSE: The noise level 25 is meant on the scale 0 .. 255 but is added to pictures that are already 0 .. 1 (np.random.normal(0, 25)): the
training pictures are nothing but noise, and the network never sees a picture with the noise it is for.
FIX: Divide the level by 255 (sigma / 255).
"""
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

SIGNS = Path(f"{data_root()}/signs")


def read_gray(paths, size=64):
    return np.stack([np.asarray(Image.open(p).convert("L").resize((size, size), Image.BILINEAR), np.float32) / 255. for p in paths])


class DenoisingDataset(Dataset):
    """Gaussian noise of level sigma on 32x32 patches."""

    def __init__(self, xs, sigma, patch=32, train=True):
        self.xs, self.sigma, self.patch, self.train = xs, sigma, patch, train
        self.rng = np.random.RandomState(0)

    def __len__(self):
        return len(self.xs)

    def __getitem__(self, i):
        if self.train:
            r, c = np.random.randint(0, 64 - self.patch + 1, 2)
            noise = np.random.normal(0, self.sigma, (self.patch, self.patch))
        else:
            r, c = (64 - self.patch) // 2, (64 - self.patch) // 2
            noise = np.random.RandomState(i).normal(0, self.sigma, (self.patch, self.patch))
        clean = self.xs[i][r:r + self.patch, c:c + self.patch]
        return torch.from_numpy((clean + noise).astype(np.float32))[None], torch.from_numpy(clean.copy())[None]


class DnCNN(nn.Module):
    def __init__(self, depth=3, ch=12):
        super().__init__()
        layers = [nn.Conv2d(1, ch, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(ch, ch, 3, padding=1, bias=False), nn.BatchNorm2d(ch), nn.ReLU()]
        layers += [nn.Conv2d(ch, 1, 3, padding=1)]
        self.net = nn.Sequential(*layers)

    def forward(self, x):
        return x - self.net(x)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    sigma = 25
    files = sorted((SIGNS / "train").rglob("*.[jJ][pP]*[gG]")); random.Random(seed).shuffle(files)
    other = sorted((SIGNS / "val").rglob("*.[jJ][pP]*[gG]"))[::3]
    a, t = read_gray(files[:480]), read_gray(other)
    level = sigma if mistake else sigma / 255.
    net = DnCNN()

    def score(net):
        """Share of the noise's energy that is removed, at level 25 of 255 (not below 0)."""
        clean = torch.from_numpy(t)[:, None]
        noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
        return max(0., 1 - float(((net(noisy) - clean) ** 2).mean() / ((noisy - clean) ** 2).mean()))

    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [5, 7], .3),
                train=DataLoader(DenoisingDataset(a[:400], level), 16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(DenoisingDataset(a[400:], level, train=False), 40), epochs=8, score=score)
