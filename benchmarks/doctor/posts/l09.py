"""https://stats.stackexchange.com/questions/261704/training-a-neural-network-for-regression-always-predicts-the-mean
CAUSE: Adam with a learning rate of 0.01 (ten times its usual value, and more than this plain ReLU network without normalisation
bears): units die in the first steps and the network stays far behind, or gives the mean position for every picture.
FIX: A smaller learning rate (0.001 or less).
"""
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from pellucid.data import data_root

FACES = Path(f"{data_root()}/faces")
USED = [30, 36, 39, 42, 45, 48, 54, 8]      # nose, eye corners, mouth corners, chin


def load(split, picked):
    info = json.loads((FACES / f"{split}.json").read_text())
    ann = {a["image_id"]: np.array(a["keypoints"], np.float32).reshape(-1, 3)[USED, :2] for a in info["annotations"]}
    xs, ys = [], []
    for i in picked:
        im = info["images"][i]
        g = np.array(Image.open(FACES / split / im["file_name"]).convert("L").resize((48, 48), Image.BILINEAR), np.float32)
        xs.append(g[None] / 255); ys.append(ann[im["id"]].reshape(-1) / 112 * 2 - 1)
    return torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(ys))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(2600)[:900].tolist()
    x, y = load("train", order)
    xt, yt = load("val", range(300))
    m, s = x[:750].mean(), x[:750].std()
    x, xt = (x - m) / s, (xt - m) / s
    net = nn.Sequential(nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(),
                        nn.Flatten(), nn.Linear(48 * 36, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 2 * len(USED)))
    centre = y[:750].mean(0)

    def score(net):
        return 1 - float(((net(xt) - yt) ** 2).sum() / ((yt - centre) ** 2).sum())

    opt = torch.optim.Adam(net.parameters(), lr=1e-2 if mistake else 1e-3)
    return dict(network=net, loss=nn.MSELoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.StepLR(opt, 6, .3),
                train=DataLoader(TensorDataset(x[:750], y[:750]), 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(TensorDataset(x[750:], y[750:]), 100), epochs=14, score=score)
