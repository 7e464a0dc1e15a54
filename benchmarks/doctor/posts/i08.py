"""https://github.com/jakeret/tf_unet/issues/244

CAUSE: Plain gradient descent without momentum and with a very small learning rate; in the epochs given the network hardly moves from
its start and the predicted masks are of one tone.
FIX: Use Adam (or momentum and a learning rate some hundred times higher).
"""
import random
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/wild/membrane")


class MembraneTiles(Dataset):
    def __init__(self, numbers, scale, augment=False, size=64):
        self.tiles, self.scale, self.augment = [], scale, augment
        for n in numbers:
            img = np.array(Image.open(ROOT / "image" / f"{n}.png").convert("L").resize((256, 256), Image.BILINEAR))
            lab = np.array(Image.open(ROOT / "label" / f"{n}.png").convert("L").resize((256, 256), Image.NEAREST))
            for r in range(0, 256, size):
                for c in range(0, 256, size):
                    self.tiles.append((img[r:r + size, c:c + size], lab[r:r + size, c:c + size]))

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, i):
        img, lab = self.tiles[i]
        if self.augment:
            k = random.randint(0, 3)
            img, lab = np.rot90(img, k), np.rot90(lab, k)
        img = torch.from_numpy(img.astype(np.float32))[None] / 255
        lab = torch.from_numpy(lab.astype(np.float32))[None] / self.scale
        return (img - 0.5) / 0.18, lab


class Up(nn.Module):
    def __init__(self, i, skip, o):
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.conv = nn.Sequential(nn.Conv2d(i + skip, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ELU())

    def forward(self, x, s):
        return self.conv(torch.cat([self.up(x), s], 1))


class UNetSmall(nn.Module):
    def __init__(self):
        super().__init__()
        c = lambda i, o, s=1: nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ELU())
        self.one, self.two, self.three = c(1, 6), c(6, 12, 2), nn.Sequential(c(12, 24, 2), c(24, 24))
        self.up2, self.up1 = Up(24, 12, 12), Up(12, 6, 6)
        self.head = nn.Conv2d(6, 1, 3, padding=1)

    def forward(self, x):
        a = self.one(x); b = self.two(a)
        return self.head(self.up1(self.up2(self.three(b), b), a))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    names = sorted(int(f.stem) for f in (ROOT / "image").glob("*.png"))
    np.random.default_rng(seed).shuffle(names)
    train, val = MembraneTiles(names[:13], 255.0, True), MembraneTiles(names[13:16], 255.0)
    test = MembraneTiles(names[16:], 255.0)
    net = UNetSmall()
    if mistake:
        opt = torch.optim.SGD(net.parameters(), lr=1e-4)
    else:
        opt = torch.optim.Adam(net.parameters(), lr=3e-3)

    def score(net):
        h, e = [0, 0], [0, 0]
        for x, y in DataLoader(test, 32):
            p, t = net(x) > 0, y > 0.5
            for k in (0, 1):
                h[k] += ((p == k) & (t == k)).sum().item(); e[k] += ((p == k) | (t == k)).sum().item()
        return sum(a / max(b, 1) for a, b in zip(h, e)) / 2

    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 3, 0.3),
                train=DataLoader(train, 8, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 24), epochs=5, score=score)
