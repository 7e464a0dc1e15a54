"""https://api.xgps.vip/hpc203/nanodet-plus-opencv/issues/4
CAUSE: Width and height of the original picture are exchanged (PIL's size is width, height; the code reads it as height, width), so the
boxes of pictures that are not square are scaled with the wrong side.
FIX: w, h = image.size; divide x by the width and y by the height.
"""
import gzip
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

MNIST = Path(f"{data_root()}/mnist")


def photographs(n, start, rng):
    with gzip.open(next(MNIST.glob("train-images*"))) as g:
        g.read(16 + start * 784)
        raw = np.frombuffer(g.read(n * 784), np.uint8).reshape(n, 28, 28)
    out = []
    for d in raw:
        W, H = (int(rng.integers(90, 160)), int(rng.integers(48, 80)))
        if rng.random() < .35:
            W, H = H, W
        s = rng.uniform(1.0, 1.7)
        r, c = np.where(d > 50)
        d = d[r.min():r.max() + 1, c.min():c.max() + 1]
        w, h = max(6, int(d.shape[1] * s)), max(6, int(d.shape[0] * s))
        d = np.asarray(Image.fromarray(d).resize((w, h), Image.BILINEAR), np.float32) / 255
        x, y = int(rng.integers(0, W - w)), int(rng.integers(0, H - h))
        paper, ink = rng.uniform(140, 240, 3), rng.uniform(0, 100, 3)
        a = np.zeros((H, W)); a[y:y + h, x:x + w] = d
        img = paper * (1 - a[..., None]) + ink * a[..., None] + rng.normal(0, 12, (H, W, 3))
        out.append((Image.fromarray(img.clip(0, 255).astype(np.uint8)), (x, y, x + w, y + h)))
    return out


class Boxes(Dataset):
    def __init__(self, samples, as_hw=False, size=64):
        self.samples, self.as_hw, self.size = samples, as_hw, size
        self.cache = [self.prepare(*s) for s in samples]

    def prepare(self, img, box):
        if self.as_hw:
            h, w = img.size
        else:
            w, h = img.size
        x1, y1, x2, y2 = box
        target = torch.tensor([x1 / w, y1 / h, x2 / w, y2 / h], dtype=torch.float32)
        t = torch.from_numpy(np.array(img.resize((self.size, self.size), Image.BILINEAR))).permute(2, 0, 1).float() / 255
        return (t - .6) / .25, target

    def __len__(self):
        return len(self.cache)

    def __getitem__(self, i):
        return self.cache[i]


class Locator(nn.Module):
    def __init__(self):
        super().__init__()
        cs = [3, 16, 24, 40, 56]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(cs, cs[1:]))
        self.norms = nn.ModuleList(nn.GroupNorm(4, b) for b in cs[1:])
        self.a, self.b = nn.Linear(56 * 16, 80), nn.Linear(80, 4)

    def forward(self, x):
        for c, n in zip(self.convs, self.norms):
            x = nn.functional.gelu(n(c(x)))
        return self.b(nn.functional.gelu(self.a(x.flatten(1))))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, val = Boxes(photographs(900, 0, rng), mistake), Boxes(photographs(100, 20000, rng), mistake)
    test = Boxes(photographs(150, 30000, rng))
    net = Locator()

    def score(net):
        x, t = map(torch.stack, zip(*test.cache))
        p = net(x)
        lo, hi = torch.max(p[:, :2], t[:, :2]), torch.min(p[:, 2:], t[:, 2:])
        i = (hi - lo).clamp(min=0).prod(1)
        return (i / ((p[:, 2:] - p[:, :2]).clamp(min=0).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - i)).mean().item()

    epochs = 11
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    return dict(network=net, loss=nn.L1Loss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs),
                train=DataLoader(train, 24, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=epochs, score=score)
