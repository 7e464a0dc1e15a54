"""https://php.bkmy88.com/faq/2068558.html

CAUSE: The random flip and the random rotation are called once for the picture and once more for its mask, so each call draws
its own parameters and the masks do not lie on the pictures any more.
FIX: Draw the parameters once and apply the same flip and rotation to picture and mask (stack them, transform, split again).
"""
import random
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader

SIZE = 64


def draw_cells(rng):
    yy, xx = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    img = 0.35 + 0.1 * rng.normal() * (xx / SIZE - 0.5) + 0.1 * rng.normal() * (yy / SIZE - 0.5)
    mask = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.integers(2, 6)):
        cx, cy = rng.uniform(4, SIZE - 4, 2)
        a, b, t = rng.uniform(5, 12), rng.uniform(4, 9), rng.uniform(0, np.pi)
        u = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t)
        v = -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
        r = (u / a) ** 2 + (v / b) ** 2
        tone = rng.uniform(0.12, 0.3) * (1 if rng.random() < 0.8 else -1)
        img = np.where(r < 1, img + tone * (0.6 + 0.4 * r), img)
        mask[r < 1] = 1
    for _ in range(6):                                     # debris
        x, y = rng.integers(2, SIZE - 2, 2)
        img[y - 1:y + 2, x - 1:x + 2] += rng.uniform(-0.3, 0.3)
    img = img + rng.normal(0, 0.05, img.shape)
    return np.clip(img, 0, 1).astype(np.float32), mask


class RandomFlipRotate:
    def __call__(self, x):
        if random.random() < 0.5:
            x = torch.flip(x, [-1])
        if random.random() < 0.5:
            x = torch.flip(x, [-2])
        return torch.rot90(x, random.randint(0, 3), [-2, -1])


class CellDataset(Dataset):
    def __init__(self, images, masks, transform=None, together=True):
        self.images, self.masks = images, masks
        self.transform, self.together = transform, together

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = (torch.from_numpy(self.images[i])[None] - 0.4) / 0.15
        mask = torch.from_numpy(self.masks[i])[None]
        if self.transform is not None:
            if self.together:
                both = self.transform(torch.cat([image, mask]))
                image, mask = both[:1], both[1:]
            else:
                image = self.transform(image)
                mask = self.transform(mask)
        return image, mask


def double(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True),
                         nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.d1, self.d2, self.d3 = double(1, c, 2), double(c, 2 * c), double(2 * c, 4 * c)
        self.pool = nn.MaxPool2d(2)
        self.u2, self.c2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2), double(4 * c, 2 * c)
        self.u1, self.c1 = nn.ConvTranspose2d(2 * c, c, 2, 2), double(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(self.pool(a))
        z = self.d3(self.pool(b))
        z = self.c2(torch.cat([self.u2(z), b], 1))
        z = self.out(self.c1(torch.cat([self.u1(z), a], 1)))
        return F.interpolate(z, scale_factor=2.0, mode="bilinear", align_corners=False)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pairs = [draw_cells(rng) for _ in range(480)]
    images, masks = [p[0] for p in pairs], [p[1] for p in pairs]
    train = CellDataset(images[:300], masks[:300], RandomFlipRotate(), together=not mistake)
    val = CellDataset(images[300:360], masks[300:360])
    test = CellDataset(images[360:], masks[360:])
    net = UNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    epochs = 7

    def score(net):
        inter = union = 0
        for x, y in DataLoader(test, 30):
            p = net(x) > 0
            inter += (p & (y > 0.5)).sum().item(); union += (p | (y > 0.5)).sum().item()
        return inter / max(union, 1)

    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs),
                train=DataLoader(train, 12, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 20), epochs=epochs, score=score)
