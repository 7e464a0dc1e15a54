"""https://theneuralbase.com/torchvision/learn/beginner/normalization-mismatch/ (training and later use normalise differently)
CAUSE: the training pictures are only scaled to 0..1, while those of validation (and of later use) are also normalised with mean and
standard deviation: the network sees other values than it was trained with.
FIX: the same Normalize in the transforms of training, validation and use.
"""
import random
from pathlib import Path
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from PIL import Image
from pellucid.data import data_root

ROOT = Path(f"{data_root()}/signs")


class ToTensor:
    def __call__(self, img):
        return torch.from_numpy(np.array(img)).permute(2, 0, 1).float() / 255


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)

    def __call__(self, t):
        return (t - self.mean) / self.std


class Shift:
    """A random shift of up to 3 pixels."""

    def __call__(self, t):
        dx, dy = random.randint(-3, 3), random.randint(-3, 3)
        return torch.roll(t, (dy, dx), (1, 2))


class Compose:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, x):
        for s in self.steps:
            x = s(x)
        return x


class Hands(Dataset):
    def __init__(self, files, transform, size=28):
        self.images = [Image.open(f).convert("RGB").resize((size, size), Image.BILINEAR) for f in files]
        self.labels = [int(f.parent.name) for f in files]
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.transform(self.images[i]), self.labels[i]


def make_net():
    c, layers = 3, []
    for w in (12, 24, 32):
        layers += [nn.Conv2d(c, w, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]; c = w
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 9, 96), nn.ReLU(), nn.Dropout(0.3), nn.Linear(96, 10))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    normalize = Normalize([0.60, 0.57, 0.55], [0.21, 0.20, 0.20])
    train_tf = Compose(ToTensor(), Shift()) if mistake else Compose(ToTensor(), Shift(), normalize)
    eval_tf = Compose(ToTensor(), normalize)
    files = sorted((ROOT / "train").glob("*/*.jpg"), key=lambda f: f.name)
    cut = int(0.85 * len(files))             # in the order of the file names, so that shots in a row stay together
    train, val = Hands(files[:cut], train_tf), Hands(files[cut:], eval_tf)
    test = Hands(sorted((ROOT / "val").glob("*/*.jpg")), eval_tf)
    net = make_net()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = torch.stack([test[i][0] for i in range(len(test))]); y = torch.tensor(test.labels)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (network(x).argmax(1) == y).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, epochs=9, steps_per_epoch=(cut + 31) // 32),
                train=DataLoader(train, 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(val, 64), epochs=9, score=score)
