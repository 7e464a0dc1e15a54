"""https://github.com/ari-dasci/OD-WeaponDetection/issues/3

CAUSE: The boxes of the annotations (x1, y1, x2, y2) are converted to the detector's format with the upper left corner in the place
of the centre, so cells and offsets belong to the corner of the object and all boxes come out shifted.
FIX: Convert with the centre, (x1 + x2) / 2 and (y1 + y2) / 2.
"""
import random
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader

W, G = 96, 12


def smear(rng):
    """A blood smear: one to four stained cells among pale ones."""
    yy, xx = np.mgrid[:W, :W].astype(np.float32)
    img = np.array([0.85, 0.78, 0.75])[None, None] + rng.normal(0, 0.02, 3) + np.zeros((W, W, 3))
    for _ in range(rng.integers(3, 9)):
        r = np.hypot(xx - rng.uniform(0, W), yy - rng.uniform(0, W)) / rng.uniform(6, 9)
        img = np.where((r < 1)[..., None], img - np.array([0.02, 0.18, 0.16]) * (0.4 + 0.6 * r[..., None]), img)
    boxes = []
    for _ in range(rng.integers(1, 5)):
        a, b = rng.uniform(7, 14, 2)
        cx, cy = rng.uniform(a, W - a), rng.uniform(b, W - b)
        box = [cx - a, cy - b, cx + a, cy + b]
        if any(min(box[2], o[2]) > max(box[0], o[0]) and min(box[3], o[3]) > max(box[1], o[1]) for o in boxes):
            continue
        r = ((xx - cx) / a) ** 2 + ((yy - cy) / b) ** 2
        img = np.where((r < 1)[..., None], [0.6, 0.5, 0.72], img)
        for _ in range(3):
            n = np.hypot(xx - cx - rng.normal(0, a / 4), yy - cy - rng.normal(0, b / 4)) < min(a, b) * 0.4
            img = np.where((n & (r < 1))[..., None], [0.4, 0.25, 0.58], img)
        boxes.append(box)
    return (img + rng.normal(0, 0.03, img.shape)).clip(0, 1).astype(np.float32), np.array(boxes, np.float32)


def to_centre(b):
    return np.stack([(b[:, 0] + b[:, 2]) / 2 / W, (b[:, 1] + b[:, 3]) / 2 / W, (b[:, 2] - b[:, 0]) / W, (b[:, 3] - b[:, 1]) / W], 1)


def to_yolo(b):
    return np.stack([b[:, 0] / W, b[:, 1] / W, (b[:, 2] - b[:, 0]) / W, (b[:, 3] - b[:, 1]) / W], 1)


class Smears(Dataset):
    def __init__(self, items, convert):
        self.items, self.convert = items, convert

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        img, boxes = self.items[i]
        t = np.zeros((5, G, G), np.float32)
        for x, y, w, h in self.convert(boxes):
            c, r = min(int(x * G), G - 1), min(int(y * G), G - 1)
            t[:, r, c] = 1, x * G - c, y * G - r, w, h
        return torch.from_numpy((img.transpose(2, 0, 1) - 0.7) / 0.15), torch.from_numpy(t)


class YoloLoss(nn.Module):
    def forward(self, out, t):
        obj = t[:, 0] > 0
        conf = F.binary_cross_entropy_with_logits(out[:, 0], t[:, 0], pos_weight=torch.tensor(10.0))
        box = torch.sigmoid(out[:, 1:]).permute(0, 2, 3, 1)[obj]
        return conf + 2 * F.smooth_l1_loss(box, t[:, 1:].permute(0, 2, 3, 1)[obj], beta=0.1)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        def c(i, o, s=1):
            return nn.Sequential(nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))
        self.net = nn.Sequential(c(3, 12, 2), c(12, 24, 2), c(24, 32, 2), c(32, 32), c(32, 32), nn.Conv2d(32, 5, 1))

    def forward(self, x):
        return self.net(x)


def decode(o):
    conf, (dx, dy, w, h) = torch.sigmoid(o[0]), torch.sigmoid(o[1:])
    r, c = torch.meshgrid(torch.arange(G), torch.arange(G), indexing="ij")
    x, y = (c + dx) / G * W, (r + dy) / G * W
    b = torch.stack([x - w * W / 2, y - h * W / 2, x + w * W / 2, y + h * W / 2], -1).view(-1, 4)
    keep, conf = [], conf.flatten()
    for i in conf.argsort(descending=True).tolist():
        if conf[i] < 0.5:
            break
        if all(overlap(b[i], b[j]) < 0.3 for j in keep):
            keep.append(i)
    return [b[i] for i in keep]


def overlap(a, b):
    w = max(0.0, float(min(a[2], b[2]) - max(a[0], b[0]))) * max(0.0, float(min(a[3], b[3]) - max(a[1], b[1])))
    return w / (float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - w + 1e-9)


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 3)
    items = [smear(rng) for _ in range(390)]
    convert = to_yolo if mistake else to_centre
    net = Detector()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)

    def score(net):                                       # F1 at an overlap of a half
        tp = fp = fn = 0
        for img, boxes in items[330:]:
            found = decode(net(torch.from_numpy((img.transpose(2, 0, 1) - 0.7) / 0.15)[None])[0])
            left = [torch.from_numpy(b) for b in boxes]
            for f in found:
                k = max(range(len(left)), key=lambda j: overlap(f, left[j]), default=None)
                if k is not None and overlap(f, left[k]) > 0.5:
                    tp += 1; left.pop(k)
                else:
                    fp += 1
            fn += len(left)
        return 2 * tp / max(2 * tp + fp + fn, 1)

    return dict(network=net, loss=YoloLoss(), optimizer=opt, scheduler=torch.optim.lr_scheduler.ExponentialLR(opt, 0.75),
                train=DataLoader(Smears(items[:290], convert), 12, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(Smears(items[290:330], convert), 30), epochs=8, score=score)
