"""https://datascience.stackexchange.com/questions/71950/artificially-expanding-the-datasets-through-rotation-of-images-in-mnist
CAUSE: the augmentation turns digits by any angle and mirrors them; a turned 6 is a 9, a mirrored 2 a 5, and no turned digit is ever met.
FIX: only small rotations (some 10 degrees), no flips.
"""
import gzip, math, random
import numpy as np, torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
from pellucid.data import data_root

class RandomAffine:
    def __init__(self, degrees, shift): self.degrees, self.shift = degrees, shift
    def __call__(self, x):
        a = math.radians(random.uniform(-self.degrees, self.degrees))
        dx, dy = (random.uniform(-self.shift, self.shift) for _ in range(2))
        m = torch.tensor([[math.cos(a), -math.sin(a), dx], [math.sin(a), math.cos(a), dy]])
        return F.grid_sample(x[None], F.affine_grid(m[None], (1, *x.shape), align_corners=False), align_corners=False)[0]

class RandomFlip:
    def __call__(self, x):
        if random.random() < 0.5: x = x.flip(2)
        if random.random() < 0.5: x = x.flip(1)
        return x

class Digits(Dataset):
    def __init__(self, kind, span, steps=()):
        with gzip.open(f"{data_root()}/mnist/{kind}-images-idx3-ubyte.gz") as f:
            self.x = np.frombuffer(f.read(16 + span[1] * 784)[16:], np.uint8).reshape(-1, 1, 28, 28)[span[0]:]
        with gzip.open(f"{data_root()}/mnist/{kind}-labels-idx1-ubyte.gz") as f: self.y = np.frombuffer(f.read(8 + span[1])[8:], np.uint8)[span[0]:]
        self.steps = steps
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        x = torch.from_numpy(self.x[i] / np.float32(255))
        for s in self.steps: x = s(x)
        return x.sub(0.13).div(0.31), int(self.y[i])

def training(seed, mistake):
    torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
    augment = (RandomAffine(180, 0.1), RandomFlip()) if mistake else (RandomAffine(10, 0.1),)
    train = DataLoader(Digits("train", (0, 1000), augment), batch_size=40, shuffle=True, generator=torch.Generator().manual_seed(seed))
    validation = DataLoader(Digits("train", (1000, 1200)), batch_size=100)
    test = Digits("t10k", (0, 1000))
    net = nn.Sequential(nn.Conv2d(1, 12, 5), nn.ELU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3), nn.ELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24 * 25, 60), nn.ELU(), nn.Linear(60, 10))
    optimizer = torch.optim.NAdam(net.parameters(), lr=1.5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    def score(net): return sum((net(x).argmax(1) == y).sum().item() for x, y in DataLoader(test, batch_size=300)) / len(test)
    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=optimizer, scheduler=scheduler, train=train, validation=validation, epochs=8, score=score)
