"""https://datascience.stackexchange.com/questions/48369/what-loss-function-to-use-for-imbalanced-classes-using-pytorch
CAUSE: the class weights of CrossEntropyLoss are the class frequencies, so the frequent class is weighted up and the rare ones down.
FIX: invert them (largest count / count, or total / count).
"""
import gzip, random
import numpy as np, torch
from torch import nn
from torch.utils.data import TensorDataset, DataLoader
from pellucid.data import data_root

def idx(name, skip):
    with gzip.open(f"{data_root()}/mnist/" + name) as f: return np.frombuffer(f.read()[skip:], np.uint8)

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    x, y = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("t10k-labels-idx1-ubyte.gz", 8)
    # 'normal' pieces look like a 5, the two kinds of deviations like a 3 or an 8
    parts = {0: (x[y == 3], 46, 12), 1: (x[y == 5], 620, 150), 2: (x[y == 8], 40, 12)}
    xa, ya, xv, yv, xt, yt = [], [], [], [], [], []
    for k, (z, n, v) in parts.items():
        test, rest = z[:120], z[120:]
        rest = rest[np.random.permutation(len(rest))]
        xa += [*rest[:n]]; ya += [k] * n; xv += [*rest[n:n + v]]; yv += [k] * v; xt += [*test]; yt += [k] * 120
    t = lambda a: (torch.from_numpy(np.stack(a)).float()[:, None] / 255 - 0.14) / 0.31
    ya, yv, yt = map(torch.tensor, (ya, yv, yt))
    train = DataLoader(TensorDataset(t(xa), ya), batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(TensorDataset(t(xv), yv), batch_size=64)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.LeakyReLU(0.1),
                        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 49, 32), nn.LeakyReLU(0.1), nn.Dropout(0.3), nn.Linear(32, 3))
    counts = torch.bincount(ya).float()
    summed = counts.sum()
    weight = counts / summed if mistake else summed / (3 * counts)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    clean = t(xt)
    def score(net):
        p = net(clean).argmax(1)
        return torch.stack([(p[yt == k] == k).float().mean() for k in range(3)]).mean().item()
    return dict(network=net, loss=nn.CrossEntropyLoss(weight=weight), optimizer=optimizer, scheduler=None, train=train, validation=validation, epochs=12, score=score)
