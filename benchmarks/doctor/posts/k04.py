"""https://twelvescompany.co.uk/post/neural-network-doesnt-learn-regression
CAUSE: the columns of the table (area in square feet, year, rooms, distance, income) go in with their raw, very different scales; the net hardly learns.
FIX: standardise the inputs (mean 0, deviation 1 of the training part).
"""
import random
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, TensorDataset


def houses(n, rng):
    area = rng.gamma(6, 300, n) + 400
    rooms = np.clip(np.round(area / 450 + rng.normal(0, 1, n)), 1, 9)
    year = rng.randint(1920, 2021, n)
    metres = rng.exponential(6000, n)
    income = rng.lognormal(10.8, 0.4, n)
    tax = rng.uniform(150, 800, n)
    age = (2025 - year) / 100
    price = 60 + 0.09 * area * np.exp(-metres / 9000) + 9 * rooms + 1.1e-3 * income * (1 - 0.5 * age) - 0.06 * tax
    price = price + 35 * (age > 0.8) * (metres < 3000) + rng.normal(0, 12, n)
    return np.stack([area, rooms, year, metres, income, tax], 1), price


class Scale:
    def __init__(self, on):
        self.on = on

    def fit(self, x):
        self.mean, self.std = (x.mean(0), x.std(0)) if self.on else (0.0, 1.0)
        return self

    def __call__(self, x):
        return torch.tensor((x - self.mean) / self.std, dtype=torch.float32)


class HousePrices(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(6, 64)
        self.fc2 = nn.Linear(64, 32)
        self.fc3 = nn.Linear(32, 1)

    def forward(self, x):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    rng = np.random.RandomState(100 + seed)
    x, y = houses(2200, rng)
    xv, yv, xt, yt = x[1500:1800], y[1500:1800], x[1800:], y[1800:]
    x, y = x[:1500], y[:1500]
    m, s = y.mean(), y.std()
    prepare = Scale(not mistake).fit(x)
    target = lambda v: torch.tensor((v - m) / s, dtype=torch.float32).unsqueeze(1)
    model = HousePrices()

    def r2(net):
        p, t = net(prepare(xt)), target(yt)
        return max(0.0, float(1 - ((p - t) ** 2).sum() / ((t - t.mean()) ** 2).sum()))

    return {"network": model, "loss": nn.MSELoss(), "optimizer": torch.optim.Adam(model.parameters(), lr=1e-3), "scheduler": None,
            "train": DataLoader(TensorDataset(prepare(x), target(y)), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(TensorDataset(prepare(xv), target(yv)), batch_size=100), "epochs": 30, "score": r2}
