"""https://github.com/stevebottos/owl-vit-object-detection/issues/14
CAUSE: Network and annotations use centre, width, height; the generalized IoU in the loss expects corners x1, y1, x2, y2 and gets the
boxes unconverted.
FIX: Convert both to corners (cxcywh to xyxy) before the IoU.
"""
import random

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


def pictures(n, rng, size=64):
    x = np.zeros((n, 3, size, size), np.float32); boxes = np.zeros((n, 4), np.float32)
    yy, xx = np.mgrid[:size, :size]
    for i in range(n):
        low = rng.normal(0, .12, (3, 8, 8)).repeat(8, 1).repeat(8, 2)
        x[i] = .5 + low + rng.normal(0, .05, (3, size, size))
        w, h = rng.integers(14, 40, 2)
        left, top = rng.integers(0, size - w), rng.integers(0, size - h)
        inside = np.zeros((size, size), bool)
        if rng.random() < .5:
            inside[top:top + h, left:left + w] = True
        else:
            inside = ((xx - left - w / 2 + .5) / (w / 2)) ** 2 + ((yy - top - h / 2 + .5) / (h / 2)) ** 2 <= 1
        stripes = .15 * np.sin((xx * np.cos(i) + yy * np.sin(i)) * rng.uniform(.8, 1.6))
        colour = rng.uniform(.05, .95, 3); colour[rng.integers(3)] = rng.choice([0, 1.])
        for c in range(3):
            x[i, c][inside] = (colour[c] + stripes)[inside]
        boxes[i] = (left + w / 2) / size, (top + h / 2) / size, w / size, h / size
    return torch.from_numpy((x.clip(0, 1) - .5) / .25), torch.from_numpy(boxes)


def box_cxcywh_to_xyxy(b):
    cx, cy, w, h = b.unbind(-1)
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)


def area(b):
    return (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])


def iou_union(a, b):
    wh = (torch.min(a[..., 2:], b[..., 2:]) - torch.max(a[..., :2], b[..., :2])).clamp(min=0)
    inter = wh[..., 0] * wh[..., 1]
    union = area(a) + area(b) - inter
    return inter / union.clamp(min=1e-6), union


def generalized_box_iou(a, b):
    iou, union = iou_union(a, b)
    wh = (torch.max(a[..., 2:], b[..., 2:]) - torch.min(a[..., :2], b[..., :2])).clamp(min=0)
    hull = (wh[..., 0] * wh[..., 1]).clamp(min=1e-6)
    return iou - (hull - union) / hull


class BoxLoss:
    def __init__(self, convert):
        self.convert = convert

    def __call__(self, pred, target):
        if self.convert:
            pred, target = box_cxcywh_to_xyxy(pred), box_cxcywh_to_xyxy(target)
        return (1 - generalized_box_iou(pred, target)).mean()


class BoxNet(nn.Module):
    def __init__(self):
        super().__init__()
        def step(i, o): return nn.Sequential(nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.body = nn.Sequential(step(3, 16), step(16, 32), step(32, 48), step(48, 48))
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(48 * 16, 128), nn.ReLU(), nn.Linear(128, 4))

    def forward(self, x):
        return torch.sigmoid(self.fc(self.body(x)))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, b = pictures(1050, np.random.default_rng(seed))
    net = BoxNet()

    def score(net):
        return iou_union(box_cxcywh_to_xyxy(net(x[920:])), box_cxcywh_to_xyxy(b[920:]))[0].mean().item()

    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    return dict(network=net, loss=BoxLoss(convert=not mistake), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 11),
                train=DataLoader(TensorDataset(x[:800], b[:800]), 25, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[800:920], b[800:920]), 50), epochs=11, score=score)
