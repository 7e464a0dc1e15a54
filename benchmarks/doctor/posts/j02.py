"""https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16
CAUSE: the network ends with a softmax, and CrossEntropyLoss applies one again, so the gradients are small and the loss cannot fall far.
FIX: return the scores (logits) from forward, without the softmax."""
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(c), nn.BatchNorm2d(c)

    def forward(self, x):
        return F.relu(x + self.nb(self.b(F.relu(self.na(self.a(x))))))


class HandNet(nn.Module):
    def __init__(self, classes, probabilities):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.stage1 = Residual(16)
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.stage2 = Residual(32)
        self.fc = nn.Linear(32 * 16, classes)
        self.activation = nn.Softmax(dim=1) if probabilities else nn.Identity()

    def forward(self, x):
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        x = F.max_pool2d(x, 2).flatten(1)
        return self.activation(self.fc(x))


def load(folder):
    files = sorted(Path(f"{data_root()}/signs", folder).glob("*/*.*"))
    x = np.stack([np.asarray(Image.open(f).convert("L").resize((32, 32), Image.BILINEAR), np.float32) for f in files])
    return torch.from_numpy(x)[:, None], torch.tensor([int(f.parent.name) for f in files])


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = load("train")
    tx, ty = load("val")
    order = torch.randperm(len(x))
    train, val = order[:1200], order[1200:]
    m, s = x[train].mean(), x[train].std()
    x, tx = (x - m) / s, (tx - m) / s
    net = HandNet(10, probabilities=mistake)
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return (net(tx).argmax(1) == ty).float().mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8),
                train=DataLoader(TensorDataset(x[train], y[train]), 32, shuffle=True, generator=g),
                validation=DataLoader(TensorDataset(x[val], y[val]), 64), epochs=8, score=score)
