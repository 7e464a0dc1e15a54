"""https://blog.dlib.net/2018/01/correctly-mirroring-datasets.html
CAUSE: The random mirror flips the picture and the x of the points but keeps their order: in a mirrored face the "left eye" point
lies on what is now the right eye.
FIX: After mirroring, also exchange the left points with their right partners.
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
POINTS = [17, 21, 22, 26, 36, 39, 42, 45, 30, 48, 54, 57]
PARTNER = [3, 2, 1, 0, 7, 6, 5, 4, 8, 10, 9, 11]


class Mirror:
    def __init__(self, p=.5, exchange=True):
        self.p, self.exchange = p, exchange

    def __call__(self, image, pts):
        if random.random() < self.p:
            image = image.flip(-1)
            pts = pts * torch.tensor([-1., 1.])
            if self.exchange:
                pts = pts[PARTNER]
        return image, pts


class Landmarks(Dataset):
    def __init__(self, split, picked, transform=None):
        info = json.loads((FACES / f"{split}.json").read_text())
        ann = {a["image_id"]: a["keypoints"] for a in info["annotations"]}
        self.transform, self.rows = transform, []
        for i in picked:
            im = info["images"][i]
            x = np.array(Image.open(FACES / split / im["file_name"]).convert("RGB").resize((64, 64)), np.float32).transpose(2, 0, 1)
            k = np.array(ann[im["id"]], np.float32).reshape(-1, 3)[POINTS, :2]
            self.rows.append((torch.from_numpy(x / 127.5 - 1), torch.from_numpy(k / 56 - 1)))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        x, k = self.rows[i]
        if self.transform:
            x, k = self.transform(x, k)
        return x, k.flatten()


class LandmarkNet(nn.Module):
    def __init__(self):
        super().__init__()
        chans, mods = [3, 16, 32, 48, 64], []
        for a, b in zip(chans, chans[1:]):
            mods += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.features = nn.Sequential(*mods)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(.1), nn.Linear(64 * 16, 96), nn.ReLU(), nn.Linear(96, 2 * len(POINTS)))

    def forward(self, x):
        return self.head(self.features(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(2600)[:850].tolist()
    train, val, test = Landmarks("train", order[:700], Mirror(exchange=not mistake)), Landmarks("train", order[700:]), Landmarks("val", range(300))
    net = LandmarkNet()

    def score(net):
        """Share of points within 10 % of the picture's width."""
        x = torch.stack([r[0] for r in test.rows]); k = torch.stack([r[1] for r in test.rows])
        return ((net(x).view(-1, len(POINTS), 2) - k).norm(dim=2) < .2).float().mean().item()

    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 10)
    return dict(network=net, loss=nn.SmoothL1Loss(beta=.1), optimizer=opt, scheduler=sch,
                train=DataLoader(train, 25, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=10, score=score)
