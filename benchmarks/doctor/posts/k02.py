"""https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16
CAUSE: the network ends with a softmax and nn.CrossEntropyLoss applies log-softmax again; gradients become tiny and the loss stays high.
FIX: return the logits of the last linear layer (remove the softmax).
"""
import gzip
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root

ROOT = f"{data_root()}/mnist/"


def read(name, n):
    with gzip.open(ROOT + f"{name}-images-idx3-ubyte.gz") as f:
        x = np.frombuffer(f.read(16 + 784 * n)[16:], np.uint8).reshape(n, 1, 28, 28)
    with gzip.open(ROOT + f"{name}-labels-idx1-ubyte.gz") as f:
        y = np.frombuffer(f.read(8 + n)[8:], np.uint8)
    return (torch.tensor(x.copy()).float() / 255 - 0.1307) / 0.3081, torch.tensor(y.astype(np.int64))


class Net(nn.Module):
    def __init__(self, classes, probabilities):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 5)
        self.conv2 = nn.Conv2d(8, 16, 5)
        self.fc1 = nn.Linear(256, 64)
        self.fc2 = nn.Linear(64, classes)
        self.act = nn.Softmax(dim=1) if probabilities else nn.Identity()

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.act(self.fc2(x))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = read("train", 3000)
    order = torch.randperm(3000)
    tr, va = order[:2500], order[2500:]
    xt, yt = read("t10k", 1500)
    model = Net(10, probabilities=mistake)
    return {"network": model, "loss": nn.CrossEntropyLoss(),
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9), "scheduler": None,
            "train": DataLoader(TensorDataset(x[tr], y[tr]), batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(TensorDataset(x[va], y[va]), batch_size=250), "epochs": 7,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
