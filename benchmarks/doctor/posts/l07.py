"""https://runebook.dev/ru/docs/pytorch/generated/torch.tensor.permute
CAUSE: The loss flattens the output (N, C, H, W) with view(-1, C) as if the classes came last; rows then mix values of neighbouring
pixels of one class map instead of the scores of one pixel (view where permute is needed).
FIX: permute(0, 2, 3, 1) before the reshape, or give CrossEntropyLoss the (N, C, H, W) tensor directly.
"""
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/camvid")
# sky, building + pole + sign + fence, road + pavement, tree, car + people; 11 stays out
MERGE = np.array([0, 1, 1, 2, 2, 3, 1, 1, 4, 4, 4, 255], np.int64)


class CamVid(Dataset):
    def __init__(self, split, names, flip=False):
        self.flip = flip
        self.data = []
        for n in names:
            x = np.array(Image.open(ROOT / split / n).convert("RGB").resize((96, 72), Image.BILINEAR), np.float32) / 255
            y = np.array(Image.open(ROOT / (split + "annot") / n.replace(".jpg", ".png")).resize((96, 72), Image.NEAREST))
            self.data.append((torch.from_numpy((x.transpose(2, 0, 1) - .42) / .29), torch.from_numpy(MERGE[y])))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        x, y = self.data[i]
        if self.flip and random.random() < .5:
            x, y = x.flip(-1), y.flip(-1)
        return x, y


class Segmenter(nn.Module):
    def __init__(self, n_classes=5):
        super().__init__()
        def c(i, o, s): return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.e1, self.e2, self.e3 = c(3, 12, 2), c(12, 24, 2), nn.Sequential(c(24, 32, 2), c(32, 32, 1))
        self.r2, self.r1 = c(56, 20, 1), c(32, 12, 1)
        self.final = nn.Conv2d(12, n_classes, 1)

    def forward(self, x):
        a = self.e1(x); b = self.e2(a); d = self.e3(b)
        d = self.r2(torch.cat([F.interpolate(d, size=b.shape[2:]), b], 1))
        d = self.r1(torch.cat([F.interpolate(d, size=a.shape[2:]), a], 1))
        return F.interpolate(self.final(d), size=x.shape[2:], mode="bilinear", align_corners=False)


def flat_loss(outputs, targets):
    return F.cross_entropy(outputs.contiguous().view(-1, outputs.shape[1]), targets.view(-1), ignore_index=255)


def pixel_loss(outputs, targets):
    n = outputs.shape[1]
    return F.cross_entropy(outputs.permute(0, 2, 3, 1).reshape(-1, n), targets.view(-1), ignore_index=255)


def stretches(names, seed, length=19, held=3):
    """Frames of one drive follow one another, so whole stretches of them are held out, not single frames."""
    parts = [names[i:i + length] for i in range(0, len(names), length)]
    random.Random(seed).shuffle(parts)
    return sum(parts[held:], []), sum(parts[:held], [])


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    first = sorted(p.name for p in (ROOT / "train").glob("*.jpg"))
    second = sorted(p.name for p in (ROOT / "val").glob("*.jpg"))
    first, held = stretches(first, seed)
    train, val, test = CamVid("train", first, True), CamVid("train", held), CamVid("val", second)
    net = Segmenter()

    def score(net):
        p = torch.cat([net(x[None]).argmax(1) for x, _ in test.data]); t = torch.stack([y for _, y in test.data])
        p[t == 255] = 255
        return float(np.mean([((p == k) & (t == k)).sum() / ((p == k) | (t == k)).sum() for k in range(5)]))

    opt = torch.optim.AdamW(net.parameters(), lr=6e-3, weight_decay=1e-3)
    return dict(network=net, loss=flat_loss if mistake else pixel_loss, optimizer=opt,
                scheduler=torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.05, total_iters=6),
                train=DataLoader(train, 10, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 19), epochs=6, score=score)
