"""https://discuss.pytorch.org/t/predictions-stuck-at-zero-when-positive-label-1-is-only-16-of-data/145203/2
CAUSE: the class weights of the loss are the frequencies of the classes instead of their inverses, so the rare positive class counts even less.
FIX: weight by the inverse frequencies (pos_weight = negatives / positives)."""
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


def scan(sick, rng, n=32):
    """A noisy grey scan with bright vessels; a sick one has a faint round nodule too."""
    yy, xx = np.mgrid[:n, :n]
    im = F.interpolate(torch.from_numpy(rng.normal(0, 0.3, (1, 1, 6, 6))), n, mode="bicubic")[0, 0].numpy()
    for _ in range(rng.integers(2, 5)):
        a, c, w = rng.uniform(0, np.pi), rng.uniform(-12, 12), rng.uniform(0.7, 1.3)
        d = np.cos(a) * (xx - n / 2) + np.sin(a) * (yy - n / 2) - c
        im += rng.uniform(0.3, 0.7) * np.exp(-(d / w) ** 2 / 2)
    if sick:
        cx, cy, r = rng.uniform(6, n - 6, 2).tolist() + [rng.uniform(2.6, 4.2)]
        im += rng.uniform(0.7, 1.3) / (1 + np.exp((np.hypot(xx - cx, yy - cy) - r) / 0.7))
    return im + rng.normal(0, 0.22, (n, n))


class Scans(Dataset):
    def __init__(self, n, rate, rng):
        self.labels = (rng.random(n) < rate).astype(np.float32)
        self.x = torch.from_numpy(np.stack([scan(s, rng) for s in self.labels]).astype(np.float32))[:, None]
        self.x = (self.x - 0.3) / 0.5

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.x[i], torch.tensor([self.labels[i]])


class WeightedLoss(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, out, labels):
        loss = F.binary_cross_entropy_with_logits(out, labels, reduction="none")
        return (loss * self.weight[labels.long()]).mean()


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    train, val, test = Scans(1400, 0.16, rng), Scans(300, 0.16, rng), Scans(600, 0.4, rng)
    share = torch.tensor([1 - train.labels.mean(), train.labels.mean()])
    weight = share * 2 if mistake else 0.5 / share
    conv = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))
    net = nn.Sequential(conv(1, 10), conv(10, 20), conv(20, 32), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 1))
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    g = torch.Generator().manual_seed(seed)

    def score(net):
        """Balanced accuracy at probability 0.5."""
        net.eval()
        found, true = net(test.x)[:, 0] > 0, torch.from_numpy(test.labels) > 0
        return (found[true].float().mean() + (~found[~true]).float().mean()) / 2

    return dict(network=net, loss=WeightedLoss(weight), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10),
                train=DataLoader(train, 32, shuffle=True, generator=g), validation=DataLoader(val, 100), epochs=10, score=score)
