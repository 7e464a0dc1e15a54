"""https://github.com/milesial/Pytorch-UNet/issues/173
CAUSE: The mask files hold 0 and 255 and go as they are (as floats up to 255) into the binary cross-entropy; the loss becomes
negative and the network marks everything.
FIX: Make the masks 0 and 1 (divide by 255 or mask > 127).
"""
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/wild/membrane")


class MembraneTiles(Dataset):
    def __init__(self, names, tile=64, size=320, to01=True, augment=False):
        self.x, self.y, self.augment = [], [], augment
        for name in names:
            img = np.array(Image.open(ROOT / "image" / name).convert("L").resize((size, size), Image.BILINEAR), np.float32)
            m = np.array(Image.open(ROOT / "label" / name).convert("L").resize((size, size), Image.NEAREST), np.float32)
            if to01:
                m = m / 255
            img = (img - 126.0) / 40.0
            for r in range(0, size, tile):
                for c in range(0, size, tile):
                    self.x.append(torch.from_numpy(img[r:r + tile, c:c + tile].copy())[None])
                    self.y.append(torch.from_numpy(m[r:r + tile, c:c + tile].copy())[None])

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        x, y = self.x[i], self.y[i]
        if self.augment:
            k = random.randrange(4)
            x, y = torch.rot90(x, k, (1, 2)), torch.rot90(y, k, (1, 2))
        return x, y


class DoubleConv(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True),
                         nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True))


class SingleConv(nn.Sequential):
    def __init__(self, i, o):
        super().__init__(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True))


class UNet(nn.Module):
    def __init__(self, c=5):
        super().__init__()
        self.inc, self.d1, self.d2 = SingleConv(1, c), DoubleConv(c, 2 * c), DoubleConv(2 * c, 4 * c)
        self.pool = nn.MaxPool2d(2)
        self.u1, self.c1 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2), DoubleConv(4 * c, 2 * c)
        self.u2, self.c2 = nn.ConvTranspose2d(2 * c, c, 2, 2), SingleConv(2 * c, c)
        self.outc = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.inc(x); b = self.d1(self.pool(a)); z = self.d2(self.pool(b))
        z = self.c1(torch.cat([b, self.u1(z)], 1))
        return self.outc(self.c2(torch.cat([a, self.u2(z)], 1)))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    names = sorted(p.name for p in (ROOT / "image").glob("*.png"))
    random.Random(seed).shuffle(names)
    train = MembraneTiles(names[:13], to01=not mistake, augment=True)
    val = MembraneTiles(names[13:16], to01=not mistake)
    test = MembraneTiles(names[16:])
    net = UNet()

    def score(net):
        p = net(torch.stack(test.x)) > 0; t = torch.stack(test.y) > .5
        cell = (p & t).sum() / (p | t).sum(); wall = (~p & ~t).sum() / (~p | ~t).sum()
        return float(cell + wall) / 2

    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 3, 0.3),
                train=DataLoader(train, 16, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 36), epochs=6, score=score)
