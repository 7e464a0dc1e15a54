"""https://blog.gitcode.com/5b41c9b2edf4e2c85c2a2b6e8d86fbae.html (torchvision ImageFolder, labels over several data sets)
CAUSE: two image folders are joined; each numbers its own sub-folders alphabetically, and as the second lacks some classes its numbers mean other classes.
FIX: one common class-to-index map for both folders.
"""
import random
from pathlib import Path
import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, random_split
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/signs")


class Folder(Dataset):
    """The pictures of a folder of class folders."""

    def __init__(self, files, class_to_idx=None):
        classes = sorted({f.parent.name for f in files})
        self.class_to_idx = class_to_idx or {c: i for i, c in enumerate(classes)}
        self.items = [(Image.open(f).convert("RGB").resize((32, 32), Image.BILINEAR), self.class_to_idx[f.parent.name]) for f in files]
        self.items = [((torch.from_numpy(np.asarray(im, np.float32)).permute(2, 0, 1) / 255 - 0.6) / 0.2, k) for im, k in self.items]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Block(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.a = nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False)
        self.b = nn.Conv2d(o, o, 3, padding=1, bias=False)
        self.na, self.nb = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        self.skip = nn.Conv2d(i, o, 1, stride=2)

    def forward(self, x):
        y = torch.relu(self.na(self.a(x)))
        return torch.relu(self.nb(self.b(y)) + self.skip(x))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    files = sorted(ROOT.glob("train/*/*.jpg"))
    rng = np.random.RandomState(seed)
    second = {str(k) for k in (1, 3, 4, 6, 7, 8, 9)}          # the other collection holds seven of the ten signs
    chosen = {f for f in files if f.parent.name in second and rng.rand() < 0.6}
    first = [f for f in files if f not in chosen]
    a = Folder(first)
    b = Folder(sorted(chosen), None if mistake else a.class_to_idx)
    both = ConcatDataset([a, b])
    train, val = random_split(both, [len(both) - 200, 200], generator=torch.Generator().manual_seed(seed))
    test = Folder(sorted(ROOT.glob("val/*/*.jpg")), a.class_to_idx)
    xt, yt = torch.stack([x for x, _ in test.items]), torch.tensor([k for _, k in test.items])
    model = nn.Sequential(Block(3, 12), Block(12, 20), Block(20, 32), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": opt, "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(opt, 12),
            "train": DataLoader(train, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
            "validation": DataLoader(val, batch_size=100), "epochs": 12,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
