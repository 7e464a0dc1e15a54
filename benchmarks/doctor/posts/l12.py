"""https://github.com/open-mmlab/mmpose/issues/394
CAUSE: Points that nobody labelled stand in the table as 0, 0 and go into the loss like real ones; the network learns to pull every
point toward the upper left corner.
FIX: Leave unlabelled points out of the loss (weight them by their visibility).
"""
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

FACES = Path(f"{data_root()}/faces")
PICK = [19, 24, 37, 40, 43, 46, 33, 31, 35, 48, 51, 54, 57, 8]


def annotate(split, picked, share, seed):
    """Rows x, y, v as an annotator left them: hidden or forgotten points are 0, 0, 0."""
    info = json.loads((FACES / f"{split}.json").read_text())
    ann = {a["image_id"]: a["keypoints"] for a in info["annotations"]}
    rng = np.random.default_rng(seed)
    rows = []
    for i in picked:
        im = info["images"][i]
        k = np.array(ann[im["id"]], np.float32).reshape(-1, 3)[PICK]
        k[rng.random(len(k)) < share] = 0
        rows.append((FACES / split / im["file_name"], k))
    return rows


class PointTable(Dataset):
    def __init__(self, rows):
        self.x = torch.stack([torch.from_numpy(np.array(Image.open(p).convert("L").resize((56, 56), Image.BILINEAR), np.float32)) for p, _ in rows])
        self.x = (self.x[:, None] - 115.0) / 60.0
        k = torch.from_numpy(np.stack([k for _, k in rows]))
        self.y = torch.cat([k[..., :2] / 112, (k[..., 2:] > 0).float()], 2)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class PointLoss(nn.Module):
    def __init__(self, use_target_weight):
        super().__init__()
        self.use_target_weight = use_target_weight

    def forward(self, out, target):
        d = (out.view(len(out), -1, 2) - target[..., :2]).abs().sum(2)
        if self.use_target_weight:
            return (d * target[..., 2]).sum() / target[..., 2].sum().clamp(min=1)
        return d.mean()


class Backbone(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU())
        self.b = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.SiLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.SiLU())
        self.c = nn.Sequential(nn.Conv2d(32, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.SiLU())
        self.fc = nn.Linear(48 * 49, outputs)
        nn.init.constant_(self.fc.bias, .5)

    def forward(self, x):
        return self.fc(self.c(self.b(self.a(x))).flatten(1))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(2600)[:720].tolist()
    train = PointTable(annotate("train", order[:600], .4, seed))
    val = PointTable(annotate("train", order[600:], .4, seed + 1))
    test = PointTable(annotate("val", range(300), 0, 0))
    net = Backbone(2 * len(PICK))

    def score(net):
        err = (net(test.x).view(-1, len(PICK), 2) - test.y[..., :2]).norm(dim=2)
        return (err < .1).float().mean().item()

    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    return dict(network=net, loss=PointLoss(use_target_weight=not mistake), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 11),
                train=DataLoader(train, 30, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=11, score=score)
