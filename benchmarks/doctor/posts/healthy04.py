"""Sound: sign-language digits, 32x32, split by person (validation and test hands are other students'), residual CNN with random shifts and colour shifts in training.
Looks odd, is fine: validation is honestly harder than training because the persons are new, so a gap of some points remains."""
import random
from pathlib import Path
import numpy as np, torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/signs")


def read(part, size=32):
    files = sorted(ROOT.joinpath(part).glob("*/*.jpg"), key=lambda f: f.name)      # halves by file number; both halves are other students than train
    x = np.stack([np.asarray(Image.open(f).convert("RGB").resize((size, size), Image.BILINEAR)) for f in files])
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255, torch.tensor([int(f.parent.name) for f in files])


class Hands(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        p = F.pad(self.x[i][None], (2, 2, 2, 2), mode="replicate")[0]
        a, b = random.randrange(5), random.randrange(5)
        return p[:, a:a + 32, b:b + 32] * random.uniform(0.9, 1.1) + 0.1 * torch.randn(3, 1, 1), self.y[i]


class Residual(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.n1, self.n2 = nn.BatchNorm2d(b), nn.BatchNorm2d(b)
        self.skip = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))

    def forward(self, x):
        return F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x))))) + self.skip(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, y = read("train"); other, other_y = read("val")
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    x, other = (x - mean) / std, (other - mean) / std
    half = len(other) // 2
    net = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Residual(16, 24, 2), Residual(24, 48, 2), Residual(48, 80, 2),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(80, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.02)
    epochs = 10
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.2, 1.0, 2)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs - 2)

    def score(net):
        net.eval()
        return (net(other[half:]).argmax(1) == other_y[half:]).float().mean()
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], [2]),
                train=DataLoader(Hands(x, y), 48, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(other[:half], other_y[:half]), 160), epochs=epochs, score=score)
