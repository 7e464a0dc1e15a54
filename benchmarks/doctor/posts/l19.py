"""https://github.com/milesial/Pytorch-UNet/issues/173
CAUSE: The masks are drawn in red on black; converted to grey, red becomes 76 of 255, so the "foreground" target is 0.3 instead of 1 and
no pixel ever gets above the threshold of one half.
FIX: Turn every coloured pixel into 1 (mask > 0), or save the masks in black and white.
"""
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import DataLoader, Dataset


def ultrasound(rng, size=64):
    """Speckled scan with a dark, bright-rimmed nodule, and its mask as the drawing tool saves it."""
    base = Image.new("L", (size, size), int(rng.integers(80, 130)))
    mask = Image.new("RGB", (size, size))
    d = ImageDraw.Draw(base)
    for _ in range(int(rng.integers(3, 7))):
        y = int(rng.integers(0, size)); d.line([0, y, size, y + int(rng.integers(-12, 12))], fill=int(rng.integers(140, 190)), width=int(rng.integers(1, 4)))
    cx, cy = rng.integers(16, 48, 2); a = rng.uniform(0, 2 * np.pi, 10); a.sort()
    rad = rng.uniform(8, 16) * rng.uniform(.8, 1.2, 10)
    poly = [(float(cx + r * np.cos(t)), float(cy + r * np.sin(t) * .8)) for r, t in zip(rad, a)]
    d.polygon(poly, fill=int(rng.integers(45, 75)), outline=170)
    ImageDraw.Draw(mask).polygon(poly, fill=(255, 0, 0))
    img = np.asarray(base.filter(ImageFilter.GaussianBlur(1.2)), np.float32) * rng.gamma(6, 1 / 6, (size, size))
    return Image.fromarray(img.clip(0, 255).astype(np.uint8)), mask


class Ultrasound(Dataset):
    def __init__(self, pairs, binarise):
        self.pairs, self.binarise = pairs, binarise

    def preprocess(self, pil, is_mask):
        a = np.asarray(pil.convert("L"), np.float32)
        if is_mask:
            a = (a > 0).astype(np.float32) if self.binarise else a / 255
        else:
            a = (a - 95) / 55
        return torch.from_numpy(a)[None]

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        img, mask = self.pairs[i]
        return self.preprocess(img, False), self.preprocess(mask, True)


class AttentionUNet(nn.Module):
    def __init__(self):
        super().__init__()
        def f(i, o, s=1): return nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.InstanceNorm2d(o, affine=True), nn.LeakyReLU(.01))
        self.a, self.b, self.c = f(1, 12, 2), f(12, 24, 2), nn.Sequential(f(24, 32, 2), f(32, 32))
        self.gate = nn.Conv2d(32, 24, 1)
        self.u, self.v = nn.ConvTranspose2d(32, 24, 2, 2), nn.ConvTranspose2d(24, 12, 2, 2)
        self.last = nn.Sequential(f(24, 12), nn.ConvTranspose2d(12, 1, 2, 2))

    def forward(self, x):
        a = self.a(x); b = self.b(a); c = self.c(b)
        g = torch.sigmoid(nn.functional.interpolate(self.gate(c), scale_factor=2))
        return self.last(torch.cat([a, self.v(b * g + self.u(c))], 1))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 40)
    pairs = [ultrasound(rng) for _ in range(480)]
    train, val, test = (Ultrasound(p, b) for p, b in ((pairs[:320], not mistake), (pairs[320:390], not mistake), (pairs[390:], True)))
    net = AttentionUNet()

    def score(net):
        x, y = map(torch.stack, zip(*[test[i] for i in range(len(test))]))
        p, t = torch.sigmoid(net(x)) > .5, y > .5
        return (2 * (p & t).sum() / (p.sum() + t.sum())).item()

    opt = torch.optim.SGD(net.parameters(), lr=.05, momentum=.9, nesterov=True, weight_decay=1e-4)
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.PolynomialLR(opt, 8, .9),
                train=DataLoader(train, 14, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 40), epochs=8, score=score)
