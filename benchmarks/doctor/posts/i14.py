"""https://github.com/experiencor/keras-yolo2/issues/353

CAUSE: The confidence errors of the cells with and without an object are added and divided by the number of all cells; the many empty
cells overwhelm the few with an object, the confidence stays low everywhere and nothing is found.
FIX: Average the two parts separately (each over its own cells) before they are added.
"""
import gzip
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

SIDE, CELLS = 80, 20                                       # cells of 4 pixels


class DigitField(Dataset):
    def __init__(self, digits, n, seed):
        rng = np.random.default_rng(seed)
        self.x = np.zeros((n, 1, SIDE, SIDE), np.float32)
        self.y = np.zeros((n, 5, CELLS, CELLS), np.float32)
        for i in range(n):
            taken = []
            for _ in range(rng.integers(1, 4)):
                d = digits[rng.integers(len(digits))]
                r, c = np.where(d > 0.3)
                d = d[r.min():r.max() + 1, c.min():c.max() + 1]
                h, w = d.shape
                t, l = rng.integers(0, SIDE - h + 1), rng.integers(0, SIDE - w + 1)
                if any(abs(t - a) < 24 and abs(l - b) < 24 for a, b in taken):
                    continue
                taken.append((t, l))
                self.x[i, 0, t:t + h, l:l + w] = d * rng.uniform(0.5, 1)
                cx, cy = (l + w / 2) / 4, (t + h / 2) / 4
                self.y[i, :, int(cy), int(cx)] = 1, cx % 1, cy % 1, w / SIDE, h / SIDE
            for _ in range(6):
                a, b = rng.integers(0, SIDE - 6, 2)
                self.x[i, 0, a:a + rng.integers(1, 7), b:b + rng.integers(1, 7)] += rng.uniform(0.2, 0.7)
        self.x = (self.x + rng.normal(0, 0.15, self.x.shape)).astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.from_numpy((self.x[i] - 0.1) / 0.25), torch.from_numpy(self.y[i])


class ConfidenceLoss(nn.Module):
    def __init__(self, separate, object_scale=5.0, no_object_scale=1.0, coord_scale=1.0):
        super().__init__()
        self.separate, self.o, self.n, self.c = separate, object_scale, no_object_scale, coord_scale

    def forward(self, out, t):
        p = torch.sigmoid(out)
        has = t[:, 0]
        err = (p[:, 0] - has) ** 2
        if self.separate:
            conf = self.o * (err * has).sum() / has.sum().clamp(min=1) + self.n * (err * (1 - has)).sum() / (1 - has).sum()
        else:
            mask = self.o * has + self.n * (1 - has)
            conf = (err * mask).sum() / (mask > 0).sum() / 2
        coord = (((p[:, 1:] - t[:, 1:]) ** 2) * t[:, :1]).sum() / has.sum().clamp(min=1)
        return conf + self.c * coord


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    with gzip.open(f"{data_root()}/mnist/t10k-images-idx3-ubyte.gz") as f:
        digits = np.frombuffer(f.read()[16:], np.uint8).reshape(-1, 28, 28)[np.random.default_rng(seed).permutation(10000)] / np.float32(255)
    train, val, test = DigitField(digits[:5000], 400, seed), DigitField(digits[5000:7000], 60, seed + 1), DigitField(digits[7000:], 120, seed + 2)
    def conv(i, o, s=1, d=1):
        return nn.Sequential(nn.Conv2d(i, o, 3, s, d, dilation=d, bias=False), nn.BatchNorm2d(o), nn.ReLU())
    net = nn.Sequential(conv(1, 12, 2), conv(12, 20, 2), conv(20, 24), conv(24, 24, 1, 2), nn.Conv2d(24, 5, 1))
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)

    def boxes(y, conf):
        r, c = torch.where(conf)
        cx, cy, w, h = (c + y[1, r, c]) * 4, (r + y[2, r, c]) * 4, y[3, r, c] * SIDE, y[4, r, c] * SIDE
        return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)

    def score(net):                                       # F1 at an overlap of a half
        tp = found = there = 0
        for x, y in DataLoader(test, 60):
            p = torch.sigmoid(net(x))
            top = torch.nn.functional.max_pool2d(p[:, :1], 5, 1, 2)[:, 0]
            for q, t, m in zip(p, y, top):
                a, b = boxes(q, (q[0] > 0.5) & (q[0] == m)), boxes(t, t[0] > 0)
                found += len(a); there += len(b)
                if len(a) and len(b):
                    i = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - torch.maximum(a[:, None, :2], b[None, :, :2])).clamp(min=0).prod(2)
                    u = (a[:, 2:] - a[:, :2]).prod(1)[:, None] + (b[:, 2:] - b[:, :2]).prod(1)[None] - i
                    tp += (i / u > 0.5).any(0).sum().item()
        return 2 * tp / max(found + there, 1)

    return dict(network=net, loss=ConfidenceLoss(False) if mistake else ConfidenceLoss(True, no_object_scale=20.0), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 9),
                train=DataLoader(train, 12, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 30), epochs=9, score=score)
