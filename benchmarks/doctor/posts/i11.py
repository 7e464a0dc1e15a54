"""https://github.com/WongKinYiu/yolov7/issues/652

CAUSE: The boxes (centre, width, height) are given in pixels although the network's outputs end in a sigmoid and lie between 0 and 1;
all four outputs run to 1.
FIX: Divide the boxes by the width and the height of the picture, so that they lie between 0 and 1.
"""
import json
import random
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

DATA = Path(f"{data_root()}")
SIZE = 96


class FaceBoxes(Dataset):
    """A face of any size somewhere before a street; the box around its 68 points as (cx, cy, w, h)."""
    def __init__(self, part, indices, streets, unit, seed):
        rng = np.random.default_rng(seed)
        d = json.load(open(DATA / "faces" / f"{part}.json"))
        names = {i["id"]: i["file_name"] for i in d["images"]}
        self.x, self.y = [], []
        for i in indices:
            a = d["annotations"][i]
            s = int(rng.integers(34, 70))
            face = Image.open(DATA / "faces" / part / names[a["image_id"]]).convert("RGB").resize((s, s), Image.BILINEAR)
            l, t = rng.integers(0, SIZE - s + 1, 2)
            scene = streets[rng.integers(len(streets))].copy()
            scene.paste(face, (int(l), int(t)))
            k = np.array(a["keypoints"], np.float32).reshape(68, 3)[:, :2] * s / 112 + [l, t]
            lo, hi = k.min(0), k.max(0)
            self.x.append(np.asarray(scene).transpose(2, 0, 1))
            self.y.append(np.concatenate([(lo + hi) / 2, hi - lo]).astype(np.float32))
        self.unit = unit

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return (torch.from_numpy(self.x[i].astype(np.float32)) / 255 - 0.43) / 0.27, torch.from_numpy(self.y[i] / self.unit)


class BoxNet(nn.Module):
    def __init__(self):
        super().__init__()
        def c(i, o, s=2):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.body = nn.Sequential(c(3, 8), c(8, 16), c(16, 32), c(32, 48), nn.Conv2d(48, 16, 1), nn.ReLU(), nn.Flatten())
        self.box = nn.Sequential(nn.Linear(16 * 36, 96), nn.ReLU(), nn.Linear(96, 4), nn.Sigmoid())

    def forward(self, x):
        return self.box(self.body(x))


def iou(a, b):
    a = torch.cat([a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2], 1)
    b = torch.cat([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], 1)
    w = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    return w / ((a[:, 2:] - a[:, :2]).clamp(min=0).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - w)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    files = sorted((DATA / "camvid" / "train").glob("*.jpg"))[::4]
    streets = [Image.open(f).convert("RGB").resize((128, 96)).crop((16, 0, 112, 96)) for f in files]
    order = np.random.default_rng(seed).permutation(2600)
    unit = 1.0 if mistake else float(SIZE)
    train, val = FaceBoxes("train", order[:440], streets[:60], unit, seed), FaceBoxes("train", order[440:500], streets[:60], unit, seed + 1)
    test = FaceBoxes("val", range(0, 300, 4), streets[60:], unit, seed + 2)
    net = BoxNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)

    def score(net):
        return torch.cat([iou(net(x) * (test.unit if not mistake else 1.0), y * test.unit) for x, y in DataLoader(test, 50)]).mean().item()

    return dict(network=net, loss=nn.L1Loss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [6, 8], 0.25),
                train=DataLoader(train, 20, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 30), epochs=9, score=score)
