"""https://github.com/KaihuaTang/Scene-Graph-Benchmark.pytorch/pull/92

CAUSE: The augmentation flips the picture with probability a half but leaves its box as it was.
FIX: Mirror the box (x1, x2 = 1 - x2, 1 - x1) whenever the picture is flipped.
"""
import gzip
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root


def mnist(n):
    with gzip.open(f"{data_root()}/mnist/train-images-idx3-ubyte.gz") as f:
        return np.frombuffer(f.read(16 + n * 784)[16:], np.uint8).reshape(n, 28, 28) / np.float32(255)


def place(digit, rng, size=64):
    """One handwritten digit on a sheet with scribbles; the box (x1, y1, x2, y2), in parts of the sheet."""
    r, c = np.where(digit > 0.3)
    d = digit[r.min():r.max() + 1, c.min():c.max() + 1]
    if rng.random() < 0.4:
        d = d.repeat(2, 0).repeat(2, 1)
    h, w = d.shape
    y, x = rng.integers(0, size - h + 1), rng.integers(0, size - w + 1)
    s = rng.uniform(0, 0.25) + rng.normal(0, 0.08, (size, size))
    for _ in range(3):
        a, b = rng.integers(4, size - 4, 2)
        if rng.random() < 0.5:
            s[a, max(0, b - 8):b + 8] += 0.5
        else:
            s[max(0, a - 8):a + 8, b] += 0.5
    s[y:y + h, x:x + w] = np.maximum(s[y:y + h, x:x + w], d * rng.uniform(0.7, 1))
    return s.clip(0, 1).astype(np.float32), np.array([x, y, x + w, y + h], np.float32) / size


class HorizontalFlip:
    def __init__(self, p, boxes):
        self.p, self.boxes = p, boxes

    def __call__(self, image, box):
        if random.random() < self.p:
            image = image.flip(-1)
            if self.boxes:
                box = torch.stack([1 - box[2], box[1], 1 - box[0], box[3]])
        return image, box


class Sheets(Dataset):
    def __init__(self, items, transform=None):
        self.items, self.transform = items, transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        image, box = map(torch.from_numpy, self.items[i])
        image = (image[None] - 0.2) / 0.25
        return (image, box) if self.transform is None else self.transform(image, box)


class Residual(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a, self.b = nn.Conv2d(i, o, 3, 2, 1, bias=False), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.na, self.nb, self.s = nn.BatchNorm2d(o), nn.BatchNorm2d(o), nn.Conv2d(i, o, 1, 2, bias=False)

    def forward(self, x):
        return torch.relu(self.s(x) + self.nb(self.b(torch.relu(self.na(self.a(x))))))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    items = [place(d, rng) for d in mnist(1100)[rng.permutation(1100)]]
    train = Sheets(items[:840], HorizontalFlip(0.5, boxes=not mistake))
    val, test = Sheets(items[840:940]), Sheets(items[940:])
    net = nn.Sequential(nn.Conv2d(1, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), Residual(8, 16), Residual(16, 32), nn.Conv2d(32, 12, 1),
                        nn.Flatten(), nn.Linear(12 * 64, 96), nn.ReLU(), nn.Linear(96, 4))
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    epochs = 8

    def score(net):
        total = n = 0
        for x, b in DataLoader(test, 40):
            p = net(x)
            inter = (torch.minimum(p[:, 2:], b[:, 2:]) - torch.maximum(p[:, :2], b[:, :2])).clamp(min=0).prod(1)
            area = (p[:, 2:] - p[:, :2]).clamp(min=0).prod(1) + (b[:, 2:] - b[:, :2]).prod(1)
            total += (inter / (area - inter)).sum().item(); n += len(x)
        return total / n

    return dict(network=net, loss=nn.SmoothL1Loss(beta=0.1), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, epochs=epochs, steps_per_epoch=40),
                train=DataLoader(train, 21, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=epochs, score=score)
