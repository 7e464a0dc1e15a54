"""https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16 (points 2 and 3)
CAUSE: the learning rate of Adam is far too high (0.03 for a plain ReLU network); the ReLUs die and the loss stays near ln(classes).
FIX: a smaller learning rate (0.001).
"""
import random
from pathlib import Path
import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/signs")


def folder(part, size=32):
    x, y = [], []
    for k in range(10):
        for f in sorted((ROOT / part / str(k)).iterdir()):
            x.append(np.asarray(Image.open(f).convert("RGB").resize((size, size), Image.BILINEAR))); y.append(k)
    x = torch.tensor(np.stack(x)).permute(0, 3, 1, 2).float() / 255
    return (x - 0.6) / 0.2, torch.tensor(y)


class Hands(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(512, 96), nn.ReLU(), nn.Linear(96, 10))

    def forward(self, x):
        return self.head(self.features(x))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = folder("train")
    order = torch.randperm(len(x))
    tr, va = order[200:], order[:200]
    xt, yt = folder("val")
    model = Hands()
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam(model.parameters(), lr=3e-2 if mistake else 1e-3),
            "scheduler": None,
            "train": DataLoader(TensorDataset(x[tr], y[tr]), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(TensorDataset(x[va], y[va]), batch_size=100), "epochs": 13,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
