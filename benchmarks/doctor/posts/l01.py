"""https://php.bkmy88.com/faq/2068558.html
CAUSE: The dataset calls its random flip/rotation once for the image and once more for the mask, so that each draws its own
parameters and mask and image no longer lie on one another.
FIX: Draw the parameters once and apply them to both (or join image and mask into one tensor before the transform).
"""
import random

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset


class RandomDihedral:
    def __call__(self, t):
        if random.random() < 0.5:
            t = torch.flip(t, [-1])
        if random.random() < 0.5:
            t = torch.flip(t, [-2])
        return torch.rot90(t, random.randint(0, 3), [-2, -1])


def draw_cells(rng, n, size=64):
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    images, masks = [], []
    for _ in range(n):
        coarse = rng.normal(0, 1, (8, 8)).astype(np.float32)
        back = np.kron(coarse, np.ones((size // 8, size // 8), np.float32)) * 0.04 + rng.uniform(0.35, 0.55)
        img = np.stack([back + rng.normal(0, .03) for _ in range(3)], 0)
        mask = np.zeros((size, size), np.float32)
        for _ in range(rng.integers(2, 6)):
            cy, cx = rng.uniform(6, size - 6, 2)
            a, b = rng.uniform(4, 11, 2)
            t = rng.uniform(0, np.pi)
            u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t)
            v = -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
            inside = (u / a) ** 2 + (v / b) ** 2 < 1
            tint = np.array([.15, -.12, .12]) * rng.uniform(.6, 1.3)
            for c in range(3):
                img[c][inside] = img[c][inside] * .6 + .2 + tint[c]
            mask[inside] = 1
        img += rng.normal(0, .05, img.shape)
        images.append(img.clip(0, 1).astype(np.float32))
        masks.append(mask[None])
    return np.stack(images), np.stack(masks)


class CellDataset(Dataset):
    def __init__(self, images, masks, transform=None, together=True):
        self.images, self.masks = torch.from_numpy(images), torch.from_numpy(masks)
        self.transform, self.together = transform, together

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image, mask = (self.images[i] - 0.5) / 0.25, self.masks[i]
        if self.transform is not None:
            if self.together:
                both = self.transform(torch.cat([image, mask], 0))
                image, mask = both[:3], both[3:]
            else:
                image = self.transform(image)
                mask = self.transform(mask)
        return image, mask


def block(i, o):
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class UNetSmall(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(inplace=True))
        self.enc = block(12, 16)
        self.mid = nn.Sequential(nn.MaxPool2d(2), block(16, 32), block(32, 32))
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.dec = block(32, 16)
        self.out = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, x):
        e = self.enc(self.stem(x))
        return self.out(self.dec(torch.cat([e, self.up(self.mid(e))], 1)))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, masks = draw_cells(rng, 600)
    train = CellDataset(images[:400], masks[:400], RandomDihedral(), together=not mistake)
    val = CellDataset(images[400:500], masks[400:500])
    test = CellDataset(images[500:], masks[500:])
    net = UNetSmall()

    def score(net):
        x = torch.stack([test[i][0] for i in range(len(test))]); y = torch.stack([test[i][1] for i in range(len(test))])
        p = net(x) > 0
        t = y > .5
        return ((p & t).sum() / (p | t).sum().clamp(min=1)).item()

    epochs = 10
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-4)
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs),
                train=DataLoader(train, 20, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=epochs, score=score)
