"""https://digital-nomad-cheng.github.io/blog_plan.html
CAUSE: The box head ends with a ReLU (the same conv/linear-ReLU block as elsewhere), but the offsets from the anchor may be negative:
the output cannot go below zero and channels die at zero.
FIX: No ReLU after the last layer of the box head.
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
ANCHOR = np.array([32, 32, 24, 24], np.float32)


def digits(n, offset):
    f = next(MNIST.glob("train-images*"))
    with gzip.open(f) as g:
        g.read(16 + offset * 784)
        return np.frombuffer(g.read(n * 784), np.uint8).reshape(n, 28, 28)


class DigitBoxes(Dataset):
    """A digit of any size somewhere in a noisy 64x64 picture; target: offsets of its box from the anchor, as in Fast R-CNN."""

    def __init__(self, raw, rng):
        self.x, self.t, self.box = [], [], []
        for d in raw:
            r, c = np.where(d > 60)
            d = d[r.min():r.max() + 1, c.min():c.max() + 1]
            s = rng.uniform(.7, 2.0)
            w, h = max(4, int(d.shape[1] * s)), max(6, int(d.shape[0] * s))
            w, h = min(w, 60), min(h, 60)
            d = np.asarray(Image.fromarray(d).resize((w, h), Image.BILINEAR), np.float32)
            x0, y0 = int(rng.integers(0, 65 - w)), int(rng.integers(0, 65 - h))
            img = rng.normal(60, 20, (64, 64)).astype(np.float32) + rng.uniform(-30, 30)
            img[y0:y0 + h, x0:x0 + w] += d * rng.uniform(.4, .8)
            box = np.array([x0 + w / 2, y0 + h / 2, w, h], np.float32)
            self.x.append(torch.from_numpy((img[None] - 70) / 45))
            self.box.append(torch.from_numpy(box))
            self.t.append(torch.from_numpy(np.concatenate([(box[:2] - ANCHOR[:2]) / ANCHOR[2:], np.log(box[2:] / ANCHOR[2:])]).astype(np.float32)))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.t[i]


def conv(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.ReLU())


def fc(i, o, relu=True):
    return nn.Sequential(nn.Linear(i, o), nn.ReLU()) if relu else nn.Linear(i, o)


class BoxHead(nn.Module):
    def __init__(self, last_relu):
        super().__init__()
        self.trunk = nn.Sequential(conv(1, 16), conv(16, 32), conv(32, 32), conv(32, 48), nn.Flatten())
        self.reg = nn.Sequential(fc(48 * 16, 96), fc(96, 4, relu=last_relu))

    def forward(self, x):
        return self.reg(self.trunk(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, val, test = DigitBoxes(digits(1000, 0), rng), DigitBoxes(digits(150, 5000), rng), DigitBoxes(digits(200, 8000), rng)
    net = BoxHead(last_relu=mistake)

    def score(net):
        o = net(torch.stack(test.x)); a = torch.from_numpy(ANCHOR); b = torch.stack(test.box)
        c, s = o[:, :2] * a[2:] + a[:2], torch.exp(o[:, 2:]) * a[2:]
        lo, hi = torch.max(c - s / 2, b[:, :2] - b[:, 2:] / 2), torch.min(c + s / 2, b[:, :2] + b[:, 2:] / 2)
        inter = (hi - lo).clamp(min=0).prod(1)
        return (inter / (s.prod(1) + b[:, 2:].prod(1) - inter)).mean().item()

    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    return dict(network=net, loss=nn.SmoothL1Loss(beta=.5), optimizer=opt, scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [7, 10], .25),
                train=DataLoader(train, 24, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=11, score=score)
