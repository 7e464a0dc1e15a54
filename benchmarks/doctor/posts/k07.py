"""https://discuss.pytorch.org/t/loss-not-converging-on-a-binary-classification-problem/177433
CAUSE: SGD without momentum at a learning rate of 0.0001 moves the weights hardly at all within the training; the loss stays at 0.69.
FIX: a larger learning rate (0.05 with momentum, or Adam at 0.001).
"""
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from torch.utils.data import DataLoader, Dataset


class CustomModel(nn.Module):
    def __init__(self, n_in):
        super().__init__()
        self.fc1 = nn.Linear(n_in, 60)
        self.fc2 = nn.Linear(60, 100)
        self.fc3 = nn.Linear(100, 30)
        self.fc4 = nn.Linear(30, 2)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight.data)
            nn.init.constant_(module.bias.data, 0)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = F.relu(self.fc3(x))
        return self.fc4(x)


class Table(Dataset):
    def __init__(self, rows, labels):
        self.rows, self.labels = rows.astype(np.float32), labels.astype(np.int64)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return torch.from_numpy(self.rows[i]), self.labels[i]


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.RandomState(3).permutation(len(x))
    test, rest = order[:150], np.random.permutation(order[150:])
    val, train = rest[:80], rest[80:]
    low, high = x[train].min(0), x[train].max(0)
    x = 2 * (x - low) / (high - low) - 1
    model = CustomModel(30)
    if mistake:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0001)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    xt, yt = torch.tensor(x[test], dtype=torch.float32), torch.tensor(y[test])
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": optimizer, "scheduler": None,
            "train": DataLoader(Table(x[train], y[train]), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(Table(x[val], y[val]), batch_size=80), "epochs": 25,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
