"""https://github.com/Photon-AI-Research/NeuralSolvers/issues/20
CAUSE: the network returns (N, 1) and the targets are (N,), so MSELoss compares every prediction with every target of the batch by broadcasting; the best answer is then the mean, a flat line.
FIX: give both the same shape (squeeze the prediction, or targets of (N, 1))."""
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def demand(hours, rng):
    """Hourly electricity demand: day, week, a drifting level, and weather that lasts."""
    t = np.arange(hours)
    weather = np.zeros(hours)
    for i in range(1, hours):
        weather[i] = 0.97 * weather[i - 1] + rng.normal(0, 0.12)
    day = np.sin(2 * np.pi * (t - 7) / 24) + 0.5 * np.sin(4 * np.pi * (t - 2) / 24)
    week = np.where((t // 24) % 7 >= 5, -0.7, 0.0)
    return (day * (1 + 0.3 * weather) + week + 0.8 * weather + rng.normal(0, 0.08, hours)).astype(np.float32)


class Windows(Dataset):
    def __init__(self, series, length, ahead):
        self.series, self.length, self.ahead = torch.from_numpy(series), length, ahead

    def __len__(self):
        return len(self.series) - self.length - self.ahead

    def __getitem__(self, i):
        return self.series[i:i + self.length, None], self.series[i + self.length + self.ahead - 1]


class Forecaster(nn.Module):
    def __init__(self, hidden=32):
        super().__init__()
        self.lstm = nn.LSTM(1, hidden, batch_first=True)
        self.linear = nn.Linear(hidden, 1)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.linear(out[:, -1])


class SqueezedForecaster(Forecaster):
    def forward(self, x):
        return super().forward(x).squeeze(1)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    series = demand(2800, np.random.default_rng(seed))
    a, b, c = series[:1700], series[1700:2100], series[2100:]
    m, s = a.mean(), a.std()
    a, b, c = ((v - m) / s for v in (a, b, c))
    train, val, test = (Windows(v, 36, 3) for v in (a, b, c))
    net = Forecaster() if mistake else SqueezedForecaster()
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        x, y = next(iter(DataLoader(test, len(test))))
        return 1 - ((net(x).flatten() - y) ** 2).mean() / y.var()

    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 5, 0.4),
                train=DataLoader(train, 32, shuffle=True, generator=g), validation=DataLoader(val, 64), epochs=10, score=score)
