"""https://duoke360.com/post/34857
CAUSE: The pictures are normalised to -1 .. 1 while the decoder ends with a Sigmoid, which only reaches 0 .. 1: everything darker than
the middle cannot be painted.
FIX: Tanh (or no activation) at the end, or pictures in 0 .. 1.
"""
import io
import random
import zipfile

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root


def cifar(names):
    with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
        return np.stack([np.array(Image.open(io.BytesIO(z.read(n))).convert("RGB")) for n in names])


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, t):
        return (t - self.mean) / self.std


class NoisyPictures(Dataset):
    def __init__(self, pictures, transform, noise=.25, fixed=None):
        self.pictures, self.transform, self.noise = pictures, transform, noise
        self.fixed = None if fixed is None else torch.randn(len(pictures), 3, 32, 32, generator=torch.Generator().manual_seed(fixed))

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        clean = self.transform(torch.from_numpy(self.pictures[i]).permute(2, 0, 1).float() / 255)
        n = torch.randn_like(clean) if self.fixed is None else self.fixed[i]
        return clean + self.noise * n, clean


class Autoencoder(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 4, 2, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1), out)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
        names = sorted(n for n in z.namelist() if n.endswith(".jpg"))
    r = random.Random(seed)
    first = r.sample([n for n in names if n.startswith("train/")], 800); second = r.sample([n for n in names if n.startswith("test/")], 120)
    a, b = cifar(first), cifar(second)
    norm = Normalize(.5, .5)
    train, val, test = NoisyPictures(a[:680], norm), NoisyPictures(a[680:], norm, fixed=1), NoisyPictures(b, norm, fixed=2)
    net = Autoencoder(nn.Sigmoid() if mistake else nn.Tanh())

    def score(net):
        x, y = map(torch.stack, zip(*[test[i] for i in range(len(test))]))
        return 1 - float(((net(x) - y) ** 2).mean() / y.var())

    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 4, .4),
                train=DataLoader(train, 17, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=6, score=score)
