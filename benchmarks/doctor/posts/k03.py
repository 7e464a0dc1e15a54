"""https://www.motexture.com/blog/pytorch-operations and the thread "Difference between 2 reshaping operations" (discuss.pytorch.org, 2018-11-28)
CAUSE: pictures come as height x width x channels and the network turns them into channels first with view(), which mixes pixels and channels, instead of permute().
FIX: x.permute(0, 3, 1, 2).
"""
import random
from pathlib import Path
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/signs")


class SignImages(Dataset):
    def __init__(self, files):
        self.images = np.stack([np.asarray(Image.open(f).convert("RGB").resize((32, 32), Image.BILINEAR)) for f in files])
        self.labels = np.array([int(f.parent.name) for f in files])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.from_numpy((self.images[i].astype(np.float32) - 150) / 55), int(self.labels[i])


class SignNet(nn.Module):
    def __init__(self, reshape):
        super().__init__()
        self.reshape = reshape
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 12), (12, 16), (16, 24))])
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for c in (12, 16, 24)])
        self.fc = nn.Linear(24 * 16, 10)

    def to_channels_first(self, x):
        n, h, w, c = x.shape
        if self.reshape:
            return x.reshape(n, c, h, w)
        return x.permute(0, 3, 1, 2)

    def forward(self, x):
        x = self.to_channels_first(x)
        for conv, norm in zip(self.convs, self.norms):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return self.fc(x.flatten(1))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    files = sorted(ROOT.glob("train/*/*.jpg"))
    np.random.shuffle(files)
    val, train = SignImages(files[:200]), SignImages(files[200:])
    test = SignImages(sorted(ROOT.glob("val/*/*.jpg")))
    xt, yt = torch.stack([test[i][0] for i in range(len(test))]), torch.tensor(test.labels)
    model = SignNet(mistake)
    opt = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4, nesterov=True)
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": opt, "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(opt, 8),
            "train": DataLoader(train, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=100), "epochs": 8,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
