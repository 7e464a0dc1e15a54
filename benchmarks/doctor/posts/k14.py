"""https://www.engineermaxxing.com/micro/lessons/pytorch-internals.html
CAUSE: the network keeps its residual blocks in a plain Python list, so model.parameters() does not contain them and they stay at their random start.
FIX: nn.ModuleList for the blocks.
"""
import gzip
import random
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = f"{data_root()}/mnist/"


class Mnist(Dataset):
    def __init__(self, name, start, stop):
        with gzip.open(ROOT + f"{name}-images-idx3-ubyte.gz") as f:
            x = np.frombuffer(f.read(16 + 784 * stop)[16:], np.uint8).reshape(-1, 28, 28)[start:]
        with gzip.open(ROOT + f"{name}-labels-idx1-ubyte.gz") as f:
            self.y = np.frombuffer(f.read(8 + stop)[8:], np.uint8)[start:].astype(np.int64)
        self.x = ((x.astype(np.float32) / 255 - 0.13) / 0.31)[:, None]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]), self.y[i]


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class SmallResNet(nn.Module):
    def __init__(self, wrap, classes=10, c=12, depth=3):
        super().__init__()
        down = [nn.Conv2d(1 if k == 0 else c, c, 3, stride=2, padding=1) for k in range(depth)]
        self.down = wrap(down)
        self.blocks = wrap([Residual(c) for _ in range(depth)])
        self.fc = nn.Linear(c * 16, classes)

    def forward(self, x):
        for d, b in zip(self.down, self.blocks):
            x = b(torch.relu(d(x)))
        return self.fc(x.flatten(1))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    train, val, test = Mnist("train", 3000 * seed, 3000 * seed + 2000), Mnist("train", 20000, 20300), Mnist("t10k", 0, 1000)
    xt, yt = torch.from_numpy(test.x), torch.from_numpy(test.y)
    model = SmallResNet(list if mistake else nn.ModuleList)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": opt, "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(opt, 6),
            "train": DataLoader(train, batch_size=50, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=100), "epochs": 6,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
