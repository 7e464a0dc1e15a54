"""http://www.dtcms.com/a/394596.html

CAUSE: The last layer of the segmentation network ends in a ReLU although BCEWithLogitsLoss wants raw logits; they cannot become
negative, the probability of the background never falls below a half and most of the output dies at 0 (loss stays near 0.693).
FIX: Take the ReLU off the last convolution so that the network gives raw logits.
"""
import random
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import TensorDataset, DataLoader

S = 96


def lesion(rng):
    yy, xx = np.mgrid[:S, :S].astype(np.float32)
    base = np.array([0.72, 0.45, 0.38]) + rng.normal(0, 0.05, 3)
    low = rng.normal(0, 1, (6, 6, 3)).repeat(16, 0).repeat(16, 1) * 0.02
    img = base[None, None] + low
    cx, cy, r = rng.uniform(20, S - 20), rng.uniform(20, S - 20), rng.uniform(8, 17)
    th = np.arctan2(yy - cy, xx - cx)
    edge = r * (1 + 0.18 * np.sin(3 * th + rng.uniform(0, 6)) + 0.1 * np.sin(5 * th + rng.uniform(0, 6)))
    mask = np.hypot(xx - cx, yy - cy) < edge
    tone = np.array([0.10, 0.14, 0.04]) * rng.uniform(0.8, 1.6)
    img = img - mask[..., None] * tone
    for _ in range(4):                                      # bright reflections, dark vessels
        x, y = rng.uniform(0, S, 2)
        img = img + (np.hypot(xx - x, yy - y) < rng.uniform(1, 4))[..., None] * 0.25
        k = rng.uniform(-1, 1)
        img = img - (np.abs(yy - y - k * (xx - x)) < 0.8)[..., None] * 0.1
    img = img + rng.normal(0, 0.03, img.shape)
    return img.clip(0, 1).transpose(2, 0, 1).astype(np.float32), mask.astype(np.float32)[None]


def block(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.GroupNorm(4, o), nn.ReLU(inplace=True))


class ConvAct(nn.Sequential):
    def __init__(self, i, o, act):
        layers = [nn.Conv2d(i, o, 1)]
        if act is not None:
            layers.append(act)
        super().__init__(*layers)


class SegNet(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.e1 = block(3, 12, 2)
        self.e2 = block(12, 24, 2)
        self.e3 = nn.Sequential(block(24, 32, 2), block(32, 16))
        self.l2, self.l1 = nn.Conv2d(24, 16, 1), nn.Conv2d(12, 16, 1)
        self.s2, self.s1 = block(16, 16), block(16, 12)
        self.head = ConvAct(12, 1, last)

    def forward(self, x):
        a = self.e1(x); b = self.e2(a); c = self.e3(b)
        c = self.s2(F.interpolate(c, scale_factor=2.0) + self.l2(b))
        c = self.s1(F.interpolate(c, scale_factor=2.0) + self.l1(a))
        return F.interpolate(self.head(c), scale_factor=2.0, mode="bilinear", align_corners=False)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 11)
    x, y = map(np.stack, zip(*[lesion(rng) for _ in range(460)]))
    m, s = x[:280].mean((0, 2, 3), keepdims=True), x[:280].std((0, 2, 3), keepdims=True)
    x, y = torch.from_numpy((x - m) / s), torch.from_numpy(y)
    net = SegNet(nn.ReLU() if mistake else None)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)

    def score(net):
        p = torch.sigmoid(net(x[340:])) > 0.5
        t = y[340:] > 0.5
        return ((p & t).sum() / (p | t).sum().clamp(min=1)).item()

    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt, scheduler=None,
                train=DataLoader(TensorDataset(x[:280], y[:280]), 14, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[280:340], y[280:340]), 30), epochs=6, score=score)
