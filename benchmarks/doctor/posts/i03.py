"""https://github.com/lim-anggun/FgSegNet/issues/6

CAUSE: The list of the pictures and the list of the annotations are put in order in different ways (one by file name, the other by
frame number), so that most pictures are paired with the annotation of another picture.
FIX: Sort both lists in the same way (or pair the files by name) before they are zipped.
"""
import re
import random
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/camvid")
GROUP = np.array([0, 1, 1, 2, 3, 4, 1, 1, 5, 5, 5, 255], np.uint8)     # sky, building, road, pavement, tree, traffic
MEAN, STD = torch.tensor([0.41, 0.42, 0.43]).view(3, 1, 1), torch.tensor([0.29, 0.29, 0.28]).view(3, 1, 1)


def number(path):
    return int(re.findall(r"\d+", path.stem)[-1])


class CamVid(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return (self.images[i] - MEAN) / STD, self.labels[i]


def read_image(f):
    im = Image.open(f).convert("RGB").resize((96, 72), Image.BILINEAR)
    return torch.from_numpy(np.asarray(im)[4:68].transpose(2, 0, 1) / np.float32(255))


def read_label(f):
    im = np.asarray(Image.open(f).resize((96, 72), Image.NEAREST))[4:68]
    return torch.from_numpy(GROUP[np.minimum(im, 11)].astype(np.int64))


class Net(nn.Module):
    def __init__(self, classes=6):
        super().__init__()
        def cb(i, o, s=1):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.a = cb(3, 12, 2)
        self.b = cb(12, 24, 2)
        self.c = nn.Sequential(cb(24, 32, 2), cb(32, 32))
        self.d = nn.Sequential(cb(32, 48, 2), cb(48, 32))
        self.uc, self.ub, self.ua = cb(64, 24), cb(48, 16), cb(28, 8)
        self.out = nn.Conv2d(8, classes, 1)

    def forward(self, x):
        up = lambda t: F.interpolate(t, scale_factor=2.0, mode="bilinear", align_corners=False)
        a = self.a(x); b = self.b(a); c = self.c(b); d = self.d(c)
        d = self.uc(torch.cat([up(d), c], 1))
        d = self.ub(torch.cat([up(d), b], 1))
        return up(self.out(self.ua(torch.cat([up(d), a], 1))))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    frames = sorted((ROOT / "train").glob("*.jpg")) + sorted((ROOT / "val").glob("*.jpg"))
    order = np.random.default_rng(seed).permutation(len(frames))
    parts = [[frames[i] for i in p] for p in (order[:240], order[240:280], order[280:360])]
    def mask_of(f):
        return f.parent.parent / (f.parent.name + "annot") / (f.stem + ".png")
    sets = []
    for k, part in enumerate(parts):
        images = sorted(part, key=lambda f: f.name)
        labels = [mask_of(f) for f in part]
        labels = sorted(labels, key=number if mistake and k < 2 else lambda f: f.name)
        sets.append(CamVid([read_image(f) for f in images], [read_label(f) for f in labels]))
    train, val, test = sets
    net = Net()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    epochs = 8
    steps = epochs * 20

    def score(net):
        cm = torch.zeros(6, 6)
        for x, y in DataLoader(test, 25):
            p = net(x).argmax(1)
            keep = y != 255
            cm += torch.bincount(y[keep] * 6 + p[keep], minlength=36).view(6, 6)
        d = cm.diag()
        return (d / (cm.sum(0) + cm.sum(1) - d).clamp(min=1)).mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(ignore_index=255), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=steps),
                train=DataLoader(train, 12, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 20), epochs=epochs, score=score)
