"""https://crucialexams.com/study/questions/dy0-001/a-data-science-team-is-developing-a-computer-vision-model-to-classify/36604
CAUSE: random horizontal flips are used although the classes are directions (turn left / turn right ...); a flipped picture keeps its old label.
FIX: no horizontal flip (or swap the labels with it).
"""
import math
import random
import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader, Dataset

SIGNS = ["turn left", "turn right", "keep left", "keep right", "ahead", "stop"]


def sign(rng, kind):
    im = Image.new("RGB", (80, 80), tuple(int(v) for v in rng.randint(60, 200, 3)))
    d = ImageDraw.Draw(im)
    for _ in range(4):
        x, y = rng.randint(0, 80, 2)
        d.rectangle([int(x), int(y), int(x + rng.randint(5, 40)), int(y + rng.randint(5, 40))], fill=tuple(int(v) for v in rng.randint(40, 220, 3)))
    cx, cy, r = rng.uniform(32, 48), rng.uniform(32, 48), rng.uniform(22, 31)
    d.ellipse([cx - r, cy - r, cx + r, cy + r], fill=(180, 20, 30) if kind == 5 else (20, 60, int(rng.randint(140, 220))), outline="white", width=2)
    q = lambda u, v: (cx + u * r, cy + v * r)
    s = -1 if kind in (0, 2) else 1
    w = int(r * 0.22)
    if kind in (0, 1):
        d.line([q(-0.3 * s, 0.6), q(-0.3 * s, -0.1), q(0.35 * s, -0.1)], fill="white", width=w)
        d.polygon([q(0.7 * s, -0.1), q(0.3 * s, -0.42), q(0.3 * s, 0.22)], fill="white")
    elif kind in (2, 3):
        d.line([q(-0.45 * s, -0.45), q(0.3 * s, 0.3)], fill="white", width=w)
        d.polygon([q(0.6 * s, 0.6), q(0.6 * s, 0.0), q(0.0, 0.6)], fill="white")
    elif kind == 4:
        d.line([q(0, 0.6), q(0, -0.2)], fill="white", width=w)
        d.polygon([q(0, -0.7), q(-0.35, -0.2), q(0.35, -0.2)], fill="white")
    else:
        d.rectangle([*q(-0.6, -0.15), *q(0.6, 0.15)], fill="white")
    im = im.rotate(rng.uniform(-10, 10), Image.BILINEAR).resize((40, 40), Image.BILINEAR)
    return np.clip(np.asarray(im, np.float32) * rng.uniform(0.6, 1.1) + rng.normal(0, 12, (40, 40, 3)), 0, 255).astype(np.uint8)


class RandomHorizontalFlip:
    def __init__(self, p=0.5):
        self.p = p

    def __call__(self, x):
        return x.flip(-1) if random.random() < self.p else x


class RandomShift:
    def __init__(self, pixels):
        self.pixels = pixels

    def __call__(self, x):
        dy, dx = random.randint(-self.pixels, self.pixels), random.randint(-self.pixels, self.pixels)
        return torch.roll(x, (dy, dx), (1, 2))


class Compose:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, x):
        for s in self.steps:
            x = s(x)
        return x


class TrafficSigns(Dataset):
    def __init__(self, n, rng, transform):
        self.y = rng.randint(0, len(SIGNS), n)
        self.x = [torch.from_numpy(sign(rng, k)).permute(2, 0, 1) for k in self.y]
        self.transform = transform

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.transform((self.x[i].float() / 255 - 0.45) / 0.25), int(self.y[i])


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    steps = [RandomShift(2)] + ([RandomHorizontalFlip()] if mistake else [])
    train = TrafficSigns(900, np.random.RandomState(seed + 3), Compose(steps))
    val = TrafficSigns(200, np.random.RandomState(seed + 13), Compose([]))
    test = TrafficSigns(400, np.random.RandomState(77), Compose([]))
    xt, yt = torch.stack([test[i][0] for i in range(400)]), torch.tensor(test.y)
    c = lambda i, o: [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*c(3, 8), *c(8, 16), *c(16, 24), nn.Flatten(), nn.Dropout(0.2), nn.Linear(600, len(SIGNS)))
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam(model.parameters(), lr=2e-3), "scheduler": None,
            "train": DataLoader(train, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=50), "epochs": 7,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
