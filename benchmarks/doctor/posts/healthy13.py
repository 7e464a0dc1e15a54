"""Sound: a grid detector (8x8 cells on 64x64): MNIST digits of several sizes scattered on clutter; per cell objectness (BCE, pos_weight 3) and centre/size (L1 where an object is).
Looks odd, is fine: training scenes are drawn anew at every read (an example never comes twice), 97 % of the cells are empty, the loss is a sum of parts and targets have five channels. Score: F1 of cells at threshold 0.5 whose box has IoU above 0.4."""
import gzip, random
import numpy as np, torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from pellucid.data import data_root


def scenes(n, digits, rng):
    xs, ts = np.zeros((n, 1, 64, 64), "float32"), np.zeros((n, 5, 8, 8), "float32")
    for k in range(n):
        x = rng.uniform(0.0, 0.3) + rng.normal(size=(64, 64)) * rng.uniform(0.02, 0.1)
        for _ in range(rng.integers(2, 6)):                    # clutter: pieces of strokes, too small for a digit
            a, b = rng.integers(0, 58, 2); x[a:a + rng.integers(1, 6), b:b + rng.integers(1, 6)] += rng.uniform(0.2, 0.7)
        taken = np.zeros((64, 64), bool)
        for _ in range(rng.integers(1, 4)):
            s = int(rng.integers(14, 25)); d = digits[rng.integers(len(digits))]
            rows, cols = np.flatnonzero(d.max(1) > 60), np.flatnonzero(d.max(0) > 60)
            d = d[rows[0]:rows[-1] + 1, cols[0]:cols[-1] + 1]; w = max(5, round(s * d.shape[1] / d.shape[0]))
            w = min(w, 28); a, b = rng.integers(0, 64 - s), rng.integers(0, 64 - w)
            if taken[a:a + s, b:b + w].any(): continue
            taken[a:a + s, b:b + w] = True
            x[a:a + s, b:b + w] += np.asarray(Image.fromarray(d).resize((w, s), Image.BILINEAR)) / 255 * rng.uniform(0.5, 0.9)
            cy, cx = (a + s / 2) / 8, (b + w / 2) / 8; i, j = int(cy), int(cx)
            ts[k, :, i, j] = 1, cx - j, cy - i, w / 32, s / 32
        xs[k, 0] = x
    return (torch.tensor(xs) - 0.2) / 0.25, torch.tensor(ts)


class Endless(Dataset):
    """A new scene at every read, from the digits of the training part only."""
    def __init__(self, n, digits, rng):
        self.n, self.digits, self.rng = n, digits, rng

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        x, t = scenes(1, self.digits, self.rng)
        return x[0], t[0]


class GridLoss(nn.Module):
    def forward(self, outputs, targets):
        there = targets[:, :1]
        objectness = F.binary_cross_entropy_with_logits(outputs[:, :1], there, pos_weight=torch.tensor(3.0), reduction="sum")
        place = (F.l1_loss(outputs[:, 1:].sigmoid(), targets[:, 1:], reduction="none") * there).sum()
        return (objectness + 2 * place) / there.sum().clamp(min=1)


def f1(out, t):
    p = out.sigmoid(); found, true = p[:, 0] > 0.5, t[:, 0] > 0.5
    both = found & true; a, b = p[:, 1:].permute(0, 2, 3, 1)[both] * torch.tensor([8, 8, 32, 32.]), t[:, 1:].permute(0, 2, 3, 1)[both] * torch.tensor([8, 8, 32, 32.])
    inter = (torch.minimum(a[:, :2] + a[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2) - torch.maximum(a[:, :2] - a[:, 2:] / 2, b[:, :2] - b[:, 2:] / 2)).clamp(min=0).prod(1)
    good = (inter / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter) > 0.4).sum()
    return 2 * good / (found.sum() + true.sum())


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    digits = np.frombuffer(gzip.open(f"{data_root()}/mnist/t10k-images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 28, 28)
    rng = np.random.default_rng(seed)
    va, te = scenes(150, digits[6000:8000], rng), scenes(150, digits[8000:], np.random.default_rng(seed + 1000))
    unit = lambda a, b, s=1, d=1: nn.Sequential(nn.Conv2d(a, b, 3, s, d, d, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.1))
    net = nn.Sequential(unit(1, 16, 2), unit(16, 32, 2), unit(32, 48, 2), unit(48, 48, 1, 2), unit(48, 48), nn.Conv2d(48, 5, 1))
    nn.init.constant_(net[-1].bias[:1], -3.0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=1e-3)
    epochs = 9

    def score(net):
        net.eval()
        return f1(net(te[0]), te[1])
    return dict(network=net, loss=GridLoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
                train=DataLoader(Endless(800, digits[:6000], rng), 20, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(*va), 50), epochs=epochs, score=score)
