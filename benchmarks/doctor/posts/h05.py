"""https://discuss.pytorch.org/t/neural-network-could-not-learn-on-this-type-of-data-why/96648
CAUSE: the targets (areas in square micrometres, hundreds to thousands) are regressed as they are, far outside the range of a fresh network.
FIX: normalise the targets with the training mean and standard deviation and undo it for predictions.
"""
import random
import numpy as np, torch
from torch import nn
from torch.utils.data import Dataset, DataLoader

MICRONS = 1.7

def grain(rng, size=64):
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    a, b = rng.uniform(5, 17, 2)
    cy, cx = rng.uniform(18, size - 18, 2)
    t = rng.uniform(0, np.pi)
    u, v = (xx - cx) * np.cos(t) + (yy - cy) * np.sin(t), -(xx - cx) * np.sin(t) + (yy - cy) * np.cos(t)
    inside = (u / a) ** 2 + (v / b) ** 2 < 1
    back = rng.uniform(0.1, 0.35) + rng.uniform(-0.1, 0.1) * xx / size + rng.uniform(-0.1, 0.1) * yy / size
    img = np.where(inside, back + rng.uniform(0.25, 0.5), back) + rng.normal(0, 0.05, (size, size))
    return img.clip(0, 1).astype(np.float32), inside.sum() * MICRONS ** 2

class Grains(Dataset):
    def __init__(self, n, rng, centre=0.0, spread=1.0):
        pairs = [grain(rng) for _ in range(n)]
        self.img = np.stack([p for p, _ in pairs]); self.area = np.array([a for _, a in pairs], np.float32)
        self.centre, self.spread = centre, spread
    def __len__(self): return len(self.img)
    def __getitem__(self, i):
        return torch.from_numpy((self.img[i] - 0.3) / 0.2)[None], torch.tensor([(self.area[i] - self.centre) / self.spread])

def cnn():
    layers, i = [], 1
    for o in (8, 16, 32, 32):
        layers += [nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU()]; i = o
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 1))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    rng = np.random.default_rng(seed)
    a, b, c = Grains(1000, rng), Grains(200, rng), Grains(300, np.random.default_rng(999))
    if not mistake:
        for d in (a, b, c): d.centre, d.spread = a.area.mean(), a.area.std()
    train = DataLoader(a, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(b, batch_size=100)
    net = cnn()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    def score(net):
        x = torch.stack([c[i][0] for i in range(len(c))])
        guess = net(x).numpy().ravel() * c.spread + c.centre
        return 1 - ((guess - c.area) ** 2).sum() / ((c.area - c.area.mean()) ** 2).sum()
    return dict(network=net, loss=nn.MSELoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=12, score=score)
