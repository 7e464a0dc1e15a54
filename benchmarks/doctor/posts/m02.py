"""https://github.com/cugbrs/MLRSNet/issues/4 (the order of the labels differs between the csv files of the categories)
CAUSE: the labels lie in several csv files whose columns are not in the same order; the Dataset reads the 0/1 values by their position
and takes the names of the first file, so in the other files the values belong to other labels.
FIX: read every row by the column names of its own file (DictReader, pandas.concat) and put the labels into one order.
"""
import csv, math, random, tempfile
from pathlib import Path
import numpy as np
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from PIL import Image, ImageDraw

LABELS = ["bridge", "field", "lake", "roof", "tree"]
# as they were exported, category by category
ORDERS = {"airplane": [0, 1, 2, 3, 4], "desert": [0, 2, 1, 4, 3], "island": [3, 0, 1, 4, 2], "parkway": [0, 1, 2, 3, 4]}


def scene(rng, present):
    n = 40
    base = rng.integers(90, 150, 3)
    img = Image.new("RGB", (n, n), tuple(int(v) for v in base))
    d = ImageDraw.Draw(img)
    for k in rng.permutation(5):
        if not present[k]:
            continue
        x, y = rng.uniform(8, n - 8, 2); r = rng.uniform(6, 10)
        c = lambda lo, hi: tuple(int(rng.integers(a, b)) for a, b in zip(lo, hi))
        if k == 0:   # bridge: two parallel lines
            a = rng.uniform(0, math.pi); dx, dy = math.cos(a) * 16, math.sin(a) * 16; col = c((200,) * 3, (255,) * 3)
            for o in (-2.5, 2.5):
                ox, oy = -math.sin(a) * o, math.cos(a) * o
                d.line([x - dx + ox, y - dy + oy, x + dx + ox, y + dy + oy], fill=col, width=2)
        elif k == 1:  # field: stripes
            col = c((150, 130, 40), (220, 190, 90))
            d.rectangle([x - r, y - r, x + r, y + r], fill=c((80, 70, 20), (120, 100, 60)))
            for s in np.arange(-r, r, 4):
                d.line([x - r, y + s, x + r, y + s], fill=col)
        elif k == 2:  # lake
            d.ellipse([x - r * 1.2, y - r * 0.8, x + r * 1.2, y + r * 0.8], fill=c((20, 60, 120), (70, 120, 220)))
        elif k == 3:  # roof
            d.polygon([(x - r, y + r * 0.7), (x + r, y + r * 0.7), (x, y - r)], fill=c((140, 40, 30), (220, 110, 90)))
        else:         # tree
            d.ellipse([x - r * 0.7, y - r * 0.7, x + r * 0.7, y + r * 0.7], fill=c((20, 80, 20), (70, 150, 60)))
            d.line([x, y, x, y + r], fill=(70, 45, 20), width=2)
    arr = np.asarray(img, np.float32) + rng.normal(0, 10, (n, n, 3))
    return arr.clip(0, 255).astype(np.uint8)


def export(folder, name, count, order, rng):
    """Pictures as one array per category, labels as NAME.csv."""
    pics = []
    with open(folder / f"{name}.csv", "w", newline="") as f:
        w = csv.writer(f); w.writerow(["image"] + [LABELS[k] for k in order])
        for i in range(count):
            present = rng.random(5) < 0.4
            pics.append(scene(rng, present))
            w.writerow([f"{name}_{i:05d}.jpg"] + [int(present[k]) for k in order])
    np.save(folder / f"{name}.npy", np.stack(pics))


class Category(Dataset):
    def __init__(self, folder, name, by_name):
        self.pics = torch.from_numpy(np.load(folder / f"{name}.npy")).permute(0, 3, 1, 2)
        with open(folder / f"{name}.csv") as f:
            if by_name:
                rows = [[float(r[l]) for l in LABELS] for r in csv.DictReader(f)]
            else:
                lines = list(csv.reader(f))
                rows = [[float(v) for v in line[1:]] for line in lines[1:]]
        self.targets = torch.tensor(rows)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, i):
        return (self.pics[i].float() / 255 - 0.45) / 0.2, self.targets[i]


class MultiLabelNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        layers, c = [], 3
        for w in (12, 24, 32):
            layers += [nn.Conv2d(c, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), nn.ReLU(), nn.MaxPool2d(2)]; c = w
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(32, n)

    def forward(self, x):
        return self.classifier(self.features(x).amax((2, 3)))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(100 + seed)
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp); sets = {}
        for split, count in (("train", 150), ("val", 35), ("test", 60)):
            (tmp / split).mkdir()
            for name, order in ORDERS.items():
                export(tmp / split, name, count, order, rng)
            by_name = split == "test" or not mistake
            sets[split] = ConcatDataset([Category(tmp / split, name, by_name) for name in ORDERS])
    net = MultiLabelNet(5)
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    x, y = (torch.stack(t) for t in zip(*[sets["test"][i] for i in range(len(sets["test"]))]))

    def score(network):
        """Mean F1 of the labels."""
        network.eval()
        with torch.no_grad():
            p = (torch.cat([network(b) for b in x.split(120)]) > 0).float()
        tp = (p * y).sum(0)
        return (2 * tp / (p.sum(0) + y.sum(0)).clamp(min=1)).mean().item()

    return dict(network=net, loss=nn.BCEWithLogitsLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 9),
                train=DataLoader(sets["train"], 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(sets["val"], 64), epochs=9, score=score)
