"""https://newbetuts.com/47157526-resnet-100-accuracy-during-training-but-33-prediction-accuracy-with-the-same-data
CAUSE: the momentum of batch normalization is so small (0.001, for TensorFlow's 0.999) that the running mean and variance have hardly moved from 0 and 1 after these few steps; in eval mode the network computes with them.
FIX: a momentum of 0.1 (PyTorch's default), so that the running statistics follow within the training."""
import random
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/bccd")
NAMES = ["RBC", "WBC", "Platelets"]


def cells(part, per_class, rng):
    """Cut-outs of single blood cells, 32 x 32."""
    found = {n: [] for n in NAMES}
    for name in (ROOT / f"ImageSets/Main/{part}.txt").read_text().split():
        boxes = []
        for o in ET.parse(ROOT / f"Annotations/{name}.xml").iter("object"):
            b = [int(float(o.find("bndbox").find(k).text)) for k in ("xmin", "ymin", "xmax", "ymax")]
            if b[2] - b[0] > 8 and b[3] - b[1] > 8:
                boxes.append((o.find("name").text, b))
        picture = Image.open(ROOT / f"JPEGImages/{name}.jpg").convert("L")
        reds = 0
        for kind, (l, t, r, b) in boxes:
            if kind == "RBC":
                reds += 1
                if reds > 2:
                    continue
            cx, cy, half = (l + r) / 2, (t + b) / 2, max(r - l, b - t) / 2 * 1.1
            cut = picture.resize((32, 32), Image.BILINEAR, (max(cx - half, 0), max(cy - half, 0), min(cx + half, 640), min(cy + half, 480)))
            found[kind].append(np.asarray(cut, np.float32))
    x, y = [], []
    for k, n in enumerate(NAMES):
        pick = rng.permutation(len(found[n]))[:per_class]
        x += [found[n][i] for i in pick]
        y += [k] * len(pick)
    return torch.from_numpy(np.stack(x))[:, None], torch.tensor(y)


class Block(nn.Module):
    def __init__(self, inp, out, bn):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inp, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out, **bn), nn.ReLU(),
                                  nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out, **bn))
        self.skip = nn.Sequential(nn.Conv2d(inp, out, 1, 2, bias=False), nn.BatchNorm2d(out, **bn))

    def forward(self, x):
        return torch.relu(self.body(x) + self.skip(x))


def resnet(bn):
    return nn.Sequential(nn.Conv2d(1, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12, **bn), nn.ReLU(), Block(12, 16, bn), Block(16, 24, bn),
                         Block(24, 32, bn), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    x, y = cells("train", 180, rng)
    tx, ty = cells("val", 80, rng)
    order = torch.randperm(len(x))
    cut = len(x) * 5 // 6
    a, b = order[:cut], order[cut:]
    m, s = x[a].mean(), x[a].std()
    x, tx = (x - m) / s, (tx - m) / s
    net = resnet({"eps": 1e-3, "momentum": 0.001 if mistake else 0.1})
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        hit = (net(tx).argmax(1) == ty).float()
        return torch.stack([hit[ty == k].mean() for k in range(3)]).mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8),
                train=DataLoader(TensorDataset(x[a], y[a]), 32, shuffle=True, drop_last=True, generator=g),
                validation=DataLoader(TensorDataset(x[b], y[b]), 64), epochs=8, score=score)
