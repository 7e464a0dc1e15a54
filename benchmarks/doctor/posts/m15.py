"""https://github.com/keras-team/keras/issues/4563 (LSTM for time series, "the Y values I am trying to predict are very high"; advice: rescale)
CAUSE: the inputs of the LSTM are scaled, the values to predict are not (some 40,000 kWh): with the usual learning rate the output
bias would need thousands of steps to get there.
FIX: scale the targets with mean and deviation of the training part as well, and turn the predictions back.
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

WINDOW = 24


def load_curve(days, rng):
    """Hourly use of a town: day, week, weather and noise."""
    h = np.arange(days * 24)
    weather = np.zeros(len(h)); e = rng.normal(0, 1, len(h))
    for i in range(1, len(h)):
        weather[i] = 0.985 * weather[i - 1] + 0.17 * e[i]
    hour, day = h % 24, (h // 24) % 7
    profile = np.sin((hour - 9) / 24 * 2 * np.pi) + 0.5 * np.sin((hour - 4) / 12 * 2 * np.pi)
    return 42000 + 6000 * profile - 3500 * (day >= 5) + 2500 * weather + rng.normal(0, 500, len(h))


class StandardScaler:
    def fit(self, x):
        self.mean, self.std = float(x.mean()), float(x.std()); return self

    def transform(self, x):
        return (x - self.mean) / self.std

    def inverse_transform(self, x):
        return x * self.std + self.mean


class Windows(Dataset):
    """The last 24 hours and the value of the hour after them."""

    def __init__(self, series, x_scaler, y_scaler, step):
        x = x_scaler.transform(series)
        y = y_scaler.transform(series) if y_scaler else series
        at = range(0, len(series) - WINDOW, step)
        self.x = torch.tensor(np.stack([x[i:i + WINDOW] for i in at]), dtype=torch.float32)[..., None]
        self.y = torch.tensor([[y[i + WINDOW]] for i in at], dtype=torch.float32)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 32, batch_first=True)
        self.dense = nn.Linear(32, 1)

    def forward(self, x):
        return self.dense(self.lstm(x)[0][:, -1])


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    series = load_curve(150, np.random.default_rng(seed))
    a, b = 100 * 24, 120 * 24
    scaler = StandardScaler().fit(series[:a])
    y_scaler = None if mistake else scaler
    train, val = Windows(series[:a], scaler, y_scaler, 2), Windows(series[a:b], scaler, y_scaler, 2)
    test = Windows(series[b:], scaler, None, 1)
    net = Forecaster()
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)

    def score(network):
        """R2 of the forecast in kWh, not below 0."""
        network.eval()
        with torch.no_grad():
            p = network(test.x)
        p = y_scaler.inverse_transform(p) if y_scaler else p
        return max(0.0, 1 - (((p - test.y) ** 2).mean() / test.y.var()).item())

    return dict(network=net, loss=nn.MSELoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 120), epochs=10, score=score)
