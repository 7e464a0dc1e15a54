"""https://github.com/cszn/DnCNN/issues/25  (also m-tassano/fastdvdnet/issues/55)

CAUSE: The denoiser is trained with noise of one low level only, while the pictures on which it is validated and used have noise of
any level up to 55; training does not represent what it meets later.
FIX: Draw the noise level of each training patch from the whole range (0 to 55).
"""
import random
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/camvid")


class NoisyPatches(Dataset):
    def __init__(self, files, sigmas, size=64, fixed=None):
        self.patches = [np.asarray(Image.open(f).convert("L")) for f in files]
        self.sigmas, self.size, self.fixed = sigmas, size, fixed

    def __len__(self):
        return len(self.patches)

    def __getitem__(self, i):
        p = self.patches[i]
        rng = np.random if self.fixed is None else np.random.RandomState(self.fixed + i)
        r, c = rng.randint(0, p.shape[0] - self.size), rng.randint(0, p.shape[1] - self.size)
        clean = p[r:r + self.size, c:c + self.size].astype(np.float32) / 255
        sigma = rng.uniform(*self.sigmas) / 255
        noisy = clean + rng.normal(0, sigma, clean.shape)
        return torch.from_numpy(noisy.astype(np.float32))[None], torch.from_numpy(clean)[None]


class Denoiser(nn.Module):
    """Residual learning on the four sub-pictures, as FFDNet."""
    def __init__(self, w=16, depth=4):
        super().__init__()
        layers = [nn.Conv2d(4, w, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(w, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(w, 4, 3, padding=1))

    def forward(self, x):
        return x - F.pixel_shuffle(self.body(F.pixel_unshuffle(x, 2)), 2)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    files = sorted((ROOT / "train").glob("*.jpg")) + sorted((ROOT / "val").glob("*.jpg"))
    np.random.default_rng(seed).shuffle(files)
    train = NoisyPatches(files[:240], (10, 10) if mistake else (0, 55))
    val, test = NoisyPatches(files[240:280], (0, 55), fixed=1000), NoisyPatches(files[280:340], (0, 55), fixed=5000)
    net = Denoiser()
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    epochs = 8

    def score(net):                                       # share of the noise's power that is gone
        left = noise = 0.0
        for x, y in DataLoader(test, 30):
            left += ((net(x) - y) ** 2).sum().item(); noise += ((x - y) ** 2).sum().item()
        return 1 - left / noise

    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [5, 7], 0.3),
                train=DataLoader(train, 6, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 20), epochs=epochs, score=score)
