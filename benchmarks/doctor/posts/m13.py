"""https://github.com/keras-team/keras/issues/8346 (the last 20 % for validation were the whole of class 5, which was never trained)
CAUSE: the examples come class by class from the folders, and the validation part is cut off the end before any shuffling: the last
class lies in the validation part only.
FIX: shuffle (or stratify) before the split.
"""
import io, random, zipfile
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from PIL import Image
from pellucid.data import data_root

WANTED = ["airplane", "automobile", "frog", "horse", "ship"]


class ZipFolder(Dataset):
    """SPLIT/CLASS/*.jpg of a zip, some of each class."""

    def __init__(self, split, each, start=0, flip=False):
        self.flip = flip; self.images, self.labels = [], []
        with zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip") as z:
            names = sorted(z.namelist())
            for k, c in enumerate(WANTED):
                for n in [n for n in names if n.startswith(f"{split}/{c}/") and n.endswith(".jpg")][start:start + each]:
                    img = Image.open(io.BytesIO(z.read(n))).convert("RGB").resize((24, 24), Image.BILINEAR)
                    self.images.append(torch.from_numpy(np.array(img)).permute(2, 0, 1).float().div(255).sub(0.47).div(0.25))
                    self.labels.append(k)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x = self.images[i]
        if self.flip and random.random() < 0.5:
            x = x.flip(-1)
        return x, self.labels[i]


def split(n, validation_split, shuffle):
    order = np.random.permutation(n) if shuffle else np.arange(n)
    cut = int(n * (1 - validation_split))
    return order[:cut].tolist(), order[cut:].tolist()


def vgg_like(classes):
    def conv(a, b): return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*conv(3, 12), nn.MaxPool2d(2), *conv(12, 24), nn.MaxPool2d(2), *conv(24, 48), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Dropout(0.4), nn.Linear(48 * 9, classes))


def training(seed, mistake):
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    start = 700 * seed
    full, plain = ZipFolder("train", 180, start, flip=True), ZipFolder("train", 180, start)
    tr, va = split(len(full), 0.2, shuffle=not mistake)
    test = ZipFolder("test", 120)
    net = vgg_like(len(WANTED))
    opt = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-4)
    xs, ys = torch.stack(test.images), torch.tensor(test.labels)

    def score(network):
        network.eval()
        with torch.no_grad():
            return (torch.cat([network(b) for b in xs.split(100)]).argmax(1) == ys).float().mean().item()

    return dict(network=net, loss=nn.CrossEntropyLoss(), optimizer=opt,
                scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(opt, 9),
                train=DataLoader(Subset(full, tr), 32, shuffle=True, generator=torch.Generator().manual_seed(seed)),
                validation=DataLoader(Subset(plain, va), 88), epochs=9, score=score)
