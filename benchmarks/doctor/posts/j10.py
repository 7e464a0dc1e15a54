"""https://github.com/PaddlePaddle/PaddleOCR/issues/3254
CAUSE: the learning rate of the fine-tuning (Adam, 0.1) is far too large, and destroys the pretrained weights in the first steps.
FIX: a small learning rate, such as 5e-4, for fine-tuning."""
import gzip
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root


def mnist(n):
    folder = f"{data_root()}/mnist/"
    x = np.frombuffer(gzip.open(folder + "t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:n]
    y = np.frombuffer(gzip.open(folder + "t10k-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)[:n]
    x = nn.functional.interpolate(torch.from_numpy(x.astype(np.float32)) / 255, 20, mode="area")
    return (x - 0.13) / 0.28, torch.from_numpy(y.astype(np.int64))


def network(classes):
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(32 * 25, 64), nn.ReLU(), nn.Linear(64, classes))


def pretrained(seed):
    x, y = mnist(4000)
    net = network(10)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(2):
        for i in torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).split(50):
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[i]), y[i]).backward()
            opt.step()
    return net


def forms():
    """Digits of a bank's forms, 8 x 8, scaled to 20 x 20."""
    d = load_digits()
    x = nn.functional.interpolate(torch.tensor(d.images, dtype=torch.float32)[:, None] / 16, 20, mode="bilinear")
    return (x - 0.3) / 0.34, torch.tensor(d.target)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    net = pretrained(seed)
    net[-1] = nn.Linear(64, 10)
    x, y = forms()
    order = torch.randperm(len(x))
    a, b, c = order[:500], order[500:700], order[700:]
    opt = torch.optim.Adam(net.parameters(), lr=0.1 if mistake else 5e-4)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        net.eval()
        return (net(x[c]).argmax(1) == y[c]).float().mean()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=None,
                train=DataLoader(TensorDataset(x[a], y[a]), 25, shuffle=True, generator=g),
                validation=DataLoader(TensorDataset(x[b], y[b]), 100), epochs=8, score=score)
