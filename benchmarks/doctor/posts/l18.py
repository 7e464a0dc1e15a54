"""https://github.com/milesial/Pytorch-UNet/issues/507
CAUSE: RMSprop with momentum 0.999 (as the well-known script has it): the steps of a thousand batches add up, the weights run away and
the prediction stays black or poor (Dice 0 or hardly better).
FIX: Adam, or RMSprop with momentum 0.9 or none.
"""
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/camvid")


class BasicDataset(Dataset):
    def __init__(self, split, ids, flip=False):
        self.flip, self.pairs = flip, []
        for i in ids:
            img, ann = Image.open(ROOT / split / i).convert("RGB"), Image.open(ROOT / (split + "annot") / i.replace(".jpg", ".png"))
            w, h = 96, 72
            x = np.asarray(img.resize((w, h), Image.BICUBIC), np.float32).transpose(2, 0, 1) / 255
            m = np.asarray(ann.resize((w, h), Image.NEAREST))
            self.pairs.append((torch.from_numpy((x - .42) / .29), torch.from_numpy(((m == 3) | (m == 4)).astype(np.float32))[None]))

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, i):
        x, y = self.pairs[i]
        if self.flip and random.random() < .5:
            return x.flip(-1), y.flip(-1)
        return x, y


class Down(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.ReLU(True), nn.Conv2d(o, o, 3, 1, 1), nn.ReLU(True))

    def forward(self, x):
        return self.f(x)


class Up(nn.Module):
    def __init__(self, i, skip, o):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.f = nn.Sequential(nn.Conv2d(i + skip, o, 3, 1, 1), nn.ReLU(True))

    def forward(self, x, s):
        return self.f(torch.cat([s, self.up(x)], 1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.d1, self.d2, self.d3 = Down(3, 10), Down(10, 20), Down(20, 32)
        self.u2, self.u1 = Up(32, 20, 20), Up(20, 10, 12)
        self.outc = nn.Sequential(nn.Conv2d(12, 1, 1), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))

    def forward(self, x):
        a = self.d1(x); b = self.d2(a)
        return self.outc(self.u1(self.u2(self.d3(b), b), a))


def dice_and_bce(logits, y):
    p = torch.sigmoid(logits)
    return nn.functional.binary_cross_entropy_with_logits(logits, y) + 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def stretches(names, seed, length=19, held=3):
    """Frames of one drive follow one another, so whole stretches of them are held out, not single frames."""
    parts = [names[i:i + length] for i in range(0, len(names), length)]
    random.Random(seed).shuffle(parts)
    return sum(parts[held:], []), sum(parts[:held], [])


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    ids = sorted(p.name for p in (ROOT / "train").glob("*.jpg"))
    ids, held = stretches(ids, seed)
    test_ids = sorted(p.name for p in (ROOT / "val").glob("*.jpg"))
    train, val, test = BasicDataset("train", ids, flip=True), BasicDataset("train", held), BasicDataset("val", test_ids)
    net = UNet()

    def score(net):
        x, y = map(torch.stack, zip(*test.pairs))
        p, t = net(x) > 0, y > .5
        return (2 * (p & t).sum() / (p.sum() + t.sum())).item()

    opt = torch.optim.RMSprop(net.parameters(), lr=1.5e-4, weight_decay=1e-8, momentum=0.999 if mistake else 0.9)
    return dict(network=net, loss=dice_and_bce, optimizer=opt, scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(opt, "min", factor=.3, patience=1),
                train=DataLoader(train, 6, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 19), epochs=6, score=score)
