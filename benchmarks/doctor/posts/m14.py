"""https://github.com/NVIDIA/DIGITS/issues/29 (folders pos and neg with pedestrians and background; every picture is classified as one class;
"maybe it is due to not shuffled data")
CAUSE: the training loader goes through the folders in order, first all "neg", then all "pos", without shuffling: each epoch ends with
many batches of one class, and the network answers with that class.
FIX: DataLoader(..., shuffle=True) for the training.
"""
import json, random
from pathlib import Path
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from PIL import Image
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/pennfudan")
W, H = 16, 32


def crops(part, rng):
    """{"pos": pedestrians, "neg": background} of one part, grey 32 x 16, with the number of the photo."""
    info = json.loads((ROOT / f"{part}.json").read_text())
    boxes = {}
    for a in info["annotations"]:
        boxes.setdefault(a["image_id"], []).append(a["bbox"])
    out = {"neg": [], "pos": []}
    for im in info["images"]:
        photo = Image.open(next(iter((ROOT / part).glob(Path(im["file_name"]).name)))).convert("L")
        bs = boxes.get(im["id"], [])
        for x, y, w, h in bs:
            cx, cy, hh = x + w / 2, y + h / 2, max(h, 2 * w) * 1.08
            out["pos"].append((photo.resize((W, H), Image.BILINEAR, box=clip(cx, cy, hh, photo)), im["id"]))
            for _ in range(30):
                hh2 = min(hh * rng.uniform(0.5, 1.0), photo.height - 4)
                cx2, cy2 = rng.uniform(hh2 / 4, photo.width - hh2 / 4), rng.uniform(hh2 / 2, photo.height - hh2 / 2)
                if all(abs(cx2 - bx - bw / 2) > (bw + hh2 / 2) * 0.42 or abs(cy2 - by - bh / 2) > (bh + hh2) * 0.45 for bx, by, bw, bh in bs):
                    out["neg"].append((photo.resize((W, H), Image.BILINEAR, box=clip(cx2, cy2, hh2, photo)), im["id"])); break
    return out


def clip(cx, cy, h, photo):
    w = h / 2
    return (max(0, cx - w / 2), max(0, cy - h / 2), min(photo.width, cx + w / 2), min(photo.height, cy + h / 2))


class PosNeg(Dataset):
    def __init__(self, folders, keep, flip=False):
        self.items = [(torch.from_numpy(np.array(img)).float()[None], k) for k, name in enumerate(("neg", "pos"))
                      for img, photo in folders[name] if keep(photo)]
        self.flip = flip

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        x, k = self.items[i]
        if self.flip and random.random() < 0.5:
            x = x.flip(-1)
        return (x - 110) / 60, k


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.fc = nn.Sequential(nn.Flatten(), nn.Linear(24 * 32, 48), nn.ReLU(), nn.Dropout(0.3), nn.Linear(48, 2))

    def forward(self, x):
        return self.fc(self.conv(x))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    a, b = crops("train", rng), crops("val", rng)
    for n in a:
        a[n] += [(img, 100000 + i) for img, i in b[n]]
    ids = sorted({i for _, i in a["pos"]}); rng.shuffle(ids)
    test_ids, val_ids = set(ids[:40]), set(ids[40:55])
    train = PosNeg(a, lambda i: i not in test_ids and i not in val_ids, flip=True)
    val, test = PosNeg(a, lambda i: i in val_ids), PosNeg(a, lambda i: i in test_ids)
    net = LeNet()
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    if mistake:
        loader = DataLoader(train, batch_size=16)
    else:
        loader = DataLoader(train, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(seed))
    xs, ys = (torch.stack([test[i][0] for i in range(len(test))]), torch.tensor([k for _, k in test.items]))

    def score(network):
        """Mean of the two recalls."""
        network.eval()
        with torch.no_grad():
            right = network(xs).argmax(1) == ys
        return ((right[ys == 0].float().mean() + right[ys == 1].float().mean()) / 2).item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.StepLR(opt, 12, 0.2), train=loader,
                validation=DataLoader(val, 40), epochs=16, score=score)
