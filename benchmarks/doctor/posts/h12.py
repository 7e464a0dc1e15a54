"""https://github.com/NoahVl/Explaining-In-Style-Reproducibility-Study/issues/9
CAUSE: the list of picture files and the table of attributes are in different orders (names sorted as text, rows by number), so the labels belong to other pictures.
FIX: bring both into the same order, best look the row up by file name.
"""
import random
import numpy as np, torch
from torch import nn
from torch.utils.data import Dataset, DataLoader

ATTRIBUTES = ["round", "large", "reddish", "striped", "two_pieces"]

def picture(rng, size=48):
    """A toy photo with one or two objects, and its attributes."""
    yy, xx = np.mgrid[:size, :size]
    round_, large, red, striped, two = (rng.random(5) < [0.5, 0.4, 0.4, 0.35, 0.4]).astype(int)
    img = rng.uniform(0.3, 0.7, 3) + rng.normal(0, 0.05, (size, size, 3))
    r = rng.uniform(9, 11) if large else rng.uniform(5, 7)
    places = [(rng.uniform(11, 37), rng.uniform(11, 15)), (rng.uniform(11, 37), rng.uniform(33, 37))]
    for cy, cx in places if two else [(rng.uniform(11, 37), rng.uniform(11, 37))]:
        inside = (yy - cy) ** 2 + (xx - cx) ** 2 < r * r if round_ else (abs(yy - cy) < r * 0.85) & (abs(xx - cx) < r * 0.85)
        col = np.array([rng.uniform(0.75, 1), rng.uniform(0, 0.25), rng.uniform(0, 0.25)]) if red else np.array([rng.uniform(0, 0.25), *rng.uniform(0.3, 1, 2)])
        tone = np.where(xx // 2 % 2 == 0, 1.0, 0.3)[..., None] if striped else 1.0
        img = np.where(inside[..., None], col * tone, img)
    return (img.clip(0, 1) * 255).astype(np.uint8), [round_, large, red, striped, two]

class Disk:
    """Stands for the folder: files 1.jpg, 2.jpg, ... and list_attr.csv with a row for each number."""
    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        shots = [picture(rng) for _ in range(n)]
        self.files = {f"{i + 1}.jpg": s[0] for i, s in enumerate(shots)}
        self.rows = np.array([s[1] for s in shots], np.float32)
    def listdir(self): return list(self.files)

class AttributeDataset(Dataset):
    def __init__(self, disk, order):
        self.disk = disk
        self.images = order(disk.listdir())
        self.attributes = torch.from_numpy(disk.rows)
    def __len__(self): return len(self.images)
    def __getitem__(self, i):
        img = torch.from_numpy(self.disk.files[self.images[i]]).permute(2, 0, 1).float() / 255
        return (img - 0.5) / 0.25, self.attributes[i]

def by_number(names): return sorted(names, key=lambda s: int(s.split(".")[0]))

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    order = sorted if mistake else by_number
    train = DataLoader(AttributeDataset(Disk(700, seed), order), batch_size=30, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(AttributeDataset(Disk(150, seed + 100), order), batch_size=100)
    test = AttributeDataset(Disk(300, 4242), by_number)
    layers, i = [], 3
    for o in (8, 16, 24):
        layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.SiLU(), nn.MaxPool2d(2)]; i = o
    net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(24 * 36, 5))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    def score(net):
        f = []
        x, y = next(iter(DataLoader(test, batch_size=300)))
        p = (net(x) > 0).float()
        for k in range(5): f.append((2 * (p * y)[:, k].sum() / (p[:, k].sum() + y[:, k].sum()).clamp(min=1)).item())
        return float(np.mean(f))
    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=9, score=score)
