"""https://discuss.pytorch.org/t/lstm-change-batch-first-true-loss-does-not-decrease/62364
CAUSE: the sequences come as (batch, time, features) but the LSTM is made without batch_first=True, so it runs over the examples of the batch
instead of over time, and the last step alone decides.
FIX: nn.LSTM(..., batch_first=True) (or give the LSTM (time, batch, features)).
"""
import random
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

MOVES = ["circle", "swing", "shake", "tap", "lift"]


def record(rng, kind, steps=40):
    t = np.linspace(0, 1, steps)
    f, p, a = rng.uniform(2, 3.5), rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.4)
    w = 2 * np.pi * f * t + p
    if kind == 0: s = [np.sin(w), np.cos(w), 0 * t]
    elif kind == 1: s = [np.sin(w), np.sin(w), 0.2 * np.cos(2 * w)]
    elif kind == 2: s = [np.sin(3 * w), 0.5 * np.sin(3 * w + 1), 0.5 * np.cos(3 * w)]
    elif kind == 3:
        k = rng.uniform(0.15, 0.85, 2)
        s = [0 * t, 0 * t, sum(1.8 * np.exp(-((t - c) / 0.03) ** 2) for c in k)]
    else:
        c = rng.uniform(0.3, 0.7)
        s = [0 * t, 0.3 * np.sin(w), np.tanh((t - c) * 12) * -(t - c) * 3]
    return (a * np.stack(s, 1) + rng.normal(0, 0.35, (steps, 3)) + rng.normal(0, 0.15, 3)).astype(np.float32)


class Accelerometer(Dataset):
    def __init__(self, n, rng):
        self.kinds = rng.randint(0, len(MOVES), n)
        self.records = [record(rng, k) for k in self.kinds]

    def __len__(self):
        return len(self.kinds)

    def __getitem__(self, i):
        return torch.from_numpy(self.records[i]), int(self.kinds[i])


class MoveLSTM(nn.Module):
    def __init__(self, n_features, hidden, classes, **lstm_options):
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden, num_layers=1, **lstm_options)
        self.fc = nn.Linear(hidden, classes)

    def forward(self, x):
        out, _ = self.lstm(x)
        return self.fc(out[:, -1, :])


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    train, val = Accelerometer(1200, np.random.RandomState(seed + 1)), Accelerometer(250, np.random.RandomState(seed + 31))
    test = Accelerometer(400, np.random.RandomState(71))
    xt = torch.from_numpy(np.stack(test.records)); yt = torch.tensor(test.kinds)
    options = {} if mistake else {"batch_first": True}
    model = MoveLSTM(3, 48, len(MOVES), **options)
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.Adam(model.parameters(), lr=5e-3), "scheduler": None,
            "train": DataLoader(train, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=50), "epochs": 12,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
