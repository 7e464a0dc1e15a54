"""https://github.com/theadammurphy/how_to_win_a_ds_comp (notes on missing values; also datascience.stackexchange.com/questions/36047)
CAUSE: missing entries of the table are filled with -999 before the columns are standardised; mean and deviation are those of the filler and the real values lie squeezed together.
FIX: fill with the column's median (after leaving the gaps out of mean and deviation).
"""
import random
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset


def sensors(n, rng):
    x = rng.normal(0, 1, (n, 8)) @ (np.eye(8) + 0.25 * np.random.RandomState(2).normal(0, 1, (8, 8)))
    y = 2 * np.sin(1.5 * x[:, 0]) + x[:, 1] * x[:, 2] + 1.2 * x[:, 3] - 0.8 * np.abs(x[:, 4]) + 0.7 * x[:, 5] + rng.normal(0, 0.3, n)
    unit = np.array([4.0, 0.5, 12, 1.5, 8, 3, 2, 6]); zero = np.array([20.0, 1, 60, 7, 100, 15, 3, 40])
    return x * unit + zero, y


class Standardise(nn.Module):
    def __init__(self, table):
        super().__init__()
        self.register_buffer("mean", torch.tensor(table.mean(0), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(table.std(0), dtype=torch.float32))

    def forward(self, x):
        return (x - self.mean) / self.std


class Readings(Dataset):
    def __init__(self, x, y, fill):
        self.x = np.where(np.isnan(x), fill, x).astype(np.float32)
        self.y = y.astype(np.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]), torch.tensor([self.y[i]])


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    rng = np.random.RandomState(seed + 17)
    x, y = sensors(2300, rng)
    y = (y - y[:2000].mean()) / y[:2000].std()
    x[rng.rand(*x.shape) < 0.05] = np.nan
    fill = -999.0 if mistake else np.nanmedian(x[:2000], axis=0)
    train, val = Readings(x[:2000], y[:2000], fill), Readings(x[2000:], y[2000:], fill)
    xt, yt = sensors(600, np.random.RandomState(1234))
    x0, y0 = sensors(2300, np.random.RandomState(seed + 17))
    yt = torch.tensor((yt - y0[:2000].mean()) / y0[:2000].std(), dtype=torch.float32)[:, None]
    xt = torch.tensor(xt, dtype=torch.float32)
    model = nn.Sequential(Standardise(train.x), nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def r2(net):
        return 1 - ((net(xt) - yt) ** 2).sum() / ((yt - yt.mean()) ** 2).sum()

    return {"network": model, "loss": nn.SmoothL1Loss(), "optimizer": torch.optim.Adam(model.parameters(), lr=3e-3), "scheduler": None,
            "train": DataLoader(train, batch_size=50, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=100), "epochs": 20, "score": r2}
