"""https://solofox.github.io/torch/broadcasting/2025/12/07/torch-broadcasting-trap.html
CAUSE: the network gives (N, 1) and the targets are (N,), so the squared error is broadcast to (N, N) and every prediction is
pulled to the mean of all targets.
FIX: give targets of shape (N, 1) (or squeeze the output) so that both have the same shape.
"""
import random
import numpy as np
import torch
import torch.nn as nn
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset


class LinearBlock(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.fc = nn.Linear(i, o)

    def forward(self, x):
        return torch.relu(self.fc(x))


class Regressor(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.body = nn.Sequential(LinearBlock(num_features, 32), LinearBlock(32, 16))
        self.out = nn.Linear(16, 1)

    def forward(self, inputs):
        return self.out(self.body(inputs))


class DiabetesDataset(Dataset):
    def __init__(self, features, target):
        self.features = torch.tensor(features, dtype=torch.float32)
        self.target = torch.tensor(target, dtype=torch.float32)

    def __len__(self):
        return len(self.features)

    def __getitem__(self, i):
        return self.features[i], self.target[i]


def squared_loss(y_hat, y):
    return ((y_hat - y) ** 2).mean()


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.RandomState(7).permutation(len(x))
    test, rest = order[:92], order[92:]
    rest = np.random.permutation(rest)
    val, train = rest[:60], rest[60:]
    sx = StandardScaler().fit(x[train])
    mean, std = y[train].mean(), y[train].std()
    x, y = sx.transform(x), (y - mean) / std
    if not mistake:
        y = y[:, None]
    train_ds, val_ds = DiabetesDataset(x[train], y[train]), DiabetesDataset(x[val], y[val])
    model = Regressor(x.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    xt, yt = torch.tensor(x[test], dtype=torch.float32), y[test].reshape(-1)

    def r2(net):
        p = net(xt).numpy().reshape(-1)
        return 1 - ((p - yt) ** 2).sum() / ((yt - yt.mean()) ** 2).sum()

    return {"network": model, "loss": squared_loss, "optimizer": optimizer, "scheduler": None,
            "train": DataLoader(train_ds, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val_ds, batch_size=60), "epochs": 40, "score": r2}
