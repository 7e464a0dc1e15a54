"""https://github.com/milesial/Pytorch-UNet/issues/255  (the same answer: ugent-korea/pytorch-unet-segmentation/issues/5)

CAUSE: The learning rate is far too high for the optimizer and the network; the first steps throw the weights away and the
prediction is one tone everywhere.
FIX: Lower the learning rate (some hundred times).
"""
import random
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/camvid")


class RoadDataset(Dataset):
    """Road or not, 64 x 64."""
    def __init__(self, files, flip=False):
        self.flip, self.items = flip, []
        for f in files:
            im = np.asarray(Image.open(f).convert("RGB").resize((88, 66), Image.BILINEAR), np.float32)[1:65, 12:76] / 255
            lab = np.asarray(Image.open(f.parent.parent / (f.parent.name + "annot") / (f.stem + ".png")).resize((88, 66), Image.NEAREST))[1:65, 12:76]
            self.items.append((torch.from_numpy((im.transpose(2, 0, 1) - 0.42) / 0.29), torch.from_numpy((lab == 3).astype(np.float32))[None]))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        x, y = self.items[i]
        if self.flip and random.random() < 0.5:
            x, y = x.flip(-1), y.flip(-1)
        return x, y


class Unet(nn.Module):
    def __init__(self, w=(8, 16, 32)):
        super().__init__()
        two = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.ReLU())
        self.down = nn.ModuleList([nn.Sequential(nn.Conv2d(3, w[0], 3, 2, 1), nn.ReLU()), two(w[0], w[1]), two(w[1], w[2])])
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList([nn.ConvTranspose2d(w[2], w[1], 2, 2), nn.ConvTranspose2d(w[1], w[0], 2, 2)])
        self.join = nn.ModuleList([two(2 * w[1], w[1]), two(2 * w[0], w[0])])
        self.last = nn.Conv2d(w[0], 1, 1)

    def forward(self, x):
        a = self.down[0](x)
        b = self.down[1](self.pool(a))
        z = self.down[2](self.pool(b))
        z = self.join[0](torch.cat([self.ups[0](z), b], 1))
        z = self.join[1](torch.cat([self.ups[1](z), a], 1))
        return nn.functional.interpolate(self.last(z), scale_factor=2.0, mode="bilinear", align_corners=False)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    files = sorted((ROOT / "train").glob("*.jpg")) + sorted((ROOT / "val").glob("*.jpg"))
    np.random.default_rng(seed).shuffle(files)
    train, val, test = RoadDataset(files[:300], True), RoadDataset(files[300:360]), RoadDataset(files[360:])
    net = Unet()
    opt = torch.optim.RMSprop(net.parameters(), lr=0.1 if mistake else 1e-3, weight_decay=1e-8)

    def score(net):
        i = u = 0
        for x, y in DataLoader(test, 36):
            p, t = torch.sigmoid(net(x)) > 0.5, y > 0.5
            i += (p & t).sum().item(); u += (p | t).sum().item()
        return i / max(u, 1)

    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=3),
                train=DataLoader(train, 10, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 30), epochs=9, score=score)
