"""https://discuss.pytorch.org/t/output-in-keypoint-detection-always-converges-to-zero/101103
CAUSE: The target maps hold one Gaussian of about a pixel's width, nearly everything is 0, and the mean squared error over the map is
smallest with zeros everywhere; the maps stay black.
FIX: Wider Gaussians and a loss that weighs the peak pixels (or scaled maps), so that black maps cost something.
"""
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

FACES = Path(f"{data_root()}/faces")
JOINTS = [36, 45, 30, 48, 54]


class HeatmapDataset(Dataset):
    def __init__(self, split, picked, sigma, scale, size=64):
        info = json.loads((FACES / f"{split}.json").read_text())
        ann = {a["image_id"]: np.array(a["keypoints"], np.float32).reshape(-1, 3) for a in info["annotations"]}
        self.sigma, self.scale, self.items = sigma, scale, []
        for i in picked:
            im = info["images"][i]
            x = np.array(Image.open(FACES / split / im["file_name"]).convert("L").resize((size, size), Image.BILINEAR), np.float32)
            self.items.append((torch.from_numpy((x[None] - 115) / 60), torch.from_numpy(ann[im["id"]][JOINTS, :2] * size / 112)))

    def __len__(self):
        return len(self.items)

    def gaussian(self, pts):
        g = torch.arange(64.)
        dx = g[None, None, :] - pts[:, 0, None, None]
        dy = g[None, :, None] - pts[:, 1, None, None]
        return self.scale * torch.exp(-(dx ** 2 + dy ** 2) / (2 * self.sigma ** 2))

    def __getitem__(self, i):
        x, p = self.items[i]
        return x, self.gaussian(p)


class Hourglass(nn.Module):
    def __init__(self, joints):
        super().__init__()
        def c(i, o, s=1): return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.d1 = c(1, 12, 2)
        self.d2 = nn.Sequential(c(12, 24, 2), c(24, 24))
        self.d3 = nn.Sequential(c(24, 32, 2), c(32, 32), nn.Conv2d(32, 32, 5, 1, 2), nn.ReLU())
        self.u3 = nn.ConvTranspose2d(32, 24, 2, 2)
        self.u2 = nn.Sequential(nn.Conv2d(24, 24, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(24, 12, 2, 2))
        self.u1 = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(12, joints, 2, 2))

    def forward(self, x):
        a = self.d1(x); b = self.d2(a); c = self.d3(b)
        return self.u1(a + self.u2(b + self.u3(c)))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    sigma, scale = (1.0, 1.0) if mistake else (4.0, 10.0)
    order = np.random.default_rng(seed).permutation(2600)[:480].tolist()
    train, val = HeatmapDataset("train", order[:400], sigma, scale), HeatmapDataset("train", order[400:], sigma, scale)
    test = HeatmapDataset("val", range(0, 300, 2), sigma, scale)
    net = Hourglass(len(JOINTS))

    def score(net):
        x = torch.stack([t[0] for t in test.items]); p = torch.stack([t[1] for t in test.items])
        at = net(x).flatten(2).argmax(2)
        found = torch.stack([at % 64, at // 64], 2).float()
        return ((found - p).norm(dim=2) < 6.4).float().mean().item()

    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 5, .3),
                train=DataLoader(train, 16, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=8, score=score)
