"""https://stackoverflow.com/questions/52441877/how-does-binary-cross-entropy-loss-work-on-autoencoders/52443301#52443301
CAUSE: the decoder of the auto-encoder ends with a sigmoid, but the pictures have been standardized and range from about -2 to 3; values below 0 and above 1 can never be reconstructed.
FIX: a linear last layer (or pictures scaled to 0 to 1)."""
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root


class Faces(Dataset):
    """Grey faces; the target is the face itself, the input has noise and a covered square."""

    def __init__(self, x, seed, noise=0.3):
        self.x, self.noise = x, noise
        g = torch.Generator().manual_seed(seed)
        self.inputs = x + noise * torch.randn(x.shape, generator=g)
        for im in self.inputs:
            r, c = torch.randint(0, 24, (2,), generator=g).tolist()
            im[:, r:r + 8, c:c + 8] = 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.inputs[i], self.x[i]


class AutoEncoder(nn.Module):
    def __init__(self, code=64, last=None):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, code))
        self.expand = nn.Linear(code, 32 * 64)
        up = [nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1)]
        self.decoder = nn.Sequential(*up, *([last] if last is not None else []))

    def forward(self, x):
        return self.decoder(self.expand(self.encoder(x)).view(-1, 32, 8, 8))


def read(folder, n):
    files = sorted((Path(f"{data_root()}/faces") / folder).rglob("*.jpg")) or sorted((Path(f"{data_root()}/faces") / folder).rglob("*.png"))
    files = files[::max(1, len(files) // n)][:n]
    return torch.from_numpy(np.stack([np.asarray(Image.open(f).convert("L").resize((32, 32), Image.BILINEAR), np.float32) for f in files]))[:, None]


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, test = read("train", 1000), read("val", 300)
    order = torch.randperm(len(x))
    a, b = x[order[:850]], x[order[850:]]
    m, s = a.mean(), a.std()
    a, b, test = ((v - m) / s for v in (a, b, test))
    net = AutoEncoder(last=nn.Sigmoid() if mistake else None)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    g = torch.Generator().manual_seed(seed)
    clean = Faces(test, 99)

    def score(net):
        net.eval()
        return 1 - ((net(clean.inputs) - test) ** 2).mean() / test.var()

    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 15),
                train=DataLoader(Faces(a, seed), 25, shuffle=True, generator=g), validation=DataLoader(Faces(b, seed + 1), 50), epochs=15, score=score)
