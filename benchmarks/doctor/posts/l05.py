"""https://www.xuehua.tw/a/5f9b95df5f65733238a5e1d0?lang=zh-hk
CAUSE: A segmentation network with batch normalisation is trained with batches of one picture. In training each picture is
normalised with its own mean and spread, in eval mode with running averages that fit none of them, and the masks come out empty or full.
FIX: Larger batches, or a normalisation that does not depend on the batch (GroupNorm, InstanceNorm).
"""
import random

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset


class LeafPictures(Dataset):
    """Leaves on soil under very different light, grey 64x64."""

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        yy, xx = np.mgrid[:64, :64]
        self.x, self.y = [], []
        for _ in range(n):
            soil = np.kron(rng.normal(0, .05, (16, 16)), np.ones((4, 4))) + rng.normal(0, .03, (64, 64))
            m = np.zeros((64, 64), bool)
            for _ in range(rng.integers(1, 4)):
                cy, cx = rng.uniform(10, 54, 2); a, b = rng.uniform(10, 18), rng.uniform(4, 8); t = rng.uniform(0, np.pi)
                u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t); v = (yy - cy) * np.cos(t) - (xx - cx) * np.sin(t)
                m |= (u / a) ** 2 + (v / b) ** 2 < 1
            img = soil + .16 * m * (1 + .2 * np.sin(xx * .8))
            img = rng.uniform(.05, .75) + rng.uniform(.5, 1.4) * img          # exposure
            self.x.append(torch.from_numpy((img.clip(0, 1) - .45) / .25).float()[None]); self.y.append(torch.from_numpy(m).float()[None])

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class FPNLike(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        def layer(i, o, stride):
            return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o), nn.LeakyReLU(.1))
        self.l1, self.l2, self.l3 = layer(1, c, 2), layer(c, 2 * c, 2), layer(2 * c, 2 * c, 2)
        self.p3, self.p2, self.p1 = nn.Conv2d(2 * c, c, 1), nn.Conv2d(2 * c, c, 1), nn.Conv2d(c, c, 1)
        self.smooth = layer(c, c, 1)
        self.cls = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        up = nn.functional.interpolate
        a = self.l1(x); b = self.l2(a); d = self.l3(b)
        y = self.p2(b) + up(self.p3(d), scale_factor=2)
        y = self.smooth(self.p1(a) + up(y, scale_factor=2))
        return up(self.cls(y), scale_factor=2, mode="bilinear", align_corners=False)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    train, val, test = LeafPictures(300, seed), LeafPictures(80, 500 + seed), LeafPictures(100, 900 + seed)
    net = FPNLike()

    def score(net):
        p = net(torch.stack(test.x)) > 0; t = torch.stack(test.y) > .5
        return ((p & t).sum() / (p | t).sum()).item()

    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    epochs = 6
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs),
                train=DataLoader(train, 1 if mistake else 10, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 1 if mistake else 10), epochs=epochs, score=score)
