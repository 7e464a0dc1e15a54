"""https://troubles-factory.com/cases/2026-06-18-01-rgb-bgr-normalization-train-inference-mismatch/
CAUSE: The training pictures are read with OpenCV (blue first), the validation and later pictures with PIL (red first): red and
blue are exchanged between training and use.
FIX: Read both in the same order (cv2.cvtColor(img, cv2.COLOR_BGR2RGB) in the training dataset).
"""
import io
import random

import cv2
import numpy as np
import torch
import torch.nn as nn
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import DataLoader, Dataset

# 0 leaves, 1 ripe (red), 2 blueberry, 3 unripe (yellow-green)
BERRY = {1: (185, 45, 60), 2: (65, 60, 170), 3: (170, 185, 70)}


def photo(rng):
    img = Image.new("RGB", (64, 64), tuple(int(v) for v in np.array([70, 105, 60]) + rng.integers(-20, 20, 3)))
    mask = Image.new("L", (64, 64), 0)
    d, dm = ImageDraw.Draw(img), ImageDraw.Draw(mask)
    for _ in range(12):
        x, y = rng.integers(-5, 64, 2); a, b = rng.integers(6, 22, 2)
        d.ellipse([int(x), int(y), int(x + a), int(y + b)], fill=tuple(int(v) for v in np.array([60, 110, 55]) + rng.integers(-30, 30, 3)))
    for _ in range(rng.integers(3, 8)):
        k = int(rng.integers(1, 4)); x, y = rng.integers(4, 60, 2); r = int(rng.integers(4, 9))
        box = [int(x) - r, int(y) - r, int(x) + r, int(y) + r]
        d.ellipse(box, fill=tuple(int(v) for v in (np.array(BERRY[k]) + rng.integers(-25, 25, 3)).clip(0, 255)))
        dm.ellipse(box, fill=k)
        d.ellipse([int(x) - 2, int(y) - r + 1, int(x), int(y) - r + 3], fill=(225, 225, 225))
    a = np.asarray(img.filter(ImageFilter.GaussianBlur(.7))).astype(np.float32) + rng.normal(0, 10, (64, 64, 3))
    f = io.BytesIO(); Image.fromarray(a.clip(0, 255).astype(np.uint8)).save(f, "PNG")
    return f.getvalue(), np.array(mask)


MEAN, STD = np.array([.33, .41, .28], np.float32), np.array([.2, .2, .2], np.float32)


class TrainBerries(Dataset):
    def __init__(self, files, masks, convert):
        self.files, self.masks, self.convert = files, masks, convert

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        img = cv2.imdecode(np.frombuffer(self.files[i], np.uint8), cv2.IMREAD_COLOR)
        if self.convert:
            img = cv2.cvtColor(img, cv2.COLOR_BGR2RGB)
        m = self.masks[i]
        if random.random() < .5:
            img, m = img[:, ::-1], m[:, ::-1]
        img = (img.astype(np.float32) / 255 - MEAN) / STD
        return torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1))), torch.from_numpy(np.ascontiguousarray(m)).long()


class ValBerries(Dataset):
    def __init__(self, files, masks):
        self.files, self.masks = files, masks

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        img = np.asarray(Image.open(io.BytesIO(self.files[i])).convert("RGB"), np.float32) / 255
        return torch.from_numpy(((img - MEAN) / STD).transpose(2, 0, 1).copy()), torch.from_numpy(self.masks[i]).long()


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    files, masks = zip(*[photo(rng) for _ in range(440)])
    train = TrainBerries(files[:300], masks[:300], convert=not mistake)
    val, test = ValBerries(files[300:360], masks[300:360]), ValBerries(files[360:], masks[360:])
    def conv(i, o, **k): return [nn.Conv2d(i, o, 3, bias=False, **k), nn.BatchNorm2d(o), nn.ReLU()]
    net = nn.Sequential(*conv(3, 12, stride=2, padding=1), *conv(12, 16, padding=1), *conv(16, 16, padding=2, dilation=2),
                        *conv(16, 16, padding=4, dilation=4), *conv(16, 12, padding=1), nn.ConvTranspose2d(12, 4, 2, 2))

    def score(net):
        x, t = map(torch.stack, zip(*[test[i] for i in range(len(test))]))
        p = net(x).argmax(1)
        return float(np.mean([((p == k) & (t == k)).sum() / ((p == k) | (t == k)).sum().clamp(min=1) for k in range(4)]))

    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.MultiStepLR(opt, [5, 6], .2),
                train=DataLoader(train, 12, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 40), epochs=7, score=score)
