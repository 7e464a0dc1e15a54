"""http://kler.cn/a/107755.html (class folders named 1 ... 16; the classes are read as '1', '10', '11', ..., while the labels of
the evaluation are taken as 1, 2, 3, ... in the order of numbers)
CAUSE: the class numbers of the training folder come from the names sorted as strings ('1', '10', '11', '12', '2', ...), those of the
validation (and of everything later) from the number in the name, so most training targets carry another class's number.
FIX: one class_to_idx for all parts: sort the folder names by their number (or hand the training set's mapping to the others).
"""
import math, os, random, tempfile
from pathlib import Path
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from PIL import Image, ImageDraw

HOURS = range(1, 13)


def draw_clock(hour, rng):
    """A dial of 40 x 40 with one hand near the hour."""
    size = 40
    back = tuple(int(v) for v in rng.integers(150, 240, 3))
    img = Image.new("RGB", (size, size), back)
    d = ImageDraw.Draw(img)
    cx, cy = size / 2 + rng.uniform(-2, 2), size / 2 + rng.uniform(-2, 2)
    r = rng.uniform(13, 17)
    rim = tuple(int(v) for v in rng.integers(20, 140, 3))
    d.ellipse([cx - r, cy - r, cx + r, cy + r], outline=rim, width=int(rng.integers(1, 3)),
              fill=tuple(int(v) for v in rng.integers(190, 255, 3)))
    for k in range(12):
        a = math.radians(k * 30)
        d.point([(cx + (r - 3) * math.sin(a), cy - (r - 3) * math.cos(a))], fill=rim)
    a = math.radians(hour * 30 + rng.uniform(-9, 9))
    length = r * rng.uniform(0.6, 0.9)
    hand = tuple(int(v) for v in rng.integers(0, 110, 3))
    d.line([(cx, cy), (cx + length * math.sin(a), cy - length * math.cos(a))], fill=hand, width=int(rng.integers(2, 4)))
    arr = np.asarray(img, np.float32) + rng.normal(0, rng.uniform(3, 14), (size, size, 3))
    return Image.fromarray(arr.clip(0, 255).astype(np.uint8))


def write_folder(root, per_class, rng):
    for h in HOURS:
        folder = root / str(h)
        folder.mkdir(parents=True)
        for i in range(per_class):
            draw_clock(h, rng).save(folder / f"{i:03d}.png")


class ClockFolder(Dataset):
    """root/CLASS/*.png"""

    def __init__(self, root, classes):
        self.classes = classes
        self.class_to_idx = {c: i for i, c in enumerate(classes)}
        self.samples = [(p, self.class_to_idx[p.parent.name]) for p in sorted(Path(root).glob("*/*.png"))]
        self.images = [torch.from_numpy(np.array(Image.open(p))).permute(2, 0, 1) for p, _ in self.samples]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        return (self.images[i].float() / 255 - 0.65) / 0.25, self.samples[i][1]


class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        def block(a, b): return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
        self.body = nn.Sequential(block(3, 16), block(16, 32), block(32, 32))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 25, n))

    def forward(self, x):
        return self.head(self.body(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)
        write_folder(root / "train", 60, rng)
        write_folder(root / "val", 14, rng)
        write_folder(root / "test", 25, rng)
        names = os.listdir(root / "train")
        by_number = sorted(os.listdir(root / "val"), key=int)
        train_classes = sorted(names) if mistake else sorted(names, key=int)
        train = ClockFolder(root / "train", train_classes)
        val = ClockFolder(root / "val", by_number)
        test = ClockFolder(root / "test", by_number)
    net = Net(12)
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    x = torch.stack([test[i][0] for i in range(len(test))]); y = torch.tensor([s[1] for s in test.samples])

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(x).argmax(1) == y).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 6),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 64), epochs=6, score=score)
