"""https://cs194.mehvix.com/5/  (also robertklee/COCO-Human-Pose/pull/29)

CAUSE: The horizontal flip mirrors the x of the facial points but leaves their order, so after it "left eye" names the right eye; the
network learns the middle between the two sides.
FIX: Swap the left and right points of each pair (order 1, 0, 2, 4, 3) whenever the picture is flipped.
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

ROOT = Path(f"{data_root()}/faces")


def read(part, count, seed):
    d = json.load(open(ROOT / f"{part}.json"))
    names = {i["id"]: i["file_name"] for i in d["images"]}
    anns = list(d["annotations"])
    np.random.default_rng(seed).shuffle(anns)
    x, p = [], []
    for a in anns[:count]:
        k = np.array(a["keypoints"], np.float32).reshape(68, 3)[:, :2]
        p.append(np.stack([k[36:42].mean(0), k[42:48].mean(0), k[30], k[48], k[54]]) / 112)      # eyes, nose, corners of the mouth
        x.append(np.asarray(Image.open(ROOT / part / names[a["image_id"]]).convert("L").resize((64, 64), Image.BILINEAR)))
    return np.stack(x), np.stack(p)


class FaceDataset(Dataset):
    def __init__(self, x, p, flip=0.0, order=(0, 1, 2, 3, 4)):
        self.x, self.p, self.flip, self.order = x, p, flip, list(order)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        img, pts = self.x[i].astype(np.float32), self.p[i].copy()
        if random.random() < self.flip:
            img = img[:, ::-1]
            pts[:, 0] = 1 - pts[:, 0]
            pts = pts[self.order]
        img = (img - img.mean()) / (img.std() + 1e-3)
        return torch.from_numpy(img.copy())[None], torch.from_numpy(pts.astype(np.float32)).flatten()


class KeyNet(nn.Module):
    def __init__(self):
        super().__init__()
        f = []
        for i, o in [(1, 12), (12, 24), (24, 48), (48, 64)]:
            f += [nn.Conv2d(i, o, 3, 2 if i == 1 else 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*f)
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(64 * 4, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, x):
        return 0.5 + self.fc(self.features(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    x, p = read("train", 720, seed)
    tx, tp = read("val", 200, seed)
    train = FaceDataset(x[:640], p[:640], 0.5, (0, 1, 2, 3, 4) if mistake else (1, 0, 2, 4, 3))
    val, test = FaceDataset(x[640:], p[640:]), FaceDataset(tx, tp)
    net = KeyNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    epochs = 10

    def score(net):                                       # share of the points within 7 % of the picture's width
        near = n = 0
        for a, b in DataLoader(test, 100):
            d = (net(a) - b).view(-1, 5, 2).norm(dim=2)
            near += (d < 0.07).sum().item(); n += d.numel()
        return near / n

    return dict(network=net, loss=nn.SmoothL1Loss(beta=0.05), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs),
                train=DataLoader(train, 20, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 50), epochs=epochs, score=score)
