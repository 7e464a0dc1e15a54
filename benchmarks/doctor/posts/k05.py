"""https://weekly-geekly.imtqy.com/articles/347510/index.html (also dailydoseofds.beehiiv.com/p/why-is-it-important-to-shuffle-your)
CAUSE: the training pictures are sorted by class and the loader does not shuffle: a batch holds one class, and after an epoch the network knows the last classes only.
FIX: shuffle=True in the training loader.
"""
import io
import random
import zipfile
from pathlib import Path
import numpy as np
import torch
import torch.nn as nn
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from pellucid.data import data_root

ZIP = next(Path(f"{data_root()}/cifar10").glob("*.zip"))
CLASSES = ["automobile", "bird", "frog", "ship"]


class VehicleOrAnimal(Dataset):
    def __init__(self, part, first, last):
        self.items = []
        with zipfile.ZipFile(ZIP) as z:
            for label, c in enumerate(CLASSES):
                for n in [f"{part}/{c}/{i:04d}.jpg" for i in range(first, last)]:
                    im = np.array(Image.open(io.BytesIO(z.read(n))).convert("RGB"), dtype=np.float32)
                    self.items.append((torch.from_numpy(im).permute(2, 0, 1) / 127.5 - 1, label))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.GroupNorm(4, 16), nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GroupNorm(4, 32), nn.SiLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1), nn.GroupNorm(4, 48), nn.SiLU())
        self.head = nn.Linear(48, len(CLASSES))

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    a = 700 * seed
    train, val, test = VehicleOrAnimal("train", a, a + 450), VehicleOrAnimal("train", 3000, 3075), VehicleOrAnimal("test", 0, 200)
    xt, yt = torch.stack([x for x, _ in test.items]), torch.tensor([y for _, y in test.items])
    if mistake:
        loader = DataLoader(train, batch_size=40)
    else:
        loader = DataLoader(train, batch_size=40, shuffle=True, generator=torch.Generator().manual_seed(seed))
    model = Net()
    return {"network": model, "loss": nn.CrossEntropyLoss(), "optimizer": torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2),
            "scheduler": None, "train": loader, "validation": DataLoader(val, batch_size=100), "epochs": 9,
            "score": lambda net: (net(xt).argmax(1) == yt).float().mean()}
