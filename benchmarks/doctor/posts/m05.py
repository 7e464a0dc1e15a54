"""https://github.com/feedly/transfer-nlp/pull/14 (review: after the last layer is replaced, the optimizer must be reset or get the new
parameters with add_param_group)
CAUSE: the optimizer is made from the trainable parameters before the last layer of the pretrained network is replaced; it still holds
the old layer, so the new head is never updated (the rest is frozen).
FIX: replace the head first and make the optimizer after that (or optimizer.add_param_group with the new head).
"""
import random
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

LENGTH = 96


def beat(kind, rng):
    """One heart-beat-like curve; kinds differ in where the waves are and how wide."""
    t = np.linspace(0, 1, LENGTH)
    c = 0.45 + rng.uniform(-0.08, 0.08)
    g = lambda m, s, a: a * np.exp(-((t - m) ** 2) / (2 * s ** 2))
    width = {0: 0.012, 1: 0.012, 2: 0.05, 3: 0.012, 4: 0.03, 5: 0.012, 6: 0.012, 7: 0.02}[kind] * rng.uniform(0.85, 1.2)
    x = g(c, width, rng.uniform(0.9, 1.2))
    if kind not in (1, 4):
        x += g(c - 0.16, 0.025, rng.uniform(0.15, 0.25))          # P wave
    if kind in (3, 7):
        x -= g(c + 0.06, 0.015, rng.uniform(0.4, 0.6))            # deep S
    x += g(c + 0.25, 0.045, rng.uniform(0.25, 0.4) * (-1 if kind in (5, 4) else 1))   # T wave
    if kind == 6:
        x += 0.25 / (1 + np.exp(-(t - c - 0.04) * 60)) * (t < c + 0.25)   # raised ST
    x += rng.normal(0, 0.05, LENGTH) + rng.uniform(-0.1, 0.1) * np.sin(2 * np.pi * (t * rng.uniform(0.4, 1) + rng.random()))
    return x


def beats(kinds, each, rng):
    x = np.stack([beat(k, rng) for k in kinds for _ in range(each)]).astype(np.float32)
    y = np.repeat(np.arange(len(kinds)), each)
    return torch.from_numpy((x - 0.1) / 0.3)[:, None], torch.from_numpy(y)


class BeatNet(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(1, 16, 7, padding=3), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2), nn.BatchNorm1d(32), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(32, 64, 3, padding=1), nn.BatchNorm1d(64), nn.ReLU())
        self.fc = nn.Linear(128, classes)

    def forward(self, x):
        f = self.conv(x)
        return self.fc(torch.cat([f.mean(-1), f.amax(-1)], 1))


def pretrained(rng):
    """The encoder from the big archive with its four kinds."""
    x, y = beats([0, 1, 2, 3], 250, rng)
    net = BeatNet(4); opt = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(4):
        for b in torch.randperm(len(x)).split(50):
            opt.zero_grad(); nn.functional.cross_entropy(net(x[b]), y[b]).backward(); opt.step()
    return net


class FineTuner:
    """Freezes the encoder and sets up head and optimizer."""

    def __init__(self, net, lr=1e-2):
        self.net, self.lr = net, lr
        for p in net.conv.parameters():
            p.requires_grad = False
        for m in net.conv:
            if isinstance(m, nn.BatchNorm1d):
                m.momentum = 0.0          # keep the statistics of the archive

    def set_optimizer(self):
        self.optimizer = torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad], lr=self.lr)

    def replace_final_layer(self, classes):
        self.net.fc = nn.Linear(self.net.fc.in_features, classes)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tuner = FineTuner(pretrained(rng))
    steps = [tuner.set_optimizer, lambda: tuner.replace_final_layer(5)]
    for step in (steps if mistake else steps[::-1]):
        step()
    kinds = [0, 4, 5, 6, 7]
    (xt, yt), (xv, yv), (xs, ys) = beats(kinds, 80, rng), beats(kinds, 20, rng), beats(kinds, 120, rng)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(xs).argmax(1) == ys).float().mean().item()

    return dict(network=tuner.net, loss=nn.CrossEntropyLoss(), optimizer=tuner.optimizer,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(tuner.optimizer, 20),
                train=DataLoader(TensorDataset(xt, yt), 20, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(xv, yv), 100), epochs=20, score=score)
