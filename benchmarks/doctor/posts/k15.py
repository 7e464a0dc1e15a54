"""https://ai.stackexchange.com/questions/16557/
CAUSE: four hidden layers with a sigmoid each: the gradient vanishes on the way to the first layers and the network predicts the mean for every binary vector.
FIX: ReLU (or another activation that does not saturate) in the hidden layers.
"""
import random
import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset


class BinaryVectors(Dataset):
    """24 switches -> the measured throughput of the machine."""

    def __init__(self, n, rng, stats=None):
        world = np.random.RandomState(11)
        w = world.normal(0, 1, 24)
        pairs = [(world.randint(24), world.randint(24), world.normal(0, 1.5)) for _ in range(12)]
        b = (rng.rand(n, 24) < 0.5).astype(np.float32)
        y = b @ w + sum(v * b[:, i] * b[:, j] for i, j, v in pairs) + rng.normal(0, 0.4, n)
        self.stats = stats or (y.mean(), y.std())
        self.b = b * 2 - 1
        self.y = ((y - self.stats[0]) / self.stats[1]).astype(np.float32)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return torch.from_numpy(self.b[i]), torch.tensor([self.y[i]])


class Throughput(nn.Module):
    def __init__(self, activation, width=64, hidden=4):
        super().__init__()
        layers, n = [], 24
        for _ in range(hidden):
            layers += [nn.Linear(n, width), activation()]
            n = width
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        return self.out(self.layers(x))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    train = BinaryVectors(1800, np.random.RandomState(seed + 1))
    val = BinaryVectors(300, np.random.RandomState(seed + 51), train.stats)
    test = BinaryVectors(500, np.random.RandomState(91), train.stats)
    xt, yt = torch.from_numpy(test.b), torch.from_numpy(test.y)[:, None]
    model = Throughput(nn.Sigmoid if mistake else nn.ReLU)

    def r2(net):
        return 1 - ((net(xt) - yt) ** 2).sum() / ((yt - yt.mean()) ** 2).sum()

    return {"network": model, "loss": nn.MSELoss(), "optimizer": torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4),
            "scheduler": None,
            "train": DataLoader(train, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=100), "epochs": 15, "score": r2}
